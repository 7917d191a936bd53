//! The processing chain against rooms made of numbers. Everything is seeded: the figures are the same on every machine
//! up to rounding; the floors asserted here lie well below them, and `twocan bench echo` prints them.

use super::*;
use crate::audio::echo_lab::{Scene, Signals, Verdict, judge};

/// Only the echo canceller, as the project's number asks.
const ECHO_ONLY: ProcessingSettings = ProcessingSettings { echo_cancelling: true, ..ProcessingSettings::RAW };

fn run(settings: ProcessingSettings, signals: &Signals) -> (Vec<f32>, Processor) {
    let mut processor = Processor::new(settings);
    let mut out = Vec::with_capacity(signals.heard.len());
    let mut block = [0.0; FRAME];
    for (played, heard) in signals.far.as_chunks::<FRAME>().0.iter().zip(signals.heard.as_chunks::<FRAME>().0) {
        processor.process(played, heard, &mut block);
        out.extend_from_slice(&block);
    }
    (out, processor)
}

fn measure(scene: &Scene) -> Verdict {
    let signals = scene.make();
    let (out, processor) = run(ECHO_ONLY, &signals);
    let verdict = judge(scene, &signals, &out, processor.echo_latency());
    println!("{:?} {verdict:?}", scene.delays);
    verdict
}

#[test]
fn an_echo_of_any_delay_is_taken_out_and_a_near_voice_is_left() {
    for (seed, delay) in [(1, 20.0), (2, 300.0)] {
        let scene =
            Scene { seed, delays: vec![(0.0, delay)], seconds: 14.0, near: vec![(9.0, 14.0)], ..Scene::default() };
        let verdict = measure(&scene);
        assert!(verdict.erle_db > 27.0, "{delay} ms: {verdict:?}");
        assert!(verdict.near_loss_db.is_some_and(|loss| loss < 3.0), "{delay} ms: {verdict:?}");
    }
}

#[test]
fn an_echo_whose_delay_jumps_is_found_again_at_once() {
    let scene = Scene { delays: vec![(0.0, 60.0), (6.0, 180.0), (12.0, 40.0)], seconds: 18.0, ..Scene::default() };
    let verdict = measure(&scene);
    assert!(verdict.erle_db > 27.0, "{verdict:?}");
    assert!(verdict.recovery_s.is_some_and(|seconds| seconds < 1.5), "{verdict:?}");
}

#[test]
fn clocks_that_drift_apart_do_not_bring_the_echo_back() {
    let verdict = measure(&Scene { drift_ppm: 100.0, seconds: 15.0, ..Scene::default() });
    assert!(verdict.erle_db > 24.0, "{verdict:?}");
}

#[test]
fn a_voice_without_an_echo_passes_as_it_is() {
    // Headphones: something is played all the time, and nothing of it is heard.
    let scene = Scene { echo_db: -90.0, near_db: 70.0, seconds: 10.0, near: vec![(0.0, 10.0)], ..Scene::default() };
    let mut signals = scene.make();
    signals.heard.iter_mut().zip(&signals.near).for_each(|(heard, near)| *heard = near + 1e-5);
    let (out, processor) = run(ECHO_ONLY, &signals);
    let late = Scene { near: vec![(6.0, 10.0)], ..scene };
    let verdict = judge(&late, &signals, &out, processor.echo_latency());
    assert!(verdict.near_loss_db.is_some_and(|loss| loss < 1.5), "{verdict:?}");
}

#[test]
fn parts_are_switched_while_sound_runs() {
    let signals = Scene { seconds: 2.0, near: vec![(0.0, 2.0)], ..Scene::default() }.make();
    let mut processor = Processor::new(ProcessingSettings::default());
    let mut block = [0.0; FRAME];
    let both = signals.far.as_chunks::<FRAME>().0.iter().zip(signals.heard.as_chunks::<FRAME>().0);
    for (i, (played, heard)) in both.enumerate() {
        if i % 20 == 0 {
            let bits = i / 20;
            processor.set(ProcessingSettings {
                echo_cancelling: bits & 1 != 0,
                noise_suppression: bits & 2 != 0,
                automatic_gain: bits & 4 != 0,
                high_pass: bits & 8 != 0,
                transmit: Transmit::Always,
            });
        }
        processor.process(played, heard, &mut block);
        assert!(block.iter().all(|x| x.is_finite() && x.abs() <= 1.5));
    }
    processor.set(ProcessingSettings::RAW);
    processor.process(&[0.5; FRAME], &[0.25; FRAME], &mut block);
    assert_eq!(block, [0.25; FRAME], "with everything off, sound passes untouched");
}
