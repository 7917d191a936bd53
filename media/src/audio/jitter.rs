//! The jitter buffer: makes an even flow of sound out of packets that come early, late, twice, disordered or never.
//!
//! It holds packets for a *delay* that follows the path: the wait, measured on the sender's time line, between the
//! moment when a packet that was quick on its way arrives and the moment when its sound leaves here. The *target* is a
//! high quantile of how late packets, or the first copies of lost ones, come (see `jitter/delay.rs`), plus what one pull
//! takes. The delay is led to the target by cutting out or doubling pitch periods (see [`super::stretch`]), for nothing
//! in pauses. A missing packet is replaced by its copy in a later one (RFC 2198, see [`super::red`]), else rebuilt from
//! the coarser copy inside the next Opus packet, else guessed by the decoder. When the buffer runs dry the time line waits
//! for late packets instead of throwing them away, and catches up afterwards.
//!
//! It is pure: time comes in as `now_ns`, there is no clock, no thread, no lock. Nothing in a packet can make it panic
//! or grow: packets are bounded in number and size, and a packet from nowhere is dropped unless a second one agrees.

use std::collections::{BTreeMap, BTreeSet};

use super::codec::VoiceDecoder;
use super::stretch::{self, MAX_LAG};
use super::{packet, red};

mod delay;
mod spells;
use delay::DelayEstimate;

/// Most packets that are held: four seconds of 20 ms packets, at most 300 kB. The oldest goes when another comes.
pub const MAX_PACKETS: usize = 200;
/// A timestamp further than this from the newest one is not believed until another one agrees: 2 s.
const JUMP_SAMPLES: i64 = 96_000;
/// After this long without a packet the sender has stopped; what comes then begins anew.
const STOPPED_MS: f64 = 1_000.0;
/// Least and most delay that is aimed for.
const TARGET_RANGE_MS: (f64, f64) = (10.0, 500.0);
/// Safety on top of the quantile.
const MARGIN_MS: f64 = 4.0;
/// A delay so far above the target is shortened, so far below it lengthened; between them nothing is touched.
const SHORTEN_ABOVE_MS: f64 = 10.0;
const LENGTHEN_BELOW_MS: f64 = 2.0;
/// At most one cut or doubling in this time, so that speech stays natural...
const STRETCH_EVERY_MS: f64 = 60.0;
/// ...unless the delay is this far above the target: then as fast as it goes.
const HURRY_ABOVE_MS: f64 = 120.0;
/// So far above the target (the sink stood still) sound is skipped, not played faster.
const SKIP_ABOVE_MS: f64 = 1_000.0;
/// Concealment and comfort noise are made in pieces of 10 ms.
const PIECE: usize = 480;
/// Places of packets that are remembered as having come: five seconds of 20 ms packets, more than any copy is late.
const MAX_SEEN: usize = 256;

/// What happened so far; counts only grow. Samples are at 48 kHz.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct JitterStats {
    /// Packets taken.
    pub received: u64,
    /// Packets that came after their place was played (copies do not count).
    pub late: u64,
    /// Packets that were there already.
    pub duplicate: u64,
    /// Packets that are no Opus, or were from nowhere in time.
    pub refused: u64,
    /// Times the sender's time line began anew.
    pub restarts: u64,
    /// Samples given out since the first sound.
    pub played: u64,
    /// Of these: guessed, because nothing better was there.
    pub concealed: u64,
    /// Of these: from a copy in a later packet, as good as the lost one (RFC 2198).
    pub red: u64,
    /// Of these: rebuilt from the coarser copy inside the next Opus packet (in-band FEC).
    pub fec: u64,
    /// Of these: silence that the sender announced (DTX).
    pub silent: u64,
    /// Samples cut out to shorten the delay.
    pub shortened: u64,
    /// Samples doubled to lengthen the delay.
    pub lengthened: u64,
    /// Samples skipped because they were far too old, or lost while the delay was too long anyway.
    pub skipped: u64,
    /// Delay now (smoothed; of the sound, not of a wait for packets that do not come), ms.
    pub delay_ms: f64,
    /// Delay aimed for, ms.
    pub target_ms: f64,
    /// Sound that is here, ms.
    pub level_ms: f64,
}

impl JitterStats {
    /// Share of the given-out sound that was guessed, 0 to 1.
    #[must_use]
    pub fn concealed_share(&self) -> f64 {
        if self.played == 0 { 0.0 } else { self.concealed as f64 / self.played as f64 }
    }

