//! Is the connection alive, and how long does a round trip take? The transport's own keep-alive is slow, so the link
//! asks by itself: each second in a call, each half minute otherwise.

use std::time::{Duration, Instant};

/// How often to ask while a call with the friend goes on.
pub const IN_CALL_INTERVAL: Duration = Duration::from_secs(1);
/// How long an answer may take in a call.
pub const IN_CALL_PATIENCE: Duration = Duration::from_secs(3);
/// How long nothing may be heard without a call before asking. Costs about 10 bytes a second on the wire.
pub const IDLE_INTERVAL: Duration = Duration::from_secs(30);
/// How long an answer may take without a call.
pub const IDLE_PATIENCE: Duration = Duration::from_secs(10);
/// How long an answer may take when there is a reason to doubt.
pub const PROBE_PATIENCE: Duration = Duration::from_secs(3);

/// A ping that was sent.
#[derive(Clone, Copy, Debug)]
struct Asked {
    id: u64,
    at: Instant,
    until: Instant,
}

/// What to do when the time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beat {
    /// Nothing yet.
    Wait,
    /// Send a ping with this number.
    Ping(u64),
    /// Nothing was heard in time.
    Dead,
}

/// The heartbeat of one connection.
#[derive(Clone, Debug)]
pub(super) struct Heartbeat {
    in_call: bool,
    next_id: u64,
    heard: Instant,
    pinged: Instant,
    asked: Option<Asked>,
}

impl Heartbeat {
    pub(super) fn new(now: Instant, in_call: bool) -> Self {
        Self { in_call, next_id: 1, heard: now, pinged: now, asked: None }
    }

    pub(super) fn set_in_call(&mut self, now: Instant, in_call: bool) {
        self.in_call = in_call;
        if let (true, Some(asked)) = (in_call, &mut self.asked) {
            asked.until = asked.until.min(now + IN_CALL_PATIENCE);
        }
    }

    /// Any frame came.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// A pong came; its round trip if it answers the last ping.
    pub(super) fn pong(&mut self, now: Instant, id: u64) -> Option<Duration> {
        let asked = self.asked.take_if(|asked| asked.id == id)?;
        Some(now.saturating_duration_since(asked.at))
    }

    /// Asks at once, with little patience.
    pub(super) fn probe(&mut self, now: Instant) -> u64 {
        self.ask(now, PROBE_PATIENCE)
    }

    pub(super) fn due(&self) -> Instant {
        match &self.asked {
            Some(asked) => asked.until,
            None => self.next_ping(),
        }
    }

    /// What is due at `now`.
    pub(super) fn beat(&mut self, now: Instant) -> Beat {
        if let Some(asked) = self.asked {
            if now < asked.until {
                return Beat::Wait;
            }
            if self.heard <= asked.at {
                return Beat::Dead;
            }
            // The pong is missing but other frames came: alive.
            self.asked = None;
        }
        if now < self.next_ping() {
            return Beat::Wait;
        }
        Beat::Ping(self.ask(now, if self.in_call { IN_CALL_PATIENCE } else { IDLE_PATIENCE }))
    }

    /// In a call the round trip is wanted each second; otherwise only silence makes us ask.
    fn next_ping(&self) -> Instant {
        if self.in_call { self.pinged + IN_CALL_INTERVAL } else { self.heard.max(self.pinged) + IDLE_INTERVAL }
    }

    fn ask(&mut self, now: Instant, patience: Duration) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.pinged = now;
        self.asked = Some(Asked { id, at: now, until: now + patience });
        id
    }
}
