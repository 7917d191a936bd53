//! What can be done in a call: microphone, camera, screen, recording, conversation, hold, devices, leave.

use eframe::egui::{
    Align2, Color32, CornerRadius, CursorIcon, FontId, Frame, Margin, Popup, PopupCloseBehavior, Pos2, Rect, RectAlign,
    Response, ScrollArea, Sense, Slider, Ui, UiBuilder, Vec2, WidgetInfo, WidgetType,
};
use twocan_control::{Call, RecordCall};
use twocan_media::audio::backend::Device;
use twocan_media::settings::MAX_VOLUME_PERCENT;

use super::chooser::Chooser;
use super::{BAR, Side, State};
use crate::design::{Button, focus_ring, one_line, plain, round_button, section, switch};
use crate::model::Model;
use crate::model::call::gear::Look;
use crate::model::call::{Record, record, running};
use crate::seat::Act;
use crate::text::{call as words, t};
use crate::theme::{Palette, icons, letters};
use crate::worker::Command;

/// Diameter of the buttons.
const ROUND: f32 = 46.0;
/// Between them.
const GAP: f32 = 10.0;
/// Width of the one that ends the call.
const LEAVE: f32 = 68.0;
/// A button that does nothing special.
const PLAIN: Color32 = Color32::from_rgb(52, 52, 64);
/// One whose device is off.
const OFF: Color32 = Color32::from_rgb(236, 236, 242);
/// Writing on it.
const OFF_INK: Color32 = Color32::from_rgb(196, 36, 52);

pub(super) fn show(
    ui: &mut Ui,
    foot: Rect,
    call: &Call,
    model: &Model,
    state: &mut State,
    commands: &mut Vec<Command>,
) {
    let here = model.seat.as_ref() == Some(&call.id);
    if !here && running(call) {
        elsewhere(ui, foot, call, commands);
        return;
    }
    let palette = Palette::of(ui);
    let talking = running(call);
    let rounds = if talking { 7.0 } else { 2.0 };
    let width = rounds * (ROUND + GAP) + LEAVE + 24.0;
    // Beside a conversation there may be little room: everything stays, and gets smaller.
    let scale = ((foot.width() - 12.0) / width).clamp(0.5, 1.0);
    let (round, gap) = (ROUND * scale, GAP * scale);
    let bar = Rect::from_center_size(foot.center(), Vec2::new(width * scale, round + 16.0));
    ui.painter().rect_filled(bar, CornerRadius::same((bar.height() / 2.0) as u8), BAR);
    let mut ui = ui.new_child(UiBuilder::new().max_rect(bar.shrink2(Vec2::new(12.0 * scale, 8.0))));
    let ui = &mut ui;
    ui.spacing_mut().item_spacing.x = gap;
    let id = || call.id.clone();
    ui.horizontal_centered(|ui| {
        let (icon, name) =
            if call.muted { (icons::MICROPHONE_SLASH, words::UNMUTE) } else { (icons::MICROPHONE, words::MUTE) };
        if toggle(ui, icon, t(name), !call.muted, round).clicked() {
            commands.push(Command::Mute { call: id(), muted: !call.muted });
        }
        let (icon, name) = if call.video {
            (icons::VIDEO_CAMERA, words::CAMERA_OFF)
        } else {
            (icons::VIDEO_CAMERA_SLASH, words::CAMERA_ON)
        };
        if toggle(ui, icon, t(name), call.video, round).clicked() {
            commands.push(Command::Video { call: id(), on: !call.video });
        }
        if talking {
            let (name, fill) = if call.screen { (words::SHARE_STOP, palette.accent) } else { (words::SHARE, PLAIN) };
            if round_button(ui, icons::SCREENCAST, t(name), round, fill, Color32::WHITE).clicked() {
                if call.screen {
                    commands.push(Command::InCall { call: id(), act: Act::Share(None) });
                } else {
                    state.chooser = Some(Chooser::default());
                    commands.push(Command::Look(Look::Screens));
                }
            }
            let fill = if state.side == Side::Chat { palette.accent } else { PLAIN };
            if round_button(ui, icons::CHAT_CIRCLE_TEXT, t(words::CHAT), round, fill, Color32::WHITE).clicked() {
                state.side = if state.side == Side::Chat { Side::None } else { Side::Chat };
            }
            recording(ui, call, round, commands);
            let (icon, name) = if call.held { (icons::PLAY, words::RESUME) } else { (icons::PAUSE, words::HOLD) };
            let fill = if call.held { palette.warn } else { PLAIN };
            if round_button(ui, icon, t(name), round, fill, Color32::WHITE).clicked() {
                commands.push(Command::Hold { call: id(), held: !call.held });
            }
            let devices = round_button(ui, icons::GEAR_SIX, t(words::DEVICES), round, PLAIN, Color32::WHITE);
            if devices.clicked() {
                commands.push(Command::Look(Look::Gear));
            }
            let menu = Popup::menu(&devices).align(RectAlign::TOP_END).gap(14.0).width(300.0);
            let inside = Frame::popup(ui.style()).inner_margin(Margin::symmetric(14, 10));
            menu.close_behavior(PopupCloseBehavior::CloseOnClickOutside)
                .frame(inside)
                .show(|ui| gear(ui, call, model, commands));
        }
        if leave(ui, scale).clicked() {
            commands.push(Command::Hangup { call: id() });
        }
    });
}

