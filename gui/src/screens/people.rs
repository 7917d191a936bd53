//! The list of friends: requests first, then who is there. Only rows that are seen are drawn.

use eframe::egui::{Align, Id, Layout, ScrollArea, Ui};
use twocan_control::{FriendId, FriendState, RequestAnswer};

use super::{Dialog, Page, State, View};
use crate::design::list::ROW;
use crate::design::{Avatar, Button, Field, Row, card, empty, icon_button};
use crate::model::Model;
use crate::model::people::presence;
use crate::text::{self, fill, people as wp, t, ui as w};
use crate::theme::{Palette, icons, letters, space};
use crate::worker::Command;

/// Requests that are shown at once; the others wait behind them.
const MAX_REQUESTS: usize = 20;

/// The search field, to be given the focus by a key.
pub(super) fn search_id() -> Id {
    Id::new("search-people")
}

pub(super) fn show(ui: &mut Ui, model: &mut Model, state: &mut State, view: &View, commands: &mut Vec<Command>) {
    ui.horizontal(|ui| {
        ui.add_space(6.0);
        ui.label(letters::heading(t(w::PEOPLE)));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if icon_button(ui, icons::USER_PLUS, t(w::ADD_FRIEND)).clicked() {
                state.dialog = Some(Dialog::add());
            }
        });
    });
    ui.add_space(2.0);
    let field = Field::new(&mut state.search, t(w::SEARCH), t(w::SEARCH)).icon(icons::MAGNIFYING_GLASS);
    let enter = field.clearable().most(64).id(search_id()).show(ui).enter;
    ui.add_space(4.0);
    let all = model.list(&state.search);
    if enter && let Some(first) = all.first() {
        choose(model, state, first.clone());
    }
    let (count, online) = model.counts();
    let requests = model.requests().len();
    let area = ScrollArea::vertical().id_salt("people").auto_shrink([false, false]);
    // Rows above what is seen are not drawn: their room is known.
    let head = if requests == 0 || !state.search.is_empty() { 0.0 } else { 1.0 };
    area.show_viewport(ui, |ui, viewport| {
        ui.spacing_mut().item_spacing.y = 0.0;
        let top = ui.cursor().top();
        if head > 0.0 {
            waiting(ui, model, commands);
        }
        if !all.is_empty() && state.search.is_empty() {
            ui.add_space(space::S);
            let line = fill(wp::COUNTS, &[&online.to_string(), &count.to_string()]);
            ui.horizontal(|ui| {
                ui.add_space(6.0);
                ui.label(letters::tiny(line).color(Palette::of(ui).faint));
            });
            ui.add_space(space::XS);
        }
        if all.is_empty() {
            nobody(ui, state, requests);
            return;
        }
        let offset = ui.cursor().top() - top;
        let first = ((viewport.min.y - offset) / ROW).floor().max(0.0) as usize;
        let last = (((viewport.max.y - offset) / ROW).ceil().max(0.0) as usize).min(all.len());
        let first = first.min(last);
        ui.add_space(first as f32 * ROW);
        for id in &all[first..last] {
            one(ui, model, state, view, id, commands);
        }
        ui.add_space((all.len() - last) as f32 * ROW + space::M);
    });
}

