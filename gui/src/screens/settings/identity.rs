//! Identity: words, backup, passphrase, blocked people; and what this program is.

use eframe::egui::{OpenUrl, Ui};

use super::pending;
use crate::design::card::hairline;
use crate::design::{Button, card, section, setting};
use crate::model::Model;
use crate::model::desk::Loadable;
use crate::screens::{Dialog, State, View};
use crate::text::{fill, settings as ws, t, ui as w};
use crate::theme::{Palette, icons, letters, space};
use crate::worker::Command;
use crate::worker::node::NodeCommand;

pub(super) fn show(ui: &mut Ui, model: &mut Model, state: &mut State, _view: &View, commands: &mut Vec<Command>) {
    card::note(ui, t(ws::IDENTITY_LINE));
    ui.add_space(space::M);
    setting(ui, t(ws::WORDS), t(ws::WORDS_LINE), |ui| {
        if ui.add(Button::secondary(t(ws::SHOW_WORDS)).icon(icons::EYE).small()).clicked() {
            state.dialog = Some(Dialog::Words);
        }
    });
    hairline(ui);
    setting(ui, t(ws::BACKUP), t(ws::BACKUP_LINE), |ui| {
        if ui.add(Button::secondary(t(ws::MAKE_BACKUP)).icon(icons::DOWNLOAD_SIMPLE).small()).clicked() {
            state.dialog = Some(Dialog::Backup(Default::default()));
        }
    });
    hairline(ui);
    setting(ui, t(ws::RESTORE), t(ws::RESTORE_LINE), |ui| {
        if ui.add(Button::ghost(t(ws::HOW)).icon(icons::QUESTION).small()).clicked() {
            state.dialog = Some(Dialog::HowToRestore);
        }
    });
    hairline(ui);
    setting(ui, t(ws::PASSPHRASE), t(ws::PASSPHRASE_LINE), |ui| {
        if ui.add(Button::secondary(t(ws::CHANGE)).icon(icons::LOCK_KEY).small()).clicked() {
            state.dialog = Some(Dialog::Passphrase(Default::default()));
        }
    });
    hairline(ui);
    setting(ui, t(ws::NEW_ADDRESS), t(ws::NEW_ADDRESS_LINE), |ui| {
        if ui.add(Button::secondary(t(ws::NEW_ADDRESS)).icon(icons::ARROWS_CLOCKWISE).small()).clicked() {
            state.dialog = Some(Dialog::Rotate);
        }
    });
    section(ui, t(ws::BLOCKED));
    blocked(ui, model, commands);
}

fn blocked(ui: &mut Ui, model: &mut Model, commands: &mut Vec<Command>) {
    if model.desk.blocked.begin() {
        commands.push(Command::Node(NodeCommand::Blocked));
    }
    match &model.desk.blocked {
        Loadable::Ready(ids) if ids.is_empty() => drop(card::note(ui, t(ws::NOBODY_BLOCKED))),
        Loadable::Ready(ids) => {
            for id in ids {
                let short: String = id.chars().take(16).collect();
                ui.horizontal(|ui| {
                    ui.label(letters::mono(format!("{short}…")));
                    if ui.add(Button::secondary(t(ws::UNBLOCK)).small()).clicked() {
                        commands.push(Command::Node(NodeCommand::Unblock(id.clone())));
                    }
                });
            }
        }
        Loadable::Failed(error) => {
            if pending(ui, Some(error)) {
                model.desk.blocked = Loadable::Unknown;
            }
        }
        _ => {
            pending(ui, None);
        }
    }
}

pub(super) fn about(ui: &mut Ui, model: &Model, commands: &mut Vec<Command>) {
    let palette = Palette::of(ui);
    ui.add_space(space::M);
    ui.horizontal(|ui| {
        crate::design::logo::show(ui, 72.0);
        ui.add_space(space::M);
        ui.vertical(|ui| {
            ui.add_space(8.0);
            ui.label(letters::heading("twocan"));
            let version = model.status.as_ref().map_or("", |status| status.version.as_str());
            card::note(ui, fill(ws::VERSIONS, &[env!("CARGO_PKG_VERSION"), version]));
        });
    });
    ui.add_space(space::L);
    if let Some(status) = &model.status {
        setting(ui, t(ws::DATA), &status.home, |ui| {
            if ui.add(Button::secondary(t(ws::OPEN_FOLDER)).icon(icons::FOLDER_OPEN).small()).clicked() {
                ui.ctx().open_url(OpenUrl::new_tab(format!("file://{}", status.home)));
            }
        });
        hairline(ui);
    }
    setting(ui, t(ws::LOGIN), t(ws::LOGIN_LINE), |ui| service(ui, model, commands));
    hairline(ui);
    setting(ui, t(ws::REPORT), t(ws::REPORT_LINE), |ui| {
        if ui.add(Button::secondary(t(w::SAVE)).icon(icons::BUG).small()).clicked() {
            commands.push(Command::Node(NodeCommand::Report));
        }
    });
    hairline(ui);
    setting(ui, t(ws::STOP), t(ws::STOP_LINE), |ui| {
        if ui.add(Button::secondary(t(ws::STOP)).icon(icons::POWER).small()).clicked() {
            commands.push(Command::Node(NodeCommand::Stop));
        }
    });
    ui.add_space(space::L);
    ui.label(letters::small(t(ws::FONTS)).color(palette.faint));
}

/// The button that keeps the node running from login on, and what came of it.
pub(in crate::screens) fn service(ui: &mut Ui, model: &Model, commands: &mut Vec<Command>) {
    let palette = Palette::of(ui);
    match &model.desk.service {
        Loadable::Ready(()) => {
            ui.label(letters::icon_fill(icons::CHECK_CIRCLE, 22.0).color(palette.good));
            ui.label(letters::small(t(ws::LOGIN_DONE)));
        }
        Loadable::Loading => drop(ui.spinner()),
        Loadable::Unknown | Loadable::Failed(_) => {
            let failed = matches!(model.desk.service, Loadable::Failed(_));
            let label = t(if failed { w::RETRY } else { ws::LOGIN_ON });
            let button = ui.add(Button::secondary(label).icon(icons::LIGHTNING).small());
            if let Loadable::Failed(error) = &model.desk.service {
                ui.label(letters::small(&error.message).color(palette.bad));
            }
            if button.clicked() {
                commands.push(Command::Node(NodeCommand::InstallService));
            }
        }
    }
}
