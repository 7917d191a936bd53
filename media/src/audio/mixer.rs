//! Several voices into one sound: a jitter buffer for each stream of the call, mixed when playback asks.

use std::collections::BTreeMap;

use super::codec::{CodecError, OpusDecoder};
use super::jitter::{JitterBuffer, JitterStats};
use super::limiter::Limiter;

/// Most voices at once: more than a call has people. When another comes, the one that was silent longest goes.
pub const MAX_STREAMS: usize = 16;
/// Loudest that a person can be made: 12 dB more than they come.
pub const MAX_VOLUME: f32 = 4.0;

/// See the module.
#[derive(Debug, Default)]
pub struct Mixer {
    streams: BTreeMap<u16, JitterBuffer>,
    /// Of those who are not played as they come.
    volumes: BTreeMap<u16, f32>,
    limiter: Limiter,
    scratch: Vec<f32>,
}

/// What playback needs to know of a stream for lip sync: at the pull's begin, this timestamp left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Which stream.
    pub stream: u16,
    /// RTP timestamp of the first sample that this pull gave out.
    pub timestamp: u32,
}

impl Mixer {
    /// Takes a packet of a stream that arrived at `now_ns`; see [`JitterBuffer::push`].
    pub fn push(
        &mut self,
        now_ns: u64,
        stream: u16,
        timestamp: u32,
        restart: bool,
        redundant: bool,
        payload: Vec<u8>,
    ) -> Result<(), CodecError> {
        if !self.streams.contains_key(&stream) {
            if self.streams.len() >= MAX_STREAMS {
                let idle = |buffer: &JitterBuffer| buffer.idle_ms(now_ns);
                let longest = self.streams.iter().max_by(|a, b| idle(a.1).total_cmp(&idle(b.1))).map(|(id, _)| *id);
                longest.and_then(|id| self.streams.remove(&id));
            }
            self.streams.insert(stream, JitterBuffer::new(Box::new(OpusDecoder::new()?)));
        }
        if let Some(buffer) = self.streams.get_mut(&stream) {
            buffer.push(now_ns, timestamp, restart, redundant, payload);
        }
        Ok(())
    }

    /// Plays a stream so much louder (1: as it comes), also when it comes only later.
    pub fn set_volume(&mut self, stream: u16, volume: f32) {
        let volume = if volume.is_finite() { volume.clamp(0.0, MAX_VOLUME) } else { 1.0 };
        if (volume - 1.0).abs() < 1e-3 {
            self.volumes.remove(&stream);
        } else if self.volumes.len() < MAX_STREAMS || self.volumes.contains_key(&stream) {
            self.volumes.insert(stream, volume);
        }
    }

    /// Fills `out` with all voices, and tells `position` where each of them is.
    pub fn pull(&mut self, now_ns: u64, out: &mut [f32], mut position: impl FnMut(Position)) {
        out.fill(0.0);
        self.scratch.resize(out.len(), 0.0);
        for (&stream, buffer) in &mut self.streams {
            buffer.pull(now_ns, &mut self.scratch);
            if let Some(after) = buffer.position() {
                position(Position { stream, timestamp: after.wrapping_sub(out.len() as u32) });
            }
            let volume = self.volumes.get(&stream).copied().unwrap_or(1.0);
            for (sum, sample) in out.iter_mut().zip(&self.scratch) {
                *sum += volume * sample;
            }
        }
        self.limiter.process(out);
    }

    /// Counters of all voices together; delay, target and level of the voice that spoke last.
    #[must_use]
    pub fn stats(&self, now_ns: u64) -> JitterStats {
        let newest = self.streams.values().min_by(|a, b| a.idle_ms(now_ns).total_cmp(&b.idle_ms(now_ns)));
        let mut sum = newest.map(JitterBuffer::stats).unwrap_or_default();
        for buffer in self.streams.values() {
            if newest.is_some_and(|newest| std::ptr::eq(newest, buffer)) {
                continue;
            }
            sum.add_counters(&buffer.stats());
        }
        sum
    }

