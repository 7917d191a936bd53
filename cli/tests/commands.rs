//! Commands against a node in memory: what is printed, in both forms, and with which exit code.

#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure is a failed test")]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use clap::Parser;
use twocan_cli::{Args, Exit, Failure, Out, commands};
use twocan_control::testing::{FakeNode, sample_address, sample_id};
use twocan_control::{Handle, PlaceCall};
use twocan_media::settings::Store;

/// What a command wrote.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn run(node: &FakeNode, line: &str, terminal: bool) -> (Result<Exit, Failure>, String) {
    run_with(node, &Store::in_home(std::path::Path::new("/nowhere")), line, terminal).await
}

async fn run_with(node: &FakeNode, kept: &Store, line: &str, terminal: bool) -> (Result<Exit, Failure>, String) {
    let args = Args::try_parse_from(["twocan"].into_iter().chain(line.split_whitespace())).unwrap();
    let written = Written::default();
    let mut out = Out::to(Box::new(written.clone()), args.json, terminal);
    let result = commands::on(node, args.command, kept, &mut out).await;
    let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    (result, text)
}

/// What a person sees.
async fn seen(node: &FakeNode, line: &str) -> String {
    let (result, text) = run(node, line, true).await;
    assert_eq!(result.unwrap(), Exit::Ok, "{line}");
    text
}

/// What a program reads.
async fn read(node: &FakeNode, line: &str) -> String {
    let (result, text) = run(node, line, false).await;
    assert_eq!(result.unwrap(), Exit::Ok, "{line}");
    text
}

async fn refused(node: &FakeNode, line: &str) -> Failure {
    run(node, line, false).await.0.unwrap_err()
}

#[tokio::test]
async fn the_address_alone_goes_into_a_pipe_and_the_qr_code_to_people() {
    let node = FakeNode::new();
    let address = read(&node, "id").await;
    assert!(address.starts_with("twocan1") && address.trim_end() == node.identity().await.unwrap().address);
    let drawn = seen(&node, "id --qr").await;
    assert!(drawn.contains(address.trim_end()) && drawn.contains('█'), "{drawn}");
    assert!(read(&node, "id --uri").await.starts_with("twocan:"));
}

#[tokio::test]
async fn rotating_gives_another_address() {
    let node = FakeNode::new();
    let before = read(&node, "id").await;
    let told = seen(&node, "id rotate").await;
    assert!(told.contains("no longer works for strangers"), "{told}");
    assert_ne!(read(&node, "id").await, before);
}

#[tokio::test]
async fn every_read_prints_json_that_a_program_can_parse() {
    let node = FakeNode::new();
    node.befriend("bob");
    node.stranger_asks("eve", "hello");
    node.friend_calls("bob", false);
    for line in
        ["id", "name", "status", "friends", "friends bob", "requests", "blocked", "calls", "doctor", "lookup bob"]
    {
        let text = read(&node, &format!("{line} --json")).await;
        assert_eq!(text.trim_end().lines().count(), 1, "{line}: {text}");
        serde_json::from_str::<serde_json::Value>(&text).unwrap_or_else(|error| panic!("{line}: {error}: {text}"));
    }
}

#[tokio::test]
async fn a_request_is_listed_and_accepted_without_naming_it_when_it_is_the_only_one() {
    let node = FakeNode::new();
    node.stranger_asks("eve", "it's eve");
    let listed = seen(&node, "requests").await;
    assert!(listed.contains("eve") && listed.contains("it's eve") && listed.contains("twocan accept"), "{listed}");
    assert_eq!(read(&node, "accept").await, "eve is your friend now.\n");
    assert!(read(&node, "friends").await.starts_with("eve\t"));
    assert_eq!(refused(&node, "accept").await.exit, Exit::NotFound);
}

#[tokio::test]
async fn declining_says_whether_it_was_a_call_or_a_request() {
    let node = FakeNode::new();
    node.befriend("bob");
    node.stranger_asks("eve", "hello");
    node.friend_calls("bob", false);
    assert_eq!(read(&node, "decline").await, "Declined the call of bob.\n");
    assert!(read(&node, "decline").await.starts_with("Declined the request of eve."));
    let nothing = refused(&node, "decline").await;
    assert_eq!(
        (nothing.exit, nothing.message.as_str()),
        (Exit::NotFound, "no call rings and nobody asks to be your friend")
    );
}

