//! The page of a call and the window that rings, without a display: what a screen reader finds, and what a click sends.

use eframe::egui::{self, Context, Event as Input, Key, Modifiers, PointerButton, Pos2, RawInput, Rect, Theme, Vec2};
use twocan_control::testing::{sample_call, sample_friend};
use twocan_control::{
    Call, CallState, Direction, Event, LinkPath, Outcome, ParticipantQuality, PictureQuality, Quality, RecordState,
    Recording,
};
use twocan_media::settings::MediaSettings;
use twocan_media::video::screen::{Offer, Screen, Window};

use super::Side;
use crate::app::Shell;
use crate::model::call::gear::{Found, Gear};
use crate::model::{Node, Update};
use crate::seat::Live;
use crate::worker::Command;

const NOW: u64 = 1_700_000_100_000;

/// A window that nobody sees.
struct Stage {
    context: Context,
    shell: Shell,
    live: Live,
    commands: Vec<Command>,
    /// Plain writing of the latest pass.
    labels: Vec<(String, Rect)>,
    size: Vec2,
}

impl Stage {
    fn of(call: Call, here: bool) -> Self {
        let context = Context::default();
        crate::theme::install(&context);
        context.enable_accesskit();
        let mut shell = Shell::default();
        shell.model.node = Node::Up;
        let id = call.id.clone();
        shell.model.apply(Update::Event(Event::Call { call }), NOW);
        if here {
            shell.model.apply(Update::Seat(Some(id)), NOW);
        }
        let size = Vec2::new(980.0, 660.0);
        let mut stage = Self { context, shell, live: Live::default(), commands: Vec::new(), labels: Vec::new(), size };
        // Fonts and sizes are known after a pass or two.
        stage.pass(vec![]);
        stage.pass(vec![]);
        stage
    }

    /// One pass; names and places of everything.
    fn pass(&mut self, events: Vec<Input>) -> Vec<(String, Rect)> {
        let modifiers = events.iter().find_map(|event| match event {
            Input::Key { modifiers, .. } => Some(*modifiers),
            _ => None,
        });
        let screen_rect = Some(Rect::from_min_size(Pos2::ZERO, self.size));
        let modifiers = modifiers.unwrap_or_default();
        let input = RawInput { screen_rect, events, focused: true, modifiers, ..RawInput::default() };
        let mut commands = Vec::new();
        let output = self.context.run_ui(input, |ui| commands.extend(self.shell.show(ui, NOW, &self.live)));
        self.commands.extend(commands);
        assert!(!self.context.tessellate(output.shapes, 1.0).is_empty());
        let update = output.platform_output.accesskit_update.expect("a tree for screen readers");
        self.labels.clear();
        let named = |node: &egui::accesskit::Node| {
            let text = [node.label(), node.value()].into_iter().flatten().collect::<Vec<_>>().join(" ");
            let place = node.bounds()?;
            let corner = |x, y| Pos2::new(x as f32, y as f32);
            Some((text, Rect::from_min_max(corner(place.x0, place.y0), corner(place.x1, place.y1))))
        };
        let is_label = |node: &egui::accesskit::Node| node.role() == egui::accesskit::Role::Label;
        self.labels.extend(update.nodes.iter().filter(|(_, node)| is_label(node)).filter_map(|(_, node)| named(node)));
        update.nodes.iter().filter_map(|(_, node)| named(node)).filter(|(text, _)| !text.is_empty()).collect()
    }

    fn text(&mut self) -> String {
        self.pass(vec![]).into_iter().map(|(text, _)| text).collect::<Vec<_>>().join("\n")
    }

    fn click(&mut self, label: &str) {
        let found = self.pass(vec![]);
        // Nobody clicks on plain writing, which may say the same as the button above it.
        let on = |thing: &&(String, Rect)| !self.labels.contains(thing);
        let exact = found.iter().filter(on).find(|(text, _)| text == label);
        let at = exact.or_else(|| found.iter().filter(on).find(|(text, _)| text.starts_with(label)));
        let at = at.unwrap_or_else(|| panic!("no \"{label}\" in {found:?}")).1.center();
        let button = |pressed| Input::PointerButton {
            pos: at,
            button: PointerButton::Primary,
            pressed,
            modifiers: Modifiers::default(),
        };
        self.pass(vec![Input::PointerMoved(at)]);
        self.pass(vec![button(true)]);
        self.pass(vec![button(false)]);
    }

