//! The worker against a node in memory, without a window.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use twocan_control::testing::FakeNode;
use twocan_control::{
    AddFriend, CallState, Code, Error, Event, Handle, MediaControl, MediaKind, MediaMessage, Passphrase, RequestAnswer,
};

use super::{Command, Options, Worker};
use crate::model::Update;
use crate::seat::Devices;

const PATIENCE: Duration = Duration::from_secs(30);

struct Setup {
    worker: Worker,
    node: FakeNode,
    there: Arc<AtomicBool>,
    woken: Arc<AtomicUsize>,
}

fn setup(there: bool) -> Setup {
    let node = FakeNode::new();
    let there = Arc::new(AtomicBool::new(there));
    let woken = Arc::new(AtomicUsize::new(0));
    let (given, found, waking) = (node.clone(), Arc::clone(&there), Arc::clone(&woken));
    let options = Options { devices: Devices { synthetic: true, ..Devices::default() }, ..Options::default() };
    let wake = Arc::new(move || {
        waking.fetch_add(1, Ordering::Relaxed);
    });
    let worker = Worker::start_on(options, wake, move || {
        let found = found.load(Ordering::Relaxed).then(|| given.clone());
        async move { found.ok_or_else(|| Error::new(Code::NoNode, "no node")) }
    });
    Setup { worker: worker.unwrap(), node, there, woken }
}

