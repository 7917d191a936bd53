//! Live calls against a node in memory, with a real session: frames flow, the seat is kept, exit codes tell the outcome.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "helpers of tests: a failure is a failed test")]

use std::time::Duration;

use clap::Parser;
use futures::StreamExt;
use tokio::time::timeout;
use twocan_cli::{Args, Exit, Failure, Out, commands};
use twocan_control::testing::FakeNode;
use twocan_control::{
    Call, CallState, Decline, Event, Handle, MediaChannel, MediaControl, MediaKind, MediaMessage, TakeSeat,
};
use twocan_media::settings::Store;

const PATIENCE: Duration = Duration::from_secs(30);
const QUIET: &str = "--audio-in tone --audio-out none --video-in moving --video-out none --no-live";

fn start(node: &FakeNode, line: String) -> tokio::task::JoinHandle<Result<Exit, Failure>> {
    let node = node.clone();
    tokio::spawn(async move {
        let args = Args::try_parse_from(["twocan"].into_iter().chain(line.split_whitespace())).unwrap();
        let mut out = Out::to(Box::new(std::io::sink()), false, false);
        commands::on(&node, args.command, &Store::in_home(std::path::Path::new("/nowhere")), &mut out).await
    })
}

async fn end(task: tokio::task::JoinHandle<Result<Exit, Failure>>) -> Result<Exit, Failure> {
    timeout(PATIENCE, task).await.expect("the command ends").expect("and does not panic")
}

/// Waits for a call that satisfies a condition.
async fn call_when(node: &FakeNode, mut condition: impl FnMut(&Call) -> bool) -> Call {
    let mut events = node.events().await.unwrap();
    let wait = async {
        loop {
            if let Some(call) = node.calls().await.unwrap().into_iter().find(|call| condition(call)) {
                return call;
            }
            events.next().await;
        }
    };
    timeout(PATIENCE, wait).await.expect("a call")
}

/// The far end of the seat's media, once it is open.
async fn far_end(node: &FakeNode, call: &str) -> MediaChannel {
    let wait = async {
        loop {
            match node.far_end(call) {
                Some(end) => return end,
                None => tokio::task::yield_now().await,
            }
        }
    };
    timeout(PATIENCE, wait).await.expect("the client opens the media")
}

async fn frame(end: &mut MediaChannel, kind: MediaKind) {
    let wait = async {
        loop {
            match end.rx.recv().await.expect("the client is there") {
                MediaMessage::Frame(frame) if frame.kind == kind => return,
                _ => {}
            }
        }
    };
    timeout(PATIENCE, wait).await.expect("a frame");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_sends_sound_when_the_node_lets_it_and_ends_when_the_friend_hangs_up() {
    let node = FakeNode::new();
    node.befriend("bob");
    let task = start(&node, format!("call bob {QUIET}"));
    let call = call_when(&node, |call| call.state != CallState::Ended).await;
    let mut media = far_end(&node, &call.id).await;
    node.friend_answers(&call.id);
    media
        .tx
        .send(MediaMessage::Control(MediaControl::Flow { audio: true, video: false, screen: false }))
        .await
        .unwrap();
    frame(&mut media, MediaKind::Audio).await;
    node.hangup(&call.id).await.unwrap();
    assert_eq!(end(task).await.unwrap(), Exit::Ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn video_can_be_added_during_the_call() {
    let node = FakeNode::new();
    node.befriend("bob");
    let task = start(&node, format!("call bob {QUIET}"));
    let call = call_when(&node, |call| call.state != CallState::Ended).await;
    let mut media = far_end(&node, &call.id).await;
    node.friend_answers(&call.id);
    media.tx.send(MediaMessage::Control(MediaControl::Flow { audio: true, video: true, screen: false })).await.unwrap();
    frame(&mut media, MediaKind::Audio).await;
    let video = twocan_control::CallUpdate { video: Some(true), ..Default::default() };
    node.update_call(&call.id, video).await.unwrap();
    frame(&mut media, MediaKind::Video).await;
    node.hangup(&call.id).await.unwrap();
    assert_eq!(end(task).await.unwrap(), Exit::Ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answered_call_hangs_up_after_the_given_time() {
    let node = FakeNode::new();
    node.befriend("bob");
    let rings = node.friend_calls("bob", false);
    let task = start(&node, format!("answer {QUIET} --seconds 1"));
    assert_eq!(end(task).await.unwrap(), Exit::Ok);
    assert_eq!(node.call(&rings.id).await.unwrap().state, CallState::Ended);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declined_call_is_told_by_the_exit_code() {
    let node = FakeNode::new();
    node.befriend("bob");
    let task = start(&node, format!("call bob {QUIET}"));
    let call = call_when(&node, |call| call.state != CallState::Ended).await;
    node.decline_call(&call.id, Decline::default()).await.unwrap();
    assert_eq!(end(task).await.unwrap(), Exit::Declined);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seat_that_another_client_takes_is_explained() {
    let node = FakeNode::new();
    node.befriend("bob");
    let task = start(&node, format!("call bob {QUIET}"));
    let call = call_when(&node, |call| call.state != CallState::Ended).await;
    let media = far_end(&node, &call.id).await;
    node.friend_answers(&call.id);
    node.take_seat(&call.id, TakeSeat::default()).await.unwrap();
    drop(media);
    let failure = end(task).await.unwrap_err();
    assert_eq!(failure.exit, Exit::SeatTaken);
    assert!(failure.hint.unwrap().contains("--take"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_media_socket_that_breaks_is_opened_again_with_the_token() {
    let node = FakeNode::new();
    node.befriend("bob");
    let task = start(&node, format!("call bob {QUIET}"));
    let call = call_when(&node, |call| call.state != CallState::Ended).await;
    drop(far_end(&node, &call.id).await);
    node.friend_answers(&call.id);
    let mut again = far_end(&node, &call.id).await;
    again
        .tx
        .send(MediaMessage::Control(MediaControl::Flow { audio: true, video: false, screen: false }))
        .await
        .unwrap();
    frame(&mut again, MediaKind::Audio).await;
    node.hangup(&call.id).await.unwrap();
    assert_eq!(end(task).await.unwrap(), Exit::Ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn listening_answers_by_itself_only_when_told_to() {
    let node = FakeNode::new();
    node.befriend("bob");
    let task = start(&node, format!("listen --auto-answer --once {QUIET} --seconds 1"));
    let rings = node.friend_calls("bob", false);
    assert_eq!(end(task).await.unwrap(), Exit::Ok);
    assert!(node.call(&rings.id).await.unwrap().answered_ms.is_some());
    // Without it, a call that nobody takes ends unanswered.
    let node = FakeNode::new();
    node.befriend("bob");
    let task = start(&node, format!("listen --once {QUIET}"));
    // It has to listen before the call is over.
    timeout(PATIENCE, async {
        while node.followers() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    let rings = node.friend_calls("bob", false);
    let mut events = node.events().await.unwrap();
    node.hangup(&rings.id).await.unwrap();
    while !matches!(events.next().await, Some(Event::Call { call }) if call.state == CallState::Ended) {}
    assert_ne!(end(task).await.unwrap(), Exit::Ok);
    assert!(node.call(&rings.id).await.unwrap().answered_ms.is_none());
}
