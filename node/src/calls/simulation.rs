//! A call over a modelled bottleneck in virtual time: estimator, pacer and allocation together, as the node runs them.
//!
//! Deterministic: time is counted in steps, chance is seeded. So it may be asserted how long a queue gets and how long
//! a recovery takes, which no test over real sockets could.

mod link;
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::allocate::{Allocator, Room, Shares};
use super::estimator::rate::{Rate, Sample};
use super::pacer::{Pacer, Pushed};
use link::{Link, Reno};

/// One step of virtual time.
const STEP: f64 = 0.0005;
/// IP, UDP, RTP, SRTP.
const HEADERS: usize = 72;

#[derive(Clone, Copy, Debug)]
struct Packet {
    flow: usize,
    id: u64,
    bytes: usize,
    voice: bool,
    sent: f64,
}

/// How a path is.
#[derive(Clone, Copy, Debug)]
struct Path {
    /// Bits per second.
    rate: f64,
    /// Length of the queue at that rate, seconds; it does not change with the rate afterwards.
    queue: f64,
    round_trip: f64,
    jitter: f64,
    loss: f64,
}

impl Path {
    fn new(rate: f64) -> Self {
        Self { rate, queue: 0.3, round_trip: 0.02, jitter: 0.0, loss: 0.0 }
    }
}

/// What the friend has received and not told yet.
#[derive(Default)]
struct Receiver {
    came: VecDeque<(u64, f64)>,
    told: f64,
    before: f64,
    next: f64,
}

struct Call {
    rate: Rate,
    pacer: Pacer<u64>,
    allocator: Allocator,
    shares: Shares,
    told: VecDeque<(f64, u64)>,
    encoder: f64,
    history: BTreeMap<u64, (f64, usize)>,
    came: BTreeMap<u64, f64>,
    next_id: u64,
    next_voice: f64,
    next_frame: f64,
    next_fill: f64,
    key: bool,
    begins: f64,
    /// Bits per second that the picture needs at most.
    most: f64,
    receiver: Receiver,
    reports: VecDeque<(f64, Vec<(u64, f64)>)>,
    log: Log,
    random: StdRng,
}

/// What is judged afterwards; times in seconds.
#[derive(Default)]
struct Log {
    voice: Vec<(f64, f64)>,
    voice_lost: Vec<f64>,
    delivered: Vec<(f64, usize)>,
    targets: Vec<(f64, f64)>,
    stopped: Vec<(f64, bool)>,
    overflows: u32,
}

impl Log {
    fn delay(&self, from: f64, to: f64, share: f64) -> f64 {
        let mut delays: Vec<f64> =
            self.voice.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, delay)| *delay).collect();
        delays.sort_by(f64::total_cmp);
        delays.get(((delays.len() as f64 * share) as usize).min(delays.len().saturating_sub(1))).copied().unwrap_or(9.9)
    }

    fn rate(&self, from: f64, to: f64) -> f64 {
        let bytes: usize =
            self.delivered.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, bytes)| bytes).sum();
        bytes as f64 * 8.0 / (to - from)
    }

    fn target(&self, from: f64, to: f64) -> (f64, f64) {
        let of = self.targets.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, target)| *target);
        of.fold((f64::INFINITY, 0.0), |(low, high), target| (low.min(target), high.max(target)))
    }

    /// First time after `from` at which the rate delivered over half a second reaches this.
    fn reaches(&self, from: f64, rate: f64) -> f64 {
        let mut at = from;
        while at < from + 60.0 {
            if self.rate(at, at + 0.5) >= rate {
                return at + 0.5 - from;
            }
            at += 0.1;
        }
        f64::INFINITY
    }

    fn switches(&self, from: f64) -> usize {
        self.stopped.iter().filter(|(at, _)| *at >= from).count()
    }
}

struct World {
    epoch: Instant,
    now: f64,
    link: Link,
    calls: Vec<Call>,
    rivals: Vec<Reno>,
    random: StdRng,
}

