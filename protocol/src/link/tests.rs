//! The session against itself: two of them joined by connections that delay, break and cross.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::identity::RootKey;
use crate::wire::{Availability, Frame, Name, Open};

/// Any instant: only differences count.
#[expect(clippy::disallowed_methods, reason = "tests need some instant to start from")]
fn start() -> Instant {
    Instant::now()
}

/// Two sessions and the frames between them. Connections deliver at once, in order, when told to.
struct Pair {
    now: Instant,
    sides: [Session; 2],
    boots: [u64; 2],
    open: Vec<ConnectionId>,
    wire: [VecDeque<(ConnectionId, Vec<u8>)>; 2],
    seen: [Vec<Output>; 2],
    next: u64,
}

impl Pair {
    fn new() -> Self {
        let mut roots = [1, 2].map(|n| RootKey::from_secret(&[n; 32]).public());
        roots.sort();
        let sides = [Session::new(&roots[0], &roots[1]), Session::new(&roots[1], &roots[0])];
        Self {
            now: start(),
            sides,
            boots: [10, 20],
            open: Vec::new(),
            wire: Default::default(),
            seen: Default::default(),
            next: 1,
        }
    }

    fn apply(&mut self, side: usize, outputs: Vec<Output>) {
        for output in outputs {
            match &output {
                Output::Transmit(id, bytes) => self.wire[1 - side].push_back((*id, bytes.clone())),
                Output::Close(id, _) => self.close(*id, side),
                _ => {}
            }
            self.seen[side].push(output);
        }
    }

    /// One side closes a connection: what it sent before still arrives, then the other side sees the end.
    fn close(&mut self, id: ConnectionId, by: usize) {
        if let Some(place) = self.open.iter().position(|open| *open == id) {
            self.open.remove(place);
            self.wire[by].retain(|(of, _)| *of != id);
            self.deliver(1 - by, Some(id));
            let outputs = self.sides[1 - by].handle(self.now, Input::Disconnected(id));
            self.apply(1 - by, outputs);
        }
    }

    fn input(&mut self, side: usize, input: Input) {
        let outputs = self.sides[side].handle(self.now, input);
        self.apply(side, outputs);
    }

    fn connect(&mut self, dialler: usize) -> ConnectionId {
        self.connect_by(dialler, false)
    }

    fn connect_by(&mut self, dialler: usize, relayed: bool) -> ConnectionId {
        let id = ConnectionId(self.next);
        self.next += 1;
        self.open.push(id);
        for side in [dialler, 1 - dialler] {
            let remote_boot = self.boots[1 - side];
            self.input(side, Input::Connected { connection: id, remote_boot, dialled: side == dialler, relayed });
        }
        id
    }

    /// The connection breaks: nothing in flight arrives.
    fn cut(&mut self) {
        for id in std::mem::take(&mut self.open) {
            for side in [0, 1] {
                self.wire[side].clear();
                self.input(side, Input::Disconnected(id));
            }
        }
    }

    fn deliver(&mut self, side: usize, only: Option<ConnectionId>) {
        while let Some(place) = self.wire[side].iter().position(|(id, _)| only.is_none_or(|only| only == *id)) {
            let Some((id, bytes)) = self.wire[side].remove(place) else { break };
            self.input(side, Input::Frame(id, bytes));
        }
    }

    fn settle(&mut self) {
        while !self.wire[0].is_empty() || !self.wire[1].is_empty() {
            self.deliver(0, None);
            self.deliver(1, None);
        }
    }

    /// Lets time pass in steps, with all timers; frames arrive unless the network is black.
    fn pass(&mut self, time: Duration, black: bool) {
        let end = self.now + time;
        while self.now < end {
            self.now += Duration::from_millis(50);
            for side in [0, 1] {
                if self.sides[side].poll_timeout().is_some_and(|due| due <= self.now) {
                    let outputs = self.sides[side].handle_timeout(self.now);
                    self.apply(side, outputs);
                }
            }
            if black {
                self.wire.iter_mut().for_each(VecDeque::clear);
            } else {
                self.settle();
            }
        }
    }

