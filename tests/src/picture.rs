//! One video stream over a bad link in virtual time: the real encoder, the real packets, the real requests for what is
//! lost, the real decoder, and a viewer who compares with what was filmed. A minute of it takes seconds, and the same
//! seed gives the same minute.
//!
//! Not in it: sound, the pacer, and other traffic. Lip sync is a constant here: a picture is shown a fixed time after
//! its capture, or at once when it is late.

use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use twocan_media::video::codec::{VideoDecoder as _, VideoEncoder as _};
use twocan_media::video::h264::{H264Decoder, H264Encoder};
use twocan_media::video::measure::{Viewed, Viewing};
use twocan_media::video::moving::Scene;
use twocan_node::calls::{Link, PictureCounts, PictureIn, Step, VideoPacket};

/// Pictures a second.
const RATE: f64 = 30.0;
/// Key frames are made at most this often, as the sender does it.
const KEY_EVERY_NS: u64 = 1_000_000_000;
/// A lost picture request is made again this soon, as the node does it.
const ASK_EVERY_NS: u64 = 200_000_000;
const MS: u64 = 1_000_000;

/// What the link does, and what goes over it.
#[derive(Clone, Debug, PartialEq)]
pub struct Conditions {
    /// Share of packets lost, each way, 0 to 1.
    pub loss: f64,
    /// Mean length of a run of lost packets; 1 for random loss.
    pub burst: f64,
    /// Round trip, milliseconds.
    pub round_trip_ms: u64,
    /// Packets are late by up to so much, and overtake each other, milliseconds.
    pub jitter_ms: u64,
    /// Chooses which packets are lost.
    pub seed: u64,
    /// How long.
    pub seconds: u64,
    /// Of the encoder, bits per second.
    pub bitrate: u32,
    /// From the capture of a picture until its sound is heard, milliseconds, where nothing is late.
    pub shown_after_ms: u64,
    /// The top layer is left out by the sender.
    pub base_only: bool,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            loss: 0.0,
            burst: 1.0,
            round_trip_ms: 20,
            jitter_ms: 0,
            seed: 1,
            seconds: 20,
            bitrate: 800_000,
            shown_after_ms: 80,
            base_only: false,
        }
    }
}

/// How it went.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// What the viewer saw.
    pub viewed: Viewed,
    /// What the receiving node counted.
    pub counts: PictureCounts,
    /// Packets of frames that were sent.
    pub sent: u64,
    /// Packets that were sent again.
    pub again: u64,
    /// Key frames that were made.
    pub keys: u64,
    /// Frames that the decoder refused.
    pub refused: u64,
}

enum Event {
    Capture(u64),
    Packet(VideoPacket),
    Asked(Vec<u16>),
    KeyAsked,
    Show(Box<twocan_media::video::Picture>),
    Timer,
}

struct Entry {
    at: u64,
    order: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// One direction of the link: two states, of which the bad one loses everything.
struct Way {
    dice: StdRng,
    bad: bool,
}

impl Way {
    /// When a packet sent now arrives, if it does.
    fn send(&mut self, now: u64, conditions: &Conditions) -> Option<u64> {
        let burst = conditions.burst.max(1.0);
        let lost = if burst > 1.0 {
            let leave = if self.bad { 1.0 / burst } else { conditions.loss / (burst * (1.0 - conditions.loss)) };
            self.bad ^= self.dice.random_bool(leave.clamp(0.0, 1.0));
            self.bad
        } else {
            self.dice.random_bool(conditions.loss)
        };
        let late = self.dice.random_range(0..=conditions.jitter_ms * MS);
        (!lost).then_some(now + conditions.round_trip_ms * MS / 2 + late)
    }
}

struct World {
    conditions: Conditions,
    start: Instant,
    now: u64,
    order: u64,
    events: BinaryHeap<Entry>,
    there: Way,
    back: Way,
    link: Link,
    picture: PictureIn,
    decoder: H264Decoder,
    viewing: Viewing,
    last_show: u64,
    asked_key: Option<u64>,
    timer: Option<u64>,
    outcome: Outcome,
}

impl World {
    fn instant(&self) -> Instant {
        self.start + Duration::from_nanos(self.now)
    }

    fn at(&mut self, at: u64, event: Event) {
        self.order += 1;
        self.events.push(Entry { at, order: self.order, event });
    }

    fn send(&mut self, packets: Vec<VideoPacket>) {
        for (number, packet) in packets.into_iter().enumerate() {
            // Eight at once, then a millisecond of rest.
            let leaves = self.now + number as u64 / 8 * MS;
            if let Some(at) = self.there.send(leaves, &self.conditions) {
                self.at(at, Event::Packet(packet));
            }
        }
    }

