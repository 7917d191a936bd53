//! Two call machines with a link, a network and two simple media engines between them, in virtual time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::{Clock, people};
use crate::call::{
    CallRecord, Calls, HistoryRecord, Input, OfferKind, Output, PeerCommand, PeerEvent, Settings, Snapshot,
};
use crate::identity::RootPublic;
use crate::wire::{Bounded, CallId, CallMessage, Candidate, Description, DescriptionKind, Frame, Message};

/// How long the simple engine takes to make a description.
const DESCRIBE: Duration = Duration::from_millis(5);
/// How long it takes from both descriptions to a path.
const CONNECT: Duration = Duration::from_millis(20);
/// How long it takes to notice silence.
const SILENCE: Duration = Duration::from_millis(1500);
/// How long it looks for a path.
const GIVE_UP: Duration = Duration::from_secs(10);

/// The half of a media connection on one side.
#[derive(Clone, Debug, Default)]
struct Engine {
    /// Counts its lives: events of an earlier one are dropped.
    life: u64,
    /// Fingerprint of its present connection, and of the other side's if known.
    own: u64,
    other: Option<u64>,
    /// Generation in force or being negotiated.
    generation: u32,
    offering: bool,
    /// Both descriptions of `generation` are in, and it has not given up.
    complete: bool,
    /// The path of this generation works as long as both addresses are still these.
    addresses: (u32, u32),
    connected: bool,
    /// Packets have come within the last 1.5 seconds.
    heard: bool,
    /// Last flow it was told.
    flow: (bool, bool, bool, bool),
}

/// Something that happens later.
#[derive(Clone, Debug)]
enum Later {
    Deliver(usize, CallMessage),
    Local(usize, CallId, u64, Description),
    Connect(usize, CallId, u64, u32),
    Silence(usize, CallId, u64),
    GiveUp(usize, CallId, u64, u32),
}

/// One side: the machine, its engines, and all that it said.
#[derive(Debug)]
pub struct Side {
    /// Who.
    pub root: RootPublic,
    /// The machine.
    pub calls: Calls,
    /// Whether the node runs.
    pub running: bool,
    /// Last snapshot of each call.
    pub seen: BTreeMap<CallId, Snapshot>,
    /// How often it rang.
    pub rang: Vec<CallId>,
    /// Last history entry of each call.
    pub history: BTreeMap<CallId, HistoryRecord>,
    /// Stored calls.
    pub stored: BTreeMap<CallId, CallRecord>,
    /// Calls that took on the id of the friend's call, since both called at once.
    pub merged: BTreeSet<CallId>,
    /// What was refused.
    pub refused: Vec<(CallId, crate::call::Refusal)>,
    /// Which lost calls were offered to be resumed.
    pub resumable: Vec<crate::call::Resumable>,
    /// All outputs, as text, to compare runs.
    pub log: Vec<String>,
    engines: BTreeMap<CallId, Engine>,
    /// Reliable messages that have not been delivered.
    queue: VecDeque<CallMessage>,
    settings: Settings,
    address: u32,
}

/// Two sides and what is between them.
#[derive(Debug)]
pub struct Pair {
    /// The time.
    pub clock: Clock,
    /// Lower root first.
    pub sides: [Side; 2],
    /// Delay of the link, one way.
    pub latency: Duration,
    /// Whether the link is up.
    pub link: bool,
    /// Whether media packets pass.
    pub media: bool,
    later: BTreeMap<(Instant, u64), Later>,
    next: u64,
    lives: u64,
}

impl Default for Pair {
    fn default() -> Self {
        Self::new()
    }
}