    fn received(&self, side: usize) -> Vec<Message> {
        let message = |output: &Output| match output {
            Output::Received(message) => Some(message.clone()),
            _ => None,
        };
        self.seen[side].iter().filter_map(message).collect()
    }

    fn count(&self, side: usize, what: impl Fn(&Output) -> bool) -> usize {
        self.seen[side].iter().filter(|output| what(output)).count()
    }
}

fn note(n: u64) -> Message {
    Message::GrantStored(n)
}

#[test]
fn a_message_sent_while_the_link_is_down_arrives_once_when_it_is_up() {
    let mut pair = Pair::new();
    pair.input(0, Input::Send(note(1)));
    pair.connect(0);
    pair.settle();
    assert_eq!(pair.received(1), [note(1)]);
    pair.pass(Duration::from_millis(200), false);
    assert_eq!(pair.sides[0].queued(), 0, "acknowledged");
}

#[test]
fn what_was_applied_but_not_acknowledged_is_replayed_and_not_applied_again() {
    let mut pair = Pair::new();
    pair.connect(0);
    pair.settle();
    pair.input(0, Input::Send(note(1)));
    pair.deliver(1, None);
    pair.input(0, Input::Send(note(2)));
    pair.cut();
    assert_eq!(pair.sides[0].queued(), 2);
    pair.connect(1);
    pair.settle();
    pair.pass(Duration::from_millis(200), false);
    assert_eq!(pair.received(1), [note(1), note(2)]);
    assert_eq!(pair.sides[0].queued(), 0);
}

#[test]
fn a_restarted_friend_gets_what_waits_and_starts_a_sequence_of_its_own() {
    let mut pair = Pair::new();
    pair.connect(0);
    pair.input(0, Input::Send(note(1)));
    pair.input(1, Input::Send(note(7)));
    pair.settle();
    pair.pass(Duration::from_millis(200), false);
    pair.cut();
    pair.input(0, Input::Send(note(2)));
    let roots = [1, 2].map(|n| RootKey::from_secret(&[n; 32]).public());
    pair.sides[1] = Session::new(&roots[0].max(roots[1]), &roots[0].min(roots[1]));
    pair.boots[1] += 1;
    pair.input(1, Input::Send(note(8)));
    pair.connect(1);
    pair.settle();
    assert_eq!(pair.received(1), [note(1), note(2)]);
    assert_eq!(pair.received(0), [note(7), note(8)]);
    assert_eq!(pair.count(0, |o| matches!(o, Output::Up { restarted: true, .. })), 1);
    assert_eq!(pair.count(1, |o| matches!(o, Output::Up { restarted: true, .. })), 0);
}

#[test]
fn a_friend_removed_and_added_again_begins_a_sequence_of_its_own() {
    let mut pair = Pair::new();
    pair.connect(0);
    for n in 0..5 {
        pair.input(0, Input::Send(note(n)));
        pair.input(1, Input::Send(note(n)));
    }
    pair.settle();
    pair.cut();
    // The same process, the same boot id, but the session was forgotten.
    let mut roots = [1, 2].map(|n| RootKey::from_secret(&[n; 32]).public());
    roots.sort();
    pair.sides[0] = Session::new(&roots[0], &roots[1]);
    for n in 10..13 {
        pair.input(0, Input::Send(note(n)));
        pair.input(1, Input::Send(note(n)));
    }
    pair.connect(1);
    pair.settle();
    pair.pass(Duration::from_millis(200), false);
    assert_eq!(pair.received(1)[5..], [note(10), note(11), note(12)]);
    // What was sent before and never acknowledged comes again: the one who forgot cannot know that it had it.
    assert_eq!(
        pair.received(0).iter().rev().take(3).rev().cloned().collect::<Vec<_>>(),
        [note(10), note(11), note(12)]
    );
    assert!(pair.sides[0].is_up() && pair.sides[1].is_up());
    assert_eq!(pair.sides[0].queued() + pair.sides[1].queued(), 0);
}

