//! A screen shared under Wayland, through the portal of a real (headless) desktop: asked for, seen, shared again without
//! being asked, refused, and stopped by the desktop.
//!
//! Skipped, and said aloud, where sway, PipeWire or the portals are not installed. The programs on the desktop are this
//! test itself as child processes, because a process has one display for its whole life.
//! `TWOCAN_WAYLAND_PICTURE=FILE.png` keeps what was seen.

#![cfg(target_os = "linux")]
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

#[path = "wayland/desk.rs"]
mod desk;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::Instant;

use desk::{Desk, PATIENCE, SCREEN, SIZE};
use twocan_media::session::{Outgoing, Part};
use twocan_media::video::codec::PictureCodec;
use twocan_media::video::moving::Tag;
use twocan_media::video::screen::{self, Dialog, Kinds, Pick, ScreenSource};
use twocan_media::video::{Receiver, Sender, Settings, VideoSink, VideoSource, write_png};

/// Says to the child process which part it plays.
const PLAY: &str = "TWOCAN_WAYLAND_TEST";
/// Where it keeps the desktop's permit.
const PERMIT: &str = "TWOCAN_WAYLAND_PERMIT";
/// Where a picture of what was seen is kept.
const PICTURE: &str = "TWOCAN_WAYLAND_PICTURE";

/// Title of the window that shows something.
const TITLE: &str = "twocan test";

/// What the child processes do; in the test run itself this does nothing.
#[test]
fn part() {
    match std::env::var(PLAY).as_deref() {
        Ok("show") => show(),
        Ok("offer") => match screen::offer() {
            Ok(offer) => println!("offer {:?}", offer.dialog),
            Err(error) => println!("none {error}"),
        },
        Ok("share") => share(Pick::Screen, false),
        Ok("again") => share(Pick::Screen, true),
        Ok("window") => share(Pick::Window, false),
        _ => {}
    }
}

/// Shows the moving picture in a window until the parent kills it.
fn show() {
    let sink = VideoSink::Window { title: TITLE.into() };
    let receiver = Receiver::start(sink, Arc::new(|_, _| None), Arc::new(|_| ())).expect("a window");
    let (put, frames) = mpsc::sync_channel(100);
    let out = Arc::new(move |outgoing| drop(put.try_send(outgoing)));
    let sender = Sender::start(VideoSource::Moving { seed: 1 }, Settings::default(), PictureCodec::default(), out);
    let sender = sender.expect("a sender");
    sender.set_on(true);
    let deadline = Instant::now() + 4 * PATIENCE;
    while Instant::now() < deadline {
        if let Ok(Outgoing::Frame(frame)) = frames.recv_timeout(PATIENCE) {
            receiver.push(frame);
        }
    }
}

/// Shares what the person chooses, and says what it sees: "seen WIDTH HEIGHT NUMBER" for each new number in the picture,
/// "over WHY" at the end.
fn share(pick: Pick, again: bool) {
    let permit = std::env::var_os(PERMIT).map(Into::into);
    let source = ScreenSource::Dialog(Dialog { pick, again, permit });
    let (put, told) = mpsc::sync_channel(100);
    let out = Arc::new(move |outgoing| drop(put.try_send(outgoing)));
    let sender = Sender::share(&source, screen::Settings::default(), PictureCodec::default(), out).expect("a sender");
    sender.set_on(true);
    let preview = sender.preview();
    let mut seen = None;
    while let Ok(outgoing) = told.recv_timeout(PATIENCE) {
        match outgoing {
            Outgoing::Problem(problem) => {
                assert_eq!(problem.part, Part::ScreenIn);
                println!("{} {}", if problem.retrying { "trouble" } else { "over" }, problem.text);
                if !problem.retrying {
                    return;
                }
            }
            _ => {
                let Some(picture) = preview.latest() else { continue };
                let number = Tag::read(&picture).map(|tag| tag.number);
                if number.is_some() && number != seen {
                    seen = number;
                    println!("seen {} {} {}", picture.width(), picture.height(), number.unwrap_or_default());
                    if let Some(file) = std::env::var_os(PICTURE) {
                        let file = std::fs::File::create(file).expect("a file");
                        write_png(&picture, file).expect("a picture");
                    }
                }
            }
        }
    }
}

/// A part of the test in a process of its own, which ends with this.
struct Player(Child, mpsc::Receiver<String>);

