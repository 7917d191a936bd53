//! Somebody calls: a window of its own that comes to the front, with name, picture and what can be said to it.

use eframe::egui::{
    self, Align, Align2, Color32, FontId, Frame, Key, Layout, Pos2, Rect, Sense, Ui, UiBuilder, Vec2, ViewportBuilder,
    ViewportCommand, ViewportId, WindowLevel,
};
use twocan_control::{Call, CallId};

use super::View;
use super::call::stage::while_talking;
use crate::design::{Avatar, Button, Field, link, round_button};
use crate::model::Model;
use crate::model::call::running;
use crate::text::{self, Word, call as words, t};
use crate::theme::{Palette, icons, letters};
use crate::worker::Command;

/// Size of the window, without and with lines to decline with.
const SIZE: Vec2 = Vec2::new(380.0, 452.0);
/// Diameter of the buttons.
const ROUND: f32 = 60.0;
/// Longest line to the caller, in characters: the node takes no more.
const MAX_TEXT: usize = 280;
/// Lines that are ready.
const LINES: [Word; 3] = [words::LATER, words::MINUTE, words::MEETING];

/// What the person is doing about a call that rings.
#[derive(Debug, Default)]
pub struct State {
    /// Calls whose window came to the front.
    raised: Vec<CallId>,
    /// Choosing a line to decline with.
    writing: bool,
    own: String,
}

/// Shows the window as long as something rings.
pub(super) fn show(ui: &Ui, model: &mut Model, state: &mut State, view: &View, commands: &mut Vec<Command>) {
    let Some(call) = model.ringing().first().map(|call| (*call).clone()) else {
        *state = State::default();
        return;
    };
    let title = format!("twocan: {}", text::clean(&call.friend_name));
    let monitor = ui.ctx().input(|input| input.viewport().monitor_size);
    let builder = match monitor {
        // In the middle, a little above: where one looks.
        Some(monitor) => ViewportBuilder::default()
            .with_position(Pos2::new((monitor.x - SIZE.x) / 2.0, ((monitor.y - SIZE.y) * 0.4).max(0.0))),
        None => ViewportBuilder::default(),
    };
    let builder = builder
        .with_title(title)
        .with_app_id("twocan-gui")
        .with_inner_size(SIZE)
        .with_resizable(false)
        .with_maximize_button(false)
        .with_window_level(WindowLevel::AlwaysOnTop)
        .with_active(true);
    let mut silence = false;
    ui.ctx().show_viewport_immediate(ViewportId::from_hash_of("ring"), builder, |ui, _class| {
        if !state.raised.contains(&call.id) {
            state.raised.push(call.id.clone());
            ui.ctx().send_viewport_cmd(ViewportCommand::Focus);
            let attention = egui::UserAttentionType::Critical;
            ui.ctx().send_viewport_cmd(ViewportCommand::RequestUserAttention(attention));
        }
        let palette = Palette::of(ui);
        egui::CentralPanel::default().frame(Frame::NONE.fill(palette.raised).inner_margin(20)).show(ui, |ui| {
            silence = card(ui, &call, model, state, view, commands);
        });
        // Closing the window is no answer: it only stops the sound.
        silence |= ui.ctx().input(|input| input.viewport().close_requested());
    });
    if silence {
        model.rings.silence(&call.id);
    }
}

