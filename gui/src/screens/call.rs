//! A call: the bar that rings, and the page of a running one.

use eframe::egui::{
    Align, Align2, Color32, CornerRadius, FontId, Frame, Layout, Margin, Panel, Pos2, Rect, RichText, Ui, UiBuilder,
    Vec2,
};
use twocan_control::{Call, CallState};

use super::View;
use crate::model::Model;
use crate::model::call::arrange;
use crate::seat::Place;
use crate::text;
use crate::theme::Palette;
use crate::widgets;
use crate::worker::Command;

/// Bars at the top of the window, one for each call that rings.
pub(super) fn ringing(ui: &mut Ui, model: &Model, commands: &mut Vec<Command>) {
    let palette = Palette::of(ui);
    for call in model.ringing() {
        let frame = Frame::new().fill(palette.accent).inner_margin(Margin::symmetric(20, 12));
        let panel = Panel::top(format!("ring-{}", call.id)).resizable(false).show_separator_line(false);
        panel.frame(frame).show(ui, |ui| {
            ui.horizontal(|ui| {
                widgets::disc(ui, &call.friend, &call.friend_name, 20.0, None);
                ui.vertical(|ui| {
                    ui.spacing_mut().item_spacing.y = 1.0;
                    ui.label(RichText::new(&call.friend_name).size(17.0).color(Color32::WHITE));
                    let what = if call.wants_video { "calls you, with picture" } else { "calls you" };
                    ui.label(RichText::new(what).small().color(Color32::from_white_alpha(220)));
                });
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    let id = || call.id.clone();
                    if widgets::strong(ui, "Decline", palette.bad).clicked() {
                        commands.push(Command::Decline { call: id(), text: None });
                    }
                    if widgets::strong(ui, "📹  With picture", palette.good).clicked() {
                        commands.push(Command::Answer { call: id(), video: true });
                    }
                    if widgets::strong(ui, "📞  Answer", palette.good).clicked() {
                        commands.push(Command::Answer { call: id(), video: false });
                    }
                });
            });
        });
    }
}

/// The page of the call.
pub(super) fn show(ui: &mut Ui, model: &Model, view: &View, commands: &mut Vec<Command>) {
    let palette = Palette::of(ui);
    let Some(call) = model.current_call() else { return };
    ui.horizontal(|ui| {
        ui.heading(&call.friend_name);
        let colour = match call.state {
            CallState::Active => palette.good,
            CallState::Reconnecting => palette.warn,
            CallState::Ended => palette.bad,
            _ => palette.accent,
        };
        widgets::pill(ui, &text::call(call, view.now_ms), colour);
        for (on, label) in [
            (call.remote_muted, "muted over there"),
            (call.remote_held && call.state == CallState::Active, "holds the call"),
            (call.remote_seat_empty && call.state == CallState::Active, "away from the call"),
        ] {
            if on {
                widgets::pill(ui, label, palette.warn);
            }
        }
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| widgets::note(ui, quality(call)));
    });
    ui.add_space(6.0);
    let all = ui.available_rect_before_wrap();
    let controls = 76.0;
    let stage = Rect::from_min_max(all.min, Pos2::new(all.max.x, all.max.y - controls));
    draw_stage(ui, stage, call, view);
    let below = Rect::from_min_max(Pos2::new(all.min.x, stage.max.y + 10.0), all.max);
    let mut below = ui.new_child(UiBuilder::new().max_rect(below));
    buttons(&mut below, model, call, view, commands);
}