impl Pair {
    /// Two friends, linked.
    #[must_use]
    pub fn new() -> Self {
        let sides = people::<2>().map(|root| Side {
            root,
            calls: Calls::new(Settings::default()),
            running: true,
            seen: BTreeMap::new(),
            rang: Vec::new(),
            history: BTreeMap::new(),
            stored: BTreeMap::new(),
            merged: BTreeSet::new(),
            refused: Vec::new(),
            resumable: Vec::new(),
            log: Vec::new(),
            engines: BTreeMap::new(),
            queue: VecDeque::new(),
            settings: Settings::default(),
            address: 0,
        });
        let mut pair = Self {
            clock: Clock::new(),
            sides,
            latency: Duration::from_millis(25),
            link: false,
            media: true,
            later: BTreeMap::new(),
            next: 0,
            lives: 0,
        };
        pair.link_up();
        pair
    }

    /// Feeds one side.
    pub fn input(&mut self, side: usize, input: Input) {
        if self.sides[side].running {
            let outputs = self.sides[side].calls.handle(self.clock.now, self.clock.unix_ms, input);
            self.apply(side, outputs);
        }
    }

    /// One side calls the other; returns the call's id (`n` repeated).
    pub fn place(&mut self, side: usize, n: u8, video: bool) -> CallId {
        let call = CallId([n; 16]);
        let friend = self.sides[1 - side].root;
        self.input(side, Input::Place { call, friend, video, seat: [n; 32] });
        call
    }

    /// One side answers.
    pub fn answer(&mut self, side: usize, call: CallId, video: bool) {
        self.input(side, Input::Answer { call, video, seat: [0xaa; 32] });
    }

    /// A call from side 0, answered and talking.
    #[must_use]
    pub fn talking() -> (Self, CallId) {
        let mut pair = Self::new();
        let call = pair.place(0, 1, false);
        pair.pass_ms(200);
        pair.answer(1, call, false);
        pair.pass_ms(200);
        (pair, call)
    }

    /// Sets how one side takes calls.
    pub fn settings(&mut self, side: usize, settings: Settings) {
        self.sides[side].settings = settings;
        self.input(side, Input::Settings(settings));
    }

    /// The link breaks: what was not delivered waits.
    pub fn link_down(&mut self) {
        if !std::mem::take(&mut self.link) {
            return;
        }
        let undelivered: Vec<_> =
            self.later.iter().filter(|(_, later)| matches!(later, Later::Deliver(..))).map(|(at, _)| *at).collect();
        for at in undelivered.into_iter().rev() {
            if let Some(Later::Deliver(to, message)) = self.later.remove(&at) {
                self.sides[1 - to].queue.push_front(message);
            }
        }
        for side in [0, 1] {
            let friend = self.sides[1 - side].root;
            self.input(side, Input::LinkDown(friend));
        }
    }

    /// The link comes up, if both nodes run: what waits is replayed.
    pub fn link_up(&mut self) {
        self.link_up_after([false, false]);
    }

    fn link_up_after(&mut self, restarted: [bool; 2]) {
        if self.link || !self.sides.iter().all(|side| side.running) {
            return;
        }
        self.link = true;
        for (side, restarted) in restarted.into_iter().enumerate() {
            let waiting = std::mem::take(&mut self.sides[side].queue);
            waiting.into_iter().for_each(|message| self.transmit(side, message));
            let friend = self.sides[side].root;
            self.input(1 - side, Input::LinkUp { friend, restarted });
        }
    }

    /// The node of one side is killed: the link breaks, what it had to say is lost.
    pub fn kill(&mut self, side: usize) {
        self.link_down();
        let node = &mut self.sides[side];
        node.running = false;
        node.queue.clear();
        node.engines.clear();
        node.calls = Calls::new(node.settings);
        node.seen.clear();
        self.refresh();
    }

    /// It starts again with what it stored, and the link comes up.
    pub fn start(&mut self, side: usize) {
        if std::mem::replace(&mut self.sides[side].running, true) {
            return;
        }
        let records: Vec<_> = self.sides[side].stored.values().cloned().collect();
        for record in records {
            self.input(side, Input::Restore(record));
        }
        let mut restarted = [false, false];
        restarted[side] = true;
        self.link_up_after(restarted);
    }

