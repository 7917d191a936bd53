//! How every screen looks, in both themes at two sizes, against the pictures in `tests/snapshots`. `TWOCAN_BLESS=1`
//! makes them anew; look at them before they are kept.

use std::path::Path;

use eframe::egui::Vec2;
use twocan_control::testing::{sample_friend, sample_id};
use twocan_control::{Code, Error, Event, Phrase, Request};
use twocan_media::audio::backend::Device;

use super::samples::{chat, desk, snapshot, up};
use super::stage::{NOW, Stage};
use crate::local::{Entry, Machine};
use crate::model::Update;
use crate::model::desk::Loadable;
use crate::screens::dialogs::{Dialog, Secret};
use crate::screens::{First, For, Page, Picker, Section};
use crate::text::Language;

/// Shows the same at both sizes.
fn both(name: &str, mut stage: Stage) {
    stage.look(name);
    stage.size = Vec2::new(720.0, 520.0);
    stage.settle();
    stage.look(name);
}

fn machine() -> Machine {
    let device =
        |id: &str, name: &str, input| Device { id: id.into(), name: name.into(), input, default: true, monitor: false };
    Machine {
        sound: vec![device("m", "Built-in microphone", true), device("s", "Headphones", false)],
        trouble: None,
        cameras: vec!["/dev/video0".into()],
    }
}

fn first(step: usize) -> Stage {
    let mut stage = up();
    stage.shell.state.machine = Some(machine());
    stage.shell.state.first = Some(First { begun: true, step, ..First::default() });
    stage
}

#[test]
fn the_greeting() {
    let mut stage = Stage::new([Update::Missing(Error::new(Code::NoNode, "none"))]);
    stage.shell.state.first = Some(First::default());
    both("first-greeting", stage);
}

#[test]
fn the_three_steps() {
    for (step, name) in [(0, "first-name"), (1, "first-address"), (2, "first-devices")] {
        both(name, first(step));
    }
}

#[test]
fn the_own_address() {
    both("address", up());
}

#[test]
fn a_conversation() {
    both("conversation", chat());
}

#[test]
fn details_of_a_friend() {
    let mut stage = chat();
    stage.shell.state.details = true;
    let mut mira = sample_friend("Mira Okafor");
    mira.verified = true;
    stage.shell.model.apply(Update::Event(Event::Friend { friend: mira }), NOW);
    both("details", stage);
}

#[test]
fn requests_and_unread_lines() {
    let mut stage = up();
    stage.shell.model.apply(
        Update::Event(Event::Request {
            request: Request {
                id: sample_id("Carl"),
                name: "Carl Berg".into(),
                message: "We met at the concert".into(),
                received_ms: NOW,
                says_friends: false,
            },
        }),
        NOW,
    );
    let mut other = chat();
    let conversation = twocan_control::Conversation {
        unread: 2,
        ..other.shell.model.chats.conversation(&sample_id("Mira Okafor")).cloned().unwrap()
    };
    other.commands.clear();
    stage.shell.model.apply(Update::Event(Event::Conversation { conversation }), NOW);
    stage.shell.model.selected = Some(sample_id("Pavel Novák"));
    both("people", stage);
}

#[test]
fn nobody_yet() {
    let mut none = snapshot();
    none.friends.clear();
    both("people-none", Stage::new([Update::Connected(none)]));
}

#[test]
fn calls_that_are_over() {
    let mut stage = up();
    stage.shell.model.desk = desk();
    stage.shell.state.page = Page::Calls;
    both("calls", stage);
}

#[test]
fn the_settings() {
    for (section, name) in [
        (Section::Profile, "settings-profile"),
        (Section::Devices, "settings-devices"),
        (Section::Network, "settings-network"),
        (Section::Notifications, "settings-notifications"),
        (Section::Appearance, "settings-appearance"),
        (Section::Messages, "settings-messages"),
        (Section::Identity, "settings-identity"),
        (Section::About, "settings-about"),
    ] {
        let mut stage = up();
        stage.shell.model.desk = desk();
        stage.shell.state.machine = Some(machine());
        stage.shell.state.page = Page::Settings(section);
        both(name, stage);
    }
}

#[test]
fn dialogs() {
    let remove = Dialog::Remove { friend: sample_id("Mira Okafor"), name: "Mira Okafor".into(), accepted: true };
    for (dialog, name) in [
        (Dialog::add(), "dialog-add"),
        (remove, "dialog-remove"),
        (Dialog::Words, "dialog-words"),
        (Dialog::Backup(Secret::default()), "dialog-backup"),
    ] {
        let mut stage = chat();
        let words = (1..=24).map(|n| format!("word{n}")).collect::<Vec<_>>().join(" ");
        stage.shell.model.desk.phrase = Loadable::Ready(Phrase { words });
        stage.shell.state.dialog = Some(dialog);
        stage.settle();
        both(name, stage);
    }
}

#[test]
fn choosing_a_file() {
    let mut stage = chat();
    let entry = |name: &str, folder, size| Entry { name: name.into(), folder, size };
    let entries = vec![
        entry("Documents", true, 0),
        entry("Pictures", true, 0),
        entry("letter.pdf", false, 84_000),
        entry("film.mkv", false, 1_200_000_000),
    ];
    let purpose = For::Send(sample_id("Mira Okafor"));
    stage.shell.state.picker = Some(Picker::of(purpose, Path::new("/home/alice"), entries));
    both("picker", stage);
}

#[test]
fn what_went_wrong() {
    both("trouble-stopped", {
        let mut stage = up();
        stage.shell.model.apply(Update::Missing(Error::new(Code::NoNode, "gone")), NOW);
        stage
    });
    let version = Error::new(Code::Version, "the node speaks version 2 of the API, this window version 1");
    both("trouble-version", Stage::new([Update::Missing(version)]));
    both("trouble-locked", Stage::new([Update::Locked]));
    let mut stage = up();
    let error =
        Error::new(Code::Unreachable, "Pavel Novák cannot be reached now").hint("the call is listed, try later");
    stage.shell.model.apply(Update::Refused(error), NOW);
    both("trouble-toast", stage);
}

#[test]
fn in_german_and_in_large_letters() {
    let mut stage = chat();
    stage.shell.state.prefs.language = Some(Language::German);
    stage.shell.state.details = true;
    both("german", stage);
    let mut stage = chat();
    stage.shell.state.prefs.scale = 150;
    stage.settle();
    // A window of the same size in pixels holds fewer points.
    both("scaled", stage);
}
