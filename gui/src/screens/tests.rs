//! The screens without a window: what stands on them, and what a click sends.

use eframe::egui::{self, Context, Event as Input, Modifiers, PointerButton, Pos2, RawInput, Rect, Shape, Theme, Vec2};
use twocan_control::testing::{sample_address, sample_friend, sample_id};
use twocan_control::{Code, Error, Event, FriendState, Health, Identity, Request, RequestAnswer, Status, Timings};

use super::Dialog;
use crate::app::Shell;
use crate::model::{Snapshot, Update};
use crate::seat::Live;
use crate::worker::Command;

const NOW: u64 = 1_700_000_100_000;

/// A window that nobody sees.
struct Stage {
    context: Context,
    shell: Shell,
    live: Live,
    commands: Vec<Command>,
}

impl Stage {
    fn new(updates: impl IntoIterator<Item = Update>) -> Self {
        let context = Context::default();
        crate::theme::install(&context);
        let mut shell = Shell::default();
        for update in updates {
            shell.model.apply(update, NOW);
        }
        let mut stage = Self { context, shell, live: Live::default(), commands: Vec::new() };
        // Fonts and sizes are known after a pass or two.
        stage.pass(vec![]);
        stage.pass(vec![]);
        stage
    }

    /// One pass with these inputs; every piece of writing and where it stands.
    fn pass(&mut self, events: Vec<Input>) -> Vec<(String, Rect)> {
        let screen_rect = Some(Rect::from_min_size(Pos2::ZERO, Vec2::new(980.0, 660.0)));
        let input = RawInput { screen_rect, events, focused: true, ..RawInput::default() };
        let mut commands = Vec::new();
        let output = self.context.run_ui(input, |ui| commands.extend(self.shell.show(ui, NOW, &self.live)));
        self.commands.extend(commands);
        let mut texts = Vec::new();
        for clipped in &output.shapes {
            collect(&clipped.shape, clipped.clip_rect, &mut texts);
        }
        // Nothing may be impossible to draw.
        assert!(!self.context.tessellate(output.shapes, 1.0).is_empty());
        texts
    }

    fn text(&mut self) -> String {
        self.pass(vec![]).into_iter().map(|(text, _)| text).collect::<Vec<_>>().join("\n")
    }