    /// Mean delay since the last call of this over all voices, ms.
    pub fn take_mean_delay(&mut self) -> Option<f64> {
        let means: Vec<f64> = self.streams.values_mut().filter_map(JitterBuffer::take_mean_delay).collect();
        if means.is_empty() { None } else { Some(means.iter().sum::<f64>() / means.len() as f64) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::AudioSettings;
    use crate::audio::codec::{LOOKAHEAD, OpusEncoder, VoiceEncoder};
    use crate::audio::synth::{Speech, Synth};
    use crate::measure::DelayProbe;

    const MS: u64 = 1_000_000;

    #[test]
    fn two_people_are_heard_at_once() {
        let mut voices: Vec<(Speech, OpusEncoder)> =
            (0..2).map(|seed| (Speech::new(seed), OpusEncoder::new(&AudioSettings::default()).unwrap())).collect();
        let mut mixer = Mixer::default();
        let mut probe = DelayProbe::default();
        let (mut frame, mut sum, mut packet, mut out) = (vec![0.0; 960], vec![0.0; 960], Vec::new(), vec![0.0; 480]);
        for i in 0..200_u32 {
            let now = 1_000 * MS + u64::from(i) * 20 * MS;
            sum.fill(0.0);
            for (stream, (voice, encoder)) in voices.iter_mut().enumerate() {
                voice.fill(&mut frame);
                sum.iter_mut().zip(&frame).for_each(|(sum, x)| *sum += x);
                encoder.encode(&frame, &mut packet).unwrap();
                mixer.push(now, stream as u16, i * 960, false, false, packet.clone()).unwrap();
            }
            probe.sent.push(now, &sum);
            for half in 0..2 {
                let now = now + half * 10 * MS;
                mixer.pull(now, &mut out, |_| ());
                probe.received.push(now, &out);
            }
        }
        let report = probe.report().expect("the sum is found");
        assert!(report.found * 10 > report.looked_for * 7, "{report:?}");
        assert!(report.median_ms < 35.0 + LOOKAHEAD as f64 / 48.0, "{report:?}");
        assert_eq!(mixer.stats(5_000 * MS).concealed, 0);
        assert_eq!(mixer.stats(5_000 * MS).received, 400);
    }

    #[test]
    fn more_streams_than_people_do_not_grow_memory() {
        let mut mixer = Mixer::default();
        for stream in 0..1000 {
            mixer.push(u64::from(stream) * MS, stream, 0, false, false, vec![9 << 3, 0, 0]).unwrap();
        }
        assert_eq!(mixer.streams.len(), MAX_STREAMS);
        assert!(mixer.streams.contains_key(&999));
    }

    #[test]
    fn a_person_is_played_as_loud_as_wished() {
        let loudness = |volume: f32| {
            let mut mixer = Mixer::default();
            mixer.set_volume(0, volume);
            let mut encoder = OpusEncoder::new(&AudioSettings::default()).unwrap();
            let (mut voice, mut frame, mut packet, mut out) =
                (Speech::new(5), vec![0.0; 960], Vec::new(), vec![0.0; 960]);
            let mut power = 0.0;
            for i in 0..100_u32 {
                voice.fill(&mut frame);
                encoder.encode(&frame, &mut packet).unwrap();
                let now = 1_000 * MS + u64::from(i) * 20 * MS;
                mixer.push(now, 0, i * 960, false, false, packet.clone()).unwrap();
                mixer.pull(now, &mut out, |_| ());
                power += out.iter().map(|x| x * x).sum::<f32>();
            }
            power
        };
        let (usual, half) = (loudness(1.0), loudness(0.5));
        assert!((usual / half - 4.0).abs() < 0.1, "{usual} {half}");
        assert_eq!(loudness(0.0), 0.0);
        assert_eq!(loudness(f32::NAN), usual);
    }
}
