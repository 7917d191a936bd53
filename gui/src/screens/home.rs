//! The page without a friend: my address to hand out, and how the node is.

use eframe::egui::{Color32, CornerRadius, Rect, RichText, Sense, TextEdit, Ui, Vec2};
use qrcode::{Color, QrCode};

use super::{Dialog, State, View};
use crate::model::Model;
use crate::theme::Palette;
use crate::widgets;
use crate::worker::Command;

/// "Copied" is shown for so long.
const COPIED_MS: u64 = 2_000;

pub(super) fn show(ui: &mut Ui, model: &Model, state: &mut State, view: &View, _commands: &mut Vec<Command>) {
    let palette = Palette::of(ui);
    let Some(identity) = &model.identity else { return };
    ui.heading("Your address");
    widgets::note(ui, "Whoever has it can ask to be your friend; nobody is let in without your yes.");
    ui.add_space(8.0);
    widgets::card(ui, |ui| {
        ui.horizontal_top(|ui| {
            code(ui, if identity.uri.is_empty() { &identity.address } else { &identity.uri });
            ui.add_space(8.0);
            ui.vertical(|ui| {
                // Text that can be selected, but not changed.
                let mut address = identity.address.as_str();
                ui.add(
                    TextEdit::multiline(&mut address)
                        .font(eframe::egui::TextStyle::Monospace)
                        .desired_rows(3)
                        .desired_width(f32::INFINITY),
                );
                ui.horizontal(|ui| {
                    let copied = state.copied_ms.is_some_and(|at| view.now_ms.saturating_sub(at) < COPIED_MS);
                    let label = if copied { "✔ Copied" } else { "Copy address" };
                    if widgets::strong(ui, label, palette.accent).clicked() {
                        ui.ctx().copy_text(identity.address.clone());
                        state.copied_ms = Some(view.now_ms);
                    }
                    if widgets::quiet(ui, "Add a friend").clicked() {
                        state.dialog = Some(Dialog::add());
                    }
                });
            });
        });
    });
    ui.add_space(10.0);
    let Some(status) = &model.status else { return };
    widgets::card(ui, |ui| {
        let (colour, line) = match status.dht.peers {
            0 => (palette.warn, "Looking for other nodes…".to_owned()),
            1 => (palette.good, "Connected to 1 other node".to_owned()),
            peers => (palette.good, format!("Connected to {peers} other nodes")),
        };
        ui.horizontal(|ui| {
            let (rect, _) = ui.allocate_exact_size(Vec2::splat(10.0), Sense::hover());
            ui.painter().circle_filled(rect.center(), 5.0, colour);
            ui.label(line);
        });
        let found = status.dht.slots_confirmed;
        let how = if found > 0 { "Friends can find you" } else { "Friends cannot look you up yet" };
        widgets::note(ui, format!("{how} · twocan {}", status.version));
        for notice in &status.notices {
            ui.label(RichText::new(notice).color(palette.warn));
        }
    });
}

/// A QR code, black on white in both themes: that is what cameras read.
fn code(ui: &mut Ui, text: &str) {
    let Ok(code) = QrCode::new(text) else { return };
    let width = code.width();
    let (rect, _) = ui.allocate_exact_size(Vec2::splat(168.0), Sense::hover());
    ui.painter().rect_filled(rect, CornerRadius::same(8), Color32::WHITE);
    let cell = (rect.width() - 16.0) / width as f32;
    let origin = rect.min + Vec2::splat(8.0);
    for (at, colour) in code.to_colors().into_iter().enumerate() {
        if colour == Color::Dark {
            let (x, y) = ((at % width) as f32, (at / width) as f32);
            // A hair larger than its place, so that no lines show between cells.
            let dot = Rect::from_min_size(origin + Vec2::new(x, y) * cell, Vec2::splat(cell + 0.3));
            ui.painter().rect_filled(dot, CornerRadius::ZERO, Color32::BLACK);
        }
    }
}
