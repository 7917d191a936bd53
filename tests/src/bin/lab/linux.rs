//! The subcommands of the laboratory.

use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use twocan_tests::Node;
use twocan_tests::lab::site::NAMES;
use twocan_tests::lab::topology::{Description, Topology, WORDS};
use twocan_tests::lab::{Lab, people};

/// An internet on one machine, to see how twocan nodes get through NATs and survive what happens.
///
/// Needs root on Linux, and nothing else: NATs, firewalls and lines are this program's own. The node under test is
/// the `twocand` next to this program (`cargo build --release --workspace --bins`).
#[derive(Debug, Parser)]
#[command(name = "lab")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build a small internet, say how to enter it, and change it by words on standard input until that ends.
    #[command(after_help = after_help())]
    Up {
        #[command(flatten)]
        topology: TopologyArgs,
    },
    /// Build a small internet and run a shell or a command on one of its hosts.
    #[command(after_help = after_help())]
    Shell {
        #[command(flatten)]
        topology: TopologyArgs,
        /// On which host; the first if not said.
        #[arg(long, value_name = "NAME")]
        at: Option<String>,
        /// The command; a shell if not said.
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Every kind of site with every kind: do they connect and talk, over which paths, how fast.
    ///
    /// For each pair two nodes become friends of each other and of a public node at open sites, are moved, and started
    /// anew for each run: "cold ring" is a call placed as soon as the API answers, "link up" is until both see each
    /// other; then a call over that link rings for a second, is answered, and both talk for four seconds.
    Matrix(super::experiments::MatrixArgs),
    /// What befalls two friends, and how long it is felt: address change, relay killed, cut, sleep, …
    Survive(super::experiments::SurviveArgs),
    /// What a relayed audio and video call costs the relay, and how much later it is heard than over a direct path.
    RelayCost(super::experiments::RelayCostArgs),
    /// Whether links are kept while nobody says a word: one person at a site of each kind, all of them friends.
    Idle(super::experiments::IdleArgs),
}

#[derive(Debug, Args)]
struct TopologyArgs {
    /// A site with one host: `NAME=KIND[,delay=MS][,jitter=MS][,loss=%][,reorder=%][,duplicate=%][,rate=KBIT]`.
    #[arg(long = "site", value_name = "NAME=KIND…", default_values = ["friend=dual", "alice=port-restricted", "bob=symmetric"])]
    sites: Vec<Description>,
    /// Round trip between two sites, in milliseconds.
    #[arg(long, default_value_t = 50)]
    rtt: u64,
    /// What chance does, repeatable.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Start a twocan node on each host; the first one is public and where the others start from.
    #[arg(long)]
    nodes: bool,
    /// Lines for the `config.toml` of all nodes (`\n` between them), first in `[network]`.
    #[arg(long, default_value = "")]
    config: String,
    /// Let the nodes be friends of each other.
    #[arg(long, requires = "nodes")]
    friends: bool,
}

fn after_help() -> String {
    let mut text = "Kinds of sites:\n".to_owned();
    for (name, meaning) in NAMES {
        text += &format!("  {name:<21} {meaning}\n");
    }
    text + "\nWords for `up`:\n" + WORDS
}

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("lab: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(run(cli.command));
    // Somebody may still wait for a line of standard input.
    runtime.shutdown_background();
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Up { topology } => up(&topology).await,
        Command::Matrix(args) => super::experiments::matrix(&args).await,
        Command::Survive(args) => super::experiments::survive(&args).await,
        Command::RelayCost(args) => super::experiments::relay_cost(&args).await,
        Command::Idle(args) => super::experiments::idle(&args).await,
        Command::Shell { topology, at, command } => shell(&topology, at.as_deref(), &command).await,
    }
}

async fn build(args: &TopologyArgs) -> Result<(Topology, Vec<Node>)> {
    let topology = Topology::build(Lab::start(Duration::from_millis(args.rtt), args.seed)?, &args.sites)?;
    let mut nodes: Vec<Node> = Vec::new();
    if args.nodes {
        let extra = args.config.replace("\\n", "\n");
        let mut bootstrap = Vec::new();
        for (at, (name, _, host)) in topology.sites.iter().enumerate() {
            if at == 0 {
                let node = Node::start(name, &people::public_options(host, &[], &extra)).await?;
                bootstrap = people::addresses(&node, host).await?;
                nodes.push(node);
            } else {
                nodes.push(people::person(host, name, &bootstrap, &extra).await?);
            }
        }
        if args.friends {
            for asked in 1..nodes.len() {
                for asker in 0..asked {
                    match people::befriend(&nodes[asker], &nodes[asked]).await {
                        Ok(()) => eprintln!("{} and {} are friends", nodes[asker].name(), nodes[asked].name()),
                        Err(why) => eprintln!("{} and {}: {why:#}", nodes[asker].name(), nodes[asked].name()),
                    }
                }
            }
        }
    }
    Ok((topology, nodes))
}

async fn up(args: &TopologyArgs) -> Result<ExitCode> {
    let (topology, nodes) = build(args).await?;
    println!("{}", topology.command("list")?);
    println!("\nto enter a host from another terminal (ctrl-D here ends the lab):");
    for (name, _, host) in &topology.sites {
        println!("  {name}: nsenter --net={} -- $SHELL", host.namespace().path().display());
    }
    for node in &nodes {
        let home = node.home().display();
        println!("  {}: TWOCAN_HOME={home} twocan status; log in {home}/node.log", node.name());
    }
    println!("\nwords:\n{WORDS}");
    let talk = tokio::task::spawn_blocking(move || -> Result<()> {
        let (input, terminal) = (std::io::stdin().lock(), std::io::stdin().is_terminal());
        let prompt = || {
            if terminal {
                print!("lab> ");
            }
            std::io::stdout().flush()
        };
        prompt()?;
        for line in input.lines() {
            let line = line?;
            match topology.command(line.trim()) {
                _ if line.trim().is_empty() => {}
                Ok(text) => println!("{text}"),
                Err(error) => println!("{error:#}"),
            }
            prompt()?;
        }
        Ok(())
    });
    tokio::select! {
        talked = talk => talked??,
        _ = tokio::signal::ctrl_c() => {}
    }
    drop(nodes);
    Ok(ExitCode::SUCCESS)
}

async fn shell(args: &TopologyArgs, at: Option<&str>, command: &[String]) -> Result<ExitCode> {
    let (topology, nodes) = build(args).await?;
    let name = at.unwrap_or(&topology.sites.first().context("no site")?.0).to_owned();
    let host = topology.find(&name)?.1;
    let shell = [std::env::var("SHELL").unwrap_or_else(|_| "sh".to_owned())];
    let command = if command.is_empty() { &shell[..] } else { command };
    let mut inside = host.command(&command[0]);
    inside.args(&command[1..]);
    if let Some(node) = nodes.iter().find(|node| node.name() == name) {
        inside.env("TWOCAN_HOME", node.home());
    }
    let status = tokio::process::Command::from(inside).status().await?;
    Ok(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1).into())
}
