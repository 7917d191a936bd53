//! A room made of numbers, to measure echo cancelling in: what a speaker plays comes back into a microphone, late,
//! through a loudspeaker that clips softly, a room, a delay that may jump, and clocks that may drift.
//!
//! Everything comes from a seed, so that a measurement is the same every time. [`Scene::make`] gives the three signals;
//! [`judge`] compares what a canceller made of them. `twocan bench echo` prints it for people.

use std::f64::consts::PI;

use super::SAMPLE_RATE;
use super::process::{ProcessingSettings, Processor};
use super::synth::{Speech, Synth};

/// Samples that a canceller gets at a time: 10 ms.
pub const FRAME: usize = 480;
/// Loudness of the friend's voice as it is played, and of mine in the room, dBFS RMS while somebody speaks.
pub const FAR_DB: f64 = -20.0;

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Chooses voices, room and noise.
    pub seed: u64,
    /// Length of everything, seconds.
    pub seconds: f64,
    /// From when on (seconds) the echo comes how late (milliseconds), first at 0 s.
    pub delays: Vec<(f64, f64)>,
    /// Loudness of the echo against what is played, dB.
    pub echo_db: f64,
    /// Length of the room's answer, milliseconds; its tail falls by 54 dB in that time.
    pub room_ms: f64,
    /// How hard the loudspeaker clips: tanh(c x) / c. Zero: not at all.
    pub clip: f64,
    /// Noise of the room and the microphone, dBFS RMS.
    pub noise_db: f64,
    /// How much faster the microphone's clock runs than the speaker's, parts per million.
    pub drift_ppm: f64,
    /// When I speak: from, to, seconds.
    pub near: Vec<(f64, f64)>,
    /// Loudness of my voice against the echo, dB.
    pub near_db: f64,
    /// The room changes (somebody moves) at this time, seconds.
    pub room_changes: Option<f64>,
    /// Voices to use instead of synthetic ones: what is played, what I say (48 kHz mono), for instance from espeak-ng.
    pub voices: Option<(Vec<f32>, Vec<f32>)>,
}

impl Default for Scene {
    /// The scene of the project's number: echo at -8 dB, 250 ms room, soft clipping, 60 ms delay.
    fn default() -> Self {
        Self {
            seed: 1,
            seconds: 20.0,
            delays: vec![(0.0, 60.0)],
            echo_db: -8.0,
            room_ms: 250.0,
            clip: 1.5,
            noise_db: -70.0,
            drift_ppm: 0.0,
            near: Vec::new(),
            near_db: 0.0,
            room_changes: None,
            voices: None,
        }
    }
}

/// The signals of a scene, all equally long.
#[derive(Clone, Debug)]
pub struct Signals {
    /// What is played.
    pub far: Vec<f32>,
    /// What I say, as the microphone hears it.
    pub near: Vec<f32>,
    /// What the microphone hears: echo, my voice, noise.
    pub heard: Vec<f32>,
}

/// Random numbers of a seed (`SplitMix64`), evenly between -1 and 1.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }

    /// Normally distributed, variance 1 (the sum of twelve).
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.next()).sum::<f64>() / 2.0
    }
}

fn samples(seconds: f64) -> usize {
    (seconds * f64::from(SAMPLE_RATE)).round().max(0.0) as usize
}

impl Scene {
    /// Makes the signals.
    #[must_use]
    pub fn make(&self) -> Signals {
        let len = samples(self.seconds).next_multiple_of(FRAME);
        let (far, mut near) = match &self.voices {
            Some((far, near)) => (looped(far, len), looped(near, len)),
            None => (voice(self.seed * 2, len), voice(self.seed * 2 + 1, len)),
        };
        let far = loud(far, FAR_DB);
        near = loud(near, FAR_DB + self.echo_db + self.near_db);
        let speaking = |i: usize| {
            let second = i as f64 / f64::from(SAMPLE_RATE);
            self.near.iter().any(|(from, to)| (*from..*to).contains(&second))
        };
        near.iter_mut().enumerate().filter(|(i, _)| !speaking(*i)).for_each(|(_, x)| *x = 0.0);

        let mut random = Random(self.seed ^ 0x0ec0);
        let clipped: Vec<f32> = far.iter().map(|x| clip(f64::from(*x), self.clip) as f32).collect();
        let mut echo = super::process::convolve(&clipped, &self.room(&mut random));
        if let Some(change) = self.room_changes {
            let other = super::process::convolve(&clipped, &self.room(&mut random));
            let change = samples(change).min(len);
            echo[change..].copy_from_slice(&other[change..]);
        }
        let level = 10_f64.powf(self.noise_db / 20.0);
        let heard = (0..len)
            .map(|i| {
                let second = i as f64 / f64::from(SAMPLE_RATE);
                let delay = self.delays.iter().rev().find(|(from, _)| *from <= second).map_or(0.0, |(_, ms)| *ms);
                let at = i as f64 * (1.0 + self.drift_ppm * 1e-6) - delay * f64::from(SAMPLE_RATE) / 1000.0;
                (at_fraction(&echo, at) + f64::from(near[i]) + level * random.normal()) as f32
            })
            .collect();
        Signals { far, near, heard }
    }