    /// Clicks on the last writing of these words.
    fn click(&mut self, label: &str) {
        let texts = self.pass(vec![]);
        let found = texts.iter().rfind(|(text, _)| text.contains(label));
        let at = found.unwrap_or_else(|| panic!("no \"{label}\" in {texts:?}")).1.center();
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

    fn sent(&mut self) -> String {
        format!("{:?}", std::mem::take(&mut self.commands))
    }
}

fn collect(shape: &Shape, clip: Rect, into: &mut Vec<(String, Rect)>) {
    match shape {
        Shape::Text(text) => {
            let rect = text.visual_bounding_rect();
            if clip.intersects(rect) {
                into.push((text.galley.text().to_owned(), rect));
            }
        }
        Shape::Vec(shapes) => shapes.iter().for_each(|shape| collect(shape, clip, into)),
        _ => {}
    }
}

fn snapshot() -> Snapshot {
    let mut offline = sample_friend("Pavel Novak");
    (offline.online, offline.link) = (false, None);
    let mut asked = sample_friend("Yuki");
    (asked.online, asked.state) = (false, FriendState::Requested);
    Snapshot {
        identity: Identity {
            address: sample_address("me"),
            uri: format!("twocan:{}", sample_id("me")),
            root: sample_id("me"),
            name: "Alice".into(),
            picture: None,
            device_index: 0,
            token_rotated_ms: None,
        },
        status: Status {
            api_version: 1,
            version: "0.1.0".into(),
            pid: 1,
            home: "/home/alice".into(),
            uptime_s: 1,
            locked: false,
            availability: Default::default(),
            peer_id: String::new(),
            listen: vec![],
            media_port: 1,
            reachability: twocan_control::doctor::Reachability::Unknown,
            dht: Health { peers: 12, ..Health::default() },
            friends: 3,
            friends_online: 1,
            requests: 0,
            calls: 0,
            missed: 0,
            unread: 0,
            timings: Timings::default(),
            notices: vec!["A notice.".into()],
        },
        friends: vec![sample_friend("Mira Okafor"), offline, asked],
        requests: vec![],
        calls: vec![],
    }
}

fn up() -> Stage {
    Stage::new([Update::Connected(snapshot())])
}

#[test]
fn the_first_page_shows_the_address_and_who_is_there() {
    let mut stage = up();
    let text = stage.text();
    for expected in ["Alice", "Mira Okafor", "online · local network", "Pavel Novak", "last seen 1 min ago", "Yuki"] {
        assert!(text.contains(expected), "{expected} is missing in {text}");
    }
    assert!(
        text.contains("1 of 2 online") && text.contains("Connected to 12 other nodes") && text.contains("A notice.")
    );
    assert!(text.replace('\n', "").contains(&sample_address("me")[..40]), "{text}");
    stage.click("Copy address");
    assert!(stage.text().contains("Copied"));
}

#[test]
fn a_friend_is_chosen_and_called() {
    let mut stage = up();
    stage.click("Mira Okafor");
    let text = stage.text();
    assert!(text.contains("Safety words") && text.contains("one two three four five six"), "{text}");
    stage.click("Video call");
    assert!(stage.sent().contains(&format!("Call {{ friend: {:?}, video: true }}", sample_id("Mira Okafor"))));
    stage.click("They are the same");
    assert!(stage.sent().contains("verified: true"));
    stage.click("Remove friend");
    assert!(stage.text().contains("Remove Mira Okafor?"));
    stage.click("Cancel");
    assert!(stage.shell.state.dialog.is_none());
    assert_eq!(stage.sent(), "[]");
}

#[test]
fn a_strangers_request_is_accepted_or_blocked() {
    let request = Request {
        id: sample_id("carl"),
        name: "Carl".into(),
        message: "it's me".into(),
        received_ms: NOW,
        says_friends: false,
    };
    let mut stage = up();
    stage.shell.model.apply(Update::Event(Event::Request { request }), NOW);
    let text = stage.text();
    assert!(text.contains("Carl") && text.contains("it's me"), "{text}");
    stage.click("Accept");
    let expected = RequestAnswer::Accept { name: None };
    assert!(stage.sent().contains(&format!("{expected:?}")));
    stage.click("Block");
    assert!(stage.sent().contains("Block"));
}

#[test]
fn a_friend_is_added_by_the_address() {
    let mut stage = up();
    stage.click("Add a friend");
    stage.pass(vec![]);
    stage.pass(vec![Input::Paste(" twocan1abc ".into())]);
    let Some(Dialog::Add { address, .. }) = &stage.shell.state.dialog else { panic!("the dialog is open") };
    assert_eq!(address, " twocan1abc ");
    stage.click("Ask");
    assert!(stage.sent().contains("Add(AddFriend { address: \"twocan1abc\", name: None, message: None })"));
    assert!(stage.shell.state.dialog.is_none());
}

#[test]
fn a_missing_node_is_explained_and_can_be_started() {
    let mut stage = Stage::new([Update::Missing(Error::new(Code::NoNode, "nothing there"))]);
    assert!(stage.text().contains("Your node does not run"));
    stage.click("Start it");
    assert_eq!(stage.sent(), "[StartNode]");
    assert!(stage.text().contains("Starting"));
    let mut stage = Stage::new([Update::Missing(Error::new(Code::Version, "it is older").hint("update it"))]);
    let text = stage.text();
    assert!(text.contains("it is older") && text.contains("update it") && !text.contains("Start it"), "{text}");
}

#[test]
fn a_locked_node_asks_for_its_passphrase() {
    let mut stage = Stage::new([Update::Locked]);
    stage.shell.state.passphrase = "open sesame".into();
    stage.click("Unlock");
    assert!(matches!(&stage.commands[..], [Command::Unlock(p)] if p.passphrase == "open sesame"));
    assert!(stage.shell.state.passphrase.is_empty());
}

#[test]
fn everything_can_be_drawn_in_light_and_dark_and_with_odd_names() {
    let odd = ["", " ", "名前", "a\nb", &"W".repeat(64), "🦜 parrot"];
    for theme in [Theme::Light, Theme::Dark] {
        let mut snapshot = snapshot();
        snapshot.friends.extend(odd.iter().map(|name| sample_friend(name)));
        let mut stage = Stage::new([Update::Connected(snapshot), Update::Refused(Error::new(Code::Internal, "oh"))]);
        stage.context.set_theme(theme);
        stage.shell.state.dialog = Some(Dialog::Name("x".into()));
        assert!(stage.text().contains("oh"));
        for name in odd {
            stage.shell.state.dialog = None;
            stage.shell.model.selected = Some(sample_id(name));
            stage.pass(vec![]);
        }
        stage.context.set_theme(egui::ThemePreference::System);
    }
}
