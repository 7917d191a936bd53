//! The way of a voice out: captured samples → packets, on whatever thread the samples come from.
//!
//! Encoding takes a hundredth of the time that the sound lasts, so it needs no thread of its own, and no packet waits
//! for one. While sending is not allowed the last frame's worth of sound is kept, and goes out at the very moment when
//! it is.

use std::sync::{Mutex, PoisonError};

use super::{Out, Outgoing};
use crate::audio::codec::CodecError;
use crate::audio::protection::Known;
use crate::audio::sender::VoiceSender;
use crate::audio::{AudioSettings, SAMPLE_RATE};
use crate::frame::{EncodedFrame, Kind};
use crate::now_ns;

/// The capture's clock may run away from real time by so much (dropouts, a stalled machine) before it is set again.
const CLOCK_TOLERANCE_NS: u64 = 200_000_000;

/// See the module.
pub(super) struct VoiceOut {
    inner: Mutex<Inner>,
    out: Out,
}

struct Inner {
    sender: VoiceSender,
    settings: AudioSettings,
    frame_len: usize,
    queue: Vec<f32>,
    /// Samples of capture time at the end of `queue`, on the scale of [`crate::frame::timestamp_of`] without its wrapping.
    clock: Option<u64>,
    flowing: bool,
    muted: bool,
    begun: bool,
    sequence: u32,
    stats: VoiceOutStats,
}

/// What went out; counts only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VoiceOutStats {
    /// Packets given out.
    pub sent: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Packets that were not sent because they only said "still nothing".
    pub withheld: u64,
    /// Bits per second that the encoder was told last.
    pub bitrate: u32,
    /// Copies of earlier packets that each packet carries now.
    pub generations: u32,
    /// Packets that carried copies.
    pub redundant: u64,
}

impl VoiceOut {
    pub(super) fn new(settings: &AudioSettings, muted: bool, out: Out) -> Result<Self, CodecError> {
        let frame_ms = if settings.frame_ms <= 10 { 10 } else { 20 };
        let settings = AudioSettings { frame_ms, ..settings.clone() };
        let mut sender = VoiceSender::new(&settings)?;
        sender.set_dtx(settings.dtx || muted);
        let stats = VoiceOutStats { bitrate: settings.max_bitrate, ..VoiceOutStats::default() };
        let inner = Inner {
            sender,
            frame_len: frame_ms as usize * 48,
            settings,
            queue: Vec::new(),
            clock: None,
            flowing: false,
            muted,
            begun: false,
            sequence: 0,
            stats,
        };
        Ok(Self { inner: Mutex::new(inner), out })
    }

    /// Takes captured sound. Called from the device's or the pacing thread.
    pub(super) fn captured(&self, samples: &[f32]) {
        let mut inner = self.lock();
        inner.take(now_ns(), samples);
        inner.send(&self.out);
    }

    /// Lets packets out, or not. What was captured last goes out at once.
    pub(super) fn set_flow(&self, on: bool) {
        let mut inner = self.lock();
        inner.flowing = on;
        inner.send(&self.out);
    }

    pub(super) fn set_muted(&self, on: bool) {
        let mut inner = self.lock();
        if inner.muted != on {
            inner.muted = on;
            let dtx = inner.settings.dtx || on;
            inner.sender.set_dtx(dtx);
        }
    }

    pub(super) fn muted(&self) -> bool {
        self.lock().muted
    }

    /// The voice may use `bitrate` bits per second without headers; the path loses this share of packets, so many in a
    /// row.
    pub(super) fn feedback(&self, bitrate: u64, loss: f64, burst: f64) {
        let mut inner = self.lock();
        let bitrate = u32::try_from(bitrate).unwrap_or(u32::MAX);
        let plan = inner.sender.feedback(now_ns() / 1_000_000, Known { bitrate, loss, burst });
        let generations = u32::try_from(plan.generations).unwrap_or(0);
        (inner.stats.bitrate, inner.stats.generations) = (plan.bitrate, generations);
    }

    /// Whether the other side takes redundant audio data.
    pub(super) fn set_redundancy_taken(&self, taken: bool) {
        self.lock().sender.set_redundancy_taken(taken);
    }