/// A round button of a device that is on or off.
fn toggle(ui: &mut Ui, icon: char, name: &str, on: bool, round: f32) -> Response {
    let (fill, ink) = if on { (PLAIN, Color32::WHITE) } else { (OFF, OFF_INK) };
    round_button(ui, icon, name, round, fill, ink)
}

fn recording(ui: &mut Ui, call: &Call, round: f32, commands: &mut Vec<Command>) {
    let red = Color32::from_rgb(255, 92, 104);
    let (name, ink, act) = match record(call) {
        Record::None | Record::Asked => (words::RECORD, Color32::WHITE, RecordCall::Ask { file: None }),
        Record::Asking | Record::Mine => (words::RECORD_STOP, red, RecordCall::Stop { reason: None }),
        Record::Theirs => (words::RECORD_REFUSE, red, RecordCall::Refuse),
    };
    if round_button(ui, icons::RECORD, t(name), round, PLAIN, ink).clicked() {
        commands.push(Command::InCall { call: call.id.clone(), act: Act::Record(act) });
    }
}

/// The wide red one.
fn leave(ui: &mut Ui, scale: f32) -> Response {
    let palette = Palette::of(ui);
    let (rect, response) = ui.allocate_exact_size(Vec2::new(LEAVE, ROUND) * scale, Sense::click());
    response.widget_info(|| WidgetInfo::labeled(WidgetType::Button, true, t(words::LEAVE)));
    let fill = if response.hovered() { palette.bad.lerp_to_gamma(Color32::WHITE, 0.12) } else { palette.bad };
    ui.painter().rect_filled(rect, CornerRadius::same((rect.height() / 2.0) as u8), fill);
    let font = FontId::new(22.0 * scale, letters::icons_filled());
    ui.painter().text(rect.center(), Align2::CENTER_CENTER, icons::PHONE_DISCONNECT, font, Color32::WHITE);
    focus_ring(ui, &response, rect, 23);
    response.on_hover_text(t(words::LEAVE)).on_hover_cursor(CursorIcon::PointingHand)
}

/// The call's sound is not here.
fn elsewhere(ui: &mut Ui, foot: Rect, call: &Call, commands: &mut Vec<Command>) {
    let rect = Rect::from_center_size(foot.center(), Vec2::new(360.0_f32.min(foot.width() - 24.0), 48.0));
    let mut ui = ui.new_child(UiBuilder::new().max_rect(rect));
    ui.horizontal_centered(|ui| {
        let word = if call.seat_taken { words::JOIN_HERE } else { words::TAKE_UP };
        if ui.add(Button::primary(t(word)).icon(icons::PHONE)).clicked() {
            commands.push(Command::Join { call: call.id.clone() });
        }
        if leave(ui, 1.0).clicked() {
            commands.push(Command::Hangup { call: call.id.clone() });
        }
    });
}

