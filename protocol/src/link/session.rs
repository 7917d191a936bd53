//! The session itself: connections come and go, the sequence stays.

use std::time::{Duration, Instant};

use super::choice::{Connection, Keep, prefer};
use super::heartbeat::{Beat, Heartbeat};
use super::queue::{Incoming, Outgoing};
use super::{CloseReason, ConnectionId, Fault, Input, Output, Refusal};
use crate::identity::RootPublic;
use crate::wire::{ByeReason, Frame, Message, Open};

/// How long an acknowledgement may wait for a frame that carries it along.
pub const ACK_DELAY: Duration = Duration::from_millis(100);

/// How many applied messages may stay unacknowledged at most, whatever the delay.
const ACK_EVERY: u32 = 16;

/// How long after the handshake the friend's `open` may take.
pub const OPEN_PATIENCE: Duration = Duration::from_secs(5);

/// How long the link counts as up after the friend's node said that another connection takes over and before that one
/// is there: the last message of its handshake and the good-bye on the old one travel by different ways.
pub const HANDOVER_PATIENCE: Duration = Duration::from_secs(2);

/// More frames than this within a second are a flood. A replay of a full queue stays below.
pub const MAX_FRAMES_PER_SECOND: u32 = 1000;

/// The present connection.
#[derive(Clone, Debug)]
struct Live {
    connection: Connection,
    /// The friend's `open` came.
    open: bool,
    heartbeat: Heartbeat,
    /// When the acknowledgement is due at the latest, and for how many messages.
    ack: Option<Instant>,
    unacknowledged: u32,
    /// The second in which frames are counted, and how many came in it.
    window: (Instant, u32),
}

/// The link to one friend, across connections.
#[derive(Clone, Debug)]
pub struct Session {
    /// Whether the own root is the lower one of the two.
    lower: bool,
    in_call: bool,
    live: Option<Live>,
    /// Names the own sequence: the number of the first connection, which no other session of this process has. 0
    /// before that.
    id: u64,
    remote_boot: Option<u64>,
    /// The layer above was told that the link is up.
    up: bool,
    /// Until when another connection must have taken over, there being none at present.
    handover: Option<Instant>,
    /// Boot id of the friend's node when the link was last up.
    boot_seen: Option<u64>,
    outgoing: Outgoing,
    incoming: Incoming,
    outputs: Vec<Output>,
}

impl Session {
    /// A link between `own` and `friend` that was never up.
    #[must_use]
    pub fn new(own: &RootPublic, friend: &RootPublic) -> Self {
        Self {
            lower: own < friend,
            in_call: false,
            live: None,
            id: 0,
            remote_boot: None,
            up: false,
            handover: None,
            boot_seen: None,
            outgoing: Outgoing::default(),
            incoming: Incoming::default(),
            outputs: Vec::new(),
        }
    }

