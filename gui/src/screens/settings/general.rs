//! Profile, notifications, appearance, messages and files.

use eframe::egui::{ComboBox, Ui};
use twocan_control::limits::MAX_NAME;
use twocan_control::{Availability, SettingsUpdate};

use super::pending;
use crate::design::card::hairline;
use crate::design::{Avatar, Button, Field, caption, card, section, segments, setting, switch};
use crate::model::Model;
use crate::model::desk::Loadable;
use crate::prefs::{Look, SCALES};
use crate::screens::{For, Picker, State};
use crate::text::{Language, people as wp, settings as ws, size, t, ui as w};
use crate::theme::{icons, space};
use crate::worker::Command;
use crate::worker::node::NodeCommand;

pub(super) fn profile(ui: &mut Ui, model: &Model, state: &mut State, commands: &mut Vec<Command>) {
    let Some(identity) = &model.identity else { return };
    card::note(ui, t(ws::PROFILE_LINE));
    ui.add_space(space::L);
    let picture = state.portrait(None, identity.picture.as_ref(), model, commands);
    ui.horizontal(|ui| {
        let name = if identity.name.is_empty() { t(wp::ME) } else { identity.name.as_str() };
        Avatar::new(&identity.root, name, 46.0).picture(picture.as_ref().map(|p| p.id())).show(ui);
        ui.add_space(space::M);
        ui.vertical(|ui| {
            ui.add_space(6.0);
            if ui.add(Button::secondary(t(ws::CHOOSE_PICTURE)).icon(icons::CAMERA).small()).clicked() {
                state.picker = Some(Picker::open(For::Portrait, &state.local));
            }
            if identity.picture.is_some()
                && ui.add(Button::ghost(t(ws::REMOVE_PICTURE)).icon(icons::TRASH).small()).clicked()
            {
                commands.push(Command::Node(NodeCommand::SetPicture(Vec::new())));
            }
        });
    });
    ui.add_space(space::L);
    caption(ui, t(ws::YOUR_NAME));
    let id = ui.id().with("name");
    let mut name = ui.data(|data| data.get_temp::<String>(id)).unwrap_or_else(|| identity.name.clone());
    let mut save = false;
    ui.horizontal(|ui| {
        let width = (ui.available_width() - 130.0).min(360.0);
        save = Field::new(&mut name, t(ws::YOUR_NAME), t(ws::NAME_HINT)).most(MAX_NAME).width(width).show(ui).enter;
        let changed = name.trim() != identity.name;
        save |= ui.add(Button::primary(t(w::SAVE)).enabled(changed && !name.trim().is_empty())).clicked();
    });
    if save && !name.trim().is_empty() && name.trim() != identity.name {
        commands.push(Command::SetName(name.trim().to_owned()));
        ui.data_mut(|data| data.remove::<String>(id));
    } else {
        ui.data_mut(|data| data.insert_temp(id, name));
    }
}

pub(super) fn notifications(ui: &mut Ui, model: &Model, state: &mut State, commands: &mut Vec<Command>) {
    card::note(ui, t(ws::NOTIFICATIONS_LINE));
    ui.add_space(space::M);
    let mut dnd = model.availability == Availability::Dnd;
    let name = t(wp::DO_NOT_DISTURB);
    if setting(ui, name, t(ws::DND_LINE), |ui| switch(ui, name, &mut dnd)).changed() {
        let availability = if dnd { Availability::Dnd } else { Availability::Available };
        commands.push(Command::SetAvailability(availability));
    }
    hairline(ui);
    let mut prefs = state.prefs.clone();
    for (word, line, on) in [
        (ws::RING, ws::RING_LINE, &mut prefs.ring),
        (ws::NOTIFY_CALLS, ws::NOTIFY_CALLS_LINE, &mut prefs.notify_calls),
        (ws::NOTIFY_MESSAGES, ws::NOTIFY_MESSAGES_LINE, &mut prefs.notify_messages),
        (ws::NOTIFY_CONTENT, ws::NOTIFY_CONTENT_LINE, &mut prefs.notify_content),
    ] {
        setting(ui, t(word), t(line), |ui| switch(ui, t(word), on));
        hairline(ui);
    }
    if prefs != state.prefs {
        state.prefer(|kept| *kept = prefs);
    }
}

