//! Recording between real programs: asked, agreed to, seen by both, ended by either, and playable after a crash.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::process::{Child, Command};
use twocan_control::{Call, Event, Handle, RecordCall, RecordState};
use twocan_media::record::read::{Block, Reader};
use twocan_tests::{Events, Node, World, binary};

/// A terminal client in a call, without devices.
fn twocan(node: &Node, words: &str) -> Result<Child> {
    let quiet = "--audio-in speech --audio-out none --video --video-in moving --video-out none --no-live";
    Command::new(binary("twocan"))
        .args(words.split_whitespace())
        .args(quiet.split_whitespace())
        .env("TWOCAN_HOME", node.home())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("cannot start twocan: `cargo build --release --workspace --bins`")
}

async fn until(events: &mut Events, state: RecordState) -> Result<Call> {
    let there = |event| match event {
        Event::Call { call } if call.recording.as_ref().is_some_and(|recording| recording.state == state) => Some(call),
        _ => None,
    };
    events.wait(&format!("{state:?}"), there).await
}

fn blocks(path: &Path) -> (Vec<String>, Vec<Block>) {
    let Ok(mut reader) = Reader::open(path) else { return (Vec::new(), Vec::new()) };
    let blocks = std::iter::from_fn(|| reader.next_block()).collect();
    (reader.tracks().iter().map(|track| format!("{} {}", track.name, track.codec)).collect(), blocks)
}

/// Waits until so many seconds of the friend's picture are in the file.
async fn until_written(node: &Node, path: &Path, seconds: i64) -> Result<()> {
    let path = path.to_owned();
    node.eventually("frames in the file", move |_| {
        let path = path.clone();
        async move {
            let (tracks, blocks) = blocks(&path);
            let long = blocks.last().is_some_and(|block| block.time_ms > seconds * 1_000);
            Ok((tracks.len() == 4 && long).then_some(()))
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_is_agreed_to_seen_by_both_and_survives_a_kill() -> Result<()> {
    let world = World::of_friends().await?;
    let [alice, bob] = &world.people[..] else { unreachable!("two people") };
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("call.mkv");
    let (mut at_alice, mut at_bob) = (alice.events(), bob.events());
    let _listener = twocan(bob, "listen --auto-answer --once")?;
    let mut caller = twocan(alice, &format!("call bob --record {}", path.display()))?;

    let asked = until(&mut at_bob, RecordState::Asked).await?;
    ensure!(!path.exists(), "nothing is written before there is consent");
    bob.api().record_call(&asked.id, RecordCall::Allow).await?;
    let (mine, theirs) =
        tokio::try_join!(until(&mut at_alice, RecordState::Running), until(&mut at_bob, RecordState::Running))?;
    ensure!(mine.recording.is_some_and(|recording| recording.mine && recording.since_ms.is_some()));
    ensure!(theirs.recording.is_some_and(|recording| !recording.mine && recording.file.is_none()));

    until_written(alice, &path, 3).await?;
    // Without a word, in the middle of it.
    caller.kill().await?;
    let (tracks, blocks) = blocks(&path);
    ensure!(tracks.iter().filter(|track| track.starts_with("alice")).count() == 2, "{tracks:?}");
    ensure!(tracks.iter().filter(|track| track.ends_with("A_OPUS")).count() == 2, "{tracks:?}");
    for track in 1..=4 {
        let times: Vec<i64> = blocks.iter().filter(|block| block.track == track).map(|block| block.time_ms).collect();
        ensure!(times.len() > 50 && times.is_sorted(), "track {track}: {} frames", times.len());
        ensure!(times.windows(2).all(|pair| pair[1] - pair[0] < 1_000), "track {track} has a hole: {times:?}");
    }
    // Bob learns that it is over.
    let over = until(&mut at_bob, RecordState::Ended).await?.recording.context("a recording")?;
    ensure!(over.reason.is_some_and(|reason| reason.contains("closed")));
    let voices = twocan_media::record::export::wav(&path)?;
    ensure!(voices.len() == 2, "{voices:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_leaves_no_file_and_a_withdrawal_ends_it_in_order() -> Result<()> {
    let world = World::of_friends().await?;
    let [alice, bob] = &world.people[..] else { unreachable!("two people") };
    let folder = tempfile::tempdir()?;
    let (mut at_alice, mut at_bob) = (alice.events(), bob.events());
    let _listener = twocan(bob, "listen --auto-answer --once")?;
    let refused = folder.path().join("refused.mkv");
    let _caller = twocan(alice, &format!("call bob --record {}", refused.display()))?;
    let id = until(&mut at_bob, RecordState::Asked).await?.id;
    bob.api().record_call(&id, RecordCall::Refuse).await?;
    let over = until(&mut at_alice, RecordState::Ended).await?;
    ensure!(over.recording.is_some_and(|recording| recording.reason.as_deref() == Some("bob did not agree")));
    ensure!(!refused.exists());

    let path = folder.path().join("call.mkv");
    alice.api().record_call(&id, RecordCall::Ask { file: Some(path.display().to_string()) }).await?;
    until(&mut at_bob, RecordState::Asked).await?;
    bob.api().record_call(&id, RecordCall::Allow).await?;
    until(&mut at_bob, RecordState::Running).await?;
    until_written(alice, &path, 2).await?;
    bob.api().record_call(&id, RecordCall::Refuse).await?;
    until(&mut at_alice, RecordState::Ended).await?;
    // The client completes the file, and nothing is written any more.
    let whole = path.clone();
    alice
        .eventually("a completed file", move |_| {
            let whole = whole.clone();
            async move { Ok(Reader::open(&whole).ok().and_then(|reader| reader.duration_ms())) }
        })
        .await?;
    let call = alice.api().call(&id).await?;
    ensure!(call.recording.is_some_and(|recording| recording.reason.as_deref() == Some("bob no longer agreed")));
    Ok(())
}