/// The card; whether it shall be silent.
fn card(ui: &mut Ui, call: &Call, model: &Model, state: &mut State, view: &View, commands: &mut Vec<Command>) -> bool {
    let palette = Palette::of(ui);
    let area = ui.available_rect_before_wrap();
    // Lines to choose from need the room of the large disc.
    let (radius, head) = if state.writing { (30.0, 76.0) } else { (56.0, 190.0) };
    let centre = Pos2::new(area.center().x, area.min.y + if state.writing { 34.0 } else { 92.0 });
    let colour = crate::design::avatar::colour(&call.friend);
    for (ring, strength) in [(1.57, 0.10), (1.29, 0.18)] {
        if !state.writing {
            ui.painter().circle_filled(centre, radius * ring, colour.gamma_multiply(strength));
        }
    }
    let picture = view.faces.get(&call.friend).copied();
    Avatar::new(&call.friend, &call.friend_name, radius).picture(picture).paint(ui, centre);
    let mut silence = false;
    let below = Rect::from_min_max(Pos2::new(area.min.x, area.min.y + head), area.max);
    let mut ui = ui.new_child(UiBuilder::new().max_rect(below).layout(Layout::top_down(Align::Center)));
    let ui = &mut ui;
    ui.spacing_mut().item_spacing.y = 4.0;
    ui.add(egui::Label::new(letters::title(text::clean(&call.friend_name))).truncate());
    let what = if call.wants_video { words::CALLS_YOU_VIDEO } else { words::CALLS_YOU };
    ui.label(letters::body(t(what)).color(palette.quiet));
    let talking = model.calls().find(|other| running(other) && model.seat.as_ref() == Some(&other.id));
    if let Some(other) = talking {
        ui.label(letters::small(while_talking(&other.friend_name)).color(palette.warn));
    }
    if state.writing {
        lines(ui, call, state, commands);
        return silence;
    }
    ui.add_space(16.0);
    match talking {
        Some(other) => second(ui, call, other, commands),
        None => first(ui, call, commands),
    }
    ui.add_space(10.0);
    let room = ui.available_width();
    ui.horizontal(|ui| {
        ui.add_space((room - 224.0).max(0.0) / 2.0);
        state.writing = link(ui, t(words::DECLINE_TEXT)).clicked();
        ui.add_space(14.0);
        silence = link(ui, t(words::SILENCE)).clicked();
    });
    keys(ui, call, talking.is_some(), commands);
    silence
}

/// Answer, answer with camera, decline.
fn first(ui: &mut Ui, call: &Call, commands: &mut Vec<Command>) {
    let palette = Palette::of(ui);
    let id = || call.id.clone();
    let buttons = [
        (icons::PHONE_DISCONNECT, words::DECLINE, palette.bad, Command::Decline { call: id(), text: None }),
        (icons::VIDEO_CAMERA, words::ANSWER_VIDEO, palette.good, Command::Answer { call: id(), video: true }),
        (icons::PHONE, words::ANSWER, palette.good, Command::Answer { call: id(), video: false }),
    ];
    let column = ui.available_width() / buttons.len() as f32;
    let top = ui.available_rect_before_wrap().min;
    for (number, (icon, word, fill, command)) in buttons.into_iter().enumerate() {
        let place = Rect::from_min_size(top + Vec2::new(column * number as f32, 0.0), Vec2::new(column, ROUND + 30.0));
        let layout = Layout::top_down(Align::Center);
        let mut ui = ui.new_child(UiBuilder::new().max_rect(place).layout(layout).id_salt(number));
        let response = round_button(&mut ui, icon, t(word), ROUND, fill, Color32::WHITE);
        if response.clicked() {
            commands.push(command);
        }
        ui.label(letters::small(t(word)).color(palette.quiet));
    }
    ui.allocate_space(Vec2::new(1.0, ROUND + 30.0));
}

/// A second call while one talks.
fn second(ui: &mut Ui, call: &Call, other: &Call, commands: &mut Vec<Command>) {
    let id = || call.id.clone();
    ui.spacing_mut().item_spacing.y = 8.0;
    if ui.add(Button::good(t(words::HOLD_ANSWER)).icon(icons::PHONE_PAUSE).wide()).clicked() {
        // The worker holds what is here before it answers.
        commands.push(Command::Answer { call: id(), video: false });
    }
    if ui.add(Button::secondary(t(words::END_ANSWER)).icon(icons::PHONE).wide()).clicked() {
        commands.push(Command::Hangup { call: other.id.clone() });
        commands.push(Command::Answer { call: id(), video: false });
    }
    if ui.add(Button::danger(t(words::DECLINE)).icon(icons::PHONE_DISCONNECT).wide()).clicked() {
        commands.push(Command::Decline { call: id(), text: None });
    }
}

