//! Questions to the person: secrets without echo, and yes or no. Without a terminal, one line of standard input each.

use std::io::{self, BufRead, IsTerminal, Write};

use crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::terminal;

use crate::exit::{Exit, Failure};

/// Longest secret that is read, in bytes: a phrase of 24 words has room, a wrong file on standard input does not.
const MAX_SECRET: usize = 4096;

/// Asks for a secret. On a terminal nothing is echoed; else the next line of standard input is taken.
pub fn secret(question: &str) -> Result<String, Failure> {
    if io::stdin().is_terminal() && io::stderr().is_terminal() { typed(question) } else { line() }
}

/// Asks for a new passphrase: twice on a terminal.
pub fn new_passphrase(question: &str) -> Result<String, Failure> {
    let first = secret(question)?;
    if io::stdin().is_terminal() && io::stderr().is_terminal() && secret("again: ")? != first {
        return Err(Failure::new(Exit::Usage, "the two passphrases differ").hint("try again"));
    }
    Ok(first)
}

/// Asks a yes-or-no question; no without a terminal.
pub fn confirm(question: &str) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    eprint!("{question} [y/N] ");
    Ok(matches!(line()?.trim(), "y" | "Y" | "yes"))
}

fn line() -> Result<String, Failure> {
    let mut text = String::new();
    let limit = u64::try_from(MAX_SECRET).unwrap_or(u64::MAX);
    let mut input = io::Read::take(io::stdin().lock(), limit);
    input
        .read_line(&mut text)
        .map_err(|error| Failure::new(Exit::Usage, format!("cannot read standard input: {error}")))?;
    if text.is_empty() {
        return Err(Failure::new(Exit::Usage, "standard input ended before an answer came"));
    }
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Reads keys with the terminal in raw mode, and restores it however that ends.
fn typed(question: &str) -> Result<String, Failure> {
    eprint!("{question}");
    io::stderr().flush()?;
    let _raw = Raw::enter()?;
    let mut text = String::new();
    let end = loop {
        let event = crossterm::event::read()
            .map_err(|error| Failure::new(Exit::Usage, format!("cannot read the keyboard: {error}")))?;
        let Event::Key(key) = event else { continue };
        if key.kind == KeyEventKind::Release {
            continue;
        }
        match key.code {
            KeyCode::Enter => break Ok(()),
            KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                break Err(Failure::new(Exit::Interrupted, "interrupted"));
            }
            KeyCode::Char(c) if text.len() + c.len_utf8() <= MAX_SECRET => text.push(c),
            KeyCode::Backspace => drop(text.pop()),
            _ => {}
        }
    };
    drop(_raw);
    eprintln!();
    end.map(|()| text)
}

/// The terminal in raw mode, until dropped.
#[derive(Debug)]
pub struct Raw(());

impl Raw {
    /// Enters raw mode.
    pub fn enter() -> Result<Self, Failure> {
        terminal::enable_raw_mode()
            .map_err(|error| Failure::new(Exit::Internal, format!("cannot set up the terminal: {error}")))?;
        Ok(Self(()))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // Nothing better can be done with a terminal that went away.
        let _ = terminal::disable_raw_mode();
    }
}
