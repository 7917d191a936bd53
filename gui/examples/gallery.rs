//! The window on a node in memory, to look at it without friends: people, a request, somebody who calls and sends back
//! what he hears and sees.
//!
//! `cargo run --release -p twocan-gui --example gallery`

use std::time::Duration;

use twocan_control::testing::{FakeNode, sample_friend};
use twocan_control::{Event, FriendState, MediaControl, MediaMessage};
use twocan_gui::seat::Devices;
use twocan_gui::worker::{Options, Worker};

fn main() -> anyhow::Result<()> {
    let node = FakeNode::new();
    for name in ["Mira Okafor", "Jonas Lindqvist", "Ana Ribeiro"] {
        node.befriend(name);
    }
    let told = node.clone();
    std::thread::spawn(move || life(&told));
    let options = Options { devices: Devices { synthetic: true, ..Devices::default() }, ..Options::default() };
    twocan_gui::open(true, move |wake| {
        Worker::start_on(options, wake, move || {
            let node = node.clone();
            async move { Ok(node) }
        })
    })
}

/// What happens to the node while the window is open.
fn life(node: &FakeNode) {
    std::thread::sleep(Duration::from_secs(2));
    for (name, state) in [("Pavel Novák", FriendState::Accepted), ("Yuki Tanaka", FriendState::Requested)] {
        let mut friend = sample_friend(name);
        (friend.online, friend.state, friend.link, friend.availability) = (false, state, None, None);
        node.emit(&Event::Friend { friend });
    }
    node.stranger_asks("Carl", "We met at the concert");
    std::thread::sleep(Duration::from_secs(4));
    let call = node.friend_calls("Mira Okafor", true);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return };
    runtime.block_on(async {
        let mut far = loop {
            match node.far_end(&call.id) {
                Some(far) => break far,
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        let mut active = node.friend_answers(&call.id);
        active.remote_video = true;
        node.emit(&Event::Call { call: active });
        // If the window closes first there is nobody to send to.
        let _ =
            far.tx.send(MediaMessage::Control(MediaControl::Flow { audio: true, video: true, screen: false })).await;
        while let Some(message) = far.rx.recv().await {
            if let MediaMessage::Frame(mut frame) = message {
                frame.stream = u16::from(frame.kind == twocan_control::MediaKind::Video);
                let _ = far.tx.send(MediaMessage::Frame(frame)).await;
            }
        }
    });
}