    /// One side's address changes: media stops until a new path is negotiated, and the link breaks.
    pub fn roam(&mut self, side: usize) {
        self.sides[side].address += 1;
        self.link_down();
        self.refresh();
        self.input(side, Input::AddressChanged);
    }

    /// Media stops or passes again.
    pub fn set_media(&mut self, passes: bool) {
        self.media = passes;
        self.refresh();
    }

    /// Lets milliseconds pass.
    pub fn pass_ms(&mut self, ms: u64) {
        self.pass(Duration::from_millis(ms));
    }

    /// Lets time pass, with everything that happens in it.
    pub fn pass(&mut self, time: Duration) {
        let end = self.clock.now + time;
        loop {
            let timers = self.sides.iter().filter(|side| side.running).filter_map(|side| side.calls.poll_timeout());
            let next = timers.chain(self.later.keys().next().map(|(at, _)| *at)).min().filter(|at| *at <= end);
            self.clock.advance_to(next.unwrap_or(end));
            if next.is_none() {
                return;
            }
            while let Some(entry) = self.later.first_entry().filter(|entry| entry.key().0 <= self.clock.now) {
                let later = entry.remove();
                self.happen(later);
            }
            for side in [0, 1] {
                let due = self.sides[side].calls.poll_timeout().is_some_and(|at| at <= self.clock.now);
                if self.sides[side].running && due {
                    let outputs = self.sides[side].calls.handle_timeout(self.clock.now, self.clock.unix_ms);
                    self.apply(side, outputs);
                }
            }
        }
    }

    /// Whether one side's media reaches the other's client: both flows are open and the path works.
    #[must_use]
    pub fn hears(&self, side: usize, call: [CallId; 2]) -> bool {
        let get = |n: usize| self.sides[n].engines.get(&call[n]);
        match (get(side), get(1 - side)) {
            (Some(here), Some(there)) => here.flow.3 && there.flow.0 && self.passes(here, there),
            _ => false,
        }
    }

    /// Whether one side's shared screen reaches the other's client.
    #[must_use]
    pub fn shows(&self, side: usize, call: [CallId; 2]) -> bool {
        let get = |n: usize| self.sides[n].engines.get(&call[n]);
        match (get(side), get(1 - side)) {
            (Some(here), Some(there)) => here.flow.3 && there.flow.2 && self.passes(here, there),
            _ => false,
        }
    }

    fn passes(&self, a: &Engine, b: &Engine) -> bool {
        let now = (self.sides[0].address, self.sides[1].address);
        self.media
            && a.connected
            && b.connected
            && a.addresses == now
            && b.addresses == now
            && a.other == Some(b.own)
            && b.other == Some(a.own)
    }

    fn at(&mut self, delay: Duration, later: Later) {
        self.next += 1;
        self.later.insert((self.clock.now + delay, self.next), later);
    }

    fn transmit(&mut self, from: usize, message: CallMessage) {
        // Everything crosses the wire format.
        let bytes = Frame::plain(Message::Call(message)).encode().unwrap_or_default();
        if let Ok(Frame { message: Message::Call(message), .. }) = Frame::decode(&bytes) {
            self.at(self.latency, Later::Deliver(1 - from, message));
        }
    }

