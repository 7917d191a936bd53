//! The way of a shared screen's sound out: captured samples → Opus packets of music. It is heard beside the voice and
//! never passes the processing of voices, which takes music for noise.

use std::sync::{Mutex, PoisonError};

use super::{Out, Outgoing};
use crate::audio::SAMPLE_RATE;
use crate::audio::codec::CodecError;
use crate::audio::music::{FRAME, MusicEncoder};
use crate::frame::{EncodedFrame, Kind};
use crate::now_ns;

/// The count of samples may run away from real time by so much before it is set again.
const TOLERANCE_SAMPLES: u64 = SAMPLE_RATE as u64 / 5;

/// See the module.
pub(super) struct SoundOut {
    inner: Mutex<Inner>,
    out: Out,
}

struct Inner {
    encoder: MusicEncoder,
    queue: Vec<f32>,
    /// Samples of capture time at the end of `queue`.
    clock: Option<u64>,
    flowing: bool,
    begun: bool,
    sequence: u32,
}

impl SoundOut {
    pub(super) fn new(out: Out) -> Result<Self, CodecError> {
        let encoder = MusicEncoder::new()?;
        let inner = Inner { encoder, queue: Vec::new(), clock: None, flowing: false, begun: false, sequence: 0 };
        Ok(Self { inner: Mutex::new(inner), out })
    }

    /// Lets packets out, or not.
    pub(super) fn set_flow(&self, on: bool) {
        self.lock().flowing = on;
    }

    /// Takes captured sound. Called from the device's or the pacing thread.
    pub(super) fn captured(&self, samples: &[f32]) {
        let mut inner = self.lock();
        inner.take(now_ns(), samples);
        inner.send(&self.out);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn take(&mut self, now: u64, samples: &[f32]) {
        let real = u64::try_from(u128::from(now) * u128::from(SAMPLE_RATE) / 1_000_000_000).unwrap_or(u64::MAX);
        let counted = self.clock.map_or(real, |clock| clock + samples.len() as u64);
        if counted > real + TOLERANCE_SAMPLES {
            // Faster than time: a device that catches up after a stall.
            return;
        }
        let missing = counted + TOLERANCE_SAMPLES < real;
        if missing || !self.flowing {
            self.queue.clear();
        }
        self.clock = Some(if missing { real } else { counted });
        if self.flowing {
            self.queue.extend_from_slice(samples);
        }
    }

    fn send(&mut self, out: &Out) {
        while self.queue.len() >= FRAME {
            let first = self.clock.unwrap_or_default().saturating_sub(self.queue.len() as u64);
            let packet = self.encoder.encode(&self.queue[..FRAME]);
            self.queue.drain(..FRAME);
            let payload = match packet {
                Ok(payload) => payload,
                Err(error) => {
                    tracing::warn!(%error, "a frame of the screen's sound is not sent");
                    continue;
                }
            };
            let captured = u128::from(first) * 1_000_000_000 / u128::from(SAMPLE_RATE);
            out(Outgoing::Frame(EncodedFrame {
                kind: Kind::Sound,
                key: false,
                gap: false,
                restart: !std::mem::replace(&mut self.begun, true),
                red: false,
                layer: 0,
                stream: 0,
                sequence: self.sequence,
                timestamp: first as u32,
                time_ns: u64::try_from(captured).unwrap_or(u64::MAX),
                payload,
            }));
            self.sequence = self.sequence.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn packets_of_20_ms_count_captured_samples_while_they_may_flow() {
        let frames = Arc::new(Mutex::new(Vec::new()));
        let sink = frames.clone();
        let out: Out = Arc::new(move |outgoing| {
            if let Outgoing::Frame(frame) = outgoing {
                sink.lock().unwrap().push(frame);
            }
        });
        let sound = SoundOut::new(out).unwrap();
        let capture = |ms: u64| {
            let mut inner = sound.lock();
            inner.take(ms * 1_000_000, &[0.1; 480]);
            inner.send(&sound.out);
        };
        (0..10).for_each(|n| capture(1000 + n * 10));
        assert!(frames.lock().unwrap().is_empty(), "nothing goes out before it may");
        sound.set_flow(true);
        (10..30).for_each(|n| capture(1000 + n * 10));
        // A second is missing.
        (0..4).for_each(|n| capture(2300 + n * 10));
        let frames = frames.lock().unwrap();
        assert!(frames[0].restart && frames.iter().skip(1).all(|frame| !frame.restart));
        assert!(frames.iter().all(|frame| frame.kind == Kind::Sound));
        let steps: Vec<u32> = frames.windows(2).map(|pair| pair[1].timestamp.wrapping_sub(pair[0].timestamp)).collect();
        assert_eq!(steps.iter().filter(|&&step| step == 960).count(), steps.len() - 1, "{steps:?}");
        assert!(steps.iter().any(|step| (47_000..50_000).contains(step)), "{steps:?}");
    }
}