impl Player {
    fn start(desk: &Desk, part: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("the test's own path"));
        desk.furnish(&mut command);
        command.args(["--exact", "part", "--nocapture"]).env(PLAY, part).env(PERMIT, desk.path("permit"));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("a child");
        let lines = lines(child.stdout.take().expect("its output"));
        Self(child, lines)
    }

    /// The rest of the next line that begins with this word.
    fn says(&self, word: &str) -> String {
        self.hears(word).unwrap_or_else(|others| panic!("it did not say {word:?}, but {others:?}"))
    }

    /// The same, or all that it said instead.
    fn hears(&self, word: &str) -> Result<String, Vec<String>> {
        let deadline = Instant::now() + PATIENCE;
        let mut others = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.1.recv_timeout(left) {
                // The first word may follow what the test harness says.
                Ok(line) => match line.find(&format!("{word} ")) {
                    Some(at) => return Ok(line[at + word.len() + 1..].to_owned()),
                    None => others.push(line),
                },
                Err(_) => return Err(others),
            }
        }
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn lines(out: ChildStdout) -> mpsc::Receiver<String> {
    // Nobody says a hundred lines that nobody reads.
    let (put, lines) = mpsc::sync_channel(100);
    std::thread::spawn(move || BufReader::new(out).lines().map_while(Result::ok).try_for_each(|line| put.send(line)));
    lines
}

/// Sees the moving picture move on the shared screen.
fn sees_it_move(player: &Player) {
    seen_to_move(player).unwrap_or_else(|others| panic!("nothing moved, but it said {others:?}"));
}

/// The same, or all that was said instead.
fn seen_to_move(player: &Player) -> Result<(), Vec<String>> {
    let mut numbers = Vec::new();
    while numbers.len() < 5 {
        let said = player.hears("seen")?;
        let said: Vec<u32> = said.split(' ').filter_map(|word| word.parse().ok()).collect();
        assert_eq!(said[..2], [SIZE.0, SIZE.1]);
        numbers.push(said[2]);
    }
    assert!(numbers.is_sorted(), "{numbers:?}");
    Ok(())
}

/// A desktop whose portal shares screens and windows.
fn sharing_desk() -> Option<Desk> {
    let desk = Desk::start()?;
    let offer = Player::start(&desk, "offer").says("offer");
    if offer == format!("{:?}", Some(Kinds { screens: true, windows: false })) && !Path::new("/dev/dri").exists() {
        let _ = writeln!(std::io::stderr(), "SKIPPED: xdg-desktop-portal-wlr before 0.8 needs a graphics card");
        return None;
    }
    let kinds = Kinds { screens: true, windows: true };
    assert_eq!(offer, format!("{:?}", Some(kinds)));
    Some(desk)
}

#[test]
fn a_screen_that_stands_on_its_side_or_its_head_is_seen_as_people_see_it() {
    let Some(mut desk) = sharing_desk() else { return };
    let _window = Player::start(&desk, "show");
    for (turned, (width, height)) in [("180", SIZE), ("90", (SIZE.1, SIZE.0)), ("270", (SIZE.1, SIZE.0))] {
        desk.sway(&format!("output {SCREEN} resolution {width}x{height} transform {turned}"));
        if let Err(said) = seen_to_move(&Player::start(&desk, "share")) {
            // Its version 0.8.4 does not always live through a screen that is turned while a share ends.
            assert!(desk.lost("xdg-desktop-portal-wlr"), "turned by {turned}, it said {said:?}");
            let _ = writeln!(std::io::stderr(), "SKIPPED: xdg-desktop-portal-wlr crashed when the screen was turned");
            return;
        }
    }
}

#[test]
fn a_wayland_screen_is_shared_as_its_person_and_its_desktop_allow() {
    let Some(mut desk) = sharing_desk() else { return };
    let _window = Player::start(&desk, "show");

    // The person is asked, and chooses the screen.
    let player = Player::start(&desk, "share");
    sees_it_move(&player);
    assert_eq!(desk.asked(), 1);
    drop(player);
    // Once more, without being asked, as often as they like.
    for _ in 0..2 {
        sees_it_move(&Player::start(&desk, "again"));
        assert_eq!(desk.asked(), 1);
    }
    // Who does not want that is asked again, and may close the dialog.
    desk.choose("");
    let refused = Player::start(&desk, "share").says("over");
    assert_eq!(refused, "nothing was chosen in the desktop's dialog, so nothing is shared");
    assert_eq!(desk.asked(), 2);

    // A window alone.
    desk.choose(TITLE);
    sees_it_move(&Player::start(&desk, "window"));
    assert_eq!(desk.asked(), 3);

    // The desktop stops it.
    desk.choose(SCREEN);
    let player = Player::start(&desk, "share");
    sees_it_move(&player);
    desk.end("xdg-desktop-portal-wlr");
    let ended = player.says("over");
    assert!(ended.contains("ended the sharing"), "{ended}");
    drop(player);

    // There is no portal any more.
    desk.end("xdg-desktop-portal");
    let none = Player::start(&desk, "offer").says("none");
    assert!(none.contains("install xdg-desktop-portal"), "{none}");
    let over = Player::start(&desk, "share").says("over");
    assert!(over.contains("install xdg-desktop-portal"), "{over}");
}
