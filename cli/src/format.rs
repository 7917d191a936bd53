//! Everything that is printed, as pure functions: values in, text out. Nothing here asks the node or the clock.
//!
//! People get aligned tables with headings, pipes get one line per thing with tabs between the columns. Names and
//! messages come from strangers: they pass [`clean`] before they reach a terminal.

pub mod call;
pub mod doctor;
pub mod friend;
pub mod node;
pub mod quality;
pub mod relay;
pub mod table;
pub mod time;

pub use table::Table;

/// How a value is to be printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// For a person: headings, alignment, relative times.
    pub terminal: bool,
    /// With colours.
    pub colour: bool,
    /// The present (Unix ms).
    pub now_ms: u64,
}

impl Style {
    /// The style that fits where `out` goes, now.
    pub fn of(out: &crate::Out) -> Self {
        Self { terminal: out.terminal(), colour: out.colour(), now_ms: time::unix_ms() }
    }

    /// Wraps text in an SGR colour, if colours are welcome.
    pub fn paint(&self, colour: Colour, text: &str) -> String {
        if self.colour && !text.is_empty() { format!("\x1b[{}m{text}\x1b[0m", colour as u8) } else { text.to_owned() }
    }
}

/// SGR colours in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Colour {
    /// Emphasis.
    Bold = 1,
    /// Less important.
    Dim = 2,
    /// Trouble.
    Red = 31,
    /// Well.
    Green = 32,
    /// Attention.
    Yellow = 33,
}

/// Makes foreign text harmless: control characters (escape sequences among them) and marks that turn the writing
/// direction around become `�`. The rest stays as it is.
pub fn clean(text: &str) -> String {
    let bad = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    text.chars().map(|c| if bad(c) { '\u{fffd}' } else { c }).collect()
}

/// [`clean`], on one line: line breaks become spaces.
pub fn clean_line(text: &str) -> String {
    clean(text).replace('\n', " ")
}

/// Foreign words as a sentence of ours begins: cleaned, on one line, with a capital letter.
pub fn sentence(text: &str) -> String {
    let text = clean_line(text);
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// The first eight digits of an id: enough to tell people apart in a list.
pub fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

/// Bits per second for people: "38 kbit/s", "1.2 Mbit/s".
#[expect(clippy::cast_precision_loss, reason = "a rate shown with two digits")]
pub fn bitrate(bits: u64) -> String {
    match bits {
        0..1_000 => format!("{bits} bit/s"),
        1_000..1_000_000 => format!("{} kbit/s", bits / 1_000),
        _ => format!("{:.1} Mbit/s", bits as f64 / 1e6),
    }
}

/// A share for people: "0 %", "0.4 %", "12 %".
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if (0.05..10.0).contains(&percent) { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_from_strangers_do_not_reach_the_terminal() {
        assert_eq!(clean("bo\u{1b}[2Jb\u{9b}\u{202e}x"), "bo\u{fffd}[2Jb\u{fffd}\u{fffd}x");
        assert_eq!(clean("Žofie 🎉\n"), "Žofie 🎉\n");
    }

    #[test]
    fn rates_and_shares_are_short() {
        assert_eq!(
            (bitrate(999), bitrate(38_400), bitrate(1_250_000)),
            ("999 bit/s".into(), "38 kbit/s".into(), "1.2 Mbit/s".into())
        );
        assert_eq!((percent(0.0), percent(0.004), percent(0.123)), ("0 %".into(), "0.4 %".into(), "12 %".into()));
    }
}
