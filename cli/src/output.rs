//! Where commands write: one place that knows whether a person or a program reads.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::exit::Failure;

/// Ends when nobody reads standard output any more: its pipe is closed. Never ends where that cannot be known (a file).
///
/// For commands that may have nothing to write for long; the others notice when they write.
pub async fn reader_gone() {
    // SAFETY: nothing in this program closes or replaces standard output, so that descriptor 1 stays what it is.
    #[expect(unsafe_code, reason = "tokio asks for the word that the descriptor stays open")]
    let output = unsafe { AsyncFd::register_with_interest(io::stdout(), Interest::WRITABLE) };
    if let Ok(output) = output {
        while let Ok(mut guard) = output.writable().await {
            if guard.ready().is_write_closed() {
                return;
            }
            guard.clear_ready();
        }
    }
    std::future::pending().await
}

/// Standard output, or a buffer in tests.
pub struct Out {
    writer: Box<dyn Write + Send>,
    json: bool,
    terminal: bool,
    colour: bool,
}

impl Out {
    /// Standard output of this process.
    pub fn stdout(json: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { writer: Box::new(io::stdout()), json, terminal, colour }
    }

    /// Writes into `writer`; `terminal` chooses the form for people, never colours.
    pub fn to(writer: Box<dyn Write + Send>, json: bool, terminal: bool) -> Self {
        Self { writer, json, terminal, colour: false }
    }

    /// Whether `--json` was given.
    pub fn json(&self) -> bool {
        self.json
    }

    /// Whether a person reads along.
    pub fn terminal(&self) -> bool {
        self.terminal
    }

    /// Whether colours are welcome.
    pub fn colour(&self) -> bool {
        self.colour
    }

    /// Writes text as it is.
    pub fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.writer.write_all(text.as_bytes())?;
        Ok(self.writer.flush()?)
    }

    /// Writes a line.
    pub fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.writer.write_all(text.as_bytes())?;
        self.writer.write_all(b"\n")?;
        Ok(self.writer.flush()?)
    }

    /// Writes a value as one JSON object (indented for people), with a final newline.
    pub fn value(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        if self.terminal {
            serde_json::to_writer_pretty(&mut self.writer, value)?;
        } else {
            serde_json::to_writer(&mut self.writer, value)?;
        }
        self.line("")
    }

    /// Writes a value as one line of JSON, whoever reads.
    pub fn json_line(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.writer, value)?;
        self.line("")
    }

    /// The value as JSON with `--json`, else the text that `format` makes of it.
    pub fn show<T: Serialize>(&mut self, value: &T, format: impl FnOnce(&T) -> String) -> Result<(), Failure> {
        if self.json { self.value(value) } else { self.text(&format(value)) }
    }

    /// Something done, for people only: nothing is said with `--json` but an empty object.
    pub fn done(&mut self, text: &str) -> Result<(), Failure> {
        if self.json { self.line("{}") } else { self.line(text) }
    }
}
