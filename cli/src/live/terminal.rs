//! The terminal during a call: raw mode, keys from a thread of their own, one line that is redrawn, lines above it.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;

use super::line::Key;
use crate::prompt::Raw;

/// How often the key thread looks whether it shall end.
const POLL: Duration = Duration::from_millis(100);
/// Keys that wait; a stuck program does not need more of them.
const KEYS: usize = 16;

/// Keys and the redrawn line. Without a terminal (or with `--no-live`) there are no keys, and lines are plain.
#[derive(Debug)]
pub struct Terminal {
    raw: Option<Raw>,
    stop: Arc<AtomicBool>,
    keys: mpsc::Receiver<Key>,
    /// Lines of the live picture that stand at the bottom.
    drawn: usize,
}

impl Terminal {
    /// Takes the terminal over, if there is one and `live` is wished.
    pub fn open(live: bool) -> Self {
        let (tx, keys) = mpsc::channel(KEYS);
        let stop = Arc::new(AtomicBool::new(false));
        let possible = live && std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        let raw = if possible { Raw::enter().ok() } else { None };
        if raw.is_some() {
            let stop = Arc::clone(&stop);
            // Reading keys blocks, so it has a thread; it ends within POLL after `stop`.
            std::thread::spawn(move || read_keys(&tx, &stop));
        }
        Self { raw, stop, keys, drawn: 0 }
    }

    /// Whether a live line can be drawn.
    pub fn live(&self) -> bool {
        self.raw.is_some()
    }

    /// The next key; never without a terminal.
    pub async fn key(&mut self) -> Key {
        match self.keys.recv().await {
            Some(key) => key,
            None => std::future::pending().await,
        }
    }

    /// Columns of the terminal.
    pub fn width(&self) -> usize {
        crossterm::terminal::size().map_or(80, |(columns, _)| usize::from(columns))
    }

    /// Redraws the live lines, of which there is at least one.
    pub fn draw(&mut self, lines: &[String]) {
        if self.live() {
            write(&format!("{}{}", self.erased(), lines.join("\r\n")));
            self.drawn = lines.len();
        }
    }

    /// What takes the live lines away.
    fn erased(&self) -> String {
        format!("\r\x1b[2K{}", "\x1b[1A\x1b[2K".repeat(self.drawn.saturating_sub(1)))
    }

    /// Says something above the live line (on standard error, so that `--json` output stays clean).
    pub fn say(&mut self, text: &str) {
        if self.live() {
            write(&format!("{}{text}\r\n", self.erased()));
            self.drawn = 0;
        } else {
            // With nobody to read it, it need not be said.
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }

    /// Rings the bell.
    pub fn bell(&self) {
        if std::io::stderr().is_terminal() {
            let _ = std::io::stderr().write_all(b"\x07");
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if self.drawn > 0 {
            write("\r\n");
        }
        self.raw = None;
    }
}

fn write(text: &str) {
    let mut out = std::io::stdout().lock();
    // A terminal that went away ends the call by SIGHUP, not here.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn read_keys(keys: &mpsc::Sender<Key>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        match event::poll(POLL) {
            Ok(false) => {}
            Ok(true) => {
                let Ok(event) = event::read() else { return };
                if let Some(key) = meaning(&event)
                    && keys.blocking_send(key).is_err()
                {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}

fn meaning(event: &Event) -> Option<Key> {
    let Event::Key(key) = event else { return None };
    if key.kind == KeyEventKind::Release {
        return None;
    }
    match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Key::Interrupt),
        KeyCode::Char('c') => Some(Key::Camera),
        KeyCode::Char('m') => Some(Key::Mute),
        KeyCode::Char('v') => Some(Key::Video),
        KeyCode::Char('s') => Some(Key::Screen),
        KeyCode::Char('g') => Some(Key::Graph),
        KeyCode::Char('h') => Some(Key::Hold),
        KeyCode::Char(' ') => Some(Key::Talk),
        KeyCode::Char('e') => Some(Key::Echo),
        KeyCode::Char('n') => Some(Key::Noise),
        KeyCode::Char('+') => Some(Key::Louder),
        KeyCode::Char('-') => Some(Key::Quieter),
        KeyCode::Char('r') => Some(Key::Record),
        KeyCode::Char('x') => Some(Key::Refuse),
        KeyCode::Char('q') => Some(Key::Quit),
        KeyCode::Char('a') | KeyCode::Enter => Some(Key::Answer),
        KeyCode::Char('d') => Some(Key::Decline),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossterm::event::KeyEvent;

    #[test]
    fn ctrl_c_is_not_the_letter() {
        let press = |code, modifiers| meaning(&Event::Key(KeyEvent::new(code, modifiers)));
        assert_eq!(press(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Key::Interrupt));
        assert_eq!(press(KeyCode::Char('c'), KeyModifiers::NONE), Some(Key::Camera));
        assert_eq!(press(KeyCode::Char('m'), KeyModifiers::NONE), Some(Key::Mute));
    }
}
