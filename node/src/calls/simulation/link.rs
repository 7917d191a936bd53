//! The narrow link, and who else uses it.

use std::collections::VecDeque;

use super::{Packet, Path, STEP};

/// A queue that is served at a rate, and drops what does not fit.
pub(super) struct Link {
    pub(super) path: Path,
    waiting: VecDeque<Packet>,
    bytes: usize,
    most: usize,
    credit: f64,
}

impl Link {
    pub(super) fn new(path: Path) -> Self {
        let mut link = Self { path, waiting: VecDeque::new(), bytes: 0, most: 0, credit: 0.0 };
        link.set(path);
        link
    }

    /// The path is another one from now on; its queue has that length at its own rate.
    pub(super) fn set(&mut self, path: Path) {
        self.path = path;
        self.most = ((path.rate * path.queue / 8.0) as usize).max(1500);
    }

    pub(super) fn push(&mut self, packet: Packet) -> bool {
        if self.bytes + packet.bytes > self.most {
            return false;
        }
        self.bytes += packet.bytes;
        self.waiting.push_back(packet);
        true
    }

    pub(super) fn step(&mut self, _now: f64) -> Vec<Packet> {
        let mut out = Vec::new();
        self.credit += self.path.rate / 8.0 * STEP;
        while let Some(packet) = self.waiting.front().copied() {
            if self.credit < packet.bytes as f64 {
                return out;
            }
            self.credit -= packet.bytes as f64;
            self.bytes -= packet.bytes;
            self.waiting.pop_front();
            out.push(packet);
        }
        self.credit = self.credit.min(self.path.rate / 8.0 * STEP);
        out
    }
}

/// A download: as TCP Reno does, it sends until something is lost.
pub(super) struct Reno {
    pub(super) flow: usize,
    begins: f64,
    ends: f64,
    window: f64,
    threshold: f64,
    under_way: f64,
    events: VecDeque<(f64, bool)>,
    halved: f64,
    pub(super) delivered: usize,
}

const SIZE: usize = 1400;

impl Reno {
    pub(super) fn new(flow: usize, begins: f64, ends: f64) -> Self {
        Self {
            flow,
            begins,
            ends,
            window: 10.0,
            threshold: 1e9,
            under_way: 0.0,
            events: VecDeque::new(),
            halved: 0.0,
            delivered: 0,
        }
    }

    pub(super) fn send(&mut self, now: f64, out: &mut Vec<Packet>) {
        // Acknowledgements come in any order of time here; few are under way.
        let mut later = VecDeque::new();
        for (at, lost) in std::mem::take(&mut self.events) {
            if at > now {
                later.push_back((at, lost));
                continue;
            }
            self.under_way = (self.under_way - 1.0).max(0.0);
            if !lost {
                self.window += if self.window < self.threshold { 1.0 } else { 1.0 / self.window };
            } else if now > self.halved + 0.3 {
                self.halved = now;
                self.window = (self.window / 2.0).max(2.0);
                self.threshold = self.window;
            }
        }
        self.events = later;
        if now < self.begins || now > self.ends {
            return;
        }
        let mut burst = 0;
        while self.under_way + 1.0 <= self.window && burst < 4 {
            self.under_way += 1.0;
            burst += 1;
            out.push(Packet { flow: self.flow, id: 0, bytes: SIZE, voice: false, sent: now });
        }
    }

    pub(super) fn acked(&mut self, at: f64, bytes: usize) {
        self.delivered += bytes;
        self.events.push_back((at, false));
    }

    pub(super) fn lost(&mut self, at: f64) {
        self.events.push_back((at, true));
    }
}
