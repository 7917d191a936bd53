//! Is the connection alive, and how long does a round trip take? The transport's own keep-alive is slow, so the link
//! asks by itself: each second in a call, each half minute otherwise.

use std::time::{Duration, Instant};

/// How often to ask while a call with the friend goes on.
pub const IN_CALL_INTERVAL: Duration = Duration::from_secs(1);
/// How long an answer may take in a call, at least; longer where round trips are long.
pub const IN_CALL_PATIENCE: Duration = Duration::from_secs(2);
/// How long nothing may be heard without a call before asking. Costs about 10 bytes a second on the wire.
pub const IDLE_INTERVAL: Duration = Duration::from_secs(30);
/// How long an answer may take without a call.
pub const IDLE_PATIENCE: Duration = Duration::from_secs(10);
/// How long an answer may take when there is a reason to doubt, at least; longer where round trips are long. A link
/// that is given up by mistake costs a redial and loses nothing, so this is short.
pub const PROBE_PATIENCE: Duration = Duration::from_secs(1);
/// Longest patience in a call or in doubt, however long round trips are.
pub const PATIENCE_LONGEST: Duration = Duration::from_secs(4);
/// What is added to four round trips: a lost packet is sent again after about this time.
const RESEND: Duration = Duration::from_millis(300);

/// A ping that was sent.
#[derive(Clone, Copy, Debug)]
struct Asked {
    id: u64,
    at: Instant,
    until: Instant,
    /// Sent because of a doubt.
    doubt: bool,
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
    /// Smoothed round trip (RFC 6298).
    rtt: Option<Duration>,
}

impl Heartbeat {
    pub(super) fn new(now: Instant, in_call: bool) -> Self {
        Self { in_call, next_id: 1, heard: now, pinged: now, asked: None, rtt: None }
    }

    pub(super) fn set_in_call(&mut self, now: Instant, in_call: bool) {
        self.in_call = in_call;
        let patience = self.patience(IN_CALL_PATIENCE);
        if let (true, Some(asked)) = (in_call, &mut self.asked) {
            asked.until = asked.until.min(now + patience);
        }
    }

    /// Any frame came.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// A pong came; its round trip if it answers the last ping.
    pub(super) fn pong(&mut self, now: Instant, id: u64) -> Option<Duration> {
        let asked = self.asked.take_if(|asked| asked.id == id)?;
        let rtt = now.saturating_duration_since(asked.at);
        self.rtt = Some(self.rtt.map_or(rtt, |old| (old * 7 + rtt) / 8));
        Some(rtt)
    }

    /// Asks at once, with little patience. One who is asked already in doubt is not given more time.
    pub(super) fn probe(&mut self, now: Instant) -> u64 {
        let patience = self.patience(PROBE_PATIENCE);
        let until = self.asked.filter(|asked| asked.doubt && now < asked.until).map(|asked| asked.until);
        let id = self.ask(now, patience);
        if let Some(asked) = &mut self.asked {
            asked.doubt = true;
            asked.until = until.unwrap_or(asked.until);
        }
        id
    }

    /// How long an answer may take: `least`, or four of the usual round trips and a lost packet.
    fn patience(&self, least: Duration) -> Duration {
        let usual = self.rtt.map_or(Duration::ZERO, |rtt| rtt * 4 + RESEND);
        least.max(usual).min(PATIENCE_LONGEST.max(least))
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
        let patience = self.patience(if self.in_call { IN_CALL_PATIENCE } else { IDLE_PATIENCE });
        Beat::Ping(self.ask(now, patience))
    }

    /// In a call the round trip is wanted each second; otherwise only silence makes us ask.
    fn next_ping(&self) -> Instant {
        if self.in_call { self.pinged + IN_CALL_INTERVAL } else { self.heard.max(self.pinged) + IDLE_INTERVAL }
    }

    fn ask(&mut self, now: Instant, patience: Duration) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.pinged = now;
        self.asked = Some(Asked { id, at: now, until: now + patience, doubt: false });
        id
    }
}
