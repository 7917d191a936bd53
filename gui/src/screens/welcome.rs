//! The first start: a greeting, then three steps that need no manual.

use eframe::egui::{CentralPanel, CornerRadius, Frame, Margin, ScrollArea, Sense, Ui, Vec2};
use twocan_control::limits::MAX_NAME;

use super::{Dialog, Page, State, View, address, devices, trouble};
use crate::design::{Button, Field, banner, card, link, logo, setting};
use crate::model::{Model, Node};
use crate::text::{fill, first as wf, settings as ws, t, ui as w};
use crate::theme::{Palette, icons, letters, space};
use crate::worker::Command;

/// Where the first start is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct First {
    /// The greeting was answered: the node may be started.
    pub begun: bool,
    /// The step, 0 to 2.
    pub step: usize,
    /// What was typed as name.
    pub name: String,
    /// The name was put into the field.
    pub touched: bool,
}

pub(super) fn show(ui: &mut Ui, model: &mut Model, state: &mut State, view: &View, commands: &mut Vec<Command>) {
    let palette = Palette::of(ui);
    let frame = Frame::new().fill(palette.page).inner_margin(Margin::symmetric(24, 20));
    CentralPanel::default().frame(frame).show(ui, |ui| {
        ScrollArea::vertical().auto_shrink([false, false]).show(ui, |ui| {
            let first = state.first.clone().unwrap_or_default();
            if !first.begun {
                return greeting(ui, model, state, view, commands);
            }
            if model.node != Node::Up {
                return trouble::show(ui, model, state, view, commands);
            }
            let side = ((ui.available_width() - 620.0) / 2.0).clamp(0.0, 600.0);
            Frame::new()
                .inner_margin(Margin { left: side.min(120.0) as i8, right: side.min(120.0) as i8, top: 0, bottom: 0 })
                .show(ui, |ui| {
                    ui.add_space((side - 120.0).clamp(0.0, 20.0));
                    dots(ui, first.step);
                    ui.add_space(space::L);
                    match first.step {
                        0 => name(ui, model, state, commands),
                        1 => own_address(ui, model, state, view),
                        _ => machine(ui, model, state, commands),
                    }
                });
        });
    });
}

fn greeting(ui: &mut Ui, model: &Model, state: &mut State, view: &View, commands: &mut Vec<Command>) {
    ui.add_space((ui.available_height() * 0.5 - 210.0).max(8.0));
    ui.vertical_centered(|ui| {
        ui.set_max_width(440.0);
        logo::show(ui, 112.0);
        ui.add_space(space::L);
        ui.label(letters::title(t(wf::WELCOME)).size(32.0));
        ui.add_space(space::XS);
        ui.label(letters::body(t(wf::WELCOME_LINE)).color(Palette::of(ui).quiet));
        ui.add_space(space::XL);
        let begin = ui.add(Button::primary(t(wf::BEGIN)).icon(icons::ARROW_RIGHT));
        if begin.clicked() {
            if let Some(first) = &mut state.first {
                first.begun = true;
            }
            if model.not_running() {
                state.starting_ms = Some(view.now_ms);
                commands.push(Command::StartNode);
            }
        }
        ui.add_space(space::S);
        // An identity that is there already is not written over.
        if model.not_running() && link(ui, t(wf::HAVE_BACKUP)).clicked() {
            state.dialog = Some(Dialog::Restore(Default::default()));
        }
    });
}

/// Which of the three steps it is.
fn dots(ui: &mut Ui, step: usize) {
    let palette = Palette::of(ui);
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 6.0;
        for at in 0..3 {
            let (rect, _) =
                ui.allocate_exact_size(Vec2::new(if at == step { 30.0 } else { 12.0 }, 6.0), Sense::hover());
            let fill = if at <= step { palette.accent } else { palette.line };
            ui.painter().rect_filled(rect, CornerRadius::same(3), fill);
        }
        ui.add_space(6.0);
        let line = fill(wf::STEP, &[&(step + 1).to_string()]);
        ui.label(letters::tiny(line).color(palette.faint));
    });
}

