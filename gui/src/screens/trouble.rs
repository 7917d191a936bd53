//! The page while there is no node to speak to: why, and what to do.

use eframe::egui::{Ui, Vec2};
use twocan_control::{Code, Passphrase};

use super::{State, View};
use crate::design::{Button, card, field, logo};
use crate::model::{Model, Node};
use crate::text::{t, trouble as wt, ui as w};
use crate::theme::{Palette, icons, letters, space};
use crate::worker::Command;

/// A node that was started is given so long before the button is offered again.
const STARTING_MS: u64 = 10_000;

pub(super) fn show(ui: &mut Ui, model: &Model, state: &mut State, view: &View, commands: &mut Vec<Command>) {
    ui.add_space((ui.available_height() * 0.5 - 190.0).max(12.0));
    ui.vertical_centered(|ui| {
        ui.set_max_width(460.0);
        logo::show(ui, 84.0);
        ui.add_space(space::L);
        match &model.node {
            Node::Looking | Node::Up => {
                ui.spinner();
                ui.add_space(6.0);
                card::note(ui, t(wt::LOOKING));
            }
            Node::Locked => locked(ui, state, commands),
            Node::Missing(error) => {
                let running = !model.not_running();
                let title = match error.code {
                    Code::Version => wt::VERSION,
                    _ if running => wt::UNUSABLE,
                    _ if model.was_up => wt::STOPPED,
                    _ => wt::NOT_RUNNING,
                };
                let starting = !running && starting(state, view);
                ui.label(letters::title(t(if starting { wt::STARTING_TITLE } else { title })));
                ui.add_space(4.0);
                let line = match error.code {
                    Code::Version => t(wt::VERSION_LINE),
                    _ if running => error.message.as_str(),
                    _ => t(wt::NOT_RUNNING_LINE),
                };
                ui.label(letters::body(line).color(Palette::of(ui).quiet));
                if error.code == Code::Version {
                    card::note(ui, error.message.clone());
                }
                if let Some(hint) = error.hint.as_ref().filter(|_| running) {
                    ui.add_space(4.0);
                    ui.label(letters::small(hint));
                }
                ui.add_space(space::L);
                help(ui, state, view, running, starting, commands);
            }
        }
    });
}

/// Whether a node was started a moment ago.
pub(super) fn starting(state: &State, view: &View) -> bool {
    state.starting_ms.is_some_and(|at| view.now_ms.saturating_sub(at) < STARTING_MS)
}

fn help(ui: &mut Ui, state: &mut State, view: &View, running: bool, starting: bool, commands: &mut Vec<Command>) {
    if starting {
        ui.spinner();
        ui.add_space(4.0);
        card::note(ui, t(wt::STARTING));
        return;
    }
    let label = t(if running { wt::RESTART } else { wt::START });
    if ui.add(Button::primary(label).icon(icons::POWER)).clicked() {
        state.starting_ms = Some(view.now_ms);
        commands.push(if running { Command::RestartNode } else { Command::StartNode });
    }
    ui.add_space(6.0);
    card::note(ui, t(if running { wt::TERMINAL_RESTART } else { wt::TERMINAL }));
}

fn locked(ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
    ui.label(letters::title(t(wt::LOCKED)));
    card::note(ui, t(wt::LOCKED_LINE));
    ui.add_space(space::M);
    let mut enter = false;
    ui.allocate_ui(Vec2::new(320.0, 44.0), |ui| {
        let (name, shown) = (t(w::PASSPHRASE), &mut state.passphrase_shown);
        let typed = field::secret(ui, &mut state.passphrase, name, name, shown);
        enter = typed.enter;
        if state.passphrase.is_empty() && ui.memory(|memory| memory.focused().is_none()) {
            typed.response.request_focus();
        }
    });
    ui.add_space(space::S);
    let unlock = ui.add(Button::primary(t(wt::UNLOCK)).icon(icons::LOCK_OPEN)).clicked();
    if (unlock || enter) && !state.passphrase.is_empty() {
        let passphrase = std::mem::take(&mut state.passphrase);
        commands.push(Command::Unlock(Passphrase { passphrase }));
    }
}
