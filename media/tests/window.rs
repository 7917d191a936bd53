//! The picture window on a real (virtual) X server: what is seen on the screen is read back from its memory.
//!
//! Skipped, and said aloud, where there is no `Xvfb`. Each test runs itself once more as a child process, because a
//! process has one display for its whole life.

#![cfg(target_os = "linux")]
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use twocan_media::session::Outgoing;
use twocan_media::video::codec::PictureCodec;
use twocan_media::video::moving::Tag;
use twocan_media::video::{Picture, Receiver, Sender, Settings, VideoSink, VideoSource};

const PATIENCE: Duration = Duration::from_secs(60);
/// Says to the child process which part it plays.
const PART: &str = "TWOCAN_WINDOW_TEST";

fn again(part: &str, display: Option<&str>) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the test's own path"));
    command.args(["--exact", "part", "--nocapture"]).env(PART, part);
    for name in ["DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET"] {
        command.env_remove(name);
    }
    if let Some(display) = display {
        command.env("DISPLAY", display);
    }
    command
}

/// What the child processes do; in the test run itself this does nothing.
#[test]
fn part() {
    match std::env::var(PART).as_deref() {
        Ok("show") => show(),
        Ok("open") => {
            let opened = Receiver::start(window(), Arc::new(|_, _| None), Arc::new(|_| ()));
            println!("opened: {}", opened.map_or_else(|error| error.to_string(), |_| "yes".into()));
        }
        _ => {}
    }
}

fn window() -> VideoSink {
    VideoSink::Window { title: "twocan test".into() }
}

/// Shows the moving picture until the parent kills it.
fn show() {
    let receiver = Receiver::start(window(), Arc::new(|_, _| None), Arc::new(|_| ())).expect("a window");
    let (put, frames) = mpsc::sync_channel(100);
    let out = Arc::new(move |outgoing| drop(put.try_send(outgoing)));
    let sender = Sender::start(VideoSource::Moving { seed: 1 }, Settings::default(), PictureCodec::default(), out)
        .expect("a sender");
    sender.set_on(true);
    let deadline = Instant::now() + 2 * PATIENCE;
    while Instant::now() < deadline {
        if let Ok(Outgoing::Frame(frame)) = frames.recv_timeout(PATIENCE) {
            receiver.push(frame);
        }
    }
}

/// Ends a process that the test started.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A picture of the screen, from the XWD file that Xvfb keeps its memory in; its middle 16:9 part is the window.
fn screen(file: &std::path::Path) -> Option<Picture> {
    let bytes = std::fs::read(file).ok()?;
    let word = |at: usize| Some(u32::from_be_bytes(bytes.get(at * 4..at * 4 + 4)?.try_into().ok()?) as usize);
    let (header, width, height, line, colours) = (word(0)?, word(4)?, word(5)?, word(12)?, word(19)?);
    let pixels = bytes.get(header + colours * 12..)?;
    let mut luma = Vec::with_capacity(width * height);
    for row in pixels.chunks_exact(line).take(height) {
        luma.extend(row.chunks_exact(4).take(width).map(|bgrx| bgrx[1]));
    }
    let chroma = vec![128; luma.len() / 4];
    Picture::from_planes(width as u32, height as u32, luma, chroma.clone(), chroma).ok()
}

#[test]
fn a_picture_is_seen_on_the_screen_and_moves() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Command::new("Xvfb")
        .args(["-displayfd", "1", "-screen", "0", "640x360x24", "-fbdir"])
        .arg(folder.path())
        .args(["-nolisten", "tcp"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(server) = server else {
        eprintln!("skipped: there is no Xvfb here");
        return;
    };
    let mut server = Killed(server);
    let mut number = String::new();
    let mut out = server.0.stdout.take().expect("its output");
    let mut byte = [0];
    while !number.ends_with('\n') && out.read(&mut byte).expect("the display's number") == 1 {
        number.push(char::from(byte[0]));
    }
    let display = format!(":{}", number.trim());
    let _child = Killed(again("show", Some(&display)).stdout(Stdio::null()).spawn().expect("a child"));
    let file = folder.path().join("Xvfb_screen0");
    let deadline = Instant::now() + PATIENCE;
    let mut seen = Vec::new();
    while seen.len() < 5 {
        assert!(Instant::now() < deadline, "the picture is not on the screen; seen: {seen:?}");
        if let Some(tag) = screen(&file).as_ref().and_then(Tag::read)
            && seen.last() != Some(&tag.number)
        {
            seen.push(tag.number);
        }
    }
    assert!(seen.is_sorted(), "{seen:?}");
}

#[test]
fn a_missing_display_is_told_with_what_to_do() {
    for (display, expected) in [(None, "there is no display"), (Some(":9999"), "the display cannot be opened")] {
        let output = again("open", display).output().expect("a child");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(expected) && text.contains("--video-out none"), "{text}");
    }
}
