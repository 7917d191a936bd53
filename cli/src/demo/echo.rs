//! `twocan bench echo`: the echo canceller in simulated rooms, with figures for people and machines.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;
use twocan_media::audio::SAMPLE_RATE;
use twocan_media::audio::echo_lab::{Canceller, Scene, Verdict, judge, scenes};
use twocan_media::audio::process::{FRAME, ProcessingSettings, Processor};
use twocan_media::audio::wav::WavSource;

use super::usage::cpu_seconds;
use crate::exit::{Exit, Failure};
use crate::format::{Style, Table};
use crate::output::Out;

/// How it is measured, for the reader of the figures.
const METHOD: &str = "48 kHz; far voice at -20 dBFS through a loudspeaker that clips softly (tanh 1.5 x), a 250 ms room at \
    -8 dB, noise at -70 dBFS; near voice as loud as the echo. ERLE: power heard over power left in pieces of 100 ms with \
    echo and without near voice, from 3 s after start and jumps (median, one in ten is worse, ratio of all energy). Near \
    loss: what remains of the near voice in double talk by projection on the clean one in blocks of 20 ms. Noise \
    suppression, gain control and high-pass are off.";
/// To reach.
const ERLE_DB: f64 = 30.0;
const LOSS_DB: f64 = 4.0;
/// Longest voice that is read from a file: 60 s.
const MOST: usize = 60 * SAMPLE_RATE as usize;

/// One scene, the median over its seeds.
#[derive(Clone, Debug, Serialize)]
struct Row {
    scene: String,
    canceller: &'static str,
    erle_db: f64,
    erle_worst_seed_db: f64,
    erle_p10_db: f64,
    erle_energy_db: f64,
    erle_first_3s_db: f64,
    near_loss_db: f64,
    near_loss_worst_seed_db: f64,
    near_level_db: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery_s: Option<f64>,
    latency_ms: f64,
    cpu_percent: f64,
}

#[derive(Clone, Debug, Serialize)]
struct Report {
    method: &'static str,
    seeds: u64,
    rows: Vec<Row>,
    /// Medians over all scenes of our canceller.
    erle_db: f64,
    near_loss_db: f64,
    /// All of the voice processing, percent of one core.
    voice_cpu_percent: f64,
    reached: bool,
}

/// Measures and prints.
///
/// # Errors
/// A voice file that cannot be read.
pub(super) fn run(seeds: u64, compare: bool, voices: Option<(&Path, &Path)>, out: &mut Out) -> Result<Exit, Failure> {
    let voices = voices.map(|(far, near)| Ok::<_, Failure>((read(far)?, read(near)?))).transpose()?;
    let cancellers: &[(Canceller, &str)] = if compare {
        &[(Canceller::Ours, "twocan"), (Canceller::Aec3, "WebRTC AEC3")]
    } else {
        &[(Canceller::Ours, "twocan")]
    };
    let mut rows = Vec::new();
    for (canceller, called) in cancellers {
        for (index, (name, _)) in scenes(1, None).iter().enumerate() {
            let mut verdicts = Vec::new();
            for seed in 1..=seeds {
                let Some((_, scene)) = scenes(seed, voices.as_ref()).into_iter().nth(index) else { continue };
                let signals = scene.make();
                let ((sound, latency), cpu) = timed(scene.seconds, || canceller.run(&signals));
                verdicts.push((judge(&scene, &signals, &sound, latency), cpu));
            }
            rows.push(row(name, called, &verdicts));
        }
    }
    let ours: Vec<&Row> = rows.iter().filter(|row| row.canceller == "twocan").collect();
    let erle_db = median(ours.iter().map(|row| row.erle_db));
    let near_loss_db = median(ours.iter().map(|row| row.near_loss_db));
    let echo_scenes = ours.iter().filter(|row| row.scene.starts_with("delay") || row.scene.starts_with("jump"));
    let reached = echo_scenes.clone().all(|row| row.erle_db >= ERLE_DB && row.near_loss_db <= LOSS_DB);
    let report = Report { method: METHOD, seeds, rows, erle_db, near_loss_db, voice_cpu_percent: chain_cpu(), reached };
    let style = Style::of(out);
    out.show(&report, |report| describe(report, style))?;
    Ok(if reached { Exit::Ok } else { Exit::Unwell })
}

