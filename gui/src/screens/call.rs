//! The page of a call: the others on tiles that arrange themselves, my own picture small, what can be done below, and
//! beside it the conversation or the numbers.
//!
//! The stage is dark in both themes: pictures are looked at, not the window.

mod bars;
pub mod chooser;
mod controls;
mod details;
mod end;
mod small;
pub(super) mod stage;
mod tile;

use std::sync::Arc;

use eframe::egui::{self, Color32, Frame, Key, Margin, Panel, Rect, Theme, Ui, UiBuilder, Vec2};
use twocan_control::{Call, CallId, CallState};
use twocan_media::audio::process::Transmit;

use super::View;
use crate::design::icon_button;
use crate::model::Model;
use crate::model::call::running;
use crate::seat::Act;
use crate::text::{call as words, t};
use crate::theme::{Palette, icons, letters};
use crate::worker::Command;

/// Behind the tiles.
pub(super) const STAGE: Color32 = Color32::from_rgb(14, 14, 18);
/// Behind who sends no picture.
pub(super) const TILE: Color32 = Color32::from_rgb(32, 32, 41);
/// Behind what can be done.
pub(super) const BAR: Color32 = Color32::from_rgb(27, 27, 34);
/// Width of what stands beside the call.
const SIDE: f32 = 340.0;

/// What stands beside the call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Side {
    /// Nothing.
    #[default]
    None,
    /// The conversation with the friend.
    Chat,
    /// The numbers.
    Details,
}

/// What the person is looking at in a call.
#[derive(Debug, Default)]
pub struct State {
    /// What stands beside it.
    pub side: Side,
    /// The call has the whole screen.
    pub full: bool,
    /// It is in the small window; the size of the large one.
    pub small: Option<Vec2>,
    /// The chooser of what to share is open.
    pub chooser: Option<chooser::Chooser>,
    /// The key to talk is held.
    talking: bool,
    /// Ended calls whose page was closed.
    closed: Option<CallId>,
}

/// The call that the page is for: none, if its end has been seen.
pub(super) fn shown<'a>(model: &'a Model, state: &State) -> Option<&'a Call> {
    model.current_call().filter(|call| state.closed.as_ref() != Some(&call.id))
}

/// Draws a call that has the window or the screen for itself. Returns whether it does.
pub(super) fn alone(
    ui: &mut Ui,
    model: &mut Model,
    state: &mut super::State,
    view: &View,
    commands: &mut Vec<Command>,
) -> bool {
    let Some(call) = shown(model, &state.call).filter(|call| running(call)).cloned() else {
        leave(ui.ctx(), &mut state.call);
        return false;
    };
    let (small, full) = (state.call.small.is_some(), state.call.full);
    if small {
        small::show(ui, &call, &mut state.call, view, commands);
    } else if full {
        show(ui, model, state, view, commands);
    }
    small || full
}

/// The call does not have the screen for itself any more.
fn leave(context: &egui::Context, state: &mut State) {
    if std::mem::take(&mut state.full) {
        context.send_viewport_cmd(egui::ViewportCommand::Fullscreen(false));
    }
    small::leave(context, state);
}

/// Draws the page.
pub(super) fn show(ui: &mut Ui, model: &mut Model, state: &mut super::State, view: &View, commands: &mut Vec<Command>) {
    let Some(call) = shown(model, &state.call).cloned() else { return };
    let mut own = std::mem::take(&mut state.call);
    if own.side == Side::Chat && running(&call) {
        beside(ui, |ui| {
            if side_head(ui, t(words::CHAT)) {
                own.side = Side::None;
            }
            super::friend::conversation(ui, &call.friend, model, state, view, commands);
        });
    }
    page(ui, &call, model, &mut own, view, commands);
    state.call = own;
}

fn page(ui: &mut Ui, call: &Call, model: &Model, state: &mut State, view: &View, commands: &mut Vec<Command>) {
    if call.state == CallState::Ended {
        state.side = Side::None;
        end::show(ui, call, state, commands);
        return;
    }
    keys(ui, call, model, state, commands);
    if state.side == Side::Details {
        beside(ui, |ui| details::show(ui, call, model, state));
    }
    let area = ui.available_rect_before_wrap();
    let mut on_stage = dark(ui, area);
    stage::show(&mut on_stage, area, call, model, state, view, commands);
    chooser::show(ui, call, model, state, commands);
    end::consent(ui, call, commands);
}

/// What stands beside the call.
fn beside(ui: &mut Ui, contents: impl FnOnce(&mut Ui)) {
    let frame = Frame::new().fill(Palette::of(ui).side).inner_margin(Margin::same(16));
    let size = SIDE.min(ui.available_width() * 0.5);
    let panel = Panel::right("call-side").exact_size(size).resizable(false).show_separator_line(false);
    panel.frame(frame).show(ui, contents);
}

/// The head of what stands beside the call. Returns whether it is closed.
fn side_head(ui: &mut Ui, title: &str) -> bool {
    let mut closed = false;
    ui.horizontal(|ui| {
        ui.label(letters::heading(title));
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            closed = icon_button(ui, icons::X, t(words::CLOSE)).clicked();
        });
    });
    ui.add_space(8.0);
    closed
}

/// A part of the window that is dark in both themes.
fn dark(ui: &mut Ui, area: Rect) -> Ui {
    let mut child = ui.new_child(UiBuilder::new().max_rect(area));
    child.set_style(Arc::clone(&ui.ctx().style_of(Theme::Dark)));
    child
}

/// What keys do while nothing is typed.
fn keys(ui: &Ui, call: &Call, model: &Model, state: &mut State, commands: &mut Vec<Command>) {
    let context = ui.ctx();
    if context.egui_wants_keyboard_input() || state.chooser.is_some() {
        return;
    }
    let id = || call.id.clone();
    let pressed = |key| context.input(|input| input.key_pressed(key) && input.modifiers.is_none());
    if pressed(Key::M) {
        commands.push(Command::Mute { call: id(), muted: !call.muted });
    }
    if pressed(Key::V) {
        commands.push(Command::Video { call: id(), on: !call.video });
    }
    if pressed(Key::F) || pressed(Key::F11) {
        state.full = !state.full;
        context.send_viewport_cmd(egui::ViewportCommand::Fullscreen(state.full));
    }
    if state.full && pressed(Key::Escape) {
        leave(context, state);
    }
    let by_key = model.gears.gear.chosen.audio.talk == Transmit::PushToTalk;
    let held = by_key && context.input(|input| input.key_down(Key::Space));
    if held != state.talking {
        state.talking = held;
        commands.push(Command::InCall { call: id(), act: Act::Talk(held) });
    }
}

#[cfg(test)]
mod tests;