impl Setup {
    /// The first update that `wanted` takes.
    async fn until<T>(&mut self, wanted: impl Fn(Update) -> Option<T>) -> T {
        let search = async {
            loop {
                let update = self.worker.wait().await.expect("the worker runs");
                if let Some(found) = wanted(update) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, search).await.expect("the update comes")
    }

    async fn connected(&mut self) {
        self.until(|update| matches!(update, Update::Connected(_)).then_some(())).await;
    }
}

#[tokio::test]
async fn the_state_comes_first_and_changes_follow() {
    let mut setup = setup(false);
    setup.node.befriend("bea");
    setup.there.store(true, Ordering::Relaxed);
    let snapshot = setup
        .until(|update| match update {
            Update::Connected(snapshot) => Some(snapshot),
            _ => None,
        })
        .await;
    assert_eq!(snapshot.friends.len(), 1);
    setup.node.stranger_asks("carl", "hi");
    let asked = setup
        .until(|update| match update {
            Update::Event(Event::Request { request }) => Some(request),
            _ => None,
        })
        .await;
    assert_eq!(asked.name, "carl");
    setup.worker.send(Command::AnswerRequest { id: asked.id, answer: RequestAnswer::Accept { name: None } }).unwrap();
    setup.until(|update| matches!(update, Update::Event(Event::RequestGone { .. })).then_some(())).await;
    assert!(setup.woken.load(Ordering::Relaxed) >= 3);
}

#[tokio::test]
async fn a_node_that_comes_later_is_found_and_commands_before_are_refused() {
    let mut setup = setup(false);
    setup.until(|update| matches!(update, Update::Missing(e) if e.code == Code::NoNode).then_some(())).await;
    setup.worker.send(Command::Hangup { call: "1".into() }).unwrap();
    setup.until(|update| matches!(update, Update::Refused(e) if e.code == Code::NoNode).then_some(())).await;
    setup.there.store(true, Ordering::Relaxed);
    setup.connected().await;
}

#[tokio::test]
async fn refusals_are_told_in_the_nodes_words() {
    let mut setup = setup(true);
    setup.connected().await;
    setup.worker.send(Command::Call { friend: "nobody".into(), video: false }).unwrap();
    setup.until(|update| matches!(update, Update::Refused(e) if e.code == Code::NotFound).then_some(())).await;
    let add = AddFriend { address: "nonsense".into(), name: None, message: None };
    setup.worker.send(Command::Add(add)).unwrap();
    setup.until(|update| matches!(update, Update::Refused(_)).then_some(())).await;
}

#[tokio::test]
async fn a_locked_node_is_unlocked() {
    let node = FakeNode::new();
    node.lock("sesame");
    let given = node.clone();
    let worker = Worker::start_on(Options::default(), Arc::new(|| ()), move || {
        let node = given.clone();
        async move { Ok(node) }
    });
    let there = Arc::new(AtomicBool::new(true));
    let mut setup = Setup { worker: worker.unwrap(), node, there, woken: Arc::default() };
    setup.until(|update| matches!(update, Update::Locked).then_some(())).await;
    setup.worker.send(Command::Unlock(Passphrase { passphrase: "wrong".into() })).unwrap();
    setup.until(|update| matches!(update, Update::Refused(e) if e.code == Code::WrongPassphrase).then_some(())).await;
    setup.worker.send(Command::Unlock(Passphrase { passphrase: "sesame".into() })).unwrap();
    setup.connected().await;
}

#[tokio::test]
async fn an_answered_call_carries_sound_and_picture_and_ends() {
    let mut setup = setup(true);
    setup.node.befriend("bea");
    setup.connected().await;
    let call = setup.node.friend_calls("bea", true);
    setup.worker.send(Command::Answer { call: call.id.clone(), video: true }).unwrap();
    let seat = setup
        .until(|update| match update {
            Update::Seat(seat) => Some(seat),
            _ => None,
        })
        .await;
    assert_eq!(seat.as_ref(), Some(&call.id));
    let far = async {
        loop {
            match setup.node.far_end(&call.id) {
                Some(far) => break far,
                None => tokio::task::yield_now().await,
            }
        }
    };
    let mut far = tokio::time::timeout(PATIENCE, far).await.expect("the media are opened");
    let flow = MediaControl::Flow { audio: true, video: true, screen: false };
    far.tx.send(MediaMessage::Control(flow)).await.unwrap();
    let (mut audio, mut video) = (0, 0);
    let mut echoed = Vec::new();
    while audio < 5 || video < 5 {
        let message =
            tokio::time::timeout(PATIENCE, far.rx.recv()).await.expect("frames come").expect("the seat is held");
        let MediaMessage::Frame(frame) = message else { continue };
        audio += usize::from(frame.kind == MediaKind::Audio);
        video += usize::from(frame.kind == MediaKind::Video);
        if frame.kind == MediaKind::Video {
            echoed.push(frame);
        }
    }
    assert!(echoed[0].key);
    let media = setup.worker.live().get().expect("the media are here");
    for frame in echoed {
        far.tx.send(MediaMessage::Frame(frame)).await.unwrap();
    }
    let film = media.camera.clone();
    let shown = async {
        while film.count() < 5 {
            tokio::task::yield_now().await;
        }
        film.take()
    };
    let shown = tokio::time::timeout(PATIENCE, shown).await.expect("the pictures are shown");
    assert_eq!(shown.map(|shot| shot.image.size[0]), Some(640));
    assert!(media.own.count() > 0, "I see myself, too");
    drop(media);
    setup.worker.send(Command::Hangup { call: call.id.clone() }).unwrap();
    setup
        .until(|update| {
            matches!(update, Update::Event(Event::Call { call }) if call.state == CallState::Ended).then_some(())
        })
        .await;
    far.tx.send(MediaMessage::Control(MediaControl::Ended)).await.ok();
    drop(far);
    setup.until(|update| matches!(update, Update::Seat(None)).then_some(())).await;
    assert!(setup.worker.live().get().is_none());
}

#[tokio::test]
async fn the_worker_ends_with_its_window_and_follows_a_restarted_node() {
    let mut setup = setup(true);
    setup.connected().await;
    setup.node.emit(&Event::Stopping);
    setup.connected().await;
    let node = setup.node.clone();
    assert!(node.followers() >= 1);
    drop(setup.worker);
    let gone = async {
        while node.followers() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("nobody follows any more");
    assert!(node.status().await.is_ok());
}