/// The friend's picture, or the disc while there is none; my own in the corner.
fn draw_stage(ui: &Ui, stage: Rect, call: &Call, view: &View) {
    let palette = Palette::of(ui);
    ui.painter().rect_filled(stage, CornerRadius::same(16), palette.side);
    let seen = view.parties.first().and_then(|party| view.textures.get(Place::Camera(party.participant)));
    match seen {
        _ if view.parties.len() > 1 => {
            for (party, tile) in view.parties.iter().zip(arrange(stage, view.parties.len(), false).tiles) {
                if let Some(texture) = view.textures.get(Place::Camera(party.participant)) {
                    widgets::picture(ui, tile, texture);
                }
            }
        }
        Some(texture) if call.remote_video && call.state != CallState::Ended => {
            widgets::picture(ui, stage, texture);
        }
        _ => {
            widgets::paint_disc(ui, stage.center() - Vec2::new(0.0, 14.0), &call.friend, &call.friend_name, 54.0, None);
            let at = stage.center() + Vec2::new(0.0, 62.0);
            let line = text::call(call, view.now_ms);
            ui.painter().text(at, Align2::CENTER_CENTER, line, FontId::proportional(15.0), palette.quiet);
        }
    }
    if let (Some(texture), true) = (view.textures.get(Place::Own), call.video) {
        let size = Vec2::new(176.0, 99.0);
        let corner = Rect::from_min_size(stage.max - size - Vec2::splat(12.0), size);
        let framed = corner.expand(2.0);
        ui.painter().rect_filled(framed, CornerRadius::same(15), palette.page);
        widgets::picture(ui, corner, texture);
    }
}

fn buttons(ui: &mut Ui, model: &Model, call: &Call, view: &View, commands: &mut Vec<Command>) {
    let palette = Palette::of(ui);
    if call.state == CallState::Ended {
        ui.label(text::ended(call));
        return;
    }
    let id = || call.id.clone();
    let here = model.seat.as_ref() == Some(&call.id);
    let running = matches!(call.state, CallState::Active | CallState::Reconnecting | CallState::Connecting);
    ui.horizontal(|ui| {
        if here {
            let label = if call.muted { "🔇  Unmute" } else { "🎤  Mute" };
            if widgets::quiet(ui, label).clicked() {
                commands.push(Command::Mute { call: id(), muted: !call.muted });
            }
            let label = if call.video { "📹  Stop picture" } else { "📹  Send picture" };
            if widgets::quiet(ui, label).clicked() {
                commands.push(Command::Video { call: id(), on: !call.video });
            }
            if running && widgets::quiet(ui, if call.held { "▶  Go on" } else { "⏸  Hold" }).clicked() {
                commands.push(Command::Hold { call: id(), held: !call.held });
            }
        } else if running {
            let label = if call.seat_taken { "Bring the call here" } else { "Take the call up again" };
            if widgets::strong(ui, label, palette.accent).clicked() {
                commands.push(Command::Join { call: id() });
            }
        }
        if widgets::strong(ui, "Hang up", palette.bad).clicked() {
            commands.push(Command::Hangup { call: id() });
        }
        if let Some(media) = view.media.filter(|_| here) {
            ui.add_space(10.0);
            let levels = media.levels();
            widgets::level(ui, "me", loudness(levels.input.rms_db));
            widgets::level(ui, "friend", loudness(levels.output.rms_db));
        }
    });
    for (part, trouble) in &model.devices {
        ui.label(RichText::new(format!("{part}: {trouble}")).small().color(palette.warn));
    }
}

/// What looks right: -50 dB is nothing, -5 dB is all.
fn loudness(rms_db: f32) -> f32 {
    (rms_db + 50.0) / 45.0
}

/// The numbers of the path in a line.
fn quality(call: &Call) -> String {
    let Some(quality) = &call.quality else { return String::new() };
    let mut parts = Vec::new();
    parts.extend(match (&quality.relay, quality.path) {
        (Some(relay), Some(_)) => Some(format!("through {relay}")),
        (None, path) => path.map(|path| text::path(path).to_owned()),
        (_, None) => None,
    });
    parts.extend(quality.rtt_ms.map(|rtt| format!("{rtt:.0} ms")));
    parts.push(format!("{} kbit/s", quality.bitrate_in / 1000));
    if quality.loss_in >= 0.005 {
        parts.push(format!("{:.0} % lost", quality.loss_in * 100.0));
    }
    parts.join(" · ")
}