    /// The way from the loudspeaker into the microphone: a direct sound and an exponentially falling tail of noise, of
    /// the energy that the loudness of the echo asks for.
    fn room(&self, random: &mut Random) -> Vec<f32> {
        let len = samples(self.room_ms / 1000.0).max(1);
        let mut answer: Vec<f64> = (0..len).map(|i| random.normal() * (-6.25 * i as f64 / len as f64).exp()).collect();
        answer[0] = 3.0;
        let energy: f64 = answer.iter().map(|x| x * x).sum();
        let gain = 10_f64.powf(self.echo_db / 20.0) / energy.sqrt();
        answer.iter().map(|x| (x * gain) as f32).collect()
    }
}

fn looped(voice: &[f32], len: usize) -> Vec<f32> {
    voice.iter().copied().cycle().take(if voice.is_empty() { 0 } else { len }).collect()
}

fn voice(seed: u64, len: usize) -> Vec<f32> {
    let mut out = vec![0.0; len];
    Speech::new(seed).fill(&mut out);
    out
}

/// Scales a voice to a loudness while it speaks.
fn loud(mut voice: Vec<f32>, db: f64) -> Vec<f32> {
    let (mut sum, mut count) = (0.0, 0_usize);
    for block in voice.chunks(FRAME) {
        let power = power(block);
        if power > 1e-5 {
            sum += power;
            count += 1;
        }
    }
    let gain = (10_f64.powf(db / 10.0) * count.max(1) as f64 / sum.max(1e-12)).sqrt();
    voice.iter_mut().for_each(|x| *x = (f64::from(*x) * gain) as f32);
    voice
}

fn clip(x: f64, hard: f64) -> f64 {
    if hard > 0.0 { (hard * x).tanh() / hard } else { x }
}

/// The signal between samples: 16 points of a windowed sinc; zero outside.
fn at_fraction(signal: &[f32], at: f64) -> f64 {
    let whole = at.floor();
    let part = at - whole;
    let sample = |i: f64| if i < 0.0 { 0.0 } else { signal.get(i as usize).map_or(0.0, |x| f64::from(*x)) };
    if part < 1e-9 {
        return sample(whole);
    }
    (-7..=8)
        .map(|k| {
            let t = part - f64::from(k);
            let sinc = (PI * t).sin() / (PI * t);
            sample(whole + f64::from(k)) * sinc * (0.5 + 0.5 * (PI * t / 8.5).cos())
        })
        .sum()
}

fn power(block: &[f32]) -> f64 {
    block.iter().map(|x| f64::from(x * x)).sum::<f64>() / block.len().max(1) as f64
}

/// How well a canceller did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// Echo return loss enhancement in single talk, dB: power of what was heard over power of what came out, median over
    /// pieces of 100 ms in which the echo was at most 20 dB below its mean, from 3 s after the start and after each jump.
    pub erle_db: f64,
    /// The same as one ratio of energies over all of those pieces.
    pub erle_energy_db: f64,
    /// Nine of ten such pieces are better than this.
    pub erle_p10_db: f64,
    /// In the pieces within 3 s after the start.
    pub erle_first_db: f64,
    /// The ratio of energies over everything from 3 s after the start, times after jumps included.
    pub erle_all_db: f64,
    /// Seconds after a jump until pieces reach 20 dB and stay there (worst jump).
    pub recovery_s: Option<f64>,
    /// Loss of my voice in double talk, dB: the part of what came out that is my voice (projection on the clean voice in
    /// blocks of 20 ms), its energy against the clean energy.
    pub near_loss_db: Option<f64>,
    /// Mean over those blocks of each one's own loss, dB: quiet sounds count as much as loud ones.
    pub near_loss_mean_db: Option<f64>,
    /// Loudness of all that came out in double talk against the clean voice, dB.
    pub near_level_db: Option<f64>,
    /// How much later my voice comes out than it went in, milliseconds.
    pub latency_ms: f64,
}

const PIECE: usize = 4_800;

