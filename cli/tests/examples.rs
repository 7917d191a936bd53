//! The examples under `cli/examples` run as they are written, against real nodes on loopback.
//!
//! In a `console` block, `alice$ COMMAND` is run by a shell in Alice's folder with her home; the lines up to the next
//! command are what standard output and standard error must show, with `[..]` for anything within a line and `...` for
//! any lines; `? N` is the exit code (else 0). `COMMAND &` runs on, and `wait` shows what it did. What waits for others
//! (a command that only reads, or that finds nothing yet) is repeated until it shows what is written, or time is up.

#![expect(clippy::expect_used, reason = "helpers of tests: a failure is a failed test")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use twocan_cli::demo::node::{Node, Role, configure};

/// What others do may take so long.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked at again.
const AGAIN: Duration = Duration::from_millis(100);
/// Homes that the examples use, in each person's folder.
const HOMES: [&str; 3] = ["home", "second", "third"];
/// Commands that only read.
const READS: [&str; 5] = ["twocan requests", "twocan friends", "twocan calls", "twocan blocked", "twocan status"];

#[derive(Debug, Default)]
struct Step {
    line: usize,
    person: String,
    command: String,
    expected: Vec<String>,
    exit: i32,
}

fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for (index, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            inside = line == "```console";
            continue;
        }
        if !inside {
            continue;
        }
        let prompt = line.split_once("$ ").filter(|(person, _)| ["alice", "bob"].contains(person));
        match (prompt, steps.last_mut()) {
            (Some((person, command)), _) => steps.push(Step {
                line: index + 1,
                person: person.to_owned(),
                command: command.to_owned(),
                ..Step::default()
            }),
            (None, Some(step)) => match line.strip_prefix("? ") {
                Some(exit) => step.exit = exit.parse().expect("an exit code"),
                None => step.expected.push(line.to_owned()),
            },
            (None, None) => panic!("line {}: output without a command", index + 1),
        }
    }
    steps
}

/// Whether a line fits a pattern with `[..]`.
fn line_fits(pattern: &str, line: &str) -> bool {
    let Some((head, rest)) = pattern.split_once("[..]") else { return pattern == line };
    let Some(tail) = line.strip_prefix(head) else { return false };
    rest.is_empty() || tail.char_indices().any(|(at, _)| line_fits(rest, &tail[at..]))
}

/// Whether lines fit patterns with `...`.
fn fits(patterns: &[String], lines: &[&str]) -> bool {
    match (patterns.split_first(), lines.split_first()) {
        (None, None) => true,
        (None, Some(_)) => false,
        (Some((pattern, rest)), lines_left) if pattern == "..." => {
            fits(rest, lines) || lines_left.is_some_and(|(_, left)| fits(patterns, left))
        }
        (Some((pattern, rest)), Some((line, left))) => line_fits(pattern, line) && fits(rest, left),
        (Some(_), None) => false,
    }
}

struct World {
    folder: tempfile::TempDir,
    path: String,
    running: HashMap<String, Child>,
    _stranger: Node,
}

impl World {
    async fn new() -> Self {
        let twocan = PathBuf::from(env!("CARGO_BIN_EXE_twocan"));
        let programs = twocan.parent().expect("a folder");
        assert!(
            programs.join("twocand").is_file(),
            "the examples need a node: `cargo build --release -p twocan-node` first (looked for {})",
            programs.join("twocand").display()
        );
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
        let folder = tempfile::tempdir().expect("a folder");
        let home = folder.path().join("stranger");
        configure(&home, Role::Server, &[]).expect("a home");
        let program = programs.join("twocand");
        let stranger = Node::start_program(&program, "the stranger", &home).await.expect("the stranger's node");
        let bootstrap = stranger.addresses().await.expect("addresses");
        for person in ["alice", "bob"] {
            for home in HOMES {
                configure(&folder.path().join(person).join(home), Role::Person, &bootstrap).expect("a home");
            }
        }
        Self { folder, path, running: HashMap::new(), _stranger: stranger }
    }

    fn shell(&self, person: &str, command: &str) -> Command {
        let folder = self.folder.path().join(person);
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("{{ {command}\n}} 2>&1"));
        shell.env("PATH", &self.path).env("TWOCAN_HOME", folder.join("home")).current_dir(folder);
        shell.stdin(Stdio::null()).stdout(Stdio::piped());
        shell
    }

    fn run(&mut self, step: &Step) -> Option<Output> {
        let mut command = step.command.clone();
        if command.contains("$BOB") {
            let output = self.shell("bob", "twocan id").output().expect("a shell");
            command = command.replace("$BOB", String::from_utf8_lossy(&output.stdout).trim());
        }
        if let Some(command) = command.strip_suffix(" &") {
            let child = self.shell(&step.person, command).spawn().expect("a shell");
            self.running.insert(step.person.clone(), child);
            return None;
        }
        if command == "wait" {
            let child = self.running.remove(&step.person).expect("something that runs");
            return Some(child.wait_with_output().expect("its output"));
        }
        Some(self.shell(&step.person, &command).output().expect("a shell"))
    }

    fn play(&mut self, step: &Step) {
        let begin = Instant::now();
        loop {
            let Some(output) = self.run(step) else { return };
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let code = output.status.code().unwrap_or(-1);
            if code == step.exit && fits(&step.expected, &text.lines().collect::<Vec<_>>()) {
                return;
            }
            let waits = code == 4 || READS.contains(&step.command.as_str());
            assert!(
                waits && begin.elapsed() < PATIENCE,
                "line {}: {}$ {}\n--- expected (exit {})\n{}\n--- got (exit {code})\n{text}",
                step.line,
                step.person,
                step.command,
                step.exit,
                step.expected.join("\n")
            );
            std::thread::sleep(AGAIN);
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // After a failure, nodes may still run; each of them is told to stop.
        for person in ["alice", "bob"] {
            for home in HOMES {
                let _ = self.shell(person, &format!("twocan --home {home} down")).output();
            }
        }
        for child in self.running.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

async fn play(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    let text = std::fs::read_to_string(&path).expect("the example");
    let mut world = World::new().await;
    for step in steps(&text) {
        world.play(&step);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_and_who_i_am() {
    play("identity.md").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn becoming_friends_calling_and_parting() {
    play("friends.md").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn backup_restore_and_passphrase() {
    play("backup.md").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn relays_among_friends() {
    play("relays.md").await;
}

#[test]
fn the_matcher_is_as_strict_as_it_should_be() {
    let pattern = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    assert!(fits(&pattern(&["a [..] c", "..."]), &["a b c"]));
    assert!(fits(&pattern(&["...", "z"]), &["x", "y", "z"]));
    assert!(!fits(&pattern(&["a [..] c"]), &["a b d"]));
    assert!(!fits(&pattern(&["a"]), &["a", "b"]));
    assert!(!fits(&pattern(&[]), &["a"]));
}

#[test]
fn the_documentation_names_every_command_and_exit_code() {
    use clap::CommandFactory;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
    let text = std::fs::read_to_string(path).expect("docs/cli.md");
    for command in twocan_cli::Args::command().get_subcommands().filter(|command| !command.is_hide_set()) {
        let name = command.get_name();
        assert!(
            text.contains(&format!("twocan {name}")) || text.contains(&format!("`{name}`")),
            "docs/cli.md lacks {name}"
        );
    }
    for (exit, meaning) in twocan_cli::exit::TABLE {
        assert!(text.contains(&format!("| {} | {meaning} |", *exit as u8)), "docs/cli.md lacks exit code {exit:?}");
    }
}
