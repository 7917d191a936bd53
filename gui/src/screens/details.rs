//! Details of a friend: safety words, how the friend is reached, and what can be changed or ended.

use eframe::egui::{
    Align, Color32, CornerRadius, FontId, Frame, Layout, Margin, ScrollArea, Sense, Stroke, StrokeKind, Ui, Vec2,
    WidgetInfo, WidgetType,
};
use twocan_control::doctor::Grade;
use twocan_control::{Friend, FriendState};

use super::{Dialog, State, View};
use crate::design::{Avatar, Button, card, icon_button, link, pill, section, setting, switch};
use crate::model::Model;
use crate::model::desk::Loadable;
use crate::model::people::presence;
use crate::text::{self, fill, people as wp, t, ui as w};
use crate::theme::{Palette, icons, letters, radius, space};
use crate::worker::Command;
use crate::worker::node::NodeCommand;

pub(super) fn show(ui: &mut Ui, model: &mut Model, state: &mut State, view: &View, commands: &mut Vec<Command>) {
    let Some(friend) = model.selected().cloned() else { return };
    let area = ScrollArea::vertical().id_salt("details").auto_shrink([false, false]);
    area.show(ui, |ui| {
        Frame::new().inner_margin(Margin::symmetric(18, 16)).show(ui, |ui| {
            who(ui, model, state, &friend, view, commands);
            if friend.state == FriendState::Accepted {
                words(ui, &friend, commands);
                reached(ui, model, &friend, commands);
            } else {
                section(ui, t(wp::REQUEST));
                card(ui, |ui| {
                    ui.label(letters::small(t(wp::REQUEST_LINE)));
                    if let Some(trouble) = &friend.trouble {
                        ui.label(letters::small(trouble).color(Palette::of(ui).warn));
                    }
                });
            }
            end(ui, &friend, state);
        });
    });
}

fn who(ui: &mut Ui, model: &Model, state: &mut State, friend: &Friend, view: &View, commands: &mut Vec<Command>) {
    let palette = Palette::of(ui);
    let picture = state.portrait(Some(&friend.id), friend.picture.as_ref(), model, commands);
    ui.vertical_centered(|ui| {
        ui.spacing_mut().item_spacing.y = 4.0;
        let avatar = Avatar::new(&friend.id, &friend.name, 44.0).picture(picture.as_ref().map(|p| p.id()));
        avatar.presence(Some(presence(friend))).on(palette.page).show(ui);
        ui.add_space(4.0);
        ui.label(letters::subhead(&friend.name).size(18.0));
        card::note(ui, text::presence(friend, view.now_ms));
        if let Some(own) = friend.own_name.as_ref().filter(|own| **own != friend.name) {
            card::note(ui, fill(wp::CALLS_THEMSELVES, &[own]));
        }
        if link(ui, t(wp::RENAME)).clicked() {
            state.dialog = Some(Dialog::Rename { friend: friend.id.clone(), name: friend.name.clone() });
        }
    });
}

fn words(ui: &mut Ui, friend: &Friend, commands: &mut Vec<Command>) {
    let palette = Palette::of(ui);
    section(ui, t(wp::SAFETY_WORDS));
    card(ui, |ui| {
        chips(ui, friend.safety_words.split_whitespace());
        ui.add_space(2.0);
        card::note(ui, t(wp::SAFETY_LINE));
        ui.add_space(2.0);
        if friend.verified {
            ui.horizontal(|ui| {
                pill(ui, Some(icons::SHIELD_CHECK), t(wp::VERIFIED), palette.good);
                if link(ui, t(wp::NOT_SAME)).clicked() {
                    commands.push(Command::Verify { friend: friend.id.clone(), verified: false });
                }
            });
        } else if ui.add(Button::secondary(t(wp::SAME)).icon(icons::SHIELD_CHECK).small()).clicked() {
            commands.push(Command::Verify { friend: friend.id.clone(), verified: true });
        }
    });
}

/// Words to be read aloud, each on a field of its own, with its number.
pub(super) fn chips<'a>(ui: &mut Ui, words: impl Iterator<Item = &'a str>) {
    let palette = Palette::of(ui);
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = eframe::egui::vec2(6.0, 6.0);
        for (at, word) in words.enumerate() {
            let write = |text: String, size: f32, ink: Color32| {
                ui.painter().layout_no_wrap(text, FontId::new(size, letters::medium()), ink)
            };
            let number = write((at + 1).to_string(), letters::TINY, palette.faint);
            let letters = write(word.to_owned(), 14.0, palette.text);
            let size = Vec2::new(number.size().x + letters.size().x + 24.0, 30.0);
            let (rect, response) = ui.allocate_exact_size(size, Sense::hover());
            response.widget_info(|| WidgetInfo::labeled(WidgetType::Label, true, word));
            let stroke = Stroke::new(1.0, palette.line);
            ui.painter().rect(rect, CornerRadius::same(radius::S), palette.field, stroke, StrokeKind::Inside);
            let left = rect.left_center() + Vec2::new(9.0, 0.0);
            let width = number.size().x;
            ui.painter().galley(left - Vec2::new(0.0, number.size().y / 2.0), number, palette.faint);
            let at = left + Vec2::new(width + 6.0, -letters.size().y / 2.0);
            ui.painter().galley(at, letters, palette.text);
        }
    });
}