    pub(super) fn stats(&self) -> VoiceOutStats {
        self.lock().stats
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Queues samples that were captured until `now`.
    fn take(&mut self, now: u64, samples: &[f32]) {
        if let Some(tap) = &self.settings.capture_tap {
            (tap.0)(now, samples);
        }
        let real = u64::try_from(u128::from(now) * u128::from(SAMPLE_RATE) / 1_000_000_000).unwrap_or(u64::MAX);
        let len = samples.len() as u64;
        let tolerance = CLOCK_TOLERANCE_NS * u64::from(SAMPLE_RATE) / 1_000_000_000;
        let counted = self.clock.map_or(real, |clock| clock + len);
        if counted > real + tolerance {
            // Faster than time: a device that catches up after a stall. What is too much is dropped.
            return;
        }
        if counted + tolerance < real {
            // Sound is missing: the receiver sees a gap of the right length.
            self.queue.clear();
            self.clock = Some(real);
        } else {
            self.clock = Some(counted);
        }
        if self.muted {
            self.queue.resize(self.queue.len() + samples.len(), 0.0);
        } else {
            self.queue.extend_from_slice(samples);
        }
        if !self.flowing {
            let excess = self.queue.len().saturating_sub(self.frame_len);
            self.queue.drain(..excess);
        }
    }

    /// Encodes and gives out all whole frames.
    fn send(&mut self, out: &Out) {
        while self.flowing && self.queue.len() >= self.frame_len {
            let Some(clock) = self.clock else { return };
            let first = clock.saturating_sub(self.queue.len() as u64);
            let result = match self.queue.get(..self.frame_len) {
                Some(frame) => self.sender.encode(first as u32, frame),
                None => Ok(None),
            };
            self.queue.drain(..self.frame_len);
            let counts = self.sender.counts();
            (self.stats.withheld, self.stats.redundant) = (counts.withheld, counts.redundant);
            let packet = match result {
                Ok(Some(packet)) => packet,
                Ok(None) => continue,
                Err(error) => {
                    tracing::warn!(%error, "a frame of sound is not sent");
                    continue;
                }
            };
            // It may have waited for this frame.
            let first = first.saturating_sub(u64::from((first as u32).wrapping_sub(packet.timestamp)));
            let captured = u128::from(first) * 1_000_000_000 / u128::from(SAMPLE_RATE);
            let frame = EncodedFrame {
                kind: Kind::Audio,
                key: false,
                gap: false,
                restart: !self.begun,
                red: packet.red,
                layer: 0,
                stream: 0,
                sequence: self.sequence,
                timestamp: packet.timestamp,
                time_ns: u64::try_from(captured).unwrap_or(u64::MAX),
                payload: packet.payload,
            };
            self.begun = true;
            self.sequence = self.sequence.wrapping_add(1);
            self.stats.sent += 1;
            self.stats.bytes += frame.payload.len() as u64;
            out(Outgoing::Frame(frame));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::codec::MIN_BITRATE;
    use crate::audio::synth::{Speech, Synth};
    use std::sync::Arc;

    fn voice_out(settings: &AudioSettings) -> (VoiceOut, Arc<Mutex<Vec<EncodedFrame>>>) {
        let frames = Arc::new(Mutex::new(Vec::new()));
        let sink = frames.clone();
        let out: Out = Arc::new(move |outgoing| {
            if let Outgoing::Frame(frame) = outgoing {
                sink.lock().unwrap().push(frame);
            }
        });
        (VoiceOut::new(settings, false, out).unwrap(), frames)
    }

    /// Captures with a clock of the test's own.
    fn capture(voice: &VoiceOut, now: u64, samples: &[f32]) {
        let mut inner = voice.lock();
        inner.take(now, samples);
        inner.send(&voice.out);
    }

    const STEP: u64 = 10_000_000;

    #[test]
    fn what_was_just_captured_goes_out_the_moment_it_may() {
        let (voice, frames) = voice_out(&AudioSettings::default());
        let mut speech = Speech::new(1);
        let mut piece = [0.0; 480];
        for step in 0..50 {
            speech.fill(&mut piece);
            capture(&voice, 1_000_000_000 + step * STEP, &piece);
        }
        assert!(frames.lock().unwrap().is_empty(), "nothing goes out before it may");
        voice.set_flow(true);
        let first = frames.lock().unwrap().clone();
        assert_eq!(first.len(), 1, "one frame goes out at once");
        assert!(first[0].restart && first[0].payload.len() > 10);
        // It is the newest 20 ms: captured from 1.47 s to 1.49 s.
        assert!(first[0].time_ns.abs_diff(1_470_000_000) < 100_000, "{}", first[0].time_ns);
        assert_eq!(first[0].timestamp.abs_diff(70_560), 0);
        voice.set_flow(false);
        capture(&voice, 1_500_000_000, &piece);
        capture(&voice, 1_510_000_000, &piece);
        assert_eq!(frames.lock().unwrap().len(), 1, "nothing goes out after it may not");
    }

    #[test]
    fn timestamps_count_captured_samples_and_skip_what_is_missing() {
        let (voice, frames) = voice_out(&AudioSettings { dtx: false, ..AudioSettings::default() });
        voice.set_flow(true);
        let mut now = 5_000_000_000;
        for step in 0..100 {
            // The device stops for a second.
            now += if step == 50 { 1_000_000_000 } else { STEP };
            capture(&voice, now, &[0.01; 480]);
        }
        let stamps: Vec<u32> = frames.lock().unwrap().iter().map(|frame| frame.timestamp).collect();
        let steps: Vec<u32> = stamps.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
        assert_eq!(steps.iter().filter(|step| **step == 960).count(), steps.len() - 1, "{steps:?}");
        assert!(steps.iter().any(|step| (47_000..50_000).contains(step)), "{steps:?}");
    }

    #[test]
    fn a_device_that_catches_up_does_not_run_ahead_of_time() {
        let (voice, frames) = voice_out(&AudioSettings { dtx: false, ..AudioSettings::default() });
        voice.set_flow(true);
        for _ in 0..1_000 {
            capture(&voice, 7_000_000_000, &[0.01; 480]);
        }
        assert!(frames.lock().unwrap().len() <= 11, "{} frames in no time", frames.lock().unwrap().len());
    }

    #[test]
    fn muted_and_silent_people_send_at_least_five_packets_a_second_and_not_many_more() {
        for frame_ms in [10, 20] {
            let (voice, frames) = voice_out(&AudioSettings { frame_ms, dtx: false, ..AudioSettings::default() });
            voice.set_flow(true);
            voice.set_muted(true);
            let mut speech = Speech::new(1);
            let mut piece = [0.0; 480];
            for step in 0..1_000 {
                speech.fill(&mut piece);
                capture(&voice, 1_000_000_000 + step * STEP, &piece);
            }
            let frames = frames.lock().unwrap().clone();
            let last: Vec<&EncodedFrame> = frames.iter().filter(|frame| frame.time_ns > 3_000_000_000).collect();
            let per_second = last.len() as f64 / 8.0;
            assert!((5.0..16.0).contains(&per_second), "{frame_ms} ms frames: {per_second} packets a second");
            let longest = last.windows(2).map(|pair| pair[1].time_ns - pair[0].time_ns).max();
            assert!(longest < Some(200_000_000), "{longest:?}");
            let sequences: Vec<u32> = frames.iter().map(|frame| frame.sequence).collect();
            assert!(sequences.windows(2).all(|pair| pair[1] == pair[0] + 1), "withheld packets are not missing ones");
        }
    }

    #[test]
    fn the_bitrate_follows_what_the_path_carries() {
        let (voice, _) = voice_out(&AudioSettings::default());
        voice.feedback(1_000_000, 0.0, 1.0);
        assert_eq!(voice.stats().bitrate, 32_000);
        voice.feedback(26_000, 0.1, 1.0);
        assert_eq!(voice.stats().bitrate, 26_000);
        voice.feedback(0, f64::NAN, f64::NAN);
        assert_eq!(voice.stats().bitrate, MIN_BITRATE);
    }
}