fn one(ui: &mut Ui, model: &mut Model, state: &mut State, view: &View, id: &FriendId, commands: &mut Vec<Command>) {
    let palette = Palette::of(ui);
    let Some(row) = model.row(id, view.now_ms) else { return };
    let friend = row.friend;
    state.writes(ui.ctx(), &friend.name);
    state.writes(ui.ctx(), &row.line);
    let picture = state.portrait(Some(id), friend.picture.as_ref(), model, commands);
    let avatar = Avatar::new(&friend.id, &friend.name, 21.0).picture(picture.as_ref().map(|p| p.id()));
    let avatar = avatar.presence(Some(presence(friend)));
    let chosen = model.selected.as_ref() == Some(id) && state.page == Page::People;
    let said = text::presence(friend, view.now_ms);
    let mut shown = Row::new(avatar, &friend.name, &row.line).unread(row.unread).time(&row.time).chosen(chosen);
    if row.in_call {
        shown = shown.icon(icons::PHONE_CALL, palette.good).colour(palette.good);
    } else if row.unread > 0 {
        shown = shown.colour(palette.text);
    }
    let response = shown.said(&said).show(ui);
    let (clicked, double) = (response.clicked(), response.double_clicked());
    let accepted = friend.state == FriendState::Accepted;
    response.context_menu(|ui| {
        ui.set_min_width(170.0);
        if accepted {
            if ui.button(t(wp::CALL)).clicked() {
                commands.push(Command::Call { friend: id.clone(), video: false });
                ui.close();
            }
            if ui.button(t(wp::VIDEO_CALL)).clicked() {
                commands.push(Command::Call { friend: id.clone(), video: true });
                ui.close();
            }
        }
        if ui.button(t(wp::RENAME)).clicked() {
            state.dialog = Some(Dialog::Rename { friend: id.clone(), name: friend.name.clone() });
            ui.close();
        }
        if ui.button(t(wp::REMOVE)).clicked() {
            state.dialog = Some(Dialog::Remove { friend: id.clone(), name: friend.name.clone(), accepted });
            ui.close();
        }
    });
    if double && accepted {
        commands.push(Command::Call { friend: id.clone(), video: false });
    }
    if clicked {
        choose(model, state, id.clone());
    }
}

fn choose(model: &mut Model, state: &mut State, id: FriendId) {
    model.selected = Some(id);
    state.go(Page::People);
}

fn nobody(ui: &mut Ui, state: &mut State, requests: usize) {
    ui.add_space(space::XXL);
    if !state.search.trim().is_empty() {
        ui.vertical_centered(|ui| {
            card::note(ui, t(wp::NOBODY_FOUND));
        });
    } else if requests == 0 {
        empty(ui, icons::USERS_THREE, t(wp::NOBODY), t(wp::NOBODY_LINE));
        ui.add_space(space::S);
        ui.vertical_centered(|ui| {
            if ui.add(Button::primary(t(w::ADD_FRIEND)).icon(icons::USER_PLUS)).clicked() {
                state.dialog = Some(Dialog::add());
            }
        });
    }
}

/// What strangers ask.
fn waiting(ui: &mut Ui, model: &Model, commands: &mut Vec<Command>) {
    let palette = Palette::of(ui);
    for request in model.requests().iter().take(MAX_REQUESTS) {
        ui.add_space(space::XS);
        card(ui, |ui| {
            ui.spacing_mut().item_spacing.y = 8.0;
            let name = if request.name.is_empty() { t(wp::STRANGER) } else { request.name.as_str() };
            ui.horizontal(|ui| {
                Avatar::new(&request.id, name, 19.0).show(ui);
                ui.vertical(|ui| {
                    ui.spacing_mut().item_spacing.y = 1.0;
                    ui.add(eframe::egui::Label::new(letters::strong(name)).truncate());
                    let what = if request.says_friends { wp::SAYS_FRIENDS } else { wp::WANTS };
                    card::note(ui, t(what));
                });
            });
            if !request.message.is_empty() {
                ui.label(letters::small(format!("“{}”", request.message)).color(palette.text));
            }
            ui.horizontal_wrapped(|ui| {
                ui.spacing_mut().item_spacing.x = 6.0;
                let mut answer = |answer| commands.push(Command::AnswerRequest { id: request.id.clone(), answer });
                if ui.add(Button::primary(t(wp::ACCEPT)).small()).clicked() {
                    answer(RequestAnswer::Accept { name: None });
                }
                if ui.add(Button::secondary(t(wp::DECLINE)).small()).clicked() {
                    answer(RequestAnswer::Decline);
                }
                if ui.add(Button::ghost(t(wp::BLOCK)).small()).on_hover_text(t(wp::BLOCK_LINE)).clicked() {
                    answer(RequestAnswer::Block);
                }
            });
        });
    }
    let more = model.requests().len().saturating_sub(MAX_REQUESTS);
    if more > 0 {
        card::note(ui, fill(wp::MORE_REQUESTS, &[&more.to_string()]));
    }
}
