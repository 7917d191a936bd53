//! The stage: head line, tiles, my own picture, and what is to be seen above them.

use eframe::egui::{
    self, Align, Align2, Color32, CornerRadius, FontId, Layout, Pos2, Rect, Sense, Ui, UiBuilder, Vec2,
};
use twocan_control::{Call, CallState, Direction};

use super::tile::{self, Tile};
use super::{STAGE, Side, State, bars, controls, small};
use crate::design::{Avatar, Button, icon_button, pill};
use crate::model::Model;
use crate::model::call::{Party, Record, arrange, record, running};
use crate::screens::View;
use crate::seat::Place;
use crate::text::{self, call as words, fill, t};
use crate::theme::{Palette, icons, letters};
use crate::worker::Command;

/// Heights of the head line and of the controls.
const HEAD: f32 = 52.0;
const FOOT: f32 = 84.0;
/// Around the tiles.
const MARGIN: f32 = 12.0;
/// Who is louder than this speaks, dBFS.
const SPEAKS_DB: f32 = -42.0;

pub(super) fn show(
    ui: &mut Ui,
    area: Rect,
    call: &Call,
    model: &Model,
    state: &mut State,
    view: &View,
    commands: &mut Vec<Command>,
) {
    ui.painter().rect_filled(area, CornerRadius::ZERO, STAGE);
    let head = Rect::from_min_max(area.min, Pos2::new(area.max.x, area.min.y + HEAD)).shrink2(Vec2::new(16.0, 6.0));
    let foot = Rect::from_min_max(Pos2::new(area.min.x, area.max.y - FOOT), area.max);
    let tiles = Rect::from_min_max(
        Pos2::new(area.min.x + MARGIN, area.min.y + HEAD),
        Pos2::new(area.max.x - MARGIN, area.max.y - FOOT),
    );
    head_line(&mut part(ui, head), call, state, view);
    people(ui, tiles, call, view);
    others(ui, tiles, call, model, commands);
    controls::show(&mut part(ui, foot), foot, call, model, state, commands);
}

fn part(ui: &mut Ui, area: Rect) -> Ui {
    ui.new_child(UiBuilder::new().max_rect(area))
}

/// Name, time, and how the call stands; at the right, what changes the view.
fn head_line(ui: &mut Ui, call: &Call, state: &mut State, view: &View) {
    let palette = Palette::of(ui);
    ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
        ui.label(letters::subhead(text::clean(&call.friend_name)).color(Color32::WHITE));
        if let Some(answered) = call.answered_ms.filter(|_| running(call)) {
            let time = text::duration(view.now_ms.saturating_sub(answered));
            ui.label(letters::small(time).color(palette.quiet));
        }
        let pills = [
            (call.state == CallState::Reconnecting, icons::ARROWS_CLOCKWISE, words::RECONNECTING, palette.warn),
            (call.held, icons::PAUSE, words::ON_HOLD, palette.warn),
            (call.remote_held, icons::PAUSE, words::HOLDS, palette.warn),
            (view.parties.iter().any(|party| party.away), icons::CLOCK, words::AWAY, palette.warn),
            (call.screen, icons::SCREENCAST, words::SHARING, palette.accent_text),
        ];
        for (on, icon, word, colour) in pills {
            if on && running(call) {
                pill(ui, Some(icon), t(word), colour);
            }
        }
        recording(ui, call);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.spacing_mut().item_spacing.x = 2.0;
            let full =
                if state.full { (icons::CORNERS_IN, words::BACK) } else { (icons::CORNERS_OUT, words::FULL_SCREEN) };
            if icon_button(ui, full.0, t(full.1)).clicked() {
                state.full = !state.full;
                ui.ctx().send_viewport_cmd(egui::ViewportCommand::Fullscreen(state.full));
            }
            if !state.full && icon_button(ui, icons::PICTURE_IN_PICTURE, t(words::SMALL_WINDOW)).clicked() {
                small::enter(ui.ctx(), state);
            }
            let mark = view.parties.iter().filter_map(|party| party.mark.as_ref()).min_by_key(|mark| mark.level);
            if let Some(mark) = mark
                && bars::button(ui, mark, t(words::DETAILS)).clicked()
            {
                state.side = if state.side == Side::Details { Side::None } else { Side::Details };
            }
        });
    });
}

/// The mark that nobody overlooks.
fn recording(ui: &mut Ui, call: &Call) {
    let palette = Palette::of(ui);
    match record(call) {
        Record::Mine => drop(pill(ui, Some(icons::RECORD), t(words::RECORD_RUNNING), Color32::from_rgb(255, 92, 104))),
        Record::Theirs => {
            let label = format!("{} {}", text::clean(&call.friend_name), t(words::RECORD_THEIRS));
            drop(pill(ui, Some(icons::RECORD), &label, Color32::from_rgb(255, 92, 104)));
        }
        Record::Asking => drop(pill(ui, Some(icons::CLOCK), t(words::RECORD_ASKING), palette.warn)),
        Record::None | Record::Asked => {}
    }
}

