//! The page while there is no node to speak to: why, and what to do.

use eframe::egui::{Key, RichText, TextEdit, Ui};
use twocan_control::Passphrase;

use super::{State, View};
use crate::model::{Model, Node};
use crate::theme::Palette;
use crate::widgets;
use crate::worker::Command;

/// A node that was started is given so long before the button is offered again.
const STARTING_MS: u64 = 10_000;

pub(super) fn show(ui: &mut Ui, model: &Model, state: &mut State, view: &View, commands: &mut Vec<Command>) {
    let room = ui.available_height();
    ui.add_space(room * 0.26);
    ui.vertical_centered(|ui| {
        ui.set_max_width(520.0);
        match &model.node {
            Node::Looking | Node::Up => {
                ui.spinner();
                ui.add_space(6.0);
                ui.label("Looking for your node…");
            }
            Node::Locked => locked(ui, state, commands),
            Node::Missing(error) => {
                let title = if model.not_running() { "Your node does not run" } else { "Your node cannot be used" };
                ui.label(RichText::new(title).size(26.0));
                ui.add_space(4.0);
                let explanation = if model.not_running() {
                    "The node is the part of twocan that keeps you reachable, also while this window is closed."
                } else {
                    error.message.as_str()
                };
                ui.label(RichText::new(explanation).color(Palette::of(ui).quiet));
                if let Some(hint) = error.hint.as_ref().filter(|_| !model.not_running()) {
                    ui.label(hint);
                }
                ui.add_space(14.0);
                if model.not_running() {
                    start(ui, state, view, commands);
                }
            }
        }
    });
}

fn start(ui: &mut Ui, state: &mut State, view: &View, commands: &mut Vec<Command>) {
    let starting = state.starting_ms.is_some_and(|at| view.now_ms.saturating_sub(at) < STARTING_MS);
    if starting {
        ui.spinner();
        widgets::note(ui, "Starting…");
    } else {
        if widgets::strong(ui, "Start it", Palette::of(ui).accent).clicked() {
            state.starting_ms = Some(view.now_ms);
            commands.push(Command::StartNode);
        }
        ui.add_space(4.0);
        widgets::note(ui, "or in a terminal: twocan up");
    }
}

fn locked(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    ui.label(RichText::new("Your node is locked").size(26.0));
    ui.add_space(8.0);
    let edit = TextEdit::singleline(&mut state.passphrase).password(true).hint_text("Passphrase");
    let field = ui.add(edit.desired_width(280.0).margin(eframe::egui::Margin::symmetric(12, 9)));
    let enter = field.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
    ui.add_space(6.0);
    let unlock = widgets::strong(ui, "Unlock", Palette::of(ui).accent).clicked();
    if (unlock || enter) && !state.passphrase.is_empty() {
        let passphrase = std::mem::take(&mut state.passphrase);
        commands.push(Command::Unlock(Passphrase { passphrase }));
    }
}