    fn apply(&mut self, side: usize, outputs: Vec<Output>) {
        for output in outputs {
            self.sides[side].log.push(format!("{output:?}"));
            let partner = self.sides[1 - side].root;
            let node = &mut self.sides[side];
            match output {
                // What is said to others than the partner is in the log only.
                Output::Send(to, _) if to != partner => {}
                Output::Send(_, message) if self.link => self.transmit(side, message),
                Output::Send(_, message) => node.queue.push_back(message),
                Output::Incoming(snapshot) => {
                    node.rang.push(snapshot.id);
                    node.seen.insert(snapshot.id, snapshot);
                }
                Output::Changed(snapshot) => drop(node.seen.insert(snapshot.id, snapshot)),
                Output::History(record) => drop(node.history.insert(record.id, record)),
                Output::Store(record) => {
                    if record.wire != record.id {
                        node.merged.insert(record.id);
                    }
                    node.stored.insert(record.id, record);
                }
                Output::Forget(id) => drop(node.stored.remove(&id)),
                Output::Refused(id, refusal) => node.refused.push((id, refusal)),
                Output::Resumable(resumable) => node.resumable.push(resumable),
                Output::Urge(_) | Output::Probe(_) | Output::InCall(..) => {}
                Output::Peer(id, command) => self.engine(side, id, command),
            }
        }
    }

    fn engine(&mut self, side: usize, id: CallId, command: PeerCommand) {
        self.lives += 1;
        let life = self.lives;
        if matches!(command, PeerCommand::Open { .. }) {
            self.sides[side].engines.insert(id, Engine { life, own: life, ..Engine::default() });
            return;
        }
        let Some(engine) = self.sides[side].engines.get_mut(&id) else { return };
        let own_life = engine.life;
        match command {
            PeerCommand::Open { .. } | PeerCommand::Candidates { .. } => {}
            PeerCommand::Close => drop(self.sides[side].engines.remove(&id)),
            PeerCommand::Flow { audio, video, screen, receive } => engine.flow = (audio, video, screen, receive),
            PeerCommand::Offer { generation, kind } => {
                if kind != OfferKind::Restart || engine.other.is_none() {
                    (engine.own, engine.other) = (life, None);
                }
                (engine.generation, engine.offering, engine.complete) = (generation, true, false);
                let description = describe(DescriptionKind::Offer, generation, engine.own);
                self.at(DESCRIBE, Later::Local(side, id, own_life, description));
            }
            PeerCommand::Remote { description, .. } if description.kind == DescriptionKind::Offer => {
                let other = named(&description);
                if engine.other.is_some_and(|known| known != other) || engine.other.is_none() && !engine.offering {
                    engine.own = life;
                    engine.connected = false;
                }
                engine.other = Some(other);
                (engine.generation, engine.offering) = (description.generation, false);
                let answer = describe(DescriptionKind::Answer, description.generation, engine.own);
                self.at(DESCRIBE, Later::Local(side, id, own_life, answer));
                self.complete(side, id);
            }
            PeerCommand::Remote { description, .. } => {
                let other = named(&description);
                if !engine.offering || engine.generation != description.generation {
                    return;
                }
                if engine.other.is_some_and(|known| known != other) {
                    return self.input(side, Input::Peer(id, PeerEvent::NeedsRebuild));
                }
                (engine.other, engine.offering) = (Some(other), false);
                self.complete(side, id);
            }
        }
    }

    fn complete(&mut self, side: usize, id: CallId) {
        let addresses = (self.sides[0].address, self.sides[1].address);
        let Some(engine) = self.sides[side].engines.get_mut(&id) else { return };
        engine.complete = true;
        engine.addresses = addresses;
        let (life, generation) = (engine.life, engine.generation);
        self.at(CONNECT, Later::Connect(side, id, life, generation));
        self.at(GIVE_UP, Later::GiveUp(side, id, life, generation));
    }

    /// The engine on the other side that belongs to the same connection.
    fn partner(&self, side: usize, engine: &Engine) -> Option<CallId> {
        let other = &self.sides[1 - side].engines;
        other.iter().find(|(_, there)| engine.other == Some(there.own)).map(|(id, _)| *id)
    }

