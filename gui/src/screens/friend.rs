//! The page of a friend: who it is, the conversation, and details beside it.

use eframe::egui::{Align, CentralPanel, Frame, Layout, Margin, Panel, Stroke, Ui};
use twocan_control::FriendState;

use super::{State, View, chat, composer, details};
use crate::design::button::icon_toggle;
use crate::design::{Avatar, Button, icon_button};
use crate::model::Model;
use crate::model::people::presence;
use crate::text::{self, people as wp, t, ui as w};
use crate::theme::{Palette, icons, letters};
use crate::worker::Command;

/// From this width on, details stand beside the conversation; else in its place.
const BESIDE: f32 = 700.0;

pub(super) fn show(ui: &mut Ui, model: &mut Model, state: &mut State, view: &View, commands: &mut Vec<Command>) {
    let palette = Palette::of(ui);
    let beside = ui.available_width() >= BESIDE;
    let head = Frame::new().fill(palette.page).inner_margin(Margin { left: 20, right: 14, top: 11, bottom: 11 });
    let line = Panel::top("friend-head").resizable(false).show_separator_line(true).frame(head);
    line.show(ui, |ui| header(ui, model, state, view, commands));
    if state.details && !beside {
        let frame = Frame::new().fill(palette.page);
        CentralPanel::default().frame(frame).show(ui, |ui| details::show(ui, model, state, view, commands));
        return;
    }
    if state.details {
        let frame = Frame::new().fill(palette.page).stroke(Stroke::NONE);
        Panel::right("details").exact_size(300.0).resizable(false).frame(frame).show(ui, |ui| {
            details::show(ui, model, state, view, commands);
        });
    }
    if let Some(id) = model.selected.clone() {
        conversation(ui, &id, model, state, view, commands);
    }
}

/// The lines and the field to write into: also shown beside a call.
pub(super) fn conversation(
    ui: &mut Ui,
    id: &str,
    model: &mut Model,
    state: &mut State,
    view: &View,
    commands: &mut Vec<Command>,
) {
    let palette = Palette::of(ui);
    let Some(friend) = model.friend(id) else { return };
    if friend.state == FriendState::Accepted {
        let foot = Frame::new().fill(palette.page).inner_margin(Margin { left: 16, right: 14, top: 8, bottom: 14 });
        Panel::bottom("composer").resizable(false).show_separator_line(false).frame(foot).show(ui, |ui| {
            composer::show(ui, id, model, state, commands);
        });
    }
    let frame = Frame::new().fill(palette.page).inner_margin(Margin { left: 20, right: 6, top: 0, bottom: 0 });
    CentralPanel::default().frame(frame).show(ui, |ui| chat::show(ui, id, model, state, view, commands));
}

fn header(ui: &mut Ui, model: &Model, state: &mut State, view: &View, commands: &mut Vec<Command>) {
    let palette = Palette::of(ui);
    let Some(friend) = model.selected() else { return };
    let picture = state.portrait(Some(&friend.id), friend.picture.as_ref(), model, commands);
    ui.horizontal(|ui| {
        if state.details
            && ui.ctx().content_rect().width() < 1_000.0
            && icon_button(ui, icons::ARROW_LEFT, t(w::BACK)).clicked()
        {
            state.details = false;
        }
        let avatar = Avatar::new(&friend.id, &friend.name, 21.0).picture(picture.as_ref().map(|p| p.id()));
        avatar.presence(Some(presence(friend))).on(palette.page).show(ui);
        ui.add_space(4.0);
        let accepted = friend.state == FriendState::Accepted;
        let narrow = ui.available_width() < 420.0;
        let buttons = match (accepted, narrow) {
            (false, _) => 48.0,
            (true, true) => 142.0,
            (true, false) => 262.0,
        };
        let room = (ui.available_width() - buttons).max(40.0);
        ui.allocate_ui_with_layout(eframe::egui::vec2(room, 42.0), Layout::top_down(Align::Min), |ui| {
            ui.spacing_mut().item_spacing.y = 1.0;
            ui.horizontal(|ui| {
                ui.spacing_mut().interact_size.y = 20.0;
                ui.add(eframe::egui::Label::new(letters::subhead(&friend.name).size(17.0)).truncate());
                if friend.verified {
                    let mark = ui.label(letters::icon_fill(icons::SHIELD_CHECK, 18.0).color(palette.good));
                    mark.on_hover_text(t(wp::VERIFIED));
                }
            });
            let line = letters::small(text::presence(friend, view.now_ms)).color(palette.quiet);
            ui.add(eframe::egui::Label::new(line).truncate());
        });
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if icon_toggle(ui, icons::INFO, t(wp::DETAILS), state.details).clicked() {
                state.details = !state.details;
            }
            if !accepted {
                return;
            }
            let mut call = |video| commands.push(Command::Call { friend: friend.id.clone(), video });
            if narrow {
                if icon_button(ui, icons::VIDEO_CAMERA, t(wp::VIDEO_CALL)).clicked() {
                    call(true);
                }
                if icon_button(ui, icons::PHONE, t(wp::CALL)).clicked() {
                    call(false);
                }
            } else {
                if ui.add(Button::primary(t(wp::VIDEO)).icon(icons::VIDEO_CAMERA)).clicked() {
                    call(true);
                }
                if ui.add(Button::secondary(t(wp::CALL)).icon(icons::PHONE)).clicked() {
                    call(false);
                }
            }
        });
    });
}
