//! The demo as people run it: a process of its own, with real nodes. Nothing here judges times: the numbers are the demo's
//! to show; what must hold on any machine is that everything happened, and that nothing stays behind.

#![cfg(target_os = "linux")]
#![expect(clippy::expect_used, reason = "helpers of tests: a failure is a failed test")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(120);

fn twocan() -> PathBuf {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_twocan"));
    let node = program.with_file_name("twocand");
    assert!(node.is_file(), "the demo needs a node: `cargo build --release -p twocan-node` first ({})", node.display());
    program
}

fn demo(keep: &Path, more: &[&str]) -> Child {
    Command::new(twocan())
        .args(["demo", "--json", "--seconds", "3", "--idle", "1", "--keep"])
        .arg(keep)
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the demo starts")
}

/// Processes whose home lies in this folder.
fn nodes_of(folder: &Path) -> Vec<u32> {
    let wanted = format!("TWOCAN_HOME={}/", folder.display());
    let pids = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(wanted.as_bytes()))
    })
    .collect()
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_demo_makes_a_whole_call_and_leaves_sound_and_picture() {
    let folder = tempfile::tempdir().expect("a folder");
    let keep = folder.path().join("kept");
    let output = demo(&keep, &[]).wait_with_output().expect("its output");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text.trim_end().lines().count(), 1, "exactly one object: {text}");
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    for pointer in [
        "/ready_ms/alice",
        "/ready_ms/bob",
        "/request_ms",
        "/accept_to_link_ms",
        "/ring_ms",
        "/answer_to_audio_ms/caller",
        "/answer_to_audio_ms/callee",
        "/answer_to_video_ms/caller",
        "/answer_to_video_ms/callee",
        "/hangup_ms",
        "/audio/caller/delay_ms",
        "/audio/callee/delay_ms",
        "/video/caller/psnr_db",
        "/video/callee/psnr_db",
        "/dht_lookup_ms",
        "/relink_ms/cached",
        "/relink_ms/dht",
    ] {
        let value = json.pointer(pointer).and_then(serde_json::Value::as_f64);
        assert!(value.is_some_and(|value| value > 0.0), "{pointer} is {value:?} in {text}");
    }
    assert_eq!(json["path"], "direct");
    assert_eq!((&json["calls"], &json["failed_calls"]), (&1.into(), &0.into()));
    let number = |pointer: &str| json.pointer(pointer).and_then(serde_json::Value::as_f64).expect(pointer);
    for side in ["caller", "callee"] {
        assert!(number(&format!("/audio/{side}/received")) > 100.0, "{text}");
        assert!(number(&format!("/video/{side}/psnr_db")) > 25.0, "{text}");
    }
    for file in ["received.wav", "received.png"] {
        assert!(keep.join(file).metadata().is_ok_and(|meta| meta.len() > 10_000), "{file}");
    }
    assert_eq!(nodes_of(&keep), Vec::<u32>::new(), "no node stays behind");
}

#[test]
fn ctrl_c_ends_the_demo_and_all_its_nodes() {
    let folder = tempfile::tempdir().expect("a folder");
    let keep = folder.path().join("kept");
    let mut child = demo(&keep, &[]);
    until("two nodes to run", || nodes_of(&keep).len() >= 2);
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
    assert!(killed.success());
    assert_eq!(child.wait().expect("its end").code(), Some(130));
    assert_eq!(nodes_of(&keep), Vec::<u32>::new());
}

#[test]
fn a_killed_demo_takes_its_nodes_along() {
    let folder = tempfile::tempdir().expect("a folder");
    let keep = folder.path().join("kept");
    let mut child = demo(&keep, &[]);
    until("two nodes to run", || nodes_of(&keep).len() >= 2);
    child.kill().expect("a signal");
    child.wait().expect("its end");
    until("the nodes to be gone", || nodes_of(&keep).is_empty());
}