/// The tiles, and what is drawn over them.
fn people(ui: &Ui, area: Rect, call: &Call, view: &View) {
    if !running(call) {
        waiting(ui, area, call, view);
        return;
    }
    let screen = view.parties.iter().find(|party| party.screen);
    let screen = screen.and_then(|party| Some((party, view.textures.get(Place::Screen(party.participant))?)));
    let layout = arrange(area, view.parties.len(), screen.is_some());
    if let (Some((party, texture)), Some(place)) = (screen, layout.screen) {
        tile::screen(ui, place, party, texture);
        seen_at(view, Place::Screen(party.participant), place, ui);
    }
    let levels = view.media.map(crate::seat::Media::levels);
    for (number, (party, place)) in view.parties.iter().zip(&layout.tiles).enumerate() {
        let texture = view.textures.get(Place::Camera(party.participant)).filter(|_| party.video);
        // The voices of a call between two are one stream.
        let speaking = number == 0 && !party.muted && levels.is_some_and(|levels| levels.output.rms_db > SPEAKS_DB);
        tile::show(ui, *place, &Tile { party, texture, speaking, dim: call.held || party.held });
        seen_at(view, Place::Camera(party.participant), *place, ui);
    }
    if let Some(texture) = view.textures.get(Place::Own).filter(|_| call.video) {
        let speaking = !call.muted && levels.is_some_and(|levels| levels.input.rms_db > SPEAKS_DB);
        tile::own(ui, layout.own, texture, speaking);
        seen_at(view, Place::Own, layout.own, ui);
    }
    if call.state == CallState::Reconnecting {
        reconnecting(ui, area);
    }
}

/// Tells the film how large it is shown, in pixels.
fn seen_at(view: &View, place: Place, rect: Rect, ui: &Ui) {
    if let Some((_, film)) = view.films.iter().find(|(of, _)| *of == place) {
        film.shown_at(rect.width() * ui.ctx().pixels_per_point());
    }
}

/// The friend's disc while there is nobody to be seen yet.
fn waiting(ui: &Ui, area: Rect, call: &Call, view: &View) {
    let centre = area.center() - Vec2::new(0.0, 40.0);
    let radius = (area.height() * 0.16).clamp(36.0, 72.0);
    let colour = crate::design::avatar::colour(&call.friend);
    // Two still rings: somebody is being called, without anything that flickers.
    for (ring, strength) in [(1.55, 0.10), (1.28, 0.18)] {
        ui.painter().circle_filled(centre, radius * ring, colour.gamma_multiply(strength));
    }
    let picture = view.faces.get(&call.friend).copied();
    Avatar::new(&call.friend, &call.friend_name, radius).picture(picture).paint(ui, centre);
    let at = centre + Vec2::new(0.0, radius * 1.55 + 26.0);
    let name = text::clean(&call.friend_name);
    let title = FontId::new(letters::TITLE, letters::semibold());
    ui.painter().text(at, Align2::CENTER_CENTER, name, title, Color32::WHITE);
    let line = match call.state {
        CallState::Calling => t(words::CALLING),
        CallState::Ringing if call.direction == Direction::Outgoing => t(words::RINGING_THERE),
        _ => t(words::CONNECTING),
    };
    let quiet = Palette::of(ui).quiet;
    let font = crate::design::plain(letters::BODY);
    ui.painter().text(at + Vec2::new(0.0, 30.0), Align2::CENTER_CENTER, line, font, quiet);
}

fn reconnecting(ui: &Ui, area: Rect) {
    let painter = ui.painter();
    painter.rect_filled(area, CornerRadius::same(18), Color32::from_black_alpha(150));
    let centre = area.center();
    let title = FontId::new(letters::HEADING, letters::semibold());
    painter.text(centre, Align2::CENTER_BOTTOM, t(words::RECONNECTING_TITLE), title, Color32::WHITE);
    let font = crate::design::plain(letters::BODY);
    let quiet = Color32::from_white_alpha(190);
    let at = centre + Vec2::new(0.0, 8.0);
    let galley = painter.layout(t(words::RECONNECTING_WHY).to_owned(), font, quiet, area.width() * 0.8);
    painter.galley(at - Vec2::new(galley.size().x / 2.0, 0.0), galley, quiet);
}

/// Calls that wait while this one goes on.
fn others(ui: &mut Ui, area: Rect, call: &Call, model: &Model, commands: &mut Vec<Command>) {
    let waiting: Vec<&Call> = model.calls().filter(|other| other.id != call.id && running(other)).collect();
    for (number, other) in waiting.into_iter().enumerate() {
        let rect = Rect::from_min_size(area.min + Vec2::new(12.0, 12.0 + 52.0 * number as f32), Vec2::new(300.0, 44.0));
        ui.painter().rect_filled(rect, CornerRadius::same(22), Color32::from_black_alpha(190));
        let _ = ui.interact(rect, ui.id().with(("other", number)), Sense::hover());
        let mut ui = part(ui, rect.shrink2(Vec2::new(8.0, 4.0)));
        ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
            Avatar::new(&other.friend, &other.friend_name, 15.0).show(ui);
            let name = text::clean(&other.friend_name);
            let line = format!("{name} · {}", t(words::ON_HOLD));
            ui.add(egui::Label::new(letters::small(line).color(Color32::WHITE)).truncate());
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                if ui.add(Button::primary(t(words::SWITCH_TO)).small()).clicked() {
                    commands.push(Command::Join { call: other.id.clone() });
                }
            });
        });
    }
}

/// A party's name with what is to be said of it, for screen readers.
pub(super) fn said(party: &Party) -> String {
    let mut said = text::clean(&party.name);
    if party.muted {
        said.push_str(", ");
        said.push_str(t(words::MUTED_THERE));
    }
    if let Some(mark) = &party.mark {
        said.push_str(", ");
        said.push_str(&mark.why);
    }
    said
}

/// "Mira and …": who is in the call now, for the window that rings.
pub(in crate::screens) fn while_talking(name: &str) -> String {
    fill(words::WHILE_TALKING, &[&text::clean(name)])
}
