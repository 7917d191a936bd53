//! The left side: me, who asks, and the friends.

use eframe::egui::{Align, Button, CornerRadius, Layout, RichText, ScrollArea, TextEdit, Ui, Vec2};
use twocan_control::{Availability, FriendState, RequestAnswer};

use super::{Dialog, State, View};
use crate::model::Model;
use crate::theme::Palette;
use crate::widgets;
use crate::worker::Command;

pub(super) fn show(ui: &mut Ui, model: &mut Model, state: &mut State, view: &View, commands: &mut Vec<Command>) {
    me(ui, model, state, commands);
    ui.add_space(6.0);
    let search = TextEdit::singleline(&mut state.search).hint_text("Search friends").desired_width(f32::INFINITY);
    ui.add(search.margin(eframe::egui::Margin::symmetric(12, 8)));
    ui.add_space(2.0);
    ScrollArea::vertical().auto_shrink([false, false]).show(ui, |ui| {
        requests(ui, model, commands);
        friends(ui, model, state, view);
    });
}

fn me(ui: &mut Ui, model: &mut Model, state: &mut State, commands: &mut Vec<Command>) {
    let palette = Palette::of(ui);
    let Some(identity) = model.identity.clone() else { return };
    let name = if identity.name.is_empty() { "Me".to_owned() } else { identity.name.clone() };
    ui.horizontal(|ui| {
        let dot = mood(palette, model.availability);
        widgets::disc(ui, &identity.root, &name, 20.0, Some(dot));
        ui.vertical(|ui| {
            ui.spacing_mut().item_spacing.y = 0.0;
            ui.spacing_mut().interact_size.y = 20.0;
            ui.spacing_mut().button_padding = Vec2::new(4.0, 1.0);
            let label = Button::new(RichText::new(&name).size(16.0)).frame(false);
            if ui.add(label).on_hover_text("Change the name that friends see").clicked() {
                state.dialog = Some(Dialog::Name(identity.name.clone()));
            }
            let text = RichText::new(format!("{} ⏷", word(model.availability))).small().color(palette.quiet);
            ui.menu_button(text, |ui| {
                for availability in [Availability::Available, Availability::Dnd, Availability::Invisible] {
                    if ui.button(word(availability)).clicked() {
                        commands.push(Command::SetAvailability(availability));
                        ui.close();
                    }
                }
            });
        });
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let button = Button::new(RichText::new("+").size(20.0)).corner_radius(CornerRadius::same(10));
            if ui.add(button).on_hover_text("Add a friend").clicked() {
                state.dialog = Some(Dialog::add());
            }
            let home = Button::new("🏠").corner_radius(CornerRadius::same(10));
            if ui.add(home).on_hover_text("My address").clicked() {
                model.selected = None;
            }
        });
    });
}

fn mood(palette: Palette, availability: Availability) -> eframe::egui::Color32 {
    match availability {
        Availability::Available => palette.good,
        Availability::Dnd => palette.bad,
        Availability::Invisible => palette.quiet,
    }
}

fn word(availability: Availability) -> &'static str {
    match availability {
        Availability::Available => "Available",
        Availability::Dnd => "Do not disturb",
        Availability::Invisible => "Invisible",
    }
}

fn requests(ui: &mut Ui, model: &Model, commands: &mut Vec<Command>) {
    let palette = Palette::of(ui);
    for request in model.requests() {
        widgets::card(ui, |ui| {
            ui.horizontal(|ui| {
                widgets::disc(ui, &request.id, &request.name, 17.0, None);
                ui.vertical(|ui| {
                    ui.spacing_mut().item_spacing.y = 1.0;
                    ui.label(if request.name.is_empty() { "A stranger" } else { request.name.as_str() });
                    let what = if request.says_friends { "says you are friends" } else { "wants to be your friend" };
                    widgets::note(ui, what);
                });
            });
            if !request.message.is_empty() {
                ui.label(RichText::new(format!("“{}”", request.message)).italics());
            }
            ui.horizontal(|ui| {
                ui.spacing_mut().item_spacing.x = 6.0;
                let mut answer = |answer| commands.push(Command::AnswerRequest { id: request.id.clone(), answer });
                if widgets::strong(ui, "Accept", palette.accent).clicked() {
                    answer(RequestAnswer::Accept { name: None });
                }
                if widgets::quiet(ui, "Decline").clicked() {
                    answer(RequestAnswer::Decline);
                }
                if widgets::quiet(ui, "Block").on_hover_text("Never hear of this person again").clicked() {
                    answer(RequestAnswer::Block);
                }
            });
        });
        ui.add_space(4.0);
    }
}

fn friends(ui: &mut Ui, model: &mut Model, state: &State, view: &View) {
    let palette = Palette::of(ui);
    let (all, online) = model.counts();
    let mut chosen = None;
    let rows = model.rows(view.now_ms);
    if rows.is_empty() {
        ui.add_space(24.0);
        ui.vertical_centered(|ui| {
            ui.label("No friends yet");
            widgets::note(ui, "Add one with + , or hand out your address.");
        });
        return;
    }
    widgets::note(ui, format!("Friends · {online} of {all} online"));
    ui.spacing_mut().item_spacing.y = 2.0;
    let wanted = state.search.trim().to_lowercase();
    for row in rows.iter().filter(|row| row.friend.name.to_lowercase().contains(&wanted)) {
        let friend = row.friend;
        let dot = match friend.state {
            FriendState::Requested => palette.warn,
            FriendState::Accepted if friend.online => mood(palette, friend.availability.unwrap_or_default()),
            FriendState::Accepted => palette.quiet.gamma_multiply(0.6),
        };
        let selected = model.selected.as_ref() == Some(&friend.id);
        if widgets::person(ui, &friend.id, &friend.name, &row.line, Some(dot), selected).clicked() {
            chosen = Some(friend.id.clone());
        }
    }
    if chosen.is_some() {
        model.selected = chosen;
    }
}
