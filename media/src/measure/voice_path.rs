//! A voice's whole way in simulated time: encoder, redundancy, a network, jitter buffer; minutes in a second.
//!
//! What is sent and what is heard go through the same code as in a call ([`VoiceSender`], [`JitterBuffer`]); only the
//! network, its reports and the clocks are made up, from a seed. So a change of the buffer or of the redundancy is judged
//! by the sound that comes out (`examples/voice_path.rs` writes it to files), and the tests below keep what was won.

use super::{DelayProbe, DelayReport};
use crate::audio::AudioSettings;
use crate::audio::codec::{CodecError, OpusDecoder};
use crate::audio::jitter::{JitterBuffer, JitterStats};
use crate::audio::packet::OVERHEAD_BYTES;
use crate::audio::protection::Known;
use crate::audio::sender::{VoicePacket, VoiceSender};

/// Playback asks for so much at once: 10 ms.
const PULL: usize = 480;
/// Reports of the receiver come so often, and tell of so much time.
const REPORT_MS: f64 = 500.0;
const REPORT_WINDOW_MS: f64 = 2_000.0;
/// When the simulation begins; not zero, so that times before it can be written.
const START_MS: f64 = 10_000.0;

/// Which packets are lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// Each packet with this chance.
    Random(f64),
    /// This share of packets, in runs of this mean length (Gilbert's model).
    Bursts {
        /// Share of packets lost, 0 to 1.
        share: f64,
        /// Mean packets in a row.
        length: f64,
    },
}

/// A path, and what the two ends of it are told.
#[derive(Clone, Debug, PartialEq)]
pub struct VoicePath {
    /// How the sender encodes.
    pub settings: AudioSettings,
    /// The receiver takes redundant audio.
    pub redundancy: bool,
    /// Bits per second that the sender's packets may have, headers included.
    pub bitrate: u32,
    /// Least time on the way, ms.
    pub one_way_ms: f64,
    /// Up to so much longer, each packet by itself (evenly spread), ms.
    pub jitter_ms: f64,
    /// From this time on to that one (ms of the sender's clock) the jitter is this instead.
    pub jitter_burst: Option<(f64, f64, f64)>,
    /// Loss.
    pub loss: Loss,
    /// The sender's clock is so much faster than the receiver's, in millionths.
    pub drift_ppm: f64,
    /// Chooses the dice.
    pub seed: u64,
}

impl Default for VoicePath {
    fn default() -> Self {
        Self {
            settings: AudioSettings::default(),
            redundancy: true,
            bitrate: 1_000_000,
            one_way_ms: 10.0,
            jitter_ms: 0.0,
            jitter_burst: None,
            loss: Loss::Random(0.0),
            drift_ppm: 0.0,
            seed: 1,
        }
    }
}

/// How it went.
#[derive(Clone, Debug)]
pub struct VoiceOutcome {
    /// What was heard, as long as what was said and a second more; it begins when the speaking begins.
    pub heard: Vec<f32>,
    /// From the mouth to playback (without devices). None if nothing of it was found.
    pub delay: Option<DelayReport>,
    /// Mean bits per second on the wire, headers down to IP included.
    pub wire_bitrate: f64,
    /// Mean copies in a packet.
    pub generations: f64,
    /// The receiver's counters at the end.
    pub stats: JitterStats,
    /// Delay in the jitter buffer, mean of each second, ms.
    pub buffer_ms: Vec<f64>,
}

/// Even and small, so that the same seed gives the same call everywhere (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

struct Network<'a> {
    path: &'a VoicePath,
    dice: Dice,
    in_burst: bool,
}

impl Network<'_> {
    /// The time on the way of a packet sent at this time (ms), or none if it is lost. Dice are rolled alike for all
    /// settings, so that different settings meet the same network.
    fn carry(&mut self, sent: f64) -> Option<f64> {
        let (chance, spread) = (self.dice.roll(), self.dice.roll());
        let lost = match self.path.loss {
            Loss::Random(share) => chance < share,
            Loss::Bursts { share, length } => {
                let leave = 1.0 / length.max(1.0);
                let enter = leave * share / (1.0 - share).max(1e-9);
                self.in_burst = if self.in_burst { chance >= leave } else { chance < enter };
                self.in_burst
            }
        };
        let jitter = match self.path.jitter_burst {
            Some((from, to, jitter)) if (from..to).contains(&sent) => jitter,
            _ => self.path.jitter_ms,
        };
        (!lost).then_some(self.path.one_way_ms + jitter * spread)
    }
}