    /// Adds the counts (not delay, target and level) of another stream.
    pub fn add_counters(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.received, other.received),
            (&mut self.late, other.late),
            (&mut self.duplicate, other.duplicate),
            (&mut self.refused, other.refused),
            (&mut self.restarts, other.restarts),
            (&mut self.played, other.played),
            (&mut self.concealed, other.concealed),
            (&mut self.red, other.red),
            (&mut self.fec, other.fec),
            (&mut self.silent, other.silent),
            (&mut self.shortened, other.shortened),
            (&mut self.lengthened, other.lengthened),
            (&mut self.skipped, other.skipped),
        ] {
            *sum += more;
        }
    }
}

#[derive(Debug)]
struct Packet {
    payload: Vec<u8>,
    samples: i64,
    /// It came as a copy in a later packet.
    copy: bool,
}

/// See the module.
pub struct JitterBuffer {
    decoder: Box<dyn VoiceDecoder>,
    packets: BTreeMap<i64, Packet>,
    /// Places of packets that came, played or not.
    seen: BTreeSet<i64>,
    estimate: DelayEstimate,
    /// Largest timestamp so far, extended past 32 bits.
    newest: Option<i64>,
    /// A timestamp from nowhere that waits for a second one.
    suspect: Option<i64>,
    /// Timestamp after the last decoded sample; None while nothing plays.
    end: Option<i64>,
    /// Decoded sound that was not given out yet, and the last of what was.
    pending: Vec<f32>,
    heard: Vec<f32>,
    last_arrival: f64,
    last_samples: i64,
    in_dtx: bool,
    /// Samples guessed since the buffer ran dry; they count as concealed only if the stream goes on.
    dry: u64,
    delay: f64,
    chunk_ms: f64,
    last_stretch: f64,
    delay_sum: f64,
    delay_count: u32,
    stats: JitterStats,
}

impl std::fmt::Debug for JitterBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JitterBuffer").field("packets", &self.packets.len()).field("stats", &self.stats).finish()
    }
}

fn ms(samples: i64) -> f64 {
    samples as f64 / 48.0
}

fn samples(ms: f64) -> i64 {
    (ms * 48.0) as i64
}

impl JitterBuffer {
    /// An empty buffer in front of this decoder.
    #[must_use]
    pub fn new(decoder: Box<dyn VoiceDecoder>) -> Self {
        Self {
            decoder,
            packets: BTreeMap::new(),
            seen: BTreeSet::new(),
            estimate: DelayEstimate::new(),
            newest: None,
            suspect: None,
            end: None,
            pending: Vec::new(),
            heard: Vec::new(),
            last_arrival: 0.0,
            last_samples: 960,
            in_dtx: false,
            dry: 0,
            delay: 0.0,
            chunk_ms: 10.0,
            last_stretch: 0.0,
            delay_sum: 0.0,
            delay_count: 0,
            stats: JitterStats::default(),
        }
    }

    /// Takes a packet that arrived now. `restart`: the sender says that its time line begins anew with it. `redundant`:
    /// the payload is redundant audio data (see [`red`]) instead of one Opus packet.
    pub fn push(&mut self, now_ns: u64, timestamp: u32, restart: bool, redundant: bool, payload: Vec<u8>) {
        let now = now_ns as f64 / 1e6;
        if !redundant {
            self.take(now, timestamp, restart, &[], payload);
            return;
        }
        let Ok(blocks) = red::read(&payload) else {
            self.stats.refused += 1;
            return;
        };
        if let Some((packet, copies)) = blocks.split_last() {
            self.take(now, timestamp, restart, copies, packet.payload.to_vec());
        }
    }