/// Judges what came `out` of a canceller that heard these signals, and was `latency` samples late.
#[must_use]
pub fn judge(scene: &Scene, signals: &Signals, out: &[f32], latency: usize) -> Verdict {
    let shifted: Vec<f32> = out.iter().copied().skip(latency).chain(std::iter::repeat_n(0.0, latency)).collect();
    let near_at = |from: usize, to: usize| {
        let pad = samples(0.3);
        scene.near.iter().any(|(a, b)| from < samples(*b) + pad && to > samples(*a))
    };
    let second = |i: usize| i as f64 / f64::from(SAMPLE_RATE);
    let jumps: Vec<f64> = scene.delays.iter().skip(1).map(|(at, _)| *at).chain(scene.room_changes).collect();
    let settled = |i: usize| second(i) >= 3.0 && !jumps.iter().any(|at| (*at - 0.1..*at + 3.0).contains(&second(i)));

    let pieces: Vec<(usize, f64, f64)> = (0..signals.heard.len() / PIECE)
        .map(|p| p * PIECE)
        .filter(|start| !near_at(*start, start + PIECE))
        .map(|start| (start, power(&signals.heard[start..start + PIECE]), power(&shifted[start..start + PIECE])))
        .collect();
    let mean = pieces.iter().map(|piece| piece.1).sum::<f64>() / pieces.len().max(1) as f64;
    let loud: Vec<&(usize, f64, f64)> = pieces.iter().filter(|piece| piece.1 > mean * 0.01).collect();
    let db = |heard: f64, left: f64| 10.0 * (heard.max(1e-15) / left.max(1e-15)).log10();
    let ratio = |pick: &dyn Fn(usize) -> bool| {
        let picked = loud.iter().filter(|piece| pick(piece.0));
        let (heard, left) = picked.fold((0.0, 0.0), |sum, piece| (sum.0 + piece.1, sum.1 + piece.2));
        db(heard, left)
    };
    let mut each: Vec<f64> = loud.iter().filter(|piece| settled(piece.0)).map(|piece| db(piece.1, piece.2)).collect();
    each.sort_by(f64::total_cmp);
    let at = |share: f64| each.get((each.len() as f64 * share) as usize).copied().unwrap_or_default();

    let recoveries: Vec<f64> = jumps
        .iter()
        .map(|jump| {
            let after = loud.iter().filter(|piece| (*jump..*jump + 3.0).contains(&second(piece.0)));
            after
                .filter(|piece| db(piece.1, piece.2) < 20.0)
                .map(|piece| second(piece.0 + PIECE) - jump)
                .fold(0.0, f64::max)
        })
        .collect();

    let mut verdict = Verdict {
        erle_db: at(0.5),
        erle_energy_db: ratio(&settled),
        erle_p10_db: at(0.1),
        erle_first_db: ratio(&|i| second(i) < 3.0),
        erle_all_db: ratio(&|i| second(i) >= 3.0),
        recovery_s: recoveries.into_iter().reduce(f64::max),
        latency_ms: second(latency) * 1000.0,
        ..Verdict::default()
    };
    near_loss(scene, signals, &shifted, &mut verdict);
    verdict
}

fn near_loss(scene: &Scene, signals: &Signals, out: &[f32], verdict: &mut Verdict) {
    const BLOCK: usize = 960;
    let (mut clean, mut kept, mut all, mut losses) = (0.0, 0.0, 0.0, Vec::new());
    let whole = scene
        .near
        .iter()
        .map(|(a, b)| power(&signals.near[samples(*a)..samples(*b).min(out.len())]))
        .fold(0.0, f64::max);
    for (from, to) in &scene.near {
        for start in (samples(*from)..samples(*to).min(out.len()).saturating_sub(BLOCK)).step_by(BLOCK) {
            let (near, got) = (&signals.near[start..start + BLOCK], &out[start..start + BLOCK]);
            let energy: f64 = near.iter().map(|x| f64::from(x * x)).sum();
            if energy < whole * 0.003 * BLOCK as f64 {
                continue;
            }
            let dot: f64 = near.iter().zip(got).map(|(a, b)| f64::from(a * b)).sum();
            let gain = (dot / energy).max(0.01);
            clean += energy;
            kept += gain * gain * energy;
            all += got.iter().map(|x| f64::from(x * x)).sum::<f64>();
            losses.push(-20.0 * gain.log10());
        }
    }
    if clean > 0.0 {
        verdict.near_loss_db = Some(-10.0 * (kept / clean).log10());
        verdict.near_loss_mean_db = Some(losses.iter().sum::<f64>() / losses.len() as f64);
        verdict.near_level_db = Some(10.0 * (all / clean).log10());
    }
}

