//! My address, to be handed out: as a code, as text, as a file; and how the node is.

use std::sync::Arc;

use eframe::egui::{Align, CornerRadius, Frame, Label, Layout, Margin, ScrollArea, Sense, Ui, Vec2};

use super::{Dialog, Page, Picker, Section, State, View};
use crate::design::{Button, banner, card, link, qr};
use crate::model::Model;
use crate::pictures;
use crate::text::{fill, settings as ws, t, ui as w};
use crate::theme::{Palette, icons, letters, radius, space};
use crate::worker::Command;

/// Widest column of a page.
pub(super) const COLUMN: f32 = 640.0;

pub(super) fn show(ui: &mut Ui, model: &mut Model, state: &mut State, view: &View, _commands: &mut Vec<Command>) {
    let area = ScrollArea::vertical().id_salt("address").auto_shrink([false, false]);
    area.show(ui, |ui| {
        column(ui, |ui| {
            ui.label(letters::title(t(ws::ADDRESS_TITLE)));
            card::note(ui, t(ws::ADDRESS_LINE));
            ui.add_space(space::M);
            hand_out(ui, model, state, view);
            ui.add_space(space::M);
            ui.horizontal_wrapped(|ui| {
                if ui.add(Button::secondary(t(w::ADD_FRIEND)).icon(icons::USER_PLUS)).clicked() {
                    state.dialog = Some(Dialog::add());
                }
                if ui.add(Button::ghost(t(ws::NEW_ADDRESS)).icon(icons::ARROWS_CLOCKWISE)).clicked() {
                    state.dialog = Some(Dialog::Rotate);
                }
            });
            ui.add_space(space::L);
            node(ui, model, state);
        });
    });
}

/// A column in the middle of the page.
pub(super) fn column<R>(ui: &mut Ui, contents: impl FnOnce(&mut Ui) -> R) -> R {
    let side = ((ui.available_width() - COLUMN) / 2.0).clamp(28.0, 400.0) as i8;
    let margin = Margin { left: side.max(28), right: side.max(28), top: 26, bottom: 26 };
    Frame::new().inner_margin(margin).show(ui, contents).inner
}

/// The code, the text, and what can be done with them.
pub(super) fn hand_out(ui: &mut Ui, model: &Model, state: &mut State, view: &View) {
    let Some(identity) = &model.identity else { return };
    let code = if identity.uri.is_empty() { &identity.address } else { &identity.uri };
    let wide = ui.available_width() >= 480.0;
    let words = |ui: &mut Ui, state: &mut State| {
        let palette = Palette::of(ui);
        let frame = Frame::new().fill(palette.field).corner_radius(CornerRadius::same(radius::M));
        frame.inner_margin(Margin::symmetric(14, 11)).show(ui, |ui| {
            ui.set_width(ui.available_width());
            ui.add(Label::new(letters::mono(&identity.address).size(13.0)).selectable(true).wrap());
        });
        ui.add_space(4.0);
        ui.horizontal_wrapped(|ui| {
            let icon = if state.copied(view.now_ms) { icons::CHECK } else { icons::COPY };
            let label = if state.copied(view.now_ms) { t(w::COPIED) } else { t(ws::COPY_ADDRESS) };
            if ui.add(Button::primary(label).icon(icon)).clicked() {
                ui.ctx().copy_text(identity.address.clone());
                state.copied_ms = Some(view.now_ms);
            }
            if ui.add(Button::secondary(t(ws::COPY_INVITE)).icon(icons::SHARE_FAT)).clicked() {
                ui.ctx().copy_text(fill(ws::INVITE, &[&identity.address]));
                state.copied_ms = Some(view.now_ms);
            }
            if ui.add(Button::secondary(t(ws::SAVE_CODE)).icon(icons::DOWNLOAD_SIMPLE)).clicked()
                && let Some(Ok(bytes)) = qr::image(code, 8).map(|image| pictures::png(&image))
            {
                state.picker = Some(Picker::save("twocan-address.png", Arc::from(bytes), &state.local));
            }
        });
    };
    if wide {
        ui.horizontal_top(|ui| {
            qr::show(ui, code, 196.0, t(ws::CODE));
            ui.add_space(10.0);
            ui.vertical(|ui| words(ui, state));
        });
    } else {
        ui.vertical_centered(|ui| qr::show(ui, code, 180.0, t(ws::CODE)));
        ui.add_space(8.0);
        words(ui, state);
    }
}

/// How the node is, in a few words.
fn node(ui: &mut Ui, model: &Model, state: &mut State) {
    let palette = Palette::of(ui);
    let Some(status) = &model.status else { return };
    card(ui, |ui| {
        ui.horizontal(|ui| {
            let (colour, line) = match status.dht.peers {
                0 => (palette.warn, t(ws::LOOKING_PEERS).to_owned()),
                1 => (palette.good, t(ws::ONE_PEER).to_owned()),
                peers => (palette.good, fill(ws::PEERS, &[&peers.to_string()])),
            };
            let (rect, _) = ui.allocate_exact_size(Vec2::splat(12.0), Sense::hover());
            ui.painter().circle_filled(rect.center(), 5.0, colour);
            ui.label(letters::strong(line));
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                if link(ui, t(ws::NETWORK)).clicked() {
                    state.go(Page::Settings(Section::Network));
                }
            });
        });
        let found = status.dht.slots_confirmed > 0;
        card::note(ui, t(if found { ws::FINDABLE } else { ws::NOT_FINDABLE }));
    });
    for notice in &status.notices {
        ui.add_space(space::S);
        banner(ui, icons::WARNING, notice, palette.warn, None);
    }
}