/// What this does, and how much of a core that takes if `seconds` of sound take so long: percent. The computer's other
/// work does not count where the system tells the time that a process has run.
fn timed<T>(seconds: f64, work: impl FnOnce() -> T) -> (T, f64) {
    let used = || cpu_seconds(std::process::id());
    let (begin, before) = (Instant::now(), used());
    let done = work();
    let took = match (before, used()) {
        (Some(before), Some(after)) => after - before,
        _ => begin.elapsed().as_secs_f64(),
    };
    (done, took / seconds * 100.0)
}

/// The same for everything that is done to a voice: echo canceller, high-pass, noise suppression, gain.
fn chain_cpu() -> f64 {
    let scene = Scene { seconds: 60.0, near: vec![(16.0, 40.0)], ..Scene::default() };
    let signals = scene.make();
    let mut processor = Processor::new(ProcessingSettings::default());
    let mut out = [0.0; FRAME];
    let frames = signals.far.as_chunks::<FRAME>().0.iter().zip(signals.heard.as_chunks::<FRAME>().0);
    let ((), percent) = timed(scene.seconds, || {
        frames.for_each(|(played, heard)| processor.process(played, heard, &mut out));
    });
    (percent * 10.0).round() / 10.0
}

fn row(scene: &str, canceller: &'static str, verdicts: &[(Verdict, f64)]) -> Row {
    let of = |pick: &dyn Fn(&Verdict) -> f64| median(verdicts.iter().map(|(verdict, _)| pick(verdict)));
    let least =
        |pick: &dyn Fn(&Verdict) -> f64| verdicts.iter().map(|(verdict, _)| pick(verdict)).fold(999.0, f64::min);
    Row {
        scene: scene.to_owned(),
        canceller,
        erle_db: of(&|v| v.erle_db),
        erle_worst_seed_db: least(&|v| v.erle_db),
        erle_p10_db: of(&|v| v.erle_p10_db),
        erle_energy_db: of(&|v| v.erle_energy_db),
        erle_first_3s_db: of(&|v| v.erle_first_db),
        near_loss_db: of(&|v| v.near_loss_db.unwrap_or_default()),
        near_loss_worst_seed_db: -least(&|v| -v.near_loss_db.unwrap_or_default()),
        near_level_db: of(&|v| v.near_level_db.unwrap_or_default()),
        recovery_s: verdicts.iter().filter_map(|(verdict, _)| verdict.recovery_s).reduce(f64::max),
        latency_ms: of(&|v| v.latency_ms),
        cpu_percent: median(verdicts.iter().map(|(_, cpu)| *cpu)),
    }
}

/// To a tenth, which is as much as the figures mean.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    (values.get(values.len() / 2).copied().unwrap_or_default() * 10.0).round() / 10.0
}

fn read(path: &Path) -> Result<Vec<f32>, Failure> {
    let unreadable = |error: &dyn std::fmt::Display| Failure::new(Exit::Media, format!("{}: {error}", path.display()));
    let mut source = WavSource::open(&PathBuf::from(path), false).map_err(|error| unreadable(&error))?;
    let (mut voice, mut block) = (Vec::new(), [0.0; 480]);
    while voice.len() < MOST && source.fill(&mut block) {
        voice.extend_from_slice(&block);
    }
    if voice.is_empty() { Err(unreadable(&"there is no sound in it")) } else { Ok(voice) }
}

fn describe(report: &Report, style: Style) -> String {
    let head = [
        "scene",
        "",
        "ERLE dB",
        "worst",
        "1 in 10",
        "energy",
        "first 3 s",
        "near loss dB",
        "worst",
        "back after s",
        "ms",
        "CPU %",
    ];
    let mut table = Table::new(head);
    for row in &report.rows {
        let number = |value: f64| format!("{value:.1}");
        table.row([
            row.scene.clone().into(),
            row.canceller.into(),
            number(row.erle_db).into(),
            number(row.erle_worst_seed_db).into(),
            number(row.erle_p10_db).into(),
            number(row.erle_energy_db).into(),
            number(row.erle_first_3s_db).into(),
            number(row.near_loss_db).into(),
            number(row.near_loss_worst_seed_db).into(),
            row.recovery_s.map(number).unwrap_or_default().into(),
            number(row.latency_ms).into(),
            number(row.cpu_percent).into(),
        ]);
    }
    let word = if report.reached { "reached" } else { "not reached" };
    format!(
        "{}\nmedian of {} seeds; to reach at every delay and jumping: ERLE ≥ {ERLE_DB} dB, near loss ≤ {LOSS_DB} dB: {word}\n\
         echo, noise, gain and high-pass together take {:.1} % of a core\n{}\n",
        table.render(style),
        report.seeds,
        report.voice_cpu_percent,
        report.method
    )
}