/// The menu of devices.
fn gear(ui: &mut Ui, call: &Call, model: &Model, commands: &mut Vec<Command>) {
    let gear = &model.gears.gear;
    let chosen = &gear.chosen;
    let mut act = |act| commands.push(Command::InCall { call: call.id.clone(), act });
    ui.set_width(284.0);
    ScrollArea::vertical().max_height((ui.ctx().content_rect().height() - 160.0).max(120.0)).show(ui, |ui| {
        ui.spacing_mut().item_spacing.y = 3.0;
        section(ui, t(words::VOLUME));
        let mut percent = chosen.volume(&call.friend);
        ui.spacing_mut().slider_width = 200.0;
        let slider = Slider::new(&mut percent, 0..=MAX_VOLUME_PERCENT.min(200)).suffix(" %");
        if ui.add(slider).changed() {
            act(Act::Volume { friend: call.friend.clone(), percent });
        }
        for (title, devices, now, input) in [
            (words::MICROPHONE, &gear.microphones, &chosen.audio.microphone, true),
            (words::SPEAKER, &gear.speakers, &chosen.audio.speaker, false),
        ] {
            section(ui, t(title));
            if let Some(id) = choose(ui, devices, now) {
                act(if input { Act::Microphone(id) } else { Act::Speaker(id) });
            }
        }
        section(ui, t(words::CAMERA));
        if gear.cameras.is_empty() {
            ui.weak(t(words::NO_DEVICES));
        }
        for camera in &gear.cameras {
            let is = chosen.video.camera.as_ref() == Some(camera);
            if option(ui, camera, is).clicked() {
                act(Act::Camera(Some(camera.clone())));
            }
        }
        ui.add_space(8.0);
        let mut processing = chosen.processing();
        let mut changed = false;
        for (word, on) in
            [(words::NOISE, &mut processing.noise_suppression), (words::ECHO, &mut processing.echo_cancelling)]
        {
            ui.horizontal(|ui| {
                changed |= switch(ui, t(word), on).changed();
                ui.label(t(word));
            });
        }
        if changed {
            act(Act::Processing(processing));
        }
    });
    // What was chosen is read back, so that the menu shows what holds.
    if !commands.is_empty() && !commands.iter().any(|command| matches!(command, Command::Look(_))) {
        commands.push(Command::Look(Look::Gear));
    }
}

/// One of the devices, or the system's default. What was clicked.
fn choose(ui: &mut Ui, devices: &[Device], now: &Option<String>) -> Option<Option<String>> {
    let mut clicked = None;
    if option(ui, t(words::SYSTEM_DEFAULT), now.is_none()).clicked() {
        clicked = Some(None);
    }
    for device in devices {
        if option(ui, &device.name, now.as_ref() == Some(&device.id)).clicked() {
            clicked = Some(Some(device.id.clone()));
        }
    }
    clicked
}

/// One of several, with a mark at the one that holds.
fn option(ui: &mut Ui, name: &str, chosen: bool) -> Response {
    let palette = Palette::of(ui);
    let (rect, response) = ui.allocate_exact_size(Vec2::new(ui.available_width(), 32.0), Sense::click());
    response.widget_info(|| WidgetInfo::selected(WidgetType::RadioButton, true, chosen, name));
    if ui.is_rect_visible(rect) {
        let painter = ui.painter();
        if response.hovered() {
            painter.rect_filled(rect, CornerRadius::same(8), palette.hover);
        }
        if chosen {
            let at = Pos2::new(rect.min.x + 15.0, rect.center().y);
            painter.text(
                at,
                Align2::CENTER_CENTER,
                icons::CHECK,
                FontId::new(16.0, letters::icons()),
                palette.accent_text,
            );
        }
        let font = plain(14.0);
        let top = rect.center().y - 9.0;
        one_line(painter, Pos2::new(rect.min.x + 32.0, top), name, font, palette.text, rect.width() - 40.0);
        focus_ring(ui, &response, rect, 8);
    }
    response.on_hover_cursor(CursorIcon::PointingHand)
}

/// A small line of buttons for the small window: microphone and leave.
pub(super) fn few(ui: &mut Ui, area: Rect, call: &Call, commands: &mut Vec<Command>) {
    let rect = Rect::from_center_size(Pos2::new(area.center().x, area.max.y - 34.0), Vec2::new(180.0, 44.0));
    let mut ui = ui.new_child(UiBuilder::new().max_rect(rect));
    ui.spacing_mut().item_spacing.x = GAP;
    ui.horizontal_centered(|ui| {
        let id = || call.id.clone();
        let (icon, name) =
            if call.muted { (icons::MICROPHONE_SLASH, words::UNMUTE) } else { (icons::MICROPHONE, words::MUTE) };
        if toggle(ui, icon, t(name), !call.muted, ROUND).clicked() {
            commands.push(Command::Mute { call: id(), muted: !call.muted });
        }
        let (icon, name) = if call.video {
            (icons::VIDEO_CAMERA, words::CAMERA_OFF)
        } else {
            (icons::VIDEO_CAMERA_SLASH, words::CAMERA_ON)
        };
        if toggle(ui, icon, t(name), call.video, ROUND).clicked() {
            commands.push(Command::Video { call: id(), on: !call.video });
        }
        if leave(ui, 1.0).clicked() {
            commands.push(Command::Hangup { call: id() });
        }
    });
}