pub(super) fn appearance(ui: &mut Ui, state: &mut State) {
    let mut prefs = state.prefs.clone();
    ui.add_space(space::M);
    let looks = [Look::System, Look::Light, Look::Dark];
    let chosen = looks.iter().position(|look| *look == prefs.look).unwrap_or(0);
    setting(ui, t(ws::THEME), t(ws::THEME_LINE), |ui| {
        let labels = [t(ws::SYSTEM), t(ws::LIGHT), t(ws::DARK)];
        if let Some(at) = segments(ui, t(ws::THEME), &labels, chosen) {
            prefs.look = looks[at];
        }
    });
    hairline(ui);
    setting(ui, t(ws::SCALE), t(ws::SCALE_LINE), |ui| {
        ComboBox::from_id_salt("scale").selected_text(format!("{} %", prefs.scale)).show_ui(ui, |ui| {
            for scale in SCALES {
                ui.selectable_value(&mut prefs.scale, scale, format!("{scale} %"));
            }
        });
    });
    hairline(ui);
    setting(ui, t(ws::LANGUAGE), t(ws::LANGUAGE_LINE), |ui| {
        let named = |language: Option<Language>| {
            let known = Language::ALL.iter().find(|(one, _)| Some(*one) == language);
            known.map_or(t(ws::SYSTEM), |(_, name)| name)
        };
        ComboBox::from_id_salt("language").selected_text(named(prefs.language)).show_ui(ui, |ui| {
            ui.selectable_value(&mut prefs.language, None, t(ws::SYSTEM));
            for (language, name) in Language::ALL {
                ui.selectable_value(&mut prefs.language, Some(language), name);
            }
        });
    });
    if prefs != state.prefs {
        state.prefer(|kept| *kept = prefs);
    }
    section(ui, t(ws::KEYS));
    for (keys, what) in [
        ("Ctrl 1 – 4", ws::KEY_PAGES),
        ("Ctrl F", ws::KEY_SEARCH),
        ("Ctrl N", ws::KEY_ADD),
        ("Tab  ·  Shift Tab", ws::KEY_NEXT),
        ("Enter  ·  Space", ws::KEY_PRESS),
        ("Esc", ws::KEY_CLOSE),
    ] {
        setting(ui, t(what), "", |ui| ui.label(crate::theme::letters::mono(keys)));
    }
}

/// Sizes that may come without asking, and at most.
const AUTOMATIC: [u64; 5] = [0, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];
const LARGEST: [u64; 5] = [100_000_000, 1_000_000_000, 10_000_000_000, 100_000_000_000, 1_000_000_000_000];

pub(super) fn messages(ui: &mut Ui, model: &mut Model, state: &mut State, commands: &mut Vec<Command>) {
    if model.desk.settings.begin() {
        commands.push(Command::Node(NodeCommand::Settings));
    }
    let settings = match &model.desk.settings {
        Loadable::Ready(settings) => settings.clone(),
        Loadable::Failed(error) => {
            if pending(ui, Some(error)) {
                model.desk.settings = Loadable::Unknown;
            }
            return;
        }
        _ => {
            pending(ui, None);
            return;
        }
    };
    let mut update = SettingsUpdate::default();
    ui.add_space(space::M);
    let mut marks = settings.read_marks;
    let name = t(ws::READ_MARKS);
    if setting(ui, name, t(ws::READ_MARKS_LINE), |ui| switch(ui, name, &mut marks)).changed() {
        update.read_marks = Some(marks);
    }
    hairline(ui);
    let folder = crate::text::clean_to(&settings.download_folder, 200);
    setting(ui, t(ws::FOLDER), &folder, |ui| {
        if ui.add(Button::secondary(t(ws::CHANGE)).icon(icons::FOLDER_OPEN).small()).clicked() {
            state.picker = Some(Picker::open(For::Downloads, &state.local));
        }
    });
    hairline(ui);
    let named = |bytes: u64| if bytes == 0 { t(ws::NEVER).to_owned() } else { size(bytes) };
    setting(ui, t(ws::AUTO_ACCEPT), t(ws::AUTO_ACCEPT_LINE), |ui| {
        ComboBox::from_id_salt("auto").selected_text(named(settings.auto_accept_bytes)).show_ui(ui, |ui| {
            for bytes in AUTOMATIC {
                if ui.selectable_label(bytes == settings.auto_accept_bytes, named(bytes)).clicked() {
                    update.auto_accept_bytes = Some(bytes);
                }
            }
        });
    });
    hairline(ui);
    setting(ui, t(ws::LARGEST), t(ws::LARGEST_LINE), |ui| {
        ComboBox::from_id_salt("largest").selected_text(size(settings.max_file_bytes)).show_ui(ui, |ui| {
            for bytes in LARGEST {
                if ui.selectable_label(bytes == settings.max_file_bytes, size(bytes)).clicked() {
                    update.max_file_bytes = Some(bytes);
                }
            }
        });
    });
    if update != SettingsUpdate::default() {
        commands.push(Command::Node(NodeCommand::UpdateSettings(update)));
    }
}
