//! The screens without a window: what stands on them, what a click or a key sends, and how they look.

mod pictures;
mod raster;
mod samples;
mod stage;

use eframe::egui::{Event as Input, Key, Modifiers, Theme, ThemePreference, Vec2};
use twocan_control::testing::{sample_address, sample_friend, sample_id};
use twocan_control::{CallState, Code, Direction, Error, Event, FileState, Request, RequestAnswer};

use super::{Dialog, First, Page, SECTIONS, Section};
use crate::design::list::ROW;
use crate::model::Update;
use crate::text::Language;
use crate::worker::Command;
use samples::{call, chat, file, snapshot, up};
use stage::{NOW, Stage};

#[test]
fn the_first_page_shows_the_address_and_who_is_there() {
    let mut stage = up();
    let text = stage.text();
    for expected in ["Mira Okafor", "online · local network", "Pavel Novák", "last seen 1 min ago", "Yuki Tanaka"] {
        assert!(text.contains(expected), "{expected} is missing in {text}");
    }
    assert!(text.contains("2 of 3 online") && text.contains("Connected to 12 other nodes"), "{text}");
    assert!(text.contains(&sample_address("me")), "{text}");
    stage.click("Copy address");
    assert!(stage.text().contains("Copied"));
}

#[test]
fn a_friend_is_chosen_called_and_compared() {
    let mut stage = up();
    stage.click("Mira Okafor");
    stage.click("Video");
    assert!(stage.sent().contains(&format!("Call {{ friend: {:?}, video: true }}", sample_id("Mira Okafor"))));
    stage.click("Details");
    stage.size.y = 1100.0;
    let text = stage.text();
    assert!(text.contains("Safety words") && text.contains("three"), "{text}");
    stage.click("They are the same");
    assert!(stage.sent().contains("verified: true"));
    stage.click("How good would a call be?");
    assert!(stage.sent().contains("Preflight"));
    assert!(stage.text().contains("Trying the path"));
    stage.click("Remove friend");
    assert!(stage.text().contains("Remove Mira Okafor?"));
    stage.click("Cancel");
    assert!(stage.shell.state.dialog.is_none());
    assert_eq!(stage.sent(), "[]");
    stage.click("Remove friend");
    stage.click("Remove");
    assert!(stage.sent().contains("Remove { friend"));
}

#[test]
fn a_conversation_is_read_and_written() {
    let mut stage = chat();
    let text = stage.text();
    for expected in ["Are you there", "https://example.org/menu", "holiday.jpg", "Today"] {
        assert!(text.contains(expected), "{expected} is missing in {text}");
    }
    assert!(stage.sent().contains("MarkRead"), "what is seen is read");
    stage.click("Message to Mira Okafor");
    stage.write("Hello");
    stage.key(Key::Enter, Modifiers::SHIFT);
    stage.write("there");
    assert!(!stage.sent().contains("Send"), "Shift+Enter begins a new line");
    stage.key(Key::Enter, Modifiers::NONE);
    assert!(stage.sent().contains("text: \"Hello\\nthere\""));
    assert!(stage.shell.model.chats.drafts.values().all(String::is_empty));
}

#[test]
fn a_file_is_accepted_paused_and_given_up() {
    let mut stage = chat();
    stage.click("Accept");
    assert!(stage.sent().contains("act: Accept"));
    stage.shell.model.apply(Update::Event(Event::File { file: file(FileState::Running) }), NOW);
    assert!(stage.text().contains("1.2 MB of 4.8 MB · 640 kB/s"));
    stage.click("Pause");
    assert!(stage.sent().contains("act: Pause"));
    stage.shell.model.apply(Update::Event(Event::File { file: file(FileState::Paused) }), NOW);
    stage.click("Resume");
    stage.click("Cancel");
    let sent = stage.sent();
    assert!(sent.contains("act: Resume") && sent.contains("act: Cancel"), "{sent}");
}

#[test]
fn a_strangers_request_is_accepted_or_blocked() {
    let mut stage = up();
    let request = Request {
        id: sample_id("carl"),
        name: "Carl\u{202e}".into(),
        message: "it's me".into(),
        received_ms: NOW,
        says_friends: false,
    };
    stage.shell.model.apply(Update::Event(Event::Request { request }), NOW);
    let text = stage.text();
    assert!(text.contains("Carl") && text.contains("it's me") && !text.contains('\u{202e}'), "{text}");
    stage.click("Accept");
    let expected = RequestAnswer::Accept { name: None };
    assert!(stage.sent().contains(&format!("{expected:?}")));
    stage.click("Block");
    assert!(stage.sent().contains("Block"));
}