#[tokio::test]
async fn a_text_declines_calls_only() {
    let node = FakeNode::new();
    node.stranger_asks("eve", "hello");
    assert_eq!(refused(&node, "decline --text later").await.exit, Exit::NotFound);
    assert_eq!(node.requests().await.unwrap().len(), 1);
}

#[tokio::test]
async fn blocking_takes_requests_friends_and_addresses() {
    let node = FakeNode::new();
    node.stranger_asks("eve", "hello");
    node.befriend("bob");
    read(&node, "block eve").await;
    read(&node, "block bob").await;
    let blocked = read(&node, "blocked").await;
    assert!(blocked.contains(&sample_id("eve")) && blocked.contains(&sample_id("bob")), "{blocked}");
    read(&node, &format!("unblock {}", &sample_id("eve")[..8])).await;
    assert_eq!(read(&node, "blocked").await.trim_end(), sample_id("bob"));
    assert_eq!(refused(&node, "unblock ffffffffffff").await.exit, Exit::NotFound);
}

#[tokio::test]
async fn adding_renaming_and_removing_a_friend() {
    let node = FakeNode::new();
    let asked = read(&node, &format!("add {} --name mia", sample_address("mia"))).await;
    assert!(asked.starts_with("Asked mia."), "{asked}");
    assert!(read(&node, "friends").await.contains("requested"));
    assert_eq!(read(&node, "rename mia maria").await, "Now called maria.\n");
    assert_eq!(read(&node, "remove maria").await, "maria is removed.\n");
    assert_eq!(read(&node, "friends").await, "");
    assert_eq!(refused(&node, "rename mia x").await.exit, Exit::NotFound);
}

#[tokio::test]
async fn safety_words_are_shown_and_confirmed() {
    let node = FakeNode::new();
    let bob = node.befriend("bob");
    let (unasked, shown) = run(&node, "verify bob", false).await;
    assert_eq!(unasked.unwrap_err().exit, Exit::Conflict, "a script must not take silence for a yes");
    assert!(shown.contains(&bob.safety_words), "{shown}");
    assert!(read(&node, "verify bob --yes").await.contains("bob is verified"));
    assert!(node.friend("bob").await.unwrap().verified);
    read(&node, "verify bob --undo").await;
    assert!(!node.friend("bob").await.unwrap().verified);
}

#[tokio::test]
async fn a_running_call_is_steered_from_another_terminal() {
    let node = FakeNode::new();
    let bob = node.befriend("bob");
    let call = node.place_call(PlaceCall { friend: bob.id, video: false }).await.unwrap().call;
    assert_eq!(refused(&node, "mute").await.exit, Exit::NotFound, "not answered yet");
    node.friend_answers(&call.id);
    for (line, said) in [
        ("mute", "Muted (call with bob).\n"),
        ("video on", "Video is on (call with bob).\n"),
        ("hold bob", "On hold (call with bob).\n"),
        ("resume", "Off hold (call with bob).\n"),
    ] {
        assert_eq!(read(&node, line).await, said);
    }
    let now = node.call(&call.id).await.unwrap();
    assert!(now.muted && now.video && !now.held);
    assert!(seen(&node, "calls").await.contains("talking"));
    assert_eq!(read(&node, "hangup").await, "The call with bob is over.\n");
    assert!(read(&node, "calls").await.contains("outgoing"));
    assert_eq!(refused(&node, "hangup").await.exit, Exit::NotFound);
}

#[tokio::test]
async fn a_locked_node_says_how_to_open_it() {
    let node = FakeNode::new();
    node.lock("secret");
    let failure = refused(&node, "friends").await;
    assert_eq!(failure.exit, Exit::Locked);
    assert!(failure.hint.unwrap().contains("twocan unlock"));
    assert!(seen(&node, "status").await.contains("locked"));
}