impl Call {
    fn new(epoch: Instant, begins: f64, most: f64, seed: u64) -> Self {
        let rate = Rate::new();
        let at = epoch + Duration::from_secs_f64(begins);
        Self {
            pacer: Pacer::new(at, rate.pace()),
            rate,
            allocator: Allocator::new(),
            shares: Shares::default(),
            told: VecDeque::new(),
            encoder: 0.0,
            history: BTreeMap::new(),
            came: BTreeMap::new(),
            next_id: 0,
            next_voice: begins,
            next_frame: begins + 0.1,
            next_fill: begins,
            key: true,
            begins,
            most,
            receiver: Receiver::default(),
            reports: VecDeque::new(),
            log: Log::default(),
            random: StdRng::seed_from_u64(seed),
        }
    }

    fn packet(&mut self, flow: usize, now: f64, bytes: usize, voice: bool) -> Packet {
        let id = self.next_id;
        self.next_id += 1;
        self.history.insert(id, (now, bytes));
        Packet { flow, id, bytes, voice, sent: now }
    }

    /// What leaves in this step.
    fn send(&mut self, epoch: Instant, flow: usize, now: f64, out: &mut Vec<Packet>) {
        if now < self.begins {
            return;
        }
        let at = epoch + Duration::from_secs_f64(now);
        if now >= self.next_voice {
            self.next_voice += 0.02;
            // Opus as its share tells, up to 32 kbit/s.
            let bytes = (self.shares.audio.clamp(6_000, 32_000) as f64 / 8.0 / 50.0) as usize + HEADERS;
            self.pacer.charge(at, bytes);
            let packet = self.packet(flow, now, bytes, true);
            out.push(packet);
            // Beside the voice: two trains at the beginning, later while nothing but the voice is sent.
            let early = now < self.begins + 0.1;
            if now >= self.next_fill && (early || self.allocator.stopped()) {
                self.next_fill = now + if early { 0.04 } else { 2.0 };
                for _ in 0..2 {
                    let packet = self.packet(flow, now, 128 + HEADERS, false);
                    self.pacer.charge(at, packet.bytes);
                    out.push(packet);
                }
            }
        }
        while self.told.front().is_some_and(|(when, _)| *when <= now) {
            if let Some((_, bits)) = self.told.pop_front() {
                self.key |= self.encoder <= 0.0 && bits > 0;
                self.encoder = (bits as f64).min(self.most);
            }
        }
        if now >= self.next_frame {
            self.next_frame += 1.0 / 30.0;
            let held = !self.rate.begun() && now < self.begins + 0.5;
            if self.encoder > 0.0 && !held {
                let size = self.encoder / 8.0 / 30.0;
                let key = std::mem::take(&mut self.key);
                let size = if key { size * 6.0 } else { size * self.random.random_range(0.7..1.3) };
                let count = (size / 1130.0).ceil().max(1.0);
                let each = (size / count) as usize + HEADERS;
                let picture = (0..count as u64).map(|number| (each, number)).collect();
                if self.pacer.push(at, 0, picture, key, false) == Pushed::Overflow {
                    self.log.overflows += 1;
                    self.key = true;
                }
            }
        }
        while let Some((_, _)) = {
            let due = self.pacer.due().is_some_and(|due| due <= at);
            if due { self.pop(epoch, flow, now, out) } else { None }
        } {}
    }

    fn pop(&mut self, epoch: Instant, flow: usize, now: f64, out: &mut Vec<Packet>) -> Option<(usize, u64)> {
        let at = epoch + Duration::from_secs_f64(now);
        let mut last = None;
        loop {
            let before = self.pacer.bytes();
            let Some(popped) = self.pacer.pop(at) else { return last };
            let bytes = before - self.pacer.bytes();
            let packet = self.packet(flow, now, bytes, false);
            out.push(packet);
            last = Some(popped);
        }
    }

    /// The friend's reports: each holds what the two before it told, too, so that two may be lost.
    fn receive(&mut self, now: f64, back: f64, lose: bool) {
        if now < self.receiver.next {
            return;
        }
        let every = if self.receiver.came.len() > 3 { 0.05 } else { 0.2 };
        self.receiver.next = now + every;
        let here: Vec<(u64, f64)> = self.receiver.came.iter().copied().filter(|(_, at)| *at <= now).collect();
        if here.iter().any(|(_, at)| *at > self.receiver.told) && !lose {
            self.reports.push_back((now + back, here));
        }
        let old = std::mem::replace(&mut self.receiver.before, self.receiver.told);
        self.receiver.came.retain(|(_, at)| *at > old);
        self.receiver.told = now;
    }