#[test]
fn crossing_dials_leave_the_connection_of_the_lower_root_whatever_comes_first() {
    for first in [0, 1] {
        let mut pair = Pair::new();
        let ids = [pair.connect(first), pair.connect(1 - first)];
        pair.settle();
        let expected = if first == 0 { ids[0] } else { ids[1] };
        assert_eq!(pair.sides[0].connection(), Some(expected));
        assert_eq!(pair.sides[1].connection(), Some(expected));
        assert!(pair.sides[0].is_up() && pair.sides[1].is_up());
        pair.input(1, Input::Send(note(3)));
        pair.settle();
        assert_eq!(pair.received(0), [note(3)]);
    }
}

#[test]
fn a_redial_by_the_higher_root_replaces_a_connection_that_is_old() {
    let mut pair = Pair::new();
    pair.connect(0);
    pair.settle();
    pair.pass(CROSSING_WINDOW, false);
    let redial = pair.connect(1);
    pair.settle();
    assert_eq!(pair.sides[0].connection(), Some(redial));
    assert_eq!(pair.sides[1].connection(), Some(redial));
}

#[test]
fn a_direct_connection_takes_over_from_a_relayed_one_at_any_time_and_nothing_is_lost() {
    for (age, dialler) in [(Duration::ZERO, 0), (Duration::ZERO, 1), (CROSSING_WINDOW * 2, 0), (CROSSING_WINDOW * 2, 1)]
    {
        let mut pair = Pair::new();
        pair.connect_by(0, true);
        pair.settle();
        pair.pass(age, false);
        // On its way over the relay when the direct connection comes up.
        pair.input(0, Input::Send(note(1)));
        pair.input(1, Input::Send(note(2)));
        let direct = pair.connect_by(dialler, false);
        pair.settle();
        for side in [0, 1] {
            assert_eq!(pair.sides[side].connection(), Some(direct));
            assert_eq!(pair.count(side, |o| matches!(o, Output::Down(_))), 0, "the link was up all the time");
        }
        assert_eq!((pair.received(0), pair.received(1)), (vec![note(2)], vec![note(1)]));
    }
}

#[test]
fn a_relayed_connection_takes_over_from_a_direct_one_unless_both_sides_dialled_at_once() {
    for (dialler, age, taken) in [
        (1, Duration::ZERO, false),
        (1, CROSSING_CIRCUIT, true),
        (0, Duration::ZERO, true),
        (0, CROSSING_CIRCUIT, true),
    ] {
        let mut pair = Pair::new();
        let direct = pair.connect_by(0, false);
        pair.settle();
        pair.pass(age, false);
        let relayed = pair.connect_by(dialler, true);
        pair.settle();
        let expected = if taken { relayed } else { direct };
        assert_eq!([0, 1].map(|side| pair.sides[side].connection()), [Some(expected); 2], "{dialler} {age:?}");
    }
}

#[test]
fn a_fresh_circuit_takes_over_from_one_that_is_near_its_end() {
    let mut pair = Pair::new();
    pair.connect_by(0, true);
    pair.settle();
    pair.pass(Duration::from_secs(90), false);
    pair.input(1, Input::Send(note(1)));
    let fresh = pair.connect_by(0, true);
    pair.settle();
    assert_eq!([0, 1].map(|side| pair.sides[side].connection()), [Some(fresh); 2]);
    assert_eq!(pair.received(0), [note(1)]);
    assert_eq!(pair.count(0, |o| matches!(o, Output::Down(_))), 0);
}

#[test]
fn whoever_is_refused_is_told_and_knows_that_the_dial_came_to_nothing() {
    let mut pair = Pair::new();
    pair.connect(0);
    pair.settle();
    // Side 0 runs a second time, with an older boot id, and dials side 1.
    let id = ConnectionId(99);
    let mut copy = pair.sides[0].clone();
    copy.handle(pair.now, Input::Close(ByeReason::Stopping));
    copy.handle(pair.now, Input::Connected { connection: id, remote_boot: 20, dialled: true, relayed: false });
    pair.input(1, Input::Connected { connection: id, remote_boot: 9, dialled: false, relayed: false });
    let bye = pair.seen[1].iter().find_map(|output| match output {
        Output::Transmit(on, bytes) if *on == id => Some(bytes.clone()),
        _ => None,
    });
    let outputs = copy.handle(pair.now, Input::Frame(id, bye.expect("told")));
    let refused = Output::Unopened { dialled: true, reason: CloseReason::Remote(ByeReason::Replaced) };
    assert!(outputs.contains(&refused), "{outputs:?}");
    assert!(pair.sides[1].is_up());
}

