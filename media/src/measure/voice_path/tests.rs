//! What of a voice arrives over bad networks; shares of sound, because how it sounds needs an ear.

use super::*;
use crate::audio::synth::{Speech, Synth};

fn speech(seconds: usize) -> Vec<f32> {
    let mut out = vec![0.0; seconds * 48_000];
    Speech::new(7).fill(&mut out);
    out
}

fn outcome(seconds: usize, path: &VoicePath) -> VoiceOutcome {
    run(&speech(seconds), path).unwrap()
}

#[test]
fn a_clean_path_has_no_copies_no_guesses_and_little_delay() {
    let clean = outcome(20, &VoicePath::default());
    assert_eq!((clean.stats.concealed, clean.stats.red, clean.stats.fec), (0, 0, 0), "{:?}", clean.stats);
    // Until the path is known there is one copy: six of the twenty seconds.
    assert!(clean.generations < 0.35, "{}", clean.generations);
    let delay = clean.delay.unwrap();
    // 20 ms of frame, 10 ms on the way, 6.5 ms in the codec, and the buffer.
    assert!(delay.median_ms < 36.5 + 22.0, "{delay:?}");
}

#[test]
fn copies_bring_back_what_random_loss_takes() {
    // The first two seconds pass before the loss is known; the rest of it is what all copies were lost of.
    for (share, concealed) in [(0.1, 0.012), (0.2, 0.02), (0.3, 0.035)] {
        let lossy = outcome(40, &VoicePath { loss: Loss::Random(share), ..VoicePath::default() });
        let stats = lossy.stats;
        assert!(stats.concealed_share() < concealed, "{share}: {} {stats:?}", stats.concealed_share());
        let from_copies = stats.red as f64 / stats.played as f64;
        assert!(from_copies > share * 0.7, "{share}: {from_copies}");
        let without = outcome(40, &VoicePath { loss: Loss::Random(share), redundancy: false, ..VoicePath::default() });
        assert_eq!(without.stats.red, 0);
        assert!(without.stats.concealed > 2 * stats.concealed, "{share}: {:?}", without.stats);
    }
}

#[test]
fn bursts_are_bridged() {
    let loss = Loss::Bursts { share: 0.1, length: 3.0 };
    let lossy = outcome(60, &VoicePath { loss, ..VoicePath::default() });
    let without = outcome(60, &VoicePath { loss, redundancy: false, ..VoicePath::default() });
    assert!(lossy.stats.concealed * 2 < without.stats.concealed, "{:?} {:?}", lossy.stats, without.stats);
}

#[test]
fn the_voice_stays_within_the_rate_it_is_given() {
    for (bitrate, loss) in [(64_000, 0.0), (64_000, 0.2), (100_000, 0.3)] {
        let loss = Loss::Random(loss);
        let narrow = outcome(30, &VoicePath { bitrate, loss, ..VoicePath::default() });
        assert!(narrow.wire_bitrate < f64::from(bitrate) * 1.05, "{bitrate}: {}", narrow.wire_bitrate);
    }
}

#[test]
fn the_delay_falls_back_within_seconds_after_a_burst_of_jitter() {
    let path = VoicePath { jitter_burst: Some((10_000.0, 14_000.0, 150.0)), ..VoicePath::default() };
    let outcome = outcome(40, &path);
    let calm = outcome.buffer_ms[8];
    let worst = outcome.buffer_ms[10..16].iter().copied().fold(0.0, f64::max);
    assert!(worst > calm + 60.0, "the delay follows: {:?}", outcome.buffer_ms);
    let after = &outcome.buffer_ms[19..38];
    assert!(after.iter().all(|delay| *delay < calm + 8.0), "five seconds later: {:?}", outcome.buffer_ms);
}
