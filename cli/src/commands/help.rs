//! Help: about a command, the exit codes, and completions for shells.

use clap::CommandFactory;

use crate::args::Args;
use crate::exit::{Exit, Failure, TABLE};
use crate::output::Out;

/// Help about a topic.
pub fn help(topic: Option<&str>, out: &mut Out) -> Result<Exit, Failure> {
    let mut command = Args::command();
    let text = match topic {
        None => command.render_help().to_string(),
        Some("exit-codes") => exit_codes(),
        Some(topic) => match command.find_subcommand_mut(topic) {
            Some(found) => found.clone().bin_name(format!("twocan {topic}")).render_long_help().to_string(),
            None => {
                return Err(Failure::new(Exit::Usage, format!("there is no command {topic}"))
                    .hint("`twocan help` lists them; `twocan help exit-codes` explains the exit codes"));
            }
        },
    };
    out.text(&text)?;
    Ok(Exit::Ok)
}

fn exit_codes() -> String {
    TABLE.iter().map(|(exit, meaning)| format!("{:>3}  {meaning}\n", *exit as u8)).collect()
}

/// Completions for a shell.
pub fn completions(shell: clap_complete::Shell, out: &mut Out) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "twocan", &mut script);
    out.text(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Ok)
}