#[test]
fn patience_grows_with_the_round_trip() {
    for (rtt, living, dead) in [(50, 900, 1100), (400, 1500, 2000)] {
        let [living, dead] = [living, dead].map(Duration::from_millis);
        let roots = [1, 2].map(|n| RootKey::from_secret(&[n; 32]).public());
        let mut session = Session::new(&roots[0], &roots[1]);
        let (mut now, id) = (start(), ConnectionId(1));
        let frame = |message| Frame::plain(message).encode().expect("encodes");
        session.handle(now, Input::Connected { connection: id, remote_boot: 1, dialled: true, relayed: false });
        let open = frame(Message::Open(Open { session: 7, first: 1, of: 0, received: 0 }));
        session.handle(now, Input::Frame(id, open));
        // The round trip is learnt, then nothing more comes.
        for n in 1..=8 {
            session.handle(now, Input::Probe);
            now += Duration::from_millis(rtt);
            session.handle(now, Input::Frame(id, frame(Message::Pong(n))));
        }
        session.handle(now, Input::Probe);
        session.handle_timeout(now + living);
        assert!(session.is_up(), "round trip {rtt} ms");
        session.handle_timeout(now + dead);
        assert!(!session.is_up(), "round trip {rtt} ms");
    }
}

#[test]
fn one_who_is_in_doubt_again_and_again_is_given_no_more_time() {
    let mut pair = Pair::new();
    pair.connect(0);
    pair.settle();
    for _ in 0..6 {
        pair.input(0, Input::Probe);
        pair.pass(Duration::from_millis(200), true);
    }
    assert!(!pair.sides[0].is_up());
}

#[test]
fn a_newer_boot_wins_over_a_connection_of_the_one_before() {
    let now = start();
    let old = Connection { id: ConnectionId(1), remote_boot: 5, dialled: true, relayed: false, since: now };
    let new = Connection { id: ConnectionId(2), remote_boot: 6, dialled: false, relayed: true, since: now };
    for lower in [true, false] {
        assert_eq!(prefer(lower, &old, &new), Keep::New);
        assert_eq!(prefer(lower, &new, &old), Keep::Old);
    }
}

#[test]
fn silence_is_noticed_within_seconds_in_a_call_and_within_a_minute_else() {
    for (in_call, limit) in [(true, IN_CALL_INTERVAL + IN_CALL_PATIENCE), (false, IDLE_INTERVAL + IDLE_PATIENCE)] {
        let mut pair = Pair::new();
        pair.input(0, Input::InCall(in_call));
        pair.connect(0);
        pair.settle();
        pair.pass(Duration::from_secs(100), false);
        assert!(pair.sides[0].is_up(), "a living link stays");
        pair.pass(limit + Duration::from_millis(100), true);
        assert!(!pair.sides[0].is_up(), "a dead one is noticed");
        assert_eq!(pair.count(0, |o| *o == Output::Down(CloseReason::Silent)), 1);
    }
}

#[test]
fn a_probe_finds_a_dead_connection_at_once_and_leaves_a_living_one() {
    let mut pair = Pair::new();
    pair.connect(0);
    pair.settle();
    pair.input(0, Input::Probe);
    pair.pass(PROBE_PATIENCE, false);
    assert!(pair.sides[0].is_up());
    assert_eq!(pair.count(0, |o| matches!(o, Output::Rtt(_))), 1);
    pair.input(0, Input::Probe);
    pair.pass(PROBE_PATIENCE + Duration::from_millis(100), true);
    assert!(!pair.sides[0].is_up());
}

#[test]
fn an_idle_link_says_little() {
    let mut pair = Pair::new();
    pair.connect(0);
    pair.settle();
    let before =
        pair.count(0, |o| matches!(o, Output::Transmit(..))) + pair.count(1, |o| matches!(o, Output::Transmit(..)));
    pair.pass(Duration::from_secs(600), false);
    let frames =
        pair.count(0, |o| matches!(o, Output::Transmit(..))) + pair.count(1, |o| matches!(o, Output::Transmit(..)));
    assert!(frames - before <= 80, "{} frames in ten minutes", frames - before);
}

