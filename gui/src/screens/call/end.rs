//! What stands at the end of a call, and the question whether it may be recorded.

use eframe::egui::{Align, Color32, CornerRadius, Layout, Ui, UiBuilder, Vec2};
use twocan_control::{Call, RecordCall};

use super::{STAGE, State, dark};
use crate::design::dialog::{Choice, dialog};
use crate::design::{Avatar, Button};
use crate::model::call::{Record, record};
use crate::seat::Act;
use crate::text::{self, call as words, t};
use crate::theme::{Palette, icons, letters};
use crate::worker::Command;

pub(super) fn show(ui: &mut Ui, call: &Call, state: &mut State, commands: &mut Vec<Command>) {
    let area = ui.available_rect_before_wrap();
    let mut ui = dark(ui, area);
    ui.painter().rect_filled(area, CornerRadius::ZERO, STAGE);
    let inner = area.shrink2(Vec2::new(24.0, 0.0)).translate(Vec2::new(0.0, area.height() * 0.24));
    let mut ui = ui.new_child(UiBuilder::new().max_rect(inner).layout(Layout::top_down(Align::Center)));
    let palette = Palette::of(&ui);
    Avatar::new(&call.friend, &call.friend_name, 46.0).show(&mut ui);
    ui.add_space(12.0);
    ui.label(letters::title(text::clean(&call.friend_name)).color(Color32::WHITE));
    let mut line = text::ended(call);
    if let (Some(answered), Some(ended)) = (call.answered_ms, call.ended_ms) {
        line = format!("{line} · {}", text::duration(ended.saturating_sub(answered)));
    }
    ui.label(letters::body(line).color(palette.quiet));
    ui.add_space(22.0);
    let room = ui.available_width();
    ui.horizontal(|ui| {
        ui.add_space((room - 330.0).max(0.0) / 2.0);
        if ui.add(Button::primary(t(words::CALL_AGAIN)).icon(icons::PHONE)).clicked() {
            commands.push(Command::Call { friend: call.friend.clone(), video: call.video || call.wants_video });
        }
        if ui.add(Button::secondary(t(words::CLOSE))).clicked() {
            state.closed = Some(call.id.clone());
        }
    });
}

/// The friend asks whether the call may be recorded: nothing is, before somebody here says yes.
pub(super) fn consent(ui: &Ui, call: &Call, commands: &mut Vec<Command>) {
    if record(call) != Record::Asked {
        return;
    }
    let title = format!("{} {}", text::clean(&call.friend_name), t(words::RECORD_TITLE));
    let mut answer = None;
    let choice = dialog(ui, "consent", &title, 460.0, None, |ui| {
        ui.label(letters::body(t(words::RECORD_WHY)).color(Palette::of(ui).quiet));
        ui.add_space(14.0);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if ui.add(Button::danger(t(words::RECORD_ALLOW)).icon(icons::RECORD)).clicked() {
                answer = Some(RecordCall::Allow);
            }
            if ui.add(Button::secondary(t(words::RECORD_REFUSE))).clicked() {
                answer = Some(RecordCall::Refuse);
            }
        });
        false
    });
    // Closing the question is no consent.
    if choice == Choice::Closed {
        answer = Some(RecordCall::Refuse);
    }
    if let Some(act) = answer {
        commands.push(Command::InCall { call: call.id.clone(), act: Act::Record(act) });
    }
}