    fn key(&mut self, key: Key, modifiers: Modifiers) {
        for pressed in [true, false] {
            let event = Input::Key { key, physical_key: None, pressed, repeat: false, modifiers };
            self.pass(vec![event]);
        }
    }

    fn sent(&mut self) -> String {
        format!("{:?}", std::mem::take(&mut self.commands))
    }
}

fn call(state: CallState, direction: Direction) -> Call {
    let mut call = sample_call(&sample_friend("Mira Okafor"), direction, state);
    call.answered_ms = (state != CallState::Ringing).then_some(NOW - 61_000);
    call.quality = Some(Quality {
        level: 3,
        path: Some(LinkPath::Relayed),
        relay: Some("carol's relay".into()),
        rtt_ms: Some(80.0),
        loss_in: 0.04,
        participants: vec![ParticipantQuality::default()],
        ..Quality::default()
    });
    call
}

#[test]
fn a_call_rings_in_a_window_and_is_answered_by_button_or_key() {
    let mut incoming = call(CallState::Ringing, Direction::Incoming);
    incoming.wants_video = true;
    let id = incoming.id.clone();
    let mut stage = Stage::of(incoming, false);
    let text = stage.text();
    assert!(text.contains("Mira Okafor") && text.contains("is calling you with video"), "{text}");
    stage.click("With camera");
    assert!(stage.sent().contains(&format!("Answer {{ call: {id:?}, video: true }}")));
    stage.key(Key::Enter, Modifiers::NONE);
    assert!(stage.sent().contains("video: false"));
    stage.key(Key::Escape, Modifiers::NONE);
    assert!(stage.sent().contains("Decline { call"));
}

#[test]
fn a_call_is_declined_with_a_line_and_silenced() {
    let mut stage = Stage::of(call(CallState::Ringing, Direction::Incoming), false);
    stage.click("Silence");
    assert!(crate::model::ring::tune(&stage.shell.model).is_none());
    stage.click("Decline with a message");
    stage.click("I am in a meeting.");
    assert!(stage.sent().contains("text: Some(\"I am in a meeting.\")"));
}

#[test]
fn a_second_call_is_taken_while_the_first_is_held() {
    let mut stage = Stage::of(call(CallState::Active, Direction::Outgoing), true);
    let mut second = sample_call(&sample_friend("Yuki"), Direction::Incoming, CallState::Ringing);
    second.id = "2".into();
    stage.shell.model.apply(Update::Event(Event::CallIncoming { call: second.clone() }), NOW);
    stage.pass(vec![]);
    let text = stage.text();
    assert!(text.contains("Yuki") && text.contains("You are in a call with Mira Okafor"), "{text}");
    stage.click("Hold and answer");
    assert!(stage.sent().contains("Answer { call: \"2\""));
    stage.click("Hang up and answer");
    let sent = stage.sent();
    assert!(sent.find("Hangup").unwrap() < sent.find("Answer").unwrap(), "{sent}");
    // It is taken: the first one waits, and can be gone back to.
    (second.state, second.answered_ms) = (CallState::Active, Some(NOW));
    stage.shell.model.apply(Update::Event(Event::Call { call: second }), NOW);
    stage.shell.model.apply(Update::Seat(Some("2".into())), NOW);
    stage.pass(vec![]);
    stage.click("Switch");
    assert!(stage.sent().contains("Join {"));
}

#[test]
fn what_can_be_done_in_a_call_is_done_by_buttons_and_keys() {
    let mut stage = Stage::of(call(CallState::Active, Direction::Outgoing), true);
    let text = stage.text();
    assert!(text.contains("1:01") && text.contains("through your friend carol's relay"), "{text}");
    for (name, sent) in [
        ("Mute", "Mute { call"),
        ("Camera on", "Video { call"),
        ("Hold", "held: true"),
        ("Record", "Record(Ask"),
        ("Leave", "Hangup {"),
    ] {
        stage.click(name);
        let was = stage.sent();
        assert!(was.contains(sent), "{name}: {was}");
    }
    stage.key(Key::M, Modifiers::NONE);
    assert!(stage.sent().contains("muted: true"));
    stage.key(Key::F, Modifiers::NONE);
    assert!(stage.shell.state.call.full);
    stage.key(Key::Escape, Modifiers::NONE);
    assert!(!stage.shell.state.call.full);
    stage.click("Small window");
    assert!(stage.shell.state.call.small.is_some());
}