    fn reports(&mut self, epoch: Instant, now: f64) {
        while self.reports.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, report)) = self.reports.pop_front() else { return };
            self.came.extend(report);
            let Some(highest) = self.came.last_key_value().map(|(id, _)| *id) else { return };
            let later = self.history.split_off(&(highest + 1));
            let known = std::mem::replace(&mut self.history, later);
            let samples: Vec<Sample> = known
                .into_iter()
                .map(|(id, (sent, bytes))| {
                    let came = self.came.get(&id);
                    Sample {
                        sent: epoch + Duration::from_secs_f64(sent),
                        arrival: came.map(|at| Duration::from_secs_f64(1000.0 + (at * 4000.0).round() / 4000.0)),
                        arrived: came.is_some(),
                        bytes,
                    }
                })
                .collect();
            self.came.clear();
            let at = epoch + Duration::from_secs_f64(now);
            self.rate.report(at, &samples);
            self.apply(at, now);
        }
    }

    fn apply(&mut self, at: Instant, now: f64) {
        self.pacer.set_pace(at, self.rate.pace(), self.rate.near());
        let room = Room {
            target: self.rate.target(),
            pace: self.rate.pace(),
            voice_packets: 50.0,
            voice: 0.0,
            reports: 4_000.0,
            picture_packets: (self.encoder / 8.0 / 1130.0).max(30.0),
            wait: self.pacer.wait(),
            camera: true,
            screen: false,
        };
        let was = self.allocator.stopped();
        self.shares = self.allocator.share(at, &room);
        self.rate.set_voice_only(at, self.allocator.stopped());
        if was != self.allocator.stopped() {
            self.log.stopped.push((now, !was));
            if !was {
                self.pacer.clear(0);
            }
        }
        // The client hears it some milliseconds later, and its encoder follows.
        self.told.push_back((now + 0.06, self.shares.camera));
        self.log.targets.push((now, self.rate.target()));
    }
}

impl World {
    fn new(path: Path, seed: u64) -> Self {
        Self {
            epoch: Instant::now() + Duration::from_secs(1),
            now: 0.0,
            link: Link::new(path),
            calls: Vec::new(),
            rivals: Vec::new(),
            random: StdRng::seed_from_u64(seed),
        }
    }

    fn call(&mut self, begins: f64, most: f64) {
        let seed = self.random.random();
        self.calls.push(Call::new(self.epoch, begins, most, seed));
    }

    fn run(&mut self, until: f64) {
        while self.now < until {
            self.now += STEP;
            let now = self.now;
            let mut out = Vec::new();
            for (flow, call) in self.calls.iter_mut().enumerate() {
                call.send(self.epoch, flow, now, &mut out);
            }
            for rival in &mut self.rivals {
                rival.send(now, &mut out);
            }
            for packet in out {
                if !self.link.push(packet) {
                    self.lost(packet);
                }
            }
            for packet in self.link.step(now) {
                if packet.flow < self.calls.len() && self.random.random_bool(self.link.path.loss) {
                    self.lost(packet);
                    continue;
                }
                let late = self.random.random_range(0.0..=self.link.path.jitter);
                let at = now + self.link.path.round_trip / 2.0 + late;
                self.came(packet, at);
            }
            for call in &mut self.calls {
                // Reports are packets, too, and get lost as they do.
                let lose = self.random.random_bool(self.link.path.loss);
                call.receive(now, self.link.path.round_trip / 2.0, lose);
                call.reports(self.epoch, now);
            }
        }
    }

    fn came(&mut self, packet: Packet, at: f64) {
        if let Some(call) = self.calls.get_mut(packet.flow) {
            call.receiver.came.push_back((packet.id, at));
            call.log.delivered.push((at, packet.bytes));
            if packet.voice {
                call.log.voice.push((packet.sent, at - packet.sent));
            }
        } else if let Some(rival) = self.rivals.iter_mut().find(|rival| rival.flow == packet.flow) {
            rival.acked(at + self.link.path.round_trip / 2.0, packet.bytes);
        }
    }

    fn lost(&mut self, packet: Packet) {
        if let Some(call) = self.calls.get_mut(packet.flow) {
            if packet.voice {
                call.log.voice_lost.push(packet.sent);
            }
        } else if let Some(rival) = self.rivals.iter_mut().find(|rival| rival.flow == packet.flow) {
            rival.lost(self.now + self.link.path.round_trip);
        }
    }
}