fn reached(ui: &mut Ui, model: &mut Model, friend: &Friend, commands: &mut Vec<Command>) {
    section(ui, t(wp::CONNECTION));
    card(ui, |ui| {
        if let Some(found) = &friend.link {
            let time = found.rtt_ms.map(|ms| format!(" · {ms:.0} ms")).unwrap_or_default();
            ui.label(letters::small(format!("{}{time}", capital(text::path(found.path)))));
        } else {
            card::note(ui, t(wp::NO_LINK));
        }
        match model.desk.preflight.as_ref().filter(|(id, _)| *id == friend.id).map(|(_, found)| found) {
            Some(Loadable::Loading) => {
                ui.horizontal(|ui| {
                    ui.spinner();
                    card::note(ui, t(wp::TRYING));
                });
            }
            Some(Loadable::Ready(found)) => {
                let palette = Palette::of(ui);
                let (colour, word) = grade(palette, found.grade.filter(|_| found.works));
                pill(ui, Some(icons::GAUGE), t(word), colour);
                ui.label(letters::small(&found.summary));
                for advice in &found.advice {
                    card::note(ui, advice.clone());
                }
            }
            Some(Loadable::Failed(error)) => {
                ui.label(letters::small(&error.message).color(Palette::of(ui).bad));
                if let Some(hint) = &error.hint {
                    card::note(ui, hint.clone());
                }
            }
            Some(Loadable::Unknown) | None => {}
        }
        if friend.online && ui.add(Button::secondary(t(wp::PREFLIGHT)).icon(icons::GAUGE).small()).clicked() {
            model.desk.preflight = Some((friend.id.clone(), Loadable::Loading));
            commands.push(Command::Node(NodeCommand::Preflight { friend: friend.id.clone() }));
        }
    });
    let mut hide = friend.hide_address;
    let name = t(wp::HIDE_ADDRESS);
    if setting(ui, name, t(wp::HIDE_ADDRESS_LINE), |ui| switch(ui, name, &mut hide)).changed() {
        commands.push(Command::Node(NodeCommand::HideAddress { friend: friend.id.clone(), hide }));
    }
}

fn grade(palette: Palette, grade: Option<Grade>) -> (Color32, text::Word) {
    match grade {
        Some(Grade::Excellent) => (palette.good, wp::EXCELLENT),
        Some(Grade::Good) => (palette.good, wp::GOOD),
        Some(Grade::Fair) => (palette.warn, wp::FAIR),
        Some(Grade::Poor) => (palette.bad, wp::POOR),
        Some(Grade::Bad) | None => (palette.bad, wp::BAD),
    }
}

fn end(ui: &mut Ui, friend: &Friend, state: &mut State) {
    section(ui, t(w::MORE));
    let accepted = friend.state == FriendState::Accepted;
    ui.with_layout(Layout::top_down(Align::Min), |ui| {
        ui.spacing_mut().item_spacing.y = 6.0;
        if accepted && ui.add(Button::secondary(t(wp::CLEAR_CHAT)).icon(icons::TRASH).small().wide()).clicked() {
            state.dialog = Some(Dialog::DeleteChat { friend: friend.id.clone(), name: friend.name.clone() });
        }
        if ui.add(Button::secondary(t(wp::BLOCK)).icon(icons::PROHIBIT).small().wide()).clicked() {
            state.dialog = Some(Dialog::Block { friend: friend.id.clone(), name: friend.name.clone() });
        }
        let label = t(if accepted { wp::REMOVE } else { wp::WITHDRAW });
        if ui.add(Button::secondary(label).icon(icons::USER_MINUS).small().wide()).clicked() {
            state.dialog = Some(Dialog::Remove { friend: friend.id.clone(), name: friend.name.clone(), accepted });
        }
    });
    ui.add_space(space::S);
    ui.horizontal(|ui| {
        let short: String = friend.id.chars().take(16).collect();
        ui.label(letters::mono(format!("{short}…")).size(11.5).color(Palette::of(ui).faint));
        if icon_button(ui, icons::COPY, t(wp::COPY_KEY)).clicked() {
            ui.ctx().copy_text(friend.id.clone());
        }
    });
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
