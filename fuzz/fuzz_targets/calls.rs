//! Two call machines with people, a network and nodes that do anything at any time, and a partner that lies. Calls
//! never panic, always end, and at most one talks.
#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use twocan_protocol::call::{Input, MAX_CALLS, PeerEvent, RecordAct, Settings, State};
use twocan_protocol::testing::calls::Pair;
use twocan_protocol::wire::{
    Bounded, CallBody, CallId, CallMessage, DeclineReason, Description, DescriptionKind, LeaveReason, List, Note,
    Reason, RecordWord,
};

#[derive(Arbitrary, Debug)]
enum Say {
    Invite(u8),
    Ringing,
    Answer(u8),
    Candidates(u8),
    Accept(bool),
    Decline(u8),
    Leave(u8),
    State(bool, bool, bool, bool, bool),
    Offer(u32),
    Record(u8, u32),
}

#[derive(Arbitrary, Debug)]
enum Step {
    Place(bool, u8, bool),
    Answer(bool),
    Decline(bool),
    HangUp(bool),
    Update(bool, Option<bool>, Option<bool>, Option<bool>),
    SeatLost(bool),
    SeatTaken(bool),
    Link(bool),
    Media(bool),
    Roam(bool),
    Kill(bool),
    Start(bool),
    Settings(bool, bool, bool, u16),
    Failed(bool, bool),
    NeedsRebuild(bool),
    /// The partner says this, whatever its machine thinks, about the n-th call or an unknown one.
    Lie(bool, u8, u8, Say),
    FriendGone(bool),
    Record(bool, u8),
    RecordUnknown(bool),
    Pass(u16),
}

fn body(say: Say) -> CallBody {
    let description = |kind, generation: u32, fingerprint: u8| Description {
        kind,
        generation,
        fingerprint: [fingerprint; 32],
        sdp: Bounded::new("v=0").unwrap_or_default(),
        more: Bounded::default(),
    };
    match say {
        Say::Invite(n) => CallBody::Invite {
            description: description(DescriptionKind::Offer, n.into(), n),
            candidates: List::default(),
            video: n % 2 == 0,
            resumes: (n % 5 == 0).then_some(CallId([n; 16])),
        },
        Say::Ringing => CallBody::Ringing,
        Say::Answer(n) => CallBody::Answer {
            description: description(DescriptionKind::Answer, n.into(), n),
            candidates: List::default(),
        },
        Say::Candidates(n) => CallBody::Candidates { generation: n.into(), candidates: List::default() },
        Say::Accept(video) => CallBody::Accept { video },
        Say::Decline(n) => CallBody::Decline {
            reason: DeclineReason::ALL[usize::from(n) % DeclineReason::ALL.len()],
            text: Note::default(),
        },
        Say::Leave(n) => CallBody::Leave {
            reason: LeaveReason::ALL[usize::from(n) % LeaveReason::ALL.len()],
            text: Reason::default(),
        },
        Say::Record(kind, request) => CallBody::Record(match kind % 6 {
            0 => RecordWord::Ask(request),
            1 => RecordWord::Shown(request),
            2 => RecordWord::Allow(request),
            3 => RecordWord::Refuse(request),
            4 => RecordWord::Start(request),
            _ => RecordWord::Stop(request, Reason::default()),
        }),
        Say::State(muted, video, screen, held, seat) => CallBody::State { muted, video, screen, held, seat },
        Say::Offer(n) => CallBody::Offer {
            description: description(DescriptionKind::Offer, n, n as u8),
            candidates: List::default(),
        },
    }
}

fuzz_target!(|steps: Vec<Step>| {
    let mut pair = Pair::new();
    for step in steps.into_iter().take(200) {
        let nth = |side: usize, n: u8, pair: &Pair| {
            pair.sides[side].calls.iter().nth(n.into()).map_or(CallId([n; 16]), |call| call.id)
        };
        match step {
            Step::Place(side, n, video) => drop(pair.place(side.into(), n, video)),
            Step::Record(side, act) => {
                let call = nth(side.into(), 0, &pair);
                let act = match act % 5 {
                    0 => RecordAct::Ask,
                    1 => RecordAct::Allow,
                    2 => RecordAct::Refuse,
                    3 => RecordAct::Started,
                    _ => RecordAct::Stop(Reason::default()),
                };
                pair.input(side.into(), Input::Record { call, act });
            }
            Step::RecordUnknown(side) => {
                let partner = pair.sides[1 - usize::from(side)].root;
                pair.input(side.into(), Input::RecordUnknown(partner));
            }
            Step::Answer(side) => pair.answer(side.into(), nth(side.into(), 0, &pair), true),
            Step::Decline(side) => {
                let call = nth(side.into(), 0, &pair);
                pair.input(side.into(), Input::Decline { call, text: Note::clean("no") });
            }
            Step::HangUp(side) => pair.input(side.into(), Input::HangUp(nth(side.into(), 0, &pair))),
            Step::Update(side, muted, video, held) => {
                let call = nth(side.into(), 0, &pair);
                pair.input(side.into(), Input::Update { call, muted, video, screen: video, held });
            }
            Step::SeatLost(side) => pair.input(side.into(), Input::SeatLost(nth(side.into(), 0, &pair))),
            Step::SeatTaken(side) => {
                let call = nth(side.into(), 0, &pair);
                pair.input(side.into(), Input::SeatTaken { call, seat: [1; 32] });
            }
            Step::Link(true) => pair.link_up(),
            Step::Link(false) => pair.link_down(),
            Step::Media(on) => pair.set_media(on),
            Step::Roam(side) => pair.roam(side.into()),
            Step::Kill(side) => pair.kill(side.into()),
            Step::Start(side) => pair.start(side.into()),
            Step::Settings(side, dnd, call_waiting, seconds) => {
                let grace = Duration::from_secs(seconds.into());
                pair.settings(side.into(), Settings { dnd, call_waiting, grace });
            }
            Step::Failed(side, fatal) => {
                let call = nth(side.into(), 0, &pair);
                pair.input(side.into(), Input::Peer(call, PeerEvent::Failed { fatal, reason: String::new() }));
            }
            Step::NeedsRebuild(side) => {
                let call = nth(side.into(), 0, &pair);
                pair.input(side.into(), Input::Peer(call, PeerEvent::NeedsRebuild));
            }
            Step::Lie(side, n, participant, say) => {
                let side = usize::from(side);
                let message =
                    CallMessage { call: nth(side, n, &pair), participant: (participant % 3).into(), body: body(say) };
                let from = pair.sides[1 - side].root;
                pair.input(side, Input::Received(from, message));
            }
            Step::FriendGone(side) => {
                let friend = pair.sides[1 - usize::from(side)].root;
                pair.input(side.into(), Input::FriendGone(friend));
            }
            Step::Pass(ms) => pair.pass_ms(ms.into()),
        }
        for side in &pair.sides {
            assert!(side.calls.iter().count() <= MAX_CALLS);
            let talking = side.calls.iter().filter(|call| call.answered_ms.is_some() && !call.held).count();
            assert!(talking <= 1, "two calls talk at once");
            for call in side.calls.iter() {
                let healthy = call.state == State::Active && call.seat_taken;
                assert!(healthy || side.calls.poll_timeout().is_some(), "a call without an end: {call:?}");
            }
        }
    }
    // Everybody goes away: whatever was going on has an end.
    pair.link_down();
    pair.set_media(false);
    pair.pass(Duration::from_secs(1300));
    for side in &pair.sides {
        for call in side.calls.iter() {
            assert_eq!(call.state, State::Active, "only a call whose engine never said that it is silent goes on");
        }
    }
});
