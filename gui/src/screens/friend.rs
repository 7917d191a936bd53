//! A friend's page: call, safety words, name.

use eframe::egui::{RichText, Ui};
use twocan_control::FriendState;

use super::{Dialog, State, View};
use crate::model::Model;
use crate::text;
use crate::theme::Palette;
use crate::widgets;
use crate::worker::Command;

pub(super) fn show(ui: &mut Ui, model: &Model, state: &mut State, view: &View, commands: &mut Vec<Command>) {
    let palette = Palette::of(ui);
    let Some(friend) = model.selected() else { return };
    ui.horizontal(|ui| {
        widgets::disc(ui, &friend.id, &friend.name, 38.0, None);
        ui.add_space(6.0);
        ui.vertical(|ui| {
            ui.add_space(10.0);
            ui.horizontal(|ui| {
                ui.heading(&friend.name);
                if friend.verified {
                    widgets::pill(ui, "✔ verified", palette.good);
                }
            });
            widgets::note(ui, text::presence(friend, view.now_ms));
        });
    });
    ui.add_space(14.0);
    if friend.state == FriendState::Accepted {
        ui.horizontal(|ui| {
            let mut call = |video| commands.push(Command::Call { friend: friend.id.clone(), video });
            if widgets::strong(ui, "📞  Call", palette.good).clicked() {
                call(false);
            }
            if widgets::strong(ui, "📹  Video call", palette.accent).clicked() {
                call(true);
            }
        });
        if !friend.online {
            widgets::note(ui, "Not here now: a call will look for your friend first.");
        }
        ui.add_space(14.0);
        widgets::card(ui, |ui| {
            ui.label("Safety words");
            widgets::note(
                ui,
                "Read them to each other in a call. If both see the same six words, nobody sits between you.",
            );
            ui.add_space(4.0);
            ui.label(RichText::new(&friend.safety_words).monospace().size(16.0));
            ui.add_space(4.0);
            let (label, verified) =
                if friend.verified { ("They are not the same", false) } else { ("They are the same", true) };
            if widgets::quiet(ui, label).clicked() {
                commands.push(Command::Verify { friend: friend.id.clone(), verified });
            }
        });
    } else {
        widgets::card(ui, |ui| {
            ui.label("Asked to be your friend");
            widgets::note(ui, "Your request is delivered when both of you are online, also after a restart.");
        });
    }
    ui.add_space(10.0);
    ui.horizontal(|ui| {
        if widgets::quiet(ui, "Rename").clicked() {
            state.dialog = Some(Dialog::Rename { friend: friend.id.clone(), name: friend.name.clone() });
        }
        let label = if friend.state == FriendState::Accepted { "Remove friend" } else { "Withdraw request" };
        if widgets::quiet(ui, label).clicked() {
            state.dialog = Some(Dialog::Remove { friend: friend.id.clone(), name: friend.name.clone() });
        }
    });
    ui.add_space(6.0);
    let short = friend.id.get(..16).unwrap_or(&friend.id);
    let named = friend.own_name.as_ref().filter(|own| **own != friend.name);
    let own = named.map(|own| format!("calls themselves {own} · ")).unwrap_or_default();
    widgets::note(ui, format!("{own}key {short}…"));
}
