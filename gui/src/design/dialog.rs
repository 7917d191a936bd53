//! Dialogs: above everything, closed by Escape, with the main button at the right.

use eframe::egui::{Align, Color32, CornerRadius, Frame, Id, Layout, Margin, Modal, Stroke, Ui};

use super::button::{Button, icon_button};
use crate::text::{t, ui as w};
use crate::theme::{self, Palette, icons, letters, radius};

/// How a dialog was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// It is still open.
    Open,
    /// Escape, the cross, a click beside it, or "Cancel".
    Closed,
    /// The main button.
    Done,
}

/// The main button of a dialog.
#[derive(Clone, Copy, Debug)]
pub struct Main<'a> {
    /// What it says.
    pub label: &'a str,
    /// It takes something away.
    pub danger: bool,
    /// It can be clicked.
    pub enabled: bool,
}

/// Shows a dialog. `contents` may say that it is done (Enter in its last field).
pub fn dialog(
    ui: &Ui,
    id: &str,
    title: &str,
    width: f32,
    main: Option<Main>,
    contents: impl FnOnce(&mut Ui) -> bool,
) -> Choice {
    let palette = Palette::of(ui);
    let dark = ui.visuals().dark_mode;
    let frame = Frame::new().fill(palette.raised).corner_radius(CornerRadius::same(radius::XL));
    let frame = frame.stroke(Stroke::new(1.0, palette.line)).inner_margin(Margin::same(24)).shadow(theme::shadow(dark));
    let width = width.min(ui.ctx().content_rect().width() - 96.0);
    let backdrop = Color32::from_black_alpha(if dark { 150 } else { 90 });
    let shown = Modal::new(Id::new(id)).frame(frame).backdrop_color(backdrop).show(ui.ctx(), |ui| {
        ui.set_width(width);
        let mut choice = Choice::Open;
        ui.horizontal(|ui| {
            ui.label(letters::heading(title));
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                if icon_button(ui, icons::X, t(w::CLOSE)).clicked() {
                    choice = Choice::Closed;
                }
            });
        });
        ui.add_space(4.0);
        let done = contents(ui);
        if let Some(main) = main {
            ui.add_space(14.0);
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                let button = if main.danger { Button::danger(main.label) } else { Button::primary(main.label) };
                if ui.add(button.enabled(main.enabled)).clicked() {
                    choice = Choice::Done;
                }
                if ui.add(Button::secondary(t(w::CANCEL))).clicked() {
                    choice = Choice::Closed;
                }
            });
        }
        if done && main.is_none_or(|main| main.enabled) { Choice::Done } else { choice }
    });
    if shown.inner == Choice::Open && shown.should_close() { Choice::Closed } else { shown.inner }
}