/// Which canceller is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canceller {
    /// Ours, alone: noise suppression, gain and high-pass are off.
    Ours,
    /// The crate sonora's echo canceller (WebRTC's AEC3) with its high-pass, as it comes: for comparison.
    Aec3,
}

impl Canceller {
    /// What it makes of these signals, and how many samples later.
    #[must_use]
    pub fn run(self, signals: &Signals) -> (Vec<f32>, usize) {
        match self {
            Self::Ours => {
                let only = ProcessingSettings { echo_cancelling: true, ..ProcessingSettings::RAW };
                let mut processor = Processor::new(only);
                let out = in_frames(signals, |played, heard, out| processor.process(played, heard, out));
                (out, processor.echo_latency())
            }
            Self::Aec3 => {
                let run = |signals: &Signals| {
                    let mut chain = aec3();
                    in_frames(signals, |played, heard, out| {
                        let mut unused = [0.0; FRAME];
                        // Only a wrong number of samples or channels is an error, and both are fixed here.
                        let played = chain.process_render_f32(&[&played[..]], &mut [&mut unused[..]]);
                        let heard = chain.process_capture_f32(&[&heard[..]], &mut [&mut out[..]]);
                        debug_assert!(played.is_ok() && heard.is_ok());
                    })
                };
                // Its delay is not told: that of a click without an echo.
                let mut click = vec![0.0; 48_000];
                click[24_000..24_004].copy_from_slice(&[0.5, 0.5, -0.5, -0.5]);
                let silence = vec![0.0; click.len()];
                let out = run(&Signals { far: silence.clone(), near: silence, heard: click });
                let loudest = out.iter().enumerate().max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()));
                (run(signals), loudest.map_or(0, |(at, _)| at.saturating_sub(24_001)))
            }
        }
    }
}

fn in_frames(signals: &Signals, mut step: impl FnMut(&[f32; FRAME], &[f32; FRAME], &mut [f32; FRAME])) -> Vec<f32> {
    let mut out = Vec::with_capacity(signals.heard.len());
    let mut block = [0.0; FRAME];
    for (played, heard) in signals.far.as_chunks::<FRAME>().0.iter().zip(signals.heard.as_chunks::<FRAME>().0) {
        step(played, heard, &mut block);
        out.extend_from_slice(&block);
    }
    out
}

fn aec3() -> sonora::AudioProcessing {
    use sonora::config::{EchoCanceller, HighPassFilter, MaxProcessingRate, Pipeline};
    let config = sonora::Config {
        pipeline: Pipeline { maximum_internal_processing_rate: MaxProcessingRate::Rate48kHz, ..Pipeline::default() },
        echo_canceller: Some(EchoCanceller::default()),
        high_pass_filter: Some(HighPassFilter::default()),
        ..sonora::Config::default()
    };
    let mono = sonora::StreamConfig::new(SAMPLE_RATE, 1);
    sonora::AudioProcessing::builder().config(config).capture_config(mono).render_config(mono).build()
}

/// The scenes of `twocan bench echo`: each delay, jumping delays, clocks that drift apart, a room that changes; far voice
/// alone for 16 s, then both for 8 s, then the far voice alone again.
#[must_use]
pub fn scenes(seed: u64, voices: Option<&(Vec<f32>, Vec<f32>)>) -> Vec<(String, Scene)> {
    let base = Scene { seed, seconds: 28.0, near: vec![(16.0, 24.0)], voices: voices.cloned(), ..Scene::default() };
    let mut all: Vec<(String, Scene)> = [20.0, 60.0, 100.0, 140.0, 180.0, 200.0, 220.0, 260.0, 300.0]
        .into_iter()
        .map(|ms| (format!("delay {ms} ms"), Scene { delays: vec![(0.0, ms)], ..base.clone() }))
        .collect();
    let jumps = vec![(0.0, 60.0), (8.0, 180.0), (16.0, 40.0), (24.0, 300.0), (32.0, 60.0)];
    all.push((
        "jumping every 8 s".to_owned(),
        Scene { delays: jumps, seconds: 40.0, near: vec![(36.0, 40.0)], ..base.clone() },
    ));
    for ppm in [50.0, -50.0, 100.0, -100.0] {
        all.push((format!("drift {ppm:+} ppm"), Scene { drift_ppm: ppm, ..base.clone() }));
    }
    all.push(("room changes at 8 s".to_owned(), Scene { room_changes: Some(8.0), ..base.clone() }));
    let near = vec![(9.0, 11.0), (20.0, 24.0)];
    all.push(("... and both speak".to_owned(), Scene { room_changes: Some(8.0), near, ..base }));
    all
}