#[test]
fn a_full_queue_refuses_what_is_new_and_keeps_what_waits() {
    let mut pair = Pair::new();
    for n in 0..MAX_QUEUED as u64 + 10 {
        pair.input(0, Input::Send(note(n)));
    }
    assert_eq!(pair.count(0, |o| matches!(o, Output::Refused(_, Refusal::Full))), 10);
    pair.connect(0);
    pair.settle();
    assert_eq!(pair.received(1).len(), MAX_QUEUED);
    assert_eq!(pair.received(1)[0], note(0));
}

#[test]
fn who_breaks_the_rules_is_dropped() {
    let open = Frame::plain(Message::Open(Open { session: 7, first: 1, of: 0, received: 0 }));
    let gap = Frame { sequence: Some(5), acknowledged: None, message: note(1) };
    let zero = Frame { sequence: Some(0), acknowledged: None, message: note(1) };
    let late = Frame::plain(Message::Open(Open { session: 7, first: u64::MAX, of: 0, received: 0 }));
    let last = Frame { sequence: Some(u64::MAX), acknowledged: None, message: note(1) };
    let lie = Frame { sequence: None, acknowledged: Some(9), message: Message::Ack };
    let early = Frame::plain(Message::Ping(1));
    type Story<'a> = (&'a [&'a Frame], fn(&Fault) -> bool);
    let stories: [Story; 6] = [
        (&[&late, &last, &zero], |fault| matches!(fault, Fault::Gap { .. })),
        (&[&open, &zero], |fault| matches!(fault, Fault::Gap { .. })),
        (&[&open, &gap], |fault| matches!(fault, Fault::Gap { .. })),
        (&[&open, &lie], |fault| matches!(fault, Fault::Acknowledged { .. })),
        (&[&early], |fault| matches!(fault, Fault::Order(_))),
        (&[&open, &open], |fault| matches!(fault, Fault::Order(_))),
    ];
    for (frames, expected) in stories {
        let mut pair = Pair::new();
        let id = ConnectionId(1);
        pair.input(0, Input::Connected { connection: id, remote_boot: 1, dialled: false, relayed: false });
        for frame in frames {
            let bytes = frame.encode().expect("encodes");
            pair.input(0, Input::Frame(id, bytes));
        }
        let fault = |o: &Output| matches!(o, Output::Close(_, CloseReason::Fault(fault)) if expected(fault));
        assert_eq!(pair.count(0, fault), 1, "{:?}", pair.seen[0]);
        assert_eq!(pair.sides[0].connection(), None);
    }
    let mut pair = Pair::new();
    let id = pair.connect(0);
    pair.settle();
    let ping = Frame::plain(Message::Ping(1)).encode().expect("encodes");
    for _ in 0..=MAX_FRAMES_PER_SECOND {
        pair.input(0, Input::Frame(id, ping.clone()));
    }
    assert_eq!(pair.count(0, |o| matches!(o, Output::Close(_, CloseReason::Fault(Fault::Flood)))), 1);
}

#[test]
fn a_connection_on_which_the_friend_never_speaks_is_closed() {
    let mut pair = Pair::new();
    pair.input(0, Input::Connected { connection: ConnectionId(1), remote_boot: 1, dialled: true, relayed: false });
    pair.pass(OPEN_PATIENCE + Duration::from_millis(50), true);
    assert_eq!(pair.sides[0].connection(), None);
    assert_eq!(pair.count(0, |o| matches!(o, Output::Up { .. } | Output::Down(_))), 0);
}

#[test]
fn back_off_grows_to_its_limit_and_differs_between_seeds() {
    let (first, longest) = (Duration::from_secs(1), Duration::from_secs(300));
    let mut a = Backoff::new(1, first, longest);
    let mut b = Backoff::new(2, first, longest);
    let delays: Vec<_> = (0..40).map(|_| a.failed()).collect();
    assert!(delays[0] <= first && delays[0] >= first / 2);
    assert!(delays[39] <= longest && delays[39] >= longest / 2);
    assert_ne!(delays, (0..40).map(|_| b.failed()).collect::<Vec<_>>());
    let mut again = Backoff::new(1, first, longest);
    assert_eq!(delays, (0..40).map(|_| again.failed()).collect::<Vec<_>>());
    a.reset();
    assert!(a.failed() <= first);
}

/// What a random network does.
#[derive(Clone, Debug)]
enum Step {
    Send(usize),
    Connect(usize),
    Cut,
    Deliver(usize),
    Restart(usize),
    Forget(usize),
    Pass(u64),
    InCall(usize, bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0usize..2).prop_map(Step::Send),
        3 => (0usize..2).prop_map(Step::Connect),
        2 => Just(Step::Cut),
        6 => (0usize..2).prop_map(Step::Deliver),
        1 => (0usize..2).prop_map(Step::Restart),
        1 => (0usize..2).prop_map(Step::Forget),
        3 => (0u64..40_000).prop_map(Step::Pass),
        1 => ((0usize..2), any::<bool>()).prop_map(|(side, on)| Step::InCall(side, on)),
    ]
}