struct Flight {
    arrives: f64,
    timestamp: u32,
    red: bool,
    payload: Vec<u8>,
}

/// Sends the sound (48 kHz) over the path and plays it.
///
/// # Errors
/// If the codec cannot be set up, or refuses a frame.
pub fn run(sound: &[f32], path: &VoicePath) -> Result<VoiceOutcome, CodecError> {
    let frame_ms = f64::from(path.settings.frame_ms);
    let frame_len = path.settings.frame_ms as usize * 48;
    // The sender's clock counts frames; the world's time is the receiver's.
    let tick = 1.0 / (1.0 + path.drift_ppm * 1e-6);
    let overhead = OVERHEAD_BYTES * 8 * (1000 / path.settings.frame_ms.max(1));
    let payload_bitrate = path.bitrate.saturating_sub(overhead);
    let mut sender = VoiceSender::new(&path.settings)?;
    sender.set_redundancy_taken(path.redundancy);
    let mut network = Network { path, dice: Dice(path.seed), in_burst: false };
    let mut probe = DelayProbe::default();
    let (mut flights, mut fates, mut next_report) = (Vec::new(), Vec::<(f64, bool)>::new(), REPORT_MS);
    let (mut bytes, mut packets, mut copies) = (0_usize, 0_usize, 0_usize);
    for (i, frame) in sound.chunks_exact(frame_len).enumerate() {
        let begins = i as f64 * frame_ms * tick;
        for (piece, samples) in frame.chunks(PULL).enumerate() {
            probe.sent.push(ns(begins + piece as f64 * 10.0 * tick), samples);
        }
        let sent = begins + frame_ms * tick;
        if sent >= next_report {
            next_report += REPORT_MS;
            sender.feedback(sent as u64, report(&fates, sent - 2.0 * path.one_way_ms, payload_bitrate));
        }
        let timestamp = (i * frame_len) as u32;
        let Some(packet) = sender.encode(timestamp, frame)? else { continue };
        bytes += packet.payload.len() + OVERHEAD_BYTES as usize;
        packets += 1;
        copies += if packet.red { sender.plan().generations } else { 0 };
        let way = network.carry(sent);
        fates.push((sent, way.is_none()));
        if let Some(way) = way {
            let VoicePacket { timestamp, red, payload } = packet;
            flights.push(Flight { arrives: sent + way, timestamp, red, payload });
        }
    }
    flights.sort_by(|a, b| a.arrives.total_cmp(&b.arrives));
    let mut flights = flights.into_iter().peekable();
    let mut buffer = JitterBuffer::new(Box::new(OpusDecoder::new()?));
    let (mut heard, mut out, mut buffer_ms) = (Vec::with_capacity(sound.len()), [0.0; PULL], Vec::new());
    for pull in 0..sound.len() / PULL + 100 {
        // Playback is not in step with the network.
        let now = pull as f64 * 10.0 + 3.0;
        while let Some(flight) = flights.next_if(|flight| flight.arrives <= now) {
            buffer.push(ns(flight.arrives), flight.timestamp, false, flight.red, flight.payload);
        }
        buffer.pull(ns(now), &mut out);
        probe.received.push(ns(now), &out);
        heard.extend_from_slice(&out);
        if pull % 100 == 99 {
            buffer_ms.push(buffer.take_mean_delay().unwrap_or(0.0));
        }
    }
    let seconds = sound.len() as f64 / 48_000.0;
    Ok(VoiceOutcome {
        heard,
        delay: probe.report(),
        wire_bitrate: bytes as f64 * 8.0 / seconds.max(1e-9),
        generations: copies as f64 / (packets as f64).max(1.0),
        stats: buffer.stats(),
        buffer_ms,
    })
}

fn ns(ms: f64) -> u64 {
    ((START_MS + ms) * 1e6) as u64
}

/// What the receiver tells of the packets that were sent up to this time.
fn report(fates: &[(f64, bool)], until: f64, bitrate: u32) -> Known {
    let window = fates.iter().filter(|(sent, _)| (until - REPORT_WINDOW_MS..until).contains(sent));
    let (mut count, mut lost, mut runs, mut before) = (0, 0, 0, false);
    for &(_, gone) in window {
        count += 1;
        lost += i32::from(gone);
        runs += i32::from(gone && !before);
        before = gone;
    }
    Known { bitrate, loss: f64::from(lost) / f64::from(count.max(1)), burst: f64::from(lost) / f64::from(runs.max(1)) }
}

#[cfg(test)]
mod tests;