/// Ready lines, and one of one's own.
fn lines(ui: &mut Ui, call: &Call, state: &mut State, commands: &mut Vec<Command>) {
    ui.add_space(12.0);
    let mut chosen = None;
    for line in LINES {
        if ui.add(Button::secondary(t(line)).wide().small()).clicked() {
            chosen = Some(t(line).to_owned());
        }
        ui.add_space(4.0);
    }
    let typed = Field::new(&mut state.own, t(words::WRITE_OWN), t(words::WRITE_OWN)).most(MAX_TEXT).show(ui);
    ui.add_space(6.0);
    let room = ui.available_width();
    ui.horizontal(|ui| {
        ui.add_space((room - 210.0).max(0.0) / 2.0);
        if ui.add(Button::secondary(t(words::CANCEL)).small()).clicked() {
            state.writing = false;
        }
        let own = state.own.trim().to_owned();
        let send = ui.add(Button::danger(t(words::DECLINE)).small().enabled(!own.is_empty())).clicked();
        if (send || typed.enter) && !own.is_empty() {
            chosen = Some(own);
        }
    });
    if let Some(text) = chosen {
        commands.push(Command::Decline { call: call.id.clone(), text: Some(text) });
        *state = State { raised: std::mem::take(&mut state.raised), ..State::default() };
    }
}

/// Enter answers, with Ctrl also with the camera; Escape declines.
fn keys(ui: &Ui, call: &Call, talking: bool, commands: &mut Vec<Command>) {
    let context = ui.ctx();
    // A button that has the keyboard takes Enter for itself.
    if context.memory(|memory| memory.focused().is_some()) || !commands.is_empty() {
        return;
    }
    let (enter, escape, command) =
        context.input(|input| (input.key_pressed(Key::Enter), input.key_pressed(Key::Escape), input.modifiers.command));
    if enter {
        commands.push(Command::Answer { call: call.id.clone(), video: command && !talking });
    } else if escape {
        commands.push(Command::Decline { call: call.id.clone(), text: None });
    }
}

/// A line at the top of the large window while something rings: who does not see the other window sees this.
pub(super) fn line(ui: &mut Ui, model: &Model, commands: &mut Vec<Command>) {
    let palette = Palette::of(ui);
    for call in model.ringing() {
        let panel = egui::Panel::top(format!("ring-{}", call.id)).resizable(false).show_separator_line(false);
        let frame = Frame::new().fill(palette.good).inner_margin(egui::Margin::symmetric(20, 10));
        panel.frame(frame).show(ui, |ui| {
            let rect = ui.available_rect_before_wrap();
            let response = ui.interact(rect, ui.id().with("line"), Sense::hover());
            let what = t(if call.wants_video { words::CALLS_YOU_VIDEO } else { words::CALLS_YOU });
            let line = format!("{} {what}", text::clean(&call.friend_name));
            response.widget_info(|| egui::WidgetInfo::labeled(egui::WidgetType::Label, true, &line));
            ui.horizontal(|ui| {
                let (place, _) = ui.allocate_exact_size(Vec2::splat(24.0), Sense::hover());
                let font = FontId::new(20.0, letters::icons_filled());
                ui.painter().text(place.center(), Align2::CENTER_CENTER, icons::PHONE_INCOMING, font, Color32::WHITE);
                ui.add(egui::Label::new(letters::strong(line).color(Color32::WHITE)).truncate());
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    if ui.add(Button::danger(t(words::DECLINE)).small()).clicked() {
                        commands.push(Command::Decline { call: call.id.clone(), text: None });
                    }
                    if ui.add(Button::secondary(t(words::ANSWER)).small()).clicked() {
                        commands.push(Command::Answer { call: call.id.clone(), video: false });
                    }
                });
            });
        });
    }
}