    fn take(&mut self, now: f64, timestamp: u32, restart: bool, copies: &[red::Block<'_>], payload: Vec<u8>) {
        let Ok(duration) = packet::duration(&payload) else {
            self.stats.refused += 1;
            return;
        };
        let Some(at) = self.place(now, timestamp, restart) else {
            self.stats.refused += 1;
            return;
        };
        self.stats.received += 1;
        if now - self.last_arrival > STOPPED_MS {
            // Whatever the sender's clock did meanwhile, transits of before cannot be compared with the new ones.
            self.estimate.restart();
        }
        self.last_arrival = now;
        self.newest = Some(self.newest.map_or(at, |newest| newest.max(at)));
        let fresh = !self.seen.contains(&at);
        for copy in copies {
            let at = at - i64::from(copy.offset);
            if let Ok(samples) = packet::duration(copy.payload)
                && !self.seen.contains(&at)
            {
                self.estimate.copy_arrived(now, ms(at));
                self.keep(at, Packet { payload: copy.payload.to_vec(), samples: samples as i64, copy: true });
            }
        }
        let before = at - duration as i64;
        let missing = !self.seen.contains(&before) && self.end.is_some_and(|end| before >= end);
        if missing && packet::has_redundancy(&payload) {
            self.estimate.copy_arrived(now, ms(before));
        }
        self.estimate.arrived(now, ms(at));
        if !fresh {
            self.stats.duplicate += 1;
        } else if !self.keep(at, Packet { payload, samples: duration as i64, copy: false }) {
            self.stats.late += 1;
        }
    }

    /// Puts a packet in its place; false if that was played already.
    fn keep(&mut self, at: i64, packet: Packet) -> bool {
        self.seen.insert(at);
        if self.seen.len() > MAX_SEEN {
            self.seen.pop_first();
        }
        if self.end.is_some_and(|end| at < end) {
            return false;
        }
        if self.packets.len() >= MAX_PACKETS
            && let Some((_, oldest)) = self.packets.pop_first()
        {
            self.stats.skipped += oldest.samples.unsigned_abs();
        }
        self.packets.insert(at, packet);
        true
    }

    /// The place of a timestamp on the extended time line; None if it is not believed (yet).
    fn place(&mut self, now: f64, timestamp: u32, restart: bool) -> Option<i64> {
        let Some(newest) = self.newest else { return Some(i64::from(timestamp)) };
        let step = timestamp.wrapping_sub(newest as u32) as i32;
        let at = newest + i64::from(step);
        let stopped = now - self.last_arrival > STOPPED_MS && self.packets.is_empty();
        if restart || (stopped && i64::from(step).abs() > JUMP_SAMPLES) {
            self.restart();
            return Some(at);
        }
        if i64::from(step).abs() <= JUMP_SAMPLES {
            self.suspect = None;
            return Some(at);
        }
        let agrees = self.suspect.is_some_and(|suspect| suspect != at && (at - suspect).abs() <= JUMP_SAMPLES);
        self.suspect = Some(at);
        if !agrees {
            return None;
        }
        self.restart();
        Some(at)
    }

    /// Forgets the old time line; what was decoded of it is still played.
    fn restart(&mut self) {
        self.packets.clear();
        self.seen.clear();
        self.estimate.restart();
        self.newest = None;
        self.suspect = None;
        self.end = None;
        self.in_dtx = false;
        self.dry = 0;
        self.stats.restarts += 1;
    }

    /// Gives out the next sound at `now_ns`; silence before the first packet. Called at the pace of playback.
    pub fn pull(&mut self, now_ns: u64, out: &mut [f32]) {
        let now = now_ns as f64 / 1e6;
        self.chunk_ms = ms(out.len() as i64);
        let mut silence = 0;
        if self.end.is_none() {
            // What is left of an old time line goes first.
            if self.pending.is_empty() {
                silence = self.start(now, out.len());
            }
            if self.end.is_none() {
                let rest = self.pending.len().min(out.len());
                self.give(rest, out);
                out.iter_mut().skip(rest).for_each(|sample| *sample = 0.0);
                return;
            }
        }
        let (quiet, sound) = out.split_at_mut(silence.min(out.len()));
        quiet.fill(0.0);
        self.measure_delay(now, ms(quiet.len() as i64));
        // Every round appends at least 2.5 ms or ends the stream, so this ends; the bound is for the reader's peace.
        for _ in 0..sound.len() / 120 + 8 {
            if self.pending.len() >= sound.len() || self.end.is_none() {
                break;
            }
            self.produce(now);
        }
        let ready = self.pending.len().min(sound.len());
        self.give(ready, sound);
        sound.iter_mut().skip(ready).for_each(|sample| *sample = 0.0);
        self.stats.played += sound.len() as u64;
    }

    /// Timestamp of the next sample that [`Self::pull`] will give out, while something plays.
    #[must_use]
    pub fn position(&self) -> Option<u32> {
        self.end.map(|end| (end - self.pending.len() as i64) as u32)
    }

    /// Counters, delay and target.
    #[must_use]
    pub fn stats(&self) -> JitterStats {
        let held: i64 = self.packets.values().map(|packet| packet.samples).sum();
        JitterStats {
            delay_ms: if self.end.is_some() { self.delay - ms(self.dry as i64) } else { 0.0 },
            target_ms: self.target(),
            level_ms: ms(held + self.pending.len() as i64),
            ..self.stats
        }
    }

    /// Mean delay since the last call of this, ms; None if nothing was played.
    pub fn take_mean_delay(&mut self) -> Option<f64> {
        let mean = (self.delay_count > 0).then(|| self.delay_sum / f64::from(self.delay_count));
        (self.delay_sum, self.delay_count) = (0.0, 0);
        mean
    }

    /// Time since the last packet, ms; for whoever keeps several buffers and wants to let go of the silent ones.
    #[must_use]
    pub fn idle_ms(&self, now_ns: u64) -> f64 {
        now_ns as f64 / 1e6 - self.last_arrival
    }

    fn target(&self) -> f64 {
        (self.estimate.late_ms() + self.chunk_ms + MARGIN_MS).clamp(TARGET_RANGE_MS.0, TARGET_RANGE_MS.1)
    }

    /// Begins to play if the first packet's time falls into this pull; returns how many samples of silence go before.
    fn start(&mut self, now: f64, len: usize) -> usize {
        let Some(base) = self.estimate.base() else { return 0 };
        let target = self.target();
        // Packets of before a long stall are of no use any more.
        while let Some((&at, packet)) = self.packets.first_key_value() {
            if now - base - ms(at + packet.samples) < target + HURRY_ABOVE_MS {
                break;
            }
            self.stats.skipped += packet.samples.unsigned_abs();
            self.packets.pop_first();
        }
        let Some((&first, _)) = self.packets.first_key_value() else { return 0 };
        let wait = samples(base + ms(first) + target - now);
        if wait >= len as i64 {
            return 0;
        }
        self.end = Some(first);
        self.in_dtx = false;
        let silence = usize::try_from(wait).unwrap_or(0);
        self.delay = now + ms(silence as i64) - base - ms(first);
        silence
    }

    fn measure_delay(&mut self, now: f64, offset_ms: f64) {
        let (Some(end), Some(base)) = (self.end, self.estimate.base()) else { return };
        let position = end - self.pending.len() as i64;
        let delay = now + offset_ms - base - ms(position);
        // Pulls come in bursts when the machine is busy: lean towards the past.
        self.delay += 0.2 * (delay - self.delay);
        // While nothing comes the time line stands still: that is a wait for packets, not a delay of sound.
        if self.dry == 0 {
            self.delay_sum += delay.max(0.0);
            self.delay_count = self.delay_count.saturating_add(1);
        }
        let excess = self.delay - self.target();
        if excess > SKIP_ABOVE_MS {
            let skip = samples(excess);
            self.stats.skipped += skip.unsigned_abs();
            self.pending.clear();
            self.end = Some(position + skip);
            self.delay -= excess;
            self.packets = self.packets.split_off(&(position + skip));
        }
    }

    /// Moves sound from `pending` to `out` and remembers its tail.
    fn give(&mut self, len: usize, out: &mut [f32]) {
        for (slot, sample) in out.iter_mut().zip(self.pending.drain(..len)) {
            *slot = sample;
        }
        self.heard.extend_from_slice(out.get(..len).unwrap_or_default());
        let excess = self.heard.len().saturating_sub(MAX_LAG);
        self.heard.drain(..excess);
    }

    /// Appends the next piece of sound to `pending`.
    fn produce(&mut self, now: f64) {
        let Some(end) = self.end else { return };
        while let Some((&at, _)) = self.packets.first_key_value()
            && at < end
        {
            self.packets.pop_first();
            self.stats.late += 1;
        }
        let next = self.packets.first_key_value().map(|(&at, _)| at - end);
        if next.is_some() {
            self.stats.concealed += std::mem::take(&mut self.dry);
        }
        match next {
            Some(0) => {
                self.decode_next(end);
                self.stretch(now);
            }
            Some(gap) => self.fill_gap(end, gap),
            None => self.run_dry(now, end),
        }
    }

    fn decode_next(&mut self, end: i64) {
        let Some(packet) = self.packets.remove(&end) else { return };
        self.end = Some(end + packet.samples);
        self.last_samples = packet.samples;
        // In announced silence the encoder sends a frame of noise now and then: that does not end the silence.
        self.in_dtx = packet::is_dtx(&packet.payload) || (self.in_dtx && packet::is_noise(&packet.payload));
        if packet.copy {
            self.stats.red += packet.samples.unsigned_abs();
        }
        if self.in_dtx {
            self.stats.silent += packet.samples.unsigned_abs();
        }
        let before = self.pending.len();
        if let Err(error) = self.decoder.decode(&packet.payload, &mut self.pending) {
            tracing::debug!(%error, "undecodable packet concealed");
            self.stats.concealed += packet.samples.unsigned_abs();
        }
        self.pad(before, packet.samples);
    }

    /// Sound of exactly `wanted` samples since `before`, whatever the decoder did.
    fn pad(&mut self, before: usize, wanted: i64) {
        self.pending.resize(before + usize::try_from(wanted).unwrap_or(0), 0.0);
    }

    /// The next packet is here but does not join: what is between was lost, or was announced silence.
    fn fill_gap(&mut self, end: i64, gap: i64) {
        let excess = samples(self.delay - self.target());
        if self.in_dtx {
            let piece = gap.min(PIECE as i64);
            self.conceal(piece);
            self.stats.silent += piece.unsigned_abs();
            // In a pause the delay is led to its target for nothing.
            let move_on = (piece + excess).clamp(0, gap.min(piece * 2));
            self.end = Some(end + move_on);
            self.delay -= ms(move_on - piece);
            return;
        }
        if excess > samples(SHORTEN_ABOVE_MS) {
            let skip = excess.min(gap);
            self.stats.skipped += skip.unsigned_abs();
            self.delay -= ms(skip);
            self.end = Some(end + skip);
            return;
        }
        let recoverable = gap == self.last_samples
            && self.packets.first_key_value().is_some_and(|(_, next)| packet::has_redundancy(&next.payload));
        if recoverable {
            let before = self.pending.len();
            let result = match self.packets.first_key_value() {
                Some((_, next)) => {
                    self.decoder.recover(&next.payload, usize::try_from(gap).unwrap_or(0), &mut self.pending)
                }
                None => Ok(0),
            };
            match result {
                Ok(_) => self.stats.fec += gap.unsigned_abs(),
                Err(_) => self.stats.concealed += gap.unsigned_abs(),
            }
            self.pad(before, gap);
            self.end = Some(end + gap);
            return;
        }
        // Leave the last packet of the gap to the copy, if there is one.
        let piece = if gap > self.last_samples { gap - self.last_samples } else { gap }.min(PIECE as i64);
        self.conceal(piece);
        self.stats.concealed += piece.unsigned_abs();
        self.end = Some(end + piece);
    }

    /// Nothing is here: a pause, a late packet, a lost one, or the end.
    fn run_dry(&mut self, now: f64, end: i64) {
        if now - self.last_arrival > STOPPED_MS {
            self.end = None;
            self.dry = 0;
            return;
        }
        let piece = PIECE as i64;
        self.conceal(piece);
        if self.in_dtx {
            self.stats.silent += piece.unsigned_abs();
            let excess = samples(self.delay - self.target());
            let move_on = (piece + excess.min(0)).max(0);
            self.end = Some(end + move_on);
            self.delay -= ms(move_on - piece);
        } else {
            // The time line waits: the missing packet may still come, and then nothing of it is lost.
            self.dry += piece.unsigned_abs();
            self.delay += ms(piece);
        }
    }

    fn conceal(&mut self, wanted: i64) {
        let before = self.pending.len();
        // The codec makes multiples of 2.5 ms; a stranger's gap may be anything.
        let whole = usize::try_from(wanted).unwrap_or(0).div_ceil(120) * 120;
        if let Err(error) = self.decoder.conceal(whole, &mut self.pending) {
            tracing::debug!(%error, "nothing to conceal with");
        }
        self.pad(before, wanted);
    }

    /// Leads the delay towards the target by pitch periods of what was just decoded.
    fn stretch(&mut self, now: f64) {
        let excess = self.delay - self.target();
        let hurry = excess > HURRY_ABOVE_MS;
        if now - self.last_stretch < STRETCH_EVERY_MS && !hurry {
            return;
        }
        if excess > SHORTEN_ABOVE_MS {
            // Short packets need company to hold a pitch period.
            while self.pending.len() < stretch::BEST_LEN
                && let Some(end) = self.end
                && self.packets.contains_key(&end)
            {
                self.decode_next(end);
            }
            let at_most = usize::try_from(samples(excess)).unwrap_or(0);
            let cut = stretch::shorten(&mut self.pending, at_most, hurry);
            if cut > 0 {
                self.stats.shortened += cut as u64;
                self.delay -= ms(cut as i64);
                self.last_stretch = now;
            }
        } else if excess < -LENGTHEN_BELOW_MS {
            let at_most = usize::try_from(samples(-excess + SHORTEN_ABOVE_MS)).unwrap_or(0);
            let grown = stretch::lengthen(&self.heard, &mut self.pending, at_most, false);
            if grown > 0 {
                self.stats.lengthened += grown as u64;
                self.delay += ms(grown as i64);
                self.last_stretch = now;
            }
        }
    }
}

#[cfg(test)]
mod tests;