    fn happen(&mut self, later: Later) {
        match later {
            Later::Deliver(to, message) => {
                let from = self.sides[1 - to].root;
                self.input(to, Input::Received(from, message));
            }
            Later::Local(side, id, life, description) => {
                if self.sides[side].engines.get(&id).is_some_and(|engine| engine.life == life) {
                    let candidates =
                        Candidate::new("candidate:1 1 udp 1 127.0.0.1 40000 typ host").into_iter().collect();
                    self.input(side, Input::Peer(id, PeerEvent::Local { description, candidates }));
                }
            }
            Later::Connect(side, id, life, generation) => self.connect(side, id, life, generation),
            Later::Silence(side, id, life) => {
                let silent = self.sides[side].engines.get(&id).is_some_and(|engine| {
                    let there = self.partner(side, engine).and_then(|id| self.sides[1 - side].engines.get(&id));
                    engine.life == life && engine.heard && !there.is_some_and(|there| self.passes(engine, there))
                });
                if silent {
                    if let Some(engine) = self.sides[side].engines.get_mut(&id) {
                        engine.heard = false;
                    }
                    self.input(side, Input::Peer(id, PeerEvent::Silent));
                }
            }
            Later::GiveUp(side, id, life, generation) => {
                let fails = self.sides[side].engines.get(&id).is_some_and(|engine| {
                    engine.life == life && engine.generation == generation && !engine.connected && !engine.heard
                });
                if fails {
                    if let Some(engine) = self.sides[side].engines.get_mut(&id) {
                        engine.complete = false;
                    }
                    let reason = "no packet found its way".to_owned();
                    self.input(side, Input::Peer(id, PeerEvent::Failed { fatal: false, reason }));
                }
            }
        }
    }

    fn connect(&mut self, side: usize, id: CallId, life: u64, generation: u32) {
        let now = (self.sides[0].address, self.sides[1].address);
        let Some(engine) = self.sides[side].engines.get(&id) else { return };
        if engine.life != life || engine.generation != generation || !engine.complete {
            return;
        }
        let there = self.partner(side, engine).and_then(|id| self.sides[1 - side].engines.get(&id));
        let ready = there.is_some_and(|there| there.complete && there.other == Some(engine.own));
        if !self.media || engine.addresses != now || !ready {
            // It goes on trying, as ICE does, until it gives up.
            return self.at(CONNECT, Later::Connect(side, id, life, generation));
        }
        if let Some(engine) = self.sides[side].engines.get_mut(&id) {
            (engine.connected, engine.heard) = (true, true);
        }
        self.input(side, Input::Peer(id, PeerEvent::Connected));
    }

    /// Looks at all paths anew: who hears nothing now says so in a while, who hears again says so at once.
    fn refresh(&mut self) {
        for side in [0, 1] {
            let engines: Vec<_> = self.sides[side].engines.keys().copied().collect();
            for id in engines {
                let Some(engine) = self.sides[side].engines.get(&id) else { continue };
                let there = self.partner(side, engine).and_then(|id| self.sides[1 - side].engines.get(&id));
                let passes = there.is_some_and(|there| self.passes(engine, there));
                let (life, heard, connected) = (engine.life, engine.heard, engine.connected);
                if passes && !heard {
                    if let Some(engine) = self.sides[side].engines.get_mut(&id) {
                        engine.heard = true;
                    }
                    self.input(side, Input::Peer(id, PeerEvent::Recovered));
                } else if connected && heard && !passes {
                    self.at(SILENCE, Later::Silence(side, id, life));
                }
            }
        }
    }
}

/// A description that carries the engine's number as its fingerprint.
fn describe(kind: DescriptionKind, generation: u32, own: u64) -> Description {
    let mut fingerprint = [0; 32];
    fingerprint[..8].copy_from_slice(&own.to_be_bytes());
    Description {
        kind,
        generation,
        fingerprint,
        sdp: Bounded::new("v=0\r\n").unwrap_or_default(),
        more: Bounded::default(),
    }
}

fn named(description: &Description) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&description.fingerprint[..8]);
    u64::from_be_bytes(number)
}
