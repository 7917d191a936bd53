//! The widgets that all screens are made of. Each is reached by keyboard, shows when it has the focus, and has a name
//! for screen readers.

pub mod avatar;
pub mod button;
pub mod card;
pub mod dialog;
pub mod field;
pub mod list;
pub mod logo;
pub mod qr;
pub mod toast;
pub mod toggle;

pub use avatar::{Avatar, Presence};
pub use button::{Button, icon_button, link, round_button};
pub use card::{banner, card, empty, pill, section};
pub use dialog::{Choice, dialog};
pub use field::{Field, caption};
pub use list::{Row, badge, setting};
pub use toggle::{segments, switch};

use eframe::egui::{Color32, CornerRadius, FontFamily, FontId, Painter, Pos2, Rect, Response, Stroke, StrokeKind, Ui};

use crate::theme::Palette;

/// Shows that something has the keyboard: a ring in the accent's colour around it.
pub fn focus_ring(ui: &Ui, response: &Response, rect: Rect, radius: u8) {
    if response.has_focus() {
        let stroke = Stroke::new(2.0, Palette::of(ui).accent_text);
        ui.painter().rect_stroke(
            rect.expand(2.0),
            CornerRadius::same(radius.saturating_add(2)),
            stroke,
            StrokeKind::Inside,
        );
    }
}

/// Writes one line that is cut with "…" where it does not fit; returns what it takes.
pub fn one_line(painter: &Painter, at: Pos2, text: &str, font: FontId, colour: Color32, width: f32) -> Rect {
    let mut job = eframe::egui::text::LayoutJob::simple_singleline(text.to_owned(), font, colour);
    job.wrap = eframe::egui::text::TextWrapping::truncate_at_width(width.max(1.0));
    let galley = painter.layout_job(job);
    let rect = Rect::from_min_size(at, galley.size());
    painter.galley(at, galley, colour);
    rect
}

/// A font of the plain family.
#[must_use]
pub fn plain(size: f32) -> FontId {
    FontId::new(size, FontFamily::Proportional)
}