#[tokio::test]
async fn a_backup_and_a_report_never_overwrite_a_file() {
    let node = FakeNode::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let line = format!("report {}", path.display());
    read(&node, &line).await;
    assert_eq!(refused(&node, &line).await.exit, Exit::Storage);
    assert_eq!(refused(&node, &format!("backup {}", path.display())).await.exit, Exit::Storage);
}

#[tokio::test]
async fn help_explains_commands_and_exit_codes() {
    for (line, part) in [("help exit-codes", "the node is locked"), ("help call", "--audio-in"), ("help", "demo")] {
        let args = Args::try_parse_from(["twocan"].into_iter().chain(line.split_whitespace())).unwrap();
        let written = Written::default();
        let mut out = Out::to(Box::new(written.clone()), false, false);
        assert_eq!(commands::run(args, &mut out).await.unwrap(), Exit::Ok);
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert!(text.contains(part), "{line}: {text}");
    }
}

/// Runs a command that needs no node, in this home.
async fn at_home(home: &std::path::Path, line: &str) -> (Result<Exit, Failure>, String) {
    let words = ["twocan", "--home", home.to_str().unwrap()];
    let args = Args::try_parse_from(words.into_iter().chain(line.split_whitespace())).unwrap();
    let written = Written::default();
    let mut out = Out::to(Box::new(written.clone()), args.json, false);
    let result = commands::run(args, &mut out).await;
    let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    (result, text)
}

#[tokio::test]
async fn what_calls_use_is_kept_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let (done, text) =
        at_home(home, "audio set --audio-in device:usb --camera-turn 90 --no-high-pass --talk key").await;
    assert_eq!(done.unwrap(), Exit::Ok);
    assert!(text.contains("usb") && text.contains("turned by 90 degrees"), "{text}");
    let (_, text) = at_home(home, "audio show --json").await;
    let shown: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(shown["audio"]["microphone"], "usb");
    assert_eq!((&shown["audio"]["high_pass"], &shown["audio"]["talk"]), (&false.into(), &"key".into()));
    assert_eq!(shown["video"]["camera_turn"], 90);
    // A word takes back what it says, and nothing else.
    at_home(home, "audio set --audio-in device --high-pass on").await.0.unwrap();
    let (_, text) = at_home(home, "audio show --json").await;
    let shown: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(shown["audio"]["microphone"].is_null() && shown["audio"]["high_pass"] == true);
    assert_eq!(shown["audio"]["talk"], "key");
    for line in ["audio set", "audio set --audio-in tone", "audio set --video-in moving", "audio set --audio-out none"]
    {
        assert_eq!(at_home(home, line).await.0.unwrap_err().exit, Exit::Usage, "{line}");
    }
}

#[tokio::test]
async fn a_friends_volume_is_kept_by_id() {
    let node = FakeNode::new();
    let friend = node.befriend("bob").id;
    let folder = tempfile::tempdir().unwrap();
    let kept = Store::in_home(folder.path());
    let (done, text) = run_with(&node, &kept, "audio volume bob 160", true).await;
    assert_eq!(done.unwrap(), Exit::Ok);
    assert!(text.contains("bob") && text.contains("160 %"), "{text}");
    assert_eq!(kept.load().settings.volume(&friend), 160);
    let (_, text) = run_with(&node, &kept, "audio volume bob --json", false).await;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap()["volume"], 160);
    let (refused, _) = run_with(&node, &kept, "audio volume nobody 50", false).await;
    assert_eq!(refused.unwrap_err().exit, Exit::NotFound);
}

#[tokio::test]
async fn a_broken_file_of_settings_stops_nothing_and_is_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("client.json");
    std::fs::write(&file, "{ broken").unwrap();
    assert_eq!(at_home(folder.path(), "audio show").await.0.unwrap(), Exit::Ok);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "{ broken");
    at_home(folder.path(), "audio set --no-echo-cancelling").await.0.unwrap();
    assert_eq!(std::fs::read_to_string(folder.path().join("client.json.broken")).unwrap(), "{ broken");
    let (_, text) = at_home(folder.path(), "audio show --json").await;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap()["audio"]["echo_cancelling"], false);
}