#[test]
fn a_friend_is_added_by_the_address() {
    let mut stage = up();
    stage.key(Key::N, Modifiers::COMMAND);
    stage.settle();
    stage.pass(vec![Input::Paste(" twocan1abc ".into())]);
    let Some(Dialog::Add(add)) = &stage.shell.state.dialog else { panic!("the dialog is open") };
    assert_eq!(add.address, " twocan1abc ");
    stage.click("Send request");
    assert!(stage.sent().contains("Add(AddFriend { address: \"twocan1abc\", name: None, message: None })"));
    assert!(stage.shell.state.dialog.is_none());
    stage.click("Add a friend");
    stage.key(Key::Escape, Modifiers::NONE);
    stage.settle();
    assert!(stage.shell.state.dialog.is_none());
}

#[test]
fn missed_calls_are_listed_and_called_back() {
    let mut stage = up();
    stage.shell.model.desk.history = samples::history();
    assert!(stage.shell.model.desk.missed() > 0);
    stage.click("Calls");
    let text = stage.text();
    assert!(text.contains("Pavel Novák, missed") && text.contains("incoming · 12:03"), "{text}");
    assert!(stage.sent().contains("HistorySeen") && stage.shell.model.desk.missed() == 0);
    stage.click("Calls: Missed");
    assert!(!stage.text().contains("incoming"));
    stage.click("Call Pavel Novák");
    assert!(stage.sent().contains("Call {"));
}

#[test]
fn a_missing_node_is_explained_and_can_be_started() {
    let mut stage = Stage::new([Update::Missing(Error::new(Code::NoNode, "nothing there"))]);
    assert!(stage.text().contains("Your node does not run"));
    stage.click("Start it");
    assert_eq!(stage.sent(), "[StartNode]");
    assert!(stage.text().contains("Starting"));
    let error = Error::new(Code::Version, "it is older").hint("update it");
    let mut stage = Stage::new([Update::Missing(error)]);
    let text = stage.text();
    assert!(text.contains("Versions do not fit") && text.contains("it is older"), "{text}");
    stage.click("Restart the node");
    assert_eq!(stage.sent(), "[RestartNode]");
}

#[test]
fn a_node_that_stops_is_told_and_what_was_written_is_kept() {
    let mut stage = up();
    stage.click("Mira Okafor");
    stage.click("Message to Mira Okafor");
    stage.write("half a sen");
    stage.shell.model.apply(Update::Missing(Error::new(Code::NoNode, "gone")), NOW);
    assert!(stage.text().contains("Your node has stopped"));
    stage.shell.model.apply(Update::Connected(snapshot()), NOW);
    let text = stage.text();
    assert!(text.contains("half a sen") && text.contains("Mira Okafor"), "{text}");
}

#[test]
fn a_locked_node_asks_for_its_passphrase() {
    let mut stage = Stage::new([Update::Locked]);
    stage.write("open sesame");
    stage.key(Key::Enter, Modifiers::NONE);
    stage.settle();
    assert!(
        matches!(&stage.commands[..], [Command::Unlock(p)] if p.passphrase == "open sesame"),
        "{:?}",
        stage.commands
    );
    assert!(stage.shell.state.passphrase.is_empty());
}

#[test]
fn the_first_start_takes_three_steps() {
    let mut stage = Stage::new([Update::Missing(Error::new(Code::NoNode, "none"))]);
    stage.shell.state.first = Some(First::default());
    stage.shell.state.synthetic = true;
    assert!(stage.text().contains("Welcome to twocan"));
    stage.click("Get started");
    assert_eq!(stage.sent(), "[StartNode]");
    let mut new = snapshot();
    (new.identity.name, new.friends) = (String::new(), vec![]);
    stage.shell.model.apply(Update::Connected(new), NOW);
    stage.settle();
    stage.write("Zoë");
    stage.key(Key::Enter, Modifiers::NONE);
    stage.settle();
    assert!(stage.sent().contains("SetName(\"Zoë\")"));
    assert!(stage.text().contains(&sample_address("me")));
    stage.click("Continue");
    assert!(stage.text().contains("Play a test sound"));
    stage.click("Switch on");
    assert!(stage.sent().contains("InstallService"));
    stage.click("Start using twocan");
    assert!(stage.shell.state.first.is_none() && stage.shell.state.prefs.welcomed);
    assert!(stage.text().contains("No friends yet"));
}

#[test]
fn settings_reach_the_node() {
    let mut stage = up();
    stage.shell.model.desk = samples::desk();
    stage.key(Key::Num4, Modifiers::COMMAND);
    stage.click("Network");
    assert!(stage.text().contains("Open UDP port 4001 in your firewall."));
    stage.click("Hide my network address");
    assert!(stage.sent().contains("SetPrivacy(Privacy { hide_address: true })"));
    stage.click("Messages and files");
    stage.click("Read marks");
    assert!(stage.sent().contains("read_marks: Some(false)"));
    stage.click("Appearance");
    stage.click("Theme: Dark");
    assert_eq!(stage.shell.state.prefs.look, crate::prefs::Look::Dark);
    stage.click("Notifications");
    stage.click("Ring with sound");
    assert!(!stage.shell.state.prefs.ring);
    stage.click("Identity and backup");
    stage.click("Make a backup");
    stage.write("long enough");
    stage.click("Once more");
    stage.write("long enough");
    stage.key(Key::Enter, Modifiers::NONE);
    stage.settle();
    assert!(stage.sent().contains("Backup(Passphrase(..))"));
}