fn buttons(ui: &mut Ui, state: &mut State, next: &str, enabled: bool) -> bool {
    ui.add_space(space::XL);
    let mut forward = false;
    ui.horizontal(|ui| {
        forward = ui.add(Button::primary(next).enabled(enabled).icon(icons::ARROW_RIGHT)).clicked();
        let step = state.first.as_ref().map_or(0, |first| first.step);
        if step > 0
            && ui.add(Button::ghost(t(w::BACK))).clicked()
            && let Some(first) = &mut state.first
        {
            first.step -= 1;
            state.trial.stop();
        }
    });
    forward
}

fn name(ui: &mut Ui, model: &Model, state: &mut State, commands: &mut Vec<Command>) {
    let palette = Palette::of(ui);
    ui.label(letters::title(t(wf::NAME_TITLE)));
    ui.label(letters::body(t(wf::NAME_LINE)).color(palette.quiet));
    ui.add_space(space::L);
    let known = model.identity.as_ref().map(|identity| identity.name.clone()).unwrap_or_default();
    let Some(first) = &mut state.first else { return };
    if !first.touched {
        first.touched = true;
        first.name.clone_from(&known);
    }
    let field = Field::new(&mut first.name, t(ws::YOUR_NAME), t(ws::NAME_HINT)).icon(icons::USER).most(MAX_NAME);
    let typed = field.width(380.0).show(ui);
    if ui.memory(|memory| memory.focused().is_none()) && first.name.is_empty() {
        typed.response.request_focus();
    }
    let name = first.name.trim().to_owned();
    let forward = buttons(ui, state, t(w::NEXT), !name.is_empty());
    if (forward || typed.enter) && !name.is_empty() {
        if name != known {
            commands.push(Command::SetName(name));
        }
        if let Some(first) = &mut state.first {
            first.step = 1;
        }
    }
}

fn own_address(ui: &mut Ui, model: &Model, state: &mut State, view: &View) {
    let palette = Palette::of(ui);
    ui.label(letters::title(t(ws::ADDRESS_TITLE)));
    ui.label(letters::body(t(wf::ADDRESS_LINE)).color(palette.quiet));
    ui.add_space(space::L);
    address::hand_out(ui, model, state, view);
    ui.add_space(space::L);
    card(ui, |ui| {
        setting(ui, t(ws::WORDS), t(wf::WORDS_LINE), |ui| {
            if ui.add(Button::secondary(t(ws::SHOW_WORDS)).icon(icons::KEY).small()).clicked() {
                state.dialog = Some(Dialog::Words);
            }
        });
    });
    if buttons(ui, state, t(w::NEXT), true)
        && let Some(first) = &mut state.first
    {
        first.step = 2;
        state.trial.start(&state.media, state.synthetic);
    }
}

fn machine(ui: &mut Ui, model: &Model, state: &mut State, commands: &mut Vec<Command>) {
    let palette = Palette::of(ui);
    ui.label(letters::title(t(wf::DEVICES_TITLE)));
    ui.label(letters::body(t(wf::DEVICES_LINE)).color(palette.quiet));
    ui.add_space(space::L);
    devices::choices(ui, state);
    ui.add_space(space::M);
    card(ui, |ui| {
        setting(ui, t(ws::LOGIN), t(ws::LOGIN_LINE), |ui| super::settings::service(ui, model, commands));
    });
    if model.requests().len() + model.counts().0 > 0 {
        banner(ui, icons::USERS, t(wf::SOMEBODY), palette.good, None);
    }
    if buttons(ui, state, t(wf::FINISH), true) {
        state.trial.stop();
        state.first = None;
        state.prefer(|prefs| prefs.welcomed = true);
        state.go(Page::People);
    }
}