    fn step(&mut self, step: Step) {
        let mut want_key = step.want_key;
        if !step.ask.is_empty()
            && let Some(at) = self.back.send(self.now, &self.conditions)
        {
            self.at(at, Event::Asked(step.ask));
        }
        for frame in step.frames {
            match self.decoder.decode(&frame.payload) {
                Ok(Some(picture)) => {
                    // Capture and virtual clock begin together.
                    let captured = u64::from(frame.timestamp) * 100_000 / 9;
                    let due = captured + self.conditions.shown_after_ms * MS;
                    self.last_show = self.last_show.max(due).max(self.now);
                    self.at(self.last_show, Event::Show(Box::new(picture)));
                }
                Ok(None) => {}
                Err(_) => {
                    self.outcome.refused += 1;
                    want_key = true;
                }
            }
        }
        if want_key && self.asked_key.is_none_or(|at| self.now - at >= ASK_EVERY_NS) {
            self.asked_key = Some(self.now);
            if let Some(at) = self.back.send(self.now, &self.conditions) {
                self.at(at, Event::KeyAsked);
            }
        }
        let deadline = self.picture.deadline().map(|at| (at - self.start).as_nanos() as u64);
        if let Some(at) = deadline.map(|at| at.max(self.now))
            && self.timer.is_none_or(|timer| at < timer)
        {
            self.timer = Some(at);
            self.at(at, Event::Timer);
        }
    }
}

/// Runs it.
pub fn simulate(conditions: &Conditions) -> anyhow::Result<Outcome> {
    let (width, height, seed) = (640, 360, 1);
    let scene = Scene::new(width, height, seed)?;
    let mut encoder = H264Encoder::new(width, height, RATE as f32, conditions.bitrate)?;
    let way = |salt| Way { dice: StdRng::seed_from_u64(conditions.seed * 2 + salt), bad: false };
    let mut world = World {
        conditions: conditions.clone(),
        start: Instant::now(),
        now: 0,
        order: 0,
        events: BinaryHeap::new(),
        there: way(0),
        back: way(1),
        link: Link::default(),
        picture: PictureIn::new(),
        decoder: H264Decoder::new(),
        viewing: Viewing::new(width, height, seed, RATE, conditions.shown_after_ms * MS)?,
        last_show: 0,
        asked_key: None,
        timer: None,
        outcome: Outcome::default(),
    };
    let round_trip = Duration::from_millis(conditions.round_trip_ms);
    let end = conditions.seconds * 1000 * MS;
    let (mut key_wanted, mut last_key) = (false, 0);
    world.at(0, Event::Capture(0));
    while let Some(Entry { at, event, .. }) = world.events.pop() {
        world.now = at;
        if at > end + 500 * MS {
            break;
        }
        match event {
            Event::Capture(number) => {
                if key_wanted && at - last_key >= KEY_EVERY_NS {
                    encoder.force_key();
                }
                let picture = scene.draw(number, at);
                if let Some(encoded) = encoder.encode(&picture)?
                    && !(conditions.base_only && encoded.layer > 0)
                {
                    if encoded.key {
                        (key_wanted, last_key) = (false, at);
                        world.outcome.keys += 1;
                    }
                    let (now, timestamp) = (world.instant(), (at * 9 / 100_000) as u32);
                    let packets = world.link.frame(now, timestamp, &Bytes::from(encoded.payload));
                    world.outcome.sent += packets.len() as u64;
                    world.send(packets);
                }
                let next = ((number + 1) as f64 * 1e9 / RATE) as u64;
                if next < end {
                    world.at(next, Event::Capture(number + 1));
                }
            }
            Event::Packet(packet) => {
                world.picture.set_round_trip(round_trip);
                let step = world.picture.handle_packet(world.instant(), 1, packet);
                world.step(step);
            }
            Event::Asked(numbers) => {
                let (now, rate) = (world.instant(), u64::from(conditions.bitrate) * 2);
                let packets = world.link.asked(now, round_trip, rate, &numbers);
                world.outcome.again += packets.len() as u64;
                world.send(packets);
            }
            Event::KeyAsked => key_wanted = true,
            Event::Show(picture) => world.viewing.show(&picture, at),
            Event::Timer => {
                if world.timer == Some(at) {
                    world.timer = None;
                }
                let step = world.picture.handle_timeout(world.instant());
                world.step(step);
            }
        }
    }
    let counts = world.picture.counts();
    Ok(Outcome { viewed: world.viewing.finish(end + conditions.shown_after_ms * MS), counts, ..world.outcome })
}