proptest! {
    #[test]
    fn whatever_the_network_does_messages_arrive_once_and_in_order(steps in proptest::collection::vec(step(), 0..120)) {
        let mut pair = Pair::new();
        let mut sent: [Vec<Message>; 2] = Default::default();
        let mut restarted = false;
        let mut n = 0;
        for step in steps {
            match step {
                Step::Send(side) => {
                    n += 1;
                    let message = Message::Profile(Name::clean(&n.to_string()));
                    sent[side].push(message.clone());
                    pair.input(side, Input::Send(message));
                }
                Step::Connect(side) => { pair.connect(side); }
                Step::Cut => pair.cut(),
                Step::Deliver(side) => pair.deliver(side, None),
                Step::Restart(side) | Step::Forget(side) => {
                    pair.cut();
                    restarted = true;
                    let mut roots = [1, 2].map(|n| RootKey::from_secret(&[n; 32]).public());
                    roots.sort();
                    pair.sides[side] = Session::new(&roots[side], &roots[1 - side]);
                    pair.boots[side] += u64::from(matches!(step, Step::Restart(_)));
                }
                Step::Pass(ms) => pair.pass(Duration::from_millis(ms), false),
                Step::InCall(side, on) => pair.input(side, Input::InCall(on)),
            }
        }
        pair.connect(0);
        pair.settle();
        pair.pass(Duration::from_secs(1), false);
        prop_assert!(pair.sides[0].is_up() && pair.sides[1].is_up());
        for side in [0, 1] {
            let faults = pair.count(side, |o| matches!(o, Output::Close(_, CloseReason::Fault(_))));
            prop_assert_eq!(faults, 0, "{:?}", pair.seen[side]);
            let received = pair.received(1 - side);
            if !restarted {
                prop_assert_eq!(&received, &sent[side]);
                prop_assert_eq!(pair.sides[side].queued(), 0);
            }
            // With restarts: what arrives is in order. Applied again only by a node that lost its memory.
            let known: std::collections::HashSet<_> = sent[side].iter().map(|m| format!("{m:?}")).collect();
            let all_known = received.iter().all(|m| known.contains(&format!("{m:?}")));
            prop_assert!(all_known);
        }
    }

    #[test]
    fn hostile_frames_never_panic_and_end_the_connection_or_nothing(frames in proptest::collection::vec(
        proptest::collection::vec(any::<u8>(), 0..60), 0..20)) {
        let mut pair = Pair::new();
        let id = ConnectionId(1);
        pair.input(0, Input::Connected { connection: id, remote_boot: 1, dialled: false, relayed: false });
        for frame in frames {
            pair.input(0, Input::Frame(id, frame));
        }
        prop_assert!(pair.count(0, |o| matches!(o, Output::Received(_))) == 0);
    }
}

#[test]
fn presence_without_a_link_is_refused_and_not_kept() {
    let mut pair = Pair::new();
    pair.input(0, Input::SendNow(Message::Presence(Availability::Dnd)));
    assert_eq!(pair.count(0, |o| matches!(o, Output::Refused(_, Refusal::Down))), 1);
    pair.connect(0);
    pair.settle();
    assert_eq!(pair.received(1), []);
}
