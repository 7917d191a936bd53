//! The type scale: the few sizes and weights that everything is written in.

use eframe::egui::{FontFamily, FontId, RichText};

/// The one line that opens a page.
pub const TITLE: f32 = 27.0;
/// Headings of pages and dialogs.
pub const HEADING: f32 = 20.0;
/// Headings of cards and sections.
pub const SUBHEAD: f32 = 16.0;
/// What is read.
pub const BODY: f32 = 15.0;
/// Second lines, notes.
pub const SMALL: f32 = 13.0;
/// Times, counters.
pub const TINY: f32 = 11.5;

/// Inter Medium.
#[must_use]
pub fn medium() -> FontFamily {
    FontFamily::Name("medium".into())
}

/// Inter SemiBold.
#[must_use]
pub fn semibold() -> FontFamily {
    FontFamily::Name("semibold".into())
}

/// Phosphor, outlined.
#[must_use]
pub fn icons() -> FontFamily {
    FontFamily::Name("icons".into())
}

/// Phosphor, filled.
#[must_use]
pub fn icons_filled() -> FontFamily {
    FontFamily::Name("icons-filled".into())
}

fn write(text: impl Into<String>, size: f32, family: FontFamily) -> RichText {
    RichText::new(text).font(FontId::new(size, family))
}

/// The one line that opens a page.
pub fn title(text: impl Into<String>) -> RichText {
    write(text, TITLE, semibold())
}

/// Heading of a page or dialog.
pub fn heading(text: impl Into<String>) -> RichText {
    write(text, HEADING, semibold())
}

/// Heading of a card or section.
pub fn subhead(text: impl Into<String>) -> RichText {
    write(text, SUBHEAD, semibold())
}

/// A name, a label that matters.
pub fn strong(text: impl Into<String>) -> RichText {
    write(text, BODY, medium())
}

/// What is read.
pub fn body(text: impl Into<String>) -> RichText {
    write(text, BODY, FontFamily::Proportional)
}

/// Second lines, notes.
pub fn small(text: impl Into<String>) -> RichText {
    write(text, SMALL, FontFamily::Proportional)
}

/// Times, counters.
pub fn tiny(text: impl Into<String>) -> RichText {
    write(text, TINY, medium())
}

/// Addresses, keys, words to compare.
pub fn mono(text: impl Into<String>) -> RichText {
    write(text, 13.5, FontFamily::Monospace)
}

/// An outlined icon.
pub fn icon(code: char, size: f32) -> RichText {
    write(code, size, icons())
}

/// A filled icon.
pub fn icon_fill(code: char, size: f32) -> RichText {
    write(code, size, icons_filled())
}