#[test]
fn a_screen_is_chosen_by_its_name() {
    let mut stage = Stage::of(call(CallState::Active, Direction::Outgoing), true);
    stage.click("Share screen");
    assert!(stage.sent().contains("Look(Screens)"));
    let mut offer = Offer::default();
    offer.screens.push(Screen { number: 0, name: "eDP-1".into(), width: 1920, height: 1080, primary: true });
    offer.windows.push(Window { id: "0x7".into(), title: "Holiday plans".into(), width: 800, height: 600 });
    stage.shell.model.apply(Update::Found(Found::Screens(Ok(offer))), NOW);
    // The dialog takes its place in the middle within a few passes.
    for _ in 0..4 {
        stage.pass(vec![]);
    }
    stage.click("Holiday plans");
    stage.click("Share");
    let sent = stage.sent();
    assert!(sent.contains("Window(\"0x7\")") && sent.contains("sound: None"), "{sent}");
    assert!(stage.shell.state.call.chooser.is_none());
    stage.click("Share screen");
    stage.shell.model.apply(Update::Found(Found::Screens(Err("no display".into()))), NOW);
    stage.pass(vec![]);
    assert!(stage.text().contains("no display"));
}

#[test]
fn nothing_is_recorded_without_a_yes_and_all_see_it() {
    let mut asked = call(CallState::Active, Direction::Incoming);
    let recording = |state, mine| Some(Recording { state, mine, file: None, since_ms: None, reason: None });
    asked.recording = recording(RecordState::Asked, false);
    let mut stage = Stage::of(asked.clone(), true);
    assert!(stage.text().contains("Mira Okafor wants to record this call"));
    stage.key(Key::Escape, Modifiers::NONE);
    assert!(stage.sent().contains("Record(Refuse)"), "closing the question is no consent");
    stage.click("Allow");
    assert!(stage.sent().contains("Record(Allow)"));
    asked.recording = recording(RecordState::Running, false);
    stage.shell.model.apply(Update::Event(Event::Call { call: asked }), NOW);
    assert!(stage.text().contains("is recording this call"));
    stage.click("Do not allow");
    assert!(stage.sent().contains("Record(Refuse)"));
}

#[test]
fn a_broken_path_is_told_and_an_ended_call_offers_another() {
    let mut stage = Stage::of(call(CallState::Reconnecting, Direction::Outgoing), true);
    assert!(stage.text().contains("Reconnecting"));
    let mut over = call(CallState::Ended, Direction::Outgoing);
    (over.outcome, over.ended_ms) = (Some(Outcome::Completed), Some(NOW));
    stage.shell.model.apply(Update::Event(Event::Call { call: over }), NOW);
    stage.pass(vec![]);
    stage.click("Call again");
    assert!(stage.sent().contains("Call {"));
    stage.click("Close");
    assert!(!stage.text().contains("Call again"));
}

#[test]
fn a_call_whose_sound_is_elsewhere_can_be_brought_here() {
    let mut stage = Stage::of(call(CallState::Active, Direction::Outgoing), false);
    stage.click("Take the call up again");
    assert!(stage.sent().contains("Join {"));
}

#[test]
fn everything_can_be_drawn_in_both_themes_in_small_and_large_and_with_odd_names() {
    for (theme, size) in [(Theme::Light, Vec2::new(640.0, 420.0)), (Theme::Dark, Vec2::new(1600.0, 1000.0))] {
        for name in ["", "名前", "a\nb", &"W".repeat(10_000), "🦜 parrot"] {
            let mut call = call(CallState::Active, Direction::Outgoing);
            call.friend_name = name.to_owned();
            (call.remote_video, call.remote_screen, call.video, call.held) = (true, true, true, true);
            let picture = PictureQuality { width: 640, height: 360, ..PictureQuality::default() };
            if let Some(quality) = &mut call.quality {
                quality.participants[0].received.camera = Some(picture);
            }
            let mut stage = Stage::of(call.clone(), true);
            stage.context.set_theme(theme);
            stage.size = size;
            for side in [Side::Details, Side::Chat, Side::None] {
                stage.shell.state.call.side = side;
                let quality = call.quality.clone().unwrap_or_default();
                stage.shell.model.apply(Update::Quality { call: call.id.clone(), quality }, NOW);
                stage.pass(vec![]);
            }
            let gear =
                Gear { cameras: vec!["/dev/video0".into()], chosen: MediaSettings::default(), ..Gear::default() };
            stage.shell.model.apply(Update::Found(Found::Gear(Box::new(gear))), NOW);
            stage.click("Devices");
            stage.pass(vec![]);
            assert!(stage.text().contains("/dev/video0"));
        }
    }
}
