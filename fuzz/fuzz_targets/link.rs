//! A hostile friend on a link: frames, connections and timeouts in any order. The session never panics, never keeps
//! more than its bound, never applies a sequence twice, and always comes to rest.
#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use twocan_protocol::link::{ConnectionId, Input, MAX_QUEUED, Output, Session};
use twocan_protocol::testing::{Clock, people};
use twocan_protocol::wire::{ByeReason, Frame, Message, Open};

#[derive(Arbitrary, Debug)]
enum Step {
    Connect { boot: u8, dialled: bool },
    Disconnect(u8),
    Raw(u8, Vec<u8>),
    Open { on: u8, session: u8, first: u8, of: u8, received: u8 },
    Profile { on: u8, sequence: Option<u8>, acknowledged: Option<u8> },
    Ping(u8, u64),
    Pong(u8, u64),
    Bye(u8),
    Send,
    SendNow,
    InCall(bool),
    Probe,
    Close,
    Pass(u16),
}

/// Small numbers, and those at the very end.
fn number(n: u8) -> u64 {
    if n < 250 { n.into() } else { u64::MAX - u64::from(255 - n) }
}

fuzz_target!(|steps: Vec<Step>| {
    let [own, friend] = people::<2>();
    let mut clock = Clock::new();
    let mut session = Session::new(&own, &friend);
    let mut connections = 0u64;
    let mut up = false;
    for step in steps.into_iter().take(300) {
        let on = |n: u8| ConnectionId(u64::from(n) % (connections + 1));
        let frame = |sequence: Option<u8>, acknowledged: Option<u8>, message| {
            Frame { sequence: sequence.map(number), acknowledged: acknowledged.map(number), message }
                .encode()
                .unwrap_or_default()
        };
        let input = match step {
            Step::Connect { boot, dialled } => {
                connections += 1;
                let connection = ConnectionId(connections);
                Input::Connected { connection, remote_boot: boot.into(), dialled, relayed: boot % 2 == 1 }
            }
            Step::Disconnect(n) => Input::Disconnected(on(n)),
            Step::Raw(n, bytes) => Input::Frame(on(n), bytes),
            Step::Open { on: n, session, first, of, received } => {
                let open =
                    Open { session: number(session), first: number(first), of: number(of), received: number(received) };
                Input::Frame(on(n), frame(None, None, Message::Open(open)))
            }
            Step::Profile { on: n, sequence, acknowledged } => {
                Input::Frame(on(n), frame(sequence, acknowledged, Message::Profile(Default::default())))
            }
            Step::Ping(n, id) => Input::Frame(on(n), frame(None, None, Message::Ping(id))),
            Step::Pong(n, id) => Input::Frame(on(n), frame(None, None, Message::Pong(id))),
            Step::Bye(n) => Input::Frame(on(n), frame(None, None, Message::Bye(ByeReason::Stopping))),
            Step::Send => Input::Send(Message::GrantStored(1)),
            Step::SendNow => Input::SendNow(Message::GrantStored(1)),
            Step::InCall(on) => Input::InCall(on),
            Step::Probe => Input::Probe,
            Step::Close => Input::Close(ByeReason::Stopping),
            Step::Pass(ms) => {
                clock.advance(Duration::from_millis(ms.into()));
                for output in session.handle_timeout(clock.now) {
                    watch(&output, &mut up);
                }
                assert!(session.poll_timeout().is_none_or(|due| due > clock.now), "a timeout stays due");
                continue;
            }
        };
        for output in session.handle(clock.now, input) {
            watch(&output, &mut up);
        }
        assert!(session.queued() <= MAX_QUEUED);
    }
    // Left alone on a silent connection it lets go of it.
    for _ in 0..20 {
        let Some(due) = session.poll_timeout() else { break };
        clock.advance_to(due);
        for output in session.handle_timeout(clock.now) {
            watch(&output, &mut up);
        }
    }
    assert!(session.connection().is_none(), "a silent connection is kept");
    assert!(!up, "the layer above was not told that the link is down");
});

/// Follows what the layer above is told.
fn watch(output: &Output, up: &mut bool) {
    match output {
        Output::Up { .. } => *up = true,
        Output::Down(_) => {
            assert!(*up, "down without up");
            *up = false;
        }
        Output::Received(_) => assert!(*up, "a message while the link is down"),
        _ => {}
    }
}
