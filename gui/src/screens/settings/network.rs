//! Network: how others find and reach this node, relaying, hiding, and the doctor's report with its advice.

use eframe::egui::{ComboBox, Ui};
use twocan_control::doctor::Doctor;
use twocan_control::{Privacy, RelayPolicy};

use super::pending;
use crate::design::card::hairline;
use crate::design::{Button, card, section, setting, switch};
use crate::model::Model;
use crate::model::desk::Loadable;
use crate::screens::State;
use crate::text::{Word, fill, settings as ws, size, t};
use crate::theme::{Palette, icons, letters, space};
use crate::worker::Command;
use crate::worker::node::NodeCommand;

pub(super) fn show(ui: &mut Ui, model: &mut Model, _state: &mut State, commands: &mut Vec<Command>) {
    if model.desk.doctor.begin() {
        commands.push(Command::Node(NodeCommand::Doctor));
    }
    if model.desk.relay.begin() {
        commands.push(Command::Node(NodeCommand::Relay));
    }
    if model.desk.privacy.begin() {
        commands.push(Command::Node(NodeCommand::Privacy));
    }
    section(ui, t(ws::EXAMINATION));
    examined(ui, model, commands);
    section(ui, t(ws::PRIVACY));
    if let Some(privacy) = model.desk.privacy.ready().copied() {
        let mut hide = privacy.hide_address;
        let name = t(ws::HIDE_FROM_ALL);
        if setting(ui, name, t(ws::HIDE_LINE), |ui| switch(ui, name, &mut hide)).changed() {
            let privacy = Privacy { hide_address: hide };
            model.desk.privacy = Loadable::Ready(privacy);
            commands.push(Command::Node(NodeCommand::SetPrivacy(privacy)));
        }
        hairline(ui);
    }
    relay(ui, model, commands);
    section(ui, t(ws::PORTS));
    ports(ui, model);
}

fn relay(ui: &mut Ui, model: &Model, commands: &mut Vec<Command>) {
    let Some(relay) = model.desk.relay.ready() else { return };
    let named = |policy: RelayPolicy| -> Word {
        match policy {
            RelayPolicy::Auto => ws::RELAY_AUTO,
            RelayPolicy::Off => ws::RELAY_OFF,
            RelayPolicy::Friends => ws::RELAY_FRIENDS,
            RelayPolicy::Anyone => ws::RELAY_ANYONE,
        }
    };
    setting(ui, t(ws::RELAY), t(ws::RELAY_LINE), |ui| {
        ComboBox::from_id_salt("relay").width(190.0).selected_text(t(named(relay.serve))).show_ui(ui, |ui| {
            for policy in [RelayPolicy::Auto, RelayPolicy::Off, RelayPolicy::Friends, RelayPolicy::Anyone] {
                if ui.selectable_label(policy == relay.serve, t(named(policy))).clicked() {
                    commands.push(Command::Node(NodeCommand::SetRelay(policy)));
                }
            }
        });
    });
    let today = fill(ws::RELAYED_TODAY, &[&size(relay.total.bytes_today)]);
    card::note(ui, format!("{} {today}", relay.reason));
    if !relay.for_me.is_empty() {
        let names: Vec<String> = relay.for_me.iter().take(8).map(|one| crate::text::clean(&one.name)).collect();
        card::note(ui, fill(ws::RELAYS_FOR_ME, &[&names.join(", ")]));
    }
}

fn ports(ui: &mut Ui, model: &Model) {
    let Some(status) = &model.status else { return };
    setting(ui, t(ws::MEDIA_PORT), t(ws::MEDIA_PORT_LINE), |ui| {
        ui.label(letters::mono(format!("UDP {}", status.media_port)));
    });
    hairline(ui);
    setting(ui, t(ws::DISCOVERY), t(ws::DISCOVERY_LINE), |ui| {
        let word = match status.dht.discovery.as_str() {
            "own" => t(ws::DISCOVERY_OWN),
            "ipfs" => "IPFS",
            "both" => t(ws::DISCOVERY_BOTH),
            other => other,
        };
        ui.label(letters::strong(word));
    });
    hairline(ui);
    card::note(ui, fill(ws::CONFIG_LINE, &[&status.home]));
}

fn examined(ui: &mut Ui, model: &mut Model, commands: &mut Vec<Command>) {
    let again = match &model.desk.doctor {
        Loadable::Ready(doctor) => report(ui, doctor),
        Loadable::Failed(error) => pending(ui, Some(error)),
        _ => pending(ui, None),
    };
    if again {
        model.desk.doctor = Loadable::Loading;
        commands.push(Command::Node(NodeCommand::Doctor));
    }
}

fn report(ui: &mut Ui, doctor: &Doctor) -> bool {
    let palette = Palette::of(ui);
    let mut again = false;
    card(ui, |ui| {
        let well = doctor.checks.iter().all(|check| check.ok) && doctor.advice.is_empty();
        let (icon, colour) = if well { (icons::CHECK_CIRCLE, palette.good) } else { (icons::WARNING, palette.warn) };
        ui.horizontal(|ui| {
            ui.label(letters::icon_fill(icon, 24.0).color(colour));
            ui.vertical(|ui| ui.label(letters::strong(&doctor.summary)));
        });
        for advice in &doctor.advice {
            ui.horizontal_top(|ui| {
                ui.add_space(6.0);
                ui.label(letters::icon(icons::ARROW_RIGHT, 15.0).color(palette.accent_text));
                ui.vertical(|ui| ui.label(letters::small(advice)));
            });
        }
        ui.add_space(space::XS);
        again = ui.add(Button::secondary(t(ws::EXAMINE)).icon(icons::ARROW_CLOCKWISE).small()).clicked();
    });
    ui.add_space(space::S);
    for check in &doctor.checks {
        let (icon, colour) =
            if check.ok { (icons::CHECK_CIRCLE, palette.good) } else { (icons::WARNING_CIRCLE, palette.warn) };
        ui.horizontal_top(|ui| {
            ui.label(letters::icon_fill(icon, 18.0).color(colour));
            ui.vertical(|ui| {
                ui.spacing_mut().item_spacing.y = 1.0;
                ui.label(letters::strong(&check.name).size(14.0));
                card::note(ui, check.finding.clone());
                if let Some(advice) = check.advice.as_ref().filter(|_| !check.ok) {
                    ui.label(letters::small(advice));
                }
            });
        });
        ui.add_space(2.0);
    }
    again
}