    /// Whether the link is up.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.live.as_ref().is_some_and(|live| live.open)
    }

    /// The connection in use, if there is one (it may not be up yet).
    #[must_use]
    pub fn connection(&self) -> Option<ConnectionId> {
        self.live.as_ref().map(|live| live.connection.id)
    }

    /// How many messages wait for an acknowledgement.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.outgoing.len()
    }

    /// Takes what happened; returns what to do, in order.
    pub fn handle(&mut self, now: Instant, input: Input) -> Vec<Output> {
        match input {
            Input::Connected { connection, remote_boot, dialled, relayed } => {
                self.connected(Connection { id: connection, remote_boot, dialled, relayed, since: now });
            }
            Input::Disconnected(id) => {
                if self.live.as_ref().is_some_and(|live| live.connection.id == id) {
                    self.drop_live(CloseReason::Lost, false);
                }
            }
            Input::Frame(id, bytes) => {
                if self.live.as_ref().is_some_and(|live| live.connection.id == id)
                    && let Err(fault) = self.frame(now, &bytes)
                {
                    self.transmit(Message::Bye(ByeReason::Fault));
                    self.drop_live(CloseReason::Fault(fault), true);
                }
            }
            Input::Send(message) => self.send(message),
            Input::SendNow(message) => {
                if self.live.is_some() {
                    self.transmit(message);
                } else {
                    self.outputs.push(Output::Refused(message, Refusal::Down));
                }
            }
            Input::InCall(in_call) => {
                self.in_call = in_call;
                if let Some(live) = &mut self.live {
                    live.heartbeat.set_in_call(now, in_call);
                }
            }
            Input::Probe => self.probe(now),
            Input::Close(reason) => {
                self.transmit(Message::Bye(reason));
                self.drop_live(CloseReason::Local, true);
                self.give_up_handover(CloseReason::Local);
            }
        }
        std::mem::take(&mut self.outputs)
    }

    /// When [`Session::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let Some(live) = self.live.as_ref() else { return self.handover };
        let beat = if live.open { live.heartbeat.due() } else { live.connection.since + OPEN_PATIENCE };
        Some(live.ack.map_or(beat, |ack| ack.min(beat)))
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<Output> {
        if let Some(live) = &mut self.live {
            if !live.open {
                if now >= live.connection.since + OPEN_PATIENCE {
                    self.drop_live(CloseReason::Silent, true);
                }
            } else {
                match live.heartbeat.beat(now) {
                    Beat::Wait => {}
                    Beat::Ping(id) => self.transmit(Message::Ping(id)),
                    Beat::Dead => self.drop_live(CloseReason::Silent, true),
                }
            }
        }
        if self.live.as_ref().is_some_and(|live| live.ack.is_some_and(|due| due <= now)) {
            self.transmit(Message::Ack);
        }
        if self.handover.is_some_and(|until| until <= now) {
            self.give_up_handover(CloseReason::Remote(ByeReason::Replaced));
        }
        std::mem::take(&mut self.outputs)
    }

    fn connected(&mut self, new: Connection) {
        if let Some(live) = &self.live {
            if prefer(self.lower, &live.connection, &new) == Keep::Old {
                // Whoever has no other connection would take this end for a fault of the network.
                if let Ok(bye) = Frame::plain(Message::Bye(ByeReason::Replaced)).encode() {
                    self.outputs.push(Output::Transmit(new.id, bye));
                }
                // Should the old one be dead without our knowing, this finds out soon.
                self.outputs.push(Output::Close(new.id, CloseReason::Replaced));
                return self.probe(new.since);
            }
            self.transmit(Message::Bye(ByeReason::Replaced));
            self.outputs.push(Output::Close(self.live_id(), CloseReason::Replaced));
        }
        self.handover = None;
        if self.remote_boot != Some(new.remote_boot) {
            self.remote_boot = Some(new.remote_boot);
            self.incoming = Incoming::default();
        }
        self.live = Some(Live {
            heartbeat: Heartbeat::new(new.since, self.in_call),
            connection: new,
            open: false,
            ack: None,
            unacknowledged: 0,
            window: (new.since, 0),
        });
        if self.id == 0 {
            self.id = new.id.0.wrapping_add(1).max(1);
        }
        self.transmit(Message::Open(Open {
            session: self.id,
            first: self.outgoing.first(),
            of: self.incoming.session,
            received: self.incoming.applied,
        }));
        let waiting: Vec<_> = self.outgoing.iter().map(|(sequence, message)| (sequence, message.clone())).collect();
        for (sequence, message) in waiting {
            self.transmit_as(Some(sequence), message);
        }
    }

    fn live_id(&self) -> ConnectionId {
        self.live.as_ref().map_or(ConnectionId(0), |live| live.connection.id)
    }

    fn frame(&mut self, now: Instant, bytes: &[u8]) -> Result<(), Fault> {
        let Some(live) = &mut self.live else { return Ok(()) };
        if now.saturating_duration_since(live.window.0) >= Duration::from_secs(1) {
            live.window = (now, 0);
        }
        live.window.1 += 1;
        if live.window.1 > MAX_FRAMES_PER_SECOND {
            return Err(Fault::Flood);
        }
        let frame = Frame::decode(bytes)?;
        live.heartbeat.heard(now);
        match (&frame.message, live.open) {
            (Message::Open(open), false) => return self.open(*open),
            (Message::Open(_), true) => return Err(Fault::Order("a second open")),
            // A node that refuses the connection may say so at once.
            (Message::Bye(_), _) | (_, true) => {}
            (_, false) => return Err(Fault::Order("a message before open")),
        }
        if let Some(acknowledged) = frame.acknowledged {
            self.outgoing.acknowledge(acknowledged)?;
        }
        if let Some(sequence) = frame.sequence {
            let fresh = self.incoming.accept(sequence)?;
            self.plan_ack(now);
            if !fresh {
                return Ok(());
            }
        }
        self.message(now, frame.message);
        Ok(())
    }

    fn open(&mut self, open: Open) -> Result<(), Fault> {
        self.incoming.open(open.session, open.first)?;
        if open.of == self.id {
            self.outgoing.acknowledge(open.received)?;
        }
        let Some(live) = &mut self.live else { return Ok(()) };
        live.open = true;
        let boot = live.connection.remote_boot;
        let restarted = self.boot_seen.is_some_and(|seen| seen != boot);
        self.boot_seen = Some(boot);
        self.up = true;
        self.outputs.push(Output::Up { connection: live.connection.id, restarted });
        Ok(())
    }

    fn message(&mut self, now: Instant, message: Message) {
        match message {
            Message::Ping(id) => self.transmit(Message::Pong(id)),
            Message::Pong(id) => {
                let rtt = self.live.as_mut().and_then(|live| live.heartbeat.pong(now, id));
                self.outputs.extend(rtt.map(Output::Rtt));
            }
            Message::Ack | Message::Open(_) => {}
            Message::Bye(ByeReason::Replaced) if self.up => {
                if let Some(live) = self.live.take() {
                    let reason = CloseReason::Remote(ByeReason::Replaced);
                    self.outputs.push(Output::Close(live.connection.id, reason));
                    self.handover = Some(now + HANDOVER_PATIENCE);
                }
            }
            Message::Bye(reason) => self.drop_live(CloseReason::Remote(reason), true),
            Message::Unknown(kind) => self.transmit(Message::Unsupported(kind)),
            message => self.outputs.push(Output::Received(message)),
        }
    }

    fn send(&mut self, message: Message) {
        // Sized with the largest numbers, so that the frame never grows beyond what was counted.
        let sized = Frame { sequence: Some(u64::MAX), acknowledged: Some(u64::MAX), message };
        let Ok(size) = sized.encode().map(|bytes| bytes.len()) else {
            self.outputs.push(Output::Refused(sized.message, Refusal::Encode));
            return;
        };
        match self.outgoing.push(&sized.message, size) {
            Ok(sequence) => self.transmit_as(Some(sequence), sized.message),
            Err(refusal) => self.outputs.push(Output::Refused(sized.message, refusal)),
        }
    }

    fn probe(&mut self, now: Instant) {
        let Some(live) = &mut self.live else { return };
        if live.open {
            let id = live.heartbeat.probe(now);
            self.transmit(Message::Ping(id));
        }
    }

    fn plan_ack(&mut self, now: Instant) {
        let Some(live) = &mut self.live else { return };
        live.unacknowledged += 1;
        let due = if live.unacknowledged >= ACK_EVERY { now } else { now + ACK_DELAY };
        live.ack = Some(live.ack.map_or(due, |ack| ack.min(due)));
        if live.unacknowledged >= ACK_EVERY {
            self.transmit(Message::Ack);
        }
    }

    fn transmit(&mut self, message: Message) {
        self.transmit_as(None, message);
    }

    /// Writes a frame to the present connection, if there is one. Each frame carries the acknowledgement along.
    fn transmit_as(&mut self, sequence: Option<u64>, message: Message) {
        let Some(live) = &mut self.live else { return };
        let acknowledged = live.open.then_some(self.incoming.applied).filter(|applied| *applied > 0);
        let frame = Frame { sequence, acknowledged, message };
        match frame.encode() {
            Ok(bytes) => {
                if live.open {
                    live.ack = None;
                    live.unacknowledged = 0;
                }
                self.outputs.push(Output::Transmit(live.connection.id, bytes));
            }
            Err(_) => self.outputs.push(Output::Refused(frame.message, Refusal::Encode)),
        }
    }

    /// No other connection took over.
    fn give_up_handover(&mut self, reason: CloseReason) {
        if self.handover.take().is_some() && std::mem::take(&mut self.up) {
            self.outputs.push(Output::Down(reason));
        }
    }

    fn drop_live(&mut self, reason: CloseReason, close: bool) {
        let Some(live) = self.live.take() else { return };
        if close {
            self.outputs.push(Output::Close(live.connection.id, reason.clone()));
        }
        // A link that was up stays up for the layer above while one connection takes over from another.
        self.outputs.push(if std::mem::take(&mut self.up) {
            Output::Down(reason)
        } else {
            Output::Unopened { dialled: live.connection.dialled, reason }
        });
    }
}
