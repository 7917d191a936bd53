//! Two people of the demo joined by a wire instead of nodes: what the demo measures must see sound and picture arrive,
//! unharmed and late by no more than codec and buffer need.

#![expect(clippy::expect_used, reason = "helpers of tests: a failure is a failed test")]

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use twocan_cli::bridge::End;
use twocan_cli::demo::side::{Plan, Side};
use twocan_control::{MediaChannel, MediaControl, MediaMessage};
use twocan_media::measure::DelayProbe;

const QUEUE: usize = 64;

/// The client's ends of two seats whose frames go to each other.
fn wire() -> (MediaChannel, MediaChannel) {
    let (a_out, from_a) = mpsc::channel(QUEUE);
    let (b_out, from_b) = mpsc::channel(QUEUE);
    let (to_a, a_in) = mpsc::channel(QUEUE);
    let (to_b, b_in) = mpsc::channel(QUEUE);
    let carry = |from: &'static str, mut rx: mpsc::Receiver<MediaMessage>, tx: mpsc::Sender<MediaMessage>| async move {
        let flow = MediaControl::Flow { audio: true, video: true, screen: false };
        tx.send(MediaMessage::Control(flow)).await.expect(from);
        while let Some(message) = rx.recv().await {
            let sent = match message {
                MediaMessage::Control(MediaControl::NeedKeyFrame { .. }) => continue,
                other => tx.send(other).await,
            };
            if sent.is_err() {
                return;
            }
        }
    };
    tokio::spawn(carry("a", from_a, to_b));
    tokio::spawn(carry("b", from_b, to_a));
    (MediaChannel { tx: a_out, rx: a_in }, MediaChannel { tx: b_out, rx: b_in })
}

fn side(seed: u64) -> Side {
    Side::start(&Plan { seed, video: true, audio_in: None, video_in: None, heard: None }).expect("a session")
}

fn carry(side: &mut Side, channel: MediaChannel) -> tokio::task::JoinHandle<End> {
    let (mut voice, counters) = (side.voice.take().expect("unused"), Arc::clone(&side.counters));
    let (notes, _) = mpsc::channel(1);
    tokio::spawn(async move { voice.carry(channel, &notes, &counters).await })
}

#[tokio::test(flavor = "multi_thread")]
async fn both_hear_and_see_each_other() {
    let (mut alice, mut bob) = (side(1), side(2));
    let (a, b) = wire();
    // As in the demo: the line opens in a moment in which both speak.
    while !(alice.speaks() && bob.speaks()) {
        sleep(Duration::from_millis(5)).await;
    }
    let opened = twocan_media::now_ns();
    let tasks = [carry(&mut alice, a), carry(&mut bob, b)];
    let both = async {
        while [&alice, &bob].iter().any(|side| side.first_sound_ns().is_none() || side.first_picture_ns().is_none()) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(20), both).await.expect("sound and picture both ways");
    for side in [&alice, &bob] {
        let since = |at: Option<u64>| at.map(|at| at.saturating_sub(opened) / 1_000_000);
        eprintln!(
            "first sound {:?} ms, first picture {:?} ms",
            since(side.first_sound_ns()),
            since(side.first_picture_ns())
        );
    }
    // Long enough for some pieces to be compared.
    sleep(Duration::from_secs(4)).await;
    for task in tasks {
        task.abort();
    }
    let (alice_sent, alice_heard, alice_saw) = alice.take();
    let (bob_sent, bob_heard, bob_saw) = bob.take();
    for (sent, heard) in [(alice_sent, bob_heard), (bob_sent, alice_heard)] {
        let report = DelayProbe { sent, received: heard }.report().expect("pieces that are found again");
        eprintln!("{report:?}");
        assert!(report.found * 10 > report.looked_for * 8, "most of what was heard was said: {report:?}");
        assert!(report.similarity > 0.8, "{report:?}");
    }
    for (saw, seed) in [(alice_saw, 2), (bob_saw, 1)] {
        let psnr = saw.psnr_db(seed).expect("pictures with a tag");
        eprintln!("{} pictures, {psnr:.1} dB", saw.shown);
        assert!(psnr > 25.0, "{psnr}");
    }
    assert!(alice.counters.audio_out() > 100 && bob.counters.audio_in() > 100);
}