#[test]
fn ten_thousand_friends_cost_no_more_than_those_that_are_seen() {
    let mut many = snapshot();
    many.friends = (0..10_000).map(|n| sample_friend(&format!("Friend {n:05}"))).collect();
    let mut stage = Stage::new([Update::Connected(many)]);
    let rows = |stage: &mut Stage| stage.text().lines().filter(|line| line.starts_with("Friend ")).count();
    let most = (stage.size.y / ROW) as usize + 2;
    let first = rows(&mut stage);
    assert!((5..=most).contains(&first), "{first} rows of at most {most}");
    let wheel = Input::MouseWheel {
        unit: eframe::egui::MouseWheelUnit::Point,
        delta: Vec2::new(0.0, -300_000.0),
        phase: eframe::egui::TouchPhase::Move,
        modifiers: Modifiers::NONE,
    };
    stage.pass(vec![Input::PointerMoved(eframe::egui::pos2(200.0, 400.0))]);
    stage.pass(vec![wheel]);
    stage.settle();
    let text = stage.text();
    assert!(rows(&mut stage) <= most && !text.contains("Friend 00000"), "it has scrolled");
    stage.shell.state.search = "Friend 09999".into();
    assert_eq!(rows(&mut stage), 1);
}

#[test]
fn everything_can_be_drawn_in_every_language_and_with_odd_names() {
    let odd = [
        "",
        " ",
        "名前",
        "مريم",
        "a\nb",
        &"W".repeat(10_000),
        "🦜 parrot",
        "\u{202e}evil",
        "Z\u{301}\u{301}\u{301}\u{301}",
    ];
    for (theme, language) in [(Theme::Light, Language::German), (Theme::Dark, Language::English)] {
        let mut many = snapshot();
        many.friends.extend(odd.iter().map(|name| sample_friend(name)));
        let refused = Update::Refused(Error::new(Code::Internal, "oh"));
        let mut stage = Stage::sized(Vec2::new(640.0, 420.0), [Update::Connected(many), refused]);
        stage.shell.state.prefs.language = Some(language);
        stage.context.set_theme(theme);
        stage.shell.model.desk = samples::desk();
        assert!(stage.text().contains("oh"));
        for name in odd {
            stage.shell.model.selected = Some(sample_id(name));
            for details in [true, false] {
                stage.shell.state.details = details;
                stage.pass(vec![]);
            }
        }
        for section in SECTIONS {
            stage.shell.state.page = Page::Settings(section);
            stage.settle();
        }
        let _ = stage.picture();
        stage.context.set_theme(ThemePreference::System);
    }
}

#[test]
fn everything_that_can_be_operated_has_a_name() {
    let mut stage = chat();
    let mut pages = vec![("conversation", stage.controls())];
    for section in SECTIONS {
        stage.shell.state.page = Page::Settings(section);
        pages.push(("settings", stage.controls()));
    }
    stage.shell.state.page = Page::Address;
    stage.shell.state.dialog = Some(Dialog::add());
    pages.push(("add", stage.controls()));
    for (page, controls) in pages {
        assert!(controls.len() > 4, "{page}");
        for (role, name) in controls {
            assert!(name.is_some_and(|name| !name.trim().is_empty()), "a {role:?} of {page} has no name");
        }
    }
}

#[test]
fn the_keyboard_alone_reaches_a_friend_and_calls() {
    let mut stage = up();
    stage.key(Key::F, Modifiers::COMMAND);
    stage.settle();
    stage.write("jonas");
    stage.key(Key::Enter, Modifiers::NONE);
    stage.settle();
    assert_eq!(stage.shell.model.selected, Some(sample_id("Jonas Lindqvist")));
    stage.shell.state.search.clear();
    // On from there to the buttons of the page; each stop has a name.
    for _ in 0..60 {
        stage.key(Key::Tab, Modifiers::NONE);
        assert!(!stage.focused().is_empty(), "something without a name has the keyboard");
        if stage.focused() == "Call" {
            stage.key(Key::Enter, Modifiers::NONE);
            assert!(stage.sent().contains("Call {"));
            return;
        }
    }
    panic!("no call button was reached");
}

#[test]
fn a_call_rings_and_is_answered_or_declined() {
    let mut stage = up();
    let incoming = call(CallState::Ringing, Direction::Incoming);
    stage.shell.model.apply(Update::Event(Event::CallIncoming { call: incoming }), NOW);
    assert!(stage.text().contains("Mira Okafor"));
    stage.shell.state.page = Page::Settings(Section::Profile);
    assert!(stage.text().contains("Mira Okafor"), "it rings on every page");
}
