//! The results: one object for programs, one table for people.

use std::fmt::Write;

use serde::Serialize;

use super::cells::Cell;
use super::score::{PictureScore, VoiceScore, median};

/// Version of the object.
pub const SCHEMA: u32 = 1;

/// One direction of one call.
#[derive(Clone, Debug, Serialize)]
pub struct Direction {
    /// The voice.
    pub voice: VoiceScore,
    /// The picture, if one was sent.
    pub picture: Option<PictureScore>,
    /// Mean of what the node believed that the path carries.
    pub target_kbit_s: Option<f64>,
    /// Mean of what went onto the line, all media.
    pub wire_kbit_s: f64,
}

/// One cell.
#[derive(Clone, Debug, Serialize)]
pub struct CellResult {
    /// Its name.
    pub name: &'static str,
    /// What it stands for.
    pub what: &'static str,
    /// Loss, 0 to 1.
    pub loss: f64,
    /// Mean length of outages, ms; 0: losses come one by one.
    pub burst_ms: f64,
    /// Jitter, ms.
    pub jitter_ms: f64,
    /// The line's rate; none: unlimited.
    pub rate_kbit_s: Option<f64>,
    /// Round trip, ms.
    pub rtt_ms: f64,
    /// Medians over all directions.
    pub median: Option<Direction>,
    /// Each direction of each call.
    pub directions: Vec<Direction>,
    /// Calls that could not be measured, and why.
    pub failures: Vec<String>,
}

impl CellResult {
    /// A cell without results.
    #[must_use]
    pub fn new(cell: &Cell) -> Self {
        let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
        Self {
            name: cell.name,
            what: cell.what,
            loss: cell.line.loss,
            burst_ms: ms(cell.line.burst),
            jitter_ms: ms(cell.line.jitter),
            rate_kbit_s: cell.line.rate.map(|rate| rate as f64 / 1e3),
            rtt_ms: ms(cell.rtt),
            median: None,
            directions: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// Computes the medians.
    pub fn conclude(&mut self) {
        let all = &self.directions;
        if all.is_empty() {
            return;
        }
        let of = |pick: &dyn Fn(&Direction) -> Option<f64>| median(&all.iter().filter_map(pick).collect::<Vec<_>>());
        let voice = |pick: &dyn Fn(&VoiceScore) -> Option<f64>| of(&|one| pick(&one.voice));
        let picture = |pick: &dyn Fn(&PictureScore) -> Option<f64>| of(&|one| pick(one.picture.as_ref()?));
        let size = |pick: &dyn Fn(&PictureScore) -> u32| {
            let mut sizes: Vec<u32> = all.iter().filter_map(|one| one.picture.as_ref().map(pick)).collect();
            sizes.sort_unstable();
            sizes.get(sizes.len() / 2).copied().unwrap_or_default()
        };
        self.median = Some(Direction {
            voice: VoiceScore {
                pesq: voice(&|one| Some(one.pesq)).unwrap_or_default(),
                reference_pesq: voice(&|one| Some(one.reference_pesq)).unwrap_or_default(),
                share: voice(&|one| Some(one.share)).unwrap_or_default(),
                delay_p50_ms: voice(&|one| one.delay_p50_ms),
                delay_p95_ms: voice(&|one| one.delay_p95_ms),
                found: voice(&|one| Some(one.found)).unwrap_or_default(),
                concealed: voice(&|one| Some(one.concealed)).unwrap_or_default(),
                kbit_s: voice(&|one| Some(one.kbit_s)).unwrap_or_default(),
            },
            picture: all.iter().any(|one| one.picture.is_some()).then(|| PictureScore {
                psnr_db: picture(&|one| one.psnr_db),
                ssim: picture(&|one| one.ssim),
                frame_rate: picture(&|one| Some(one.frame_rate)).unwrap_or_default(),
                width: size(&|one| one.width),
                height: size(&|one| one.height),
                freezes: picture(&|one| Some(one.freezes as f64)).unwrap_or_default().round() as usize,
                frozen: picture(&|one| Some(one.frozen)).unwrap_or_default(),
                longest_ms: picture(&|one| Some(one.longest_ms)).unwrap_or_default(),
                delay_ms: picture(&|one| one.delay_ms),
                lips_ms: picture(&|one| one.lips_ms),
                lips_p95_ms: picture(&|one| one.lips_p95_ms),
            }),
            target_kbit_s: of(&|one| one.target_kbit_s),
            wire_kbit_s: of(&|one| Some(one.wire_kbit_s)).unwrap_or_default(),
        });
    }
}

/// The step of the rate: 4 Mbit/s, 700 kbit/s, 4 Mbit/s, with a queue of 300 ms.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RateStep {
    /// Delay of the voice from a second after the fall to the return, 95 of 100, ms.
    pub audio_delay_p95_ms: Option<f64>,
    /// The same, median.
    pub audio_delay_p50_ms: Option<f64>,
    /// From the return of the rate until 80 % of the rate before is on the line again, s.
    pub recovery_s: Option<f64>,
    /// Share of the narrow line that was used, from three seconds after the fall on.
    pub used: f64,
    /// What was on the line before the fall, kbit/s.
    pub before_kbit_s: f64,
    /// Seconds since the window began, and what was on the line then (over the last half second), kbit/s.
    pub wire: Vec<(f64, f64)>,
    /// The same of the node's target.
    pub target: Vec<(f64, f64)>,
    /// The same of the voice's delay, ms.
    pub delay: Vec<(f64, f64)>,
}

/// What two quiet people cost.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Silence {
    /// All media of the busier direction with RTP, RTCP, STUN, DTLS and all headers, kbit/s.
    pub kbit_s: f64,
    /// Of it: voice.
    pub voice_kbit_s: f64,
    /// Of it: RTCP.
    pub rtcp_kbit_s: f64,
    /// Of it: STUN.
    pub stun_kbit_s: f64,
    /// The link between the nodes and all else, which is not in the sum.
    pub link_kbit_s: f64,
}

/// What a call costs the machine.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Cpu {
    /// Node and client of one side, percent of a core.
    pub percent: f64,
    /// The node alone.
    pub node: f64,
    /// The client alone.
    pub client: f64,
    /// Memory of the node in the call, MB.
    pub node_mb: f64,
    /// Memory of the client in the call, MB.
    pub client_mb: f64,
}

/// Shares of the voice's clean score at random loss.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct VoiceShare {
    /// No loss.
    pub loss_0: Option<f64>,
    /// 10 %.
    pub loss_10: Option<f64>,
    /// 20 %.
    pub loss_20: Option<f64>,
    /// 30 %.
    pub loss_30: Option<f64>,
}

/// The step of the rate, in two numbers.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct StepSummary {
    /// See [`RateStep::audio_delay_p95_ms`].
    pub audio_delay_p95_ms: Option<f64>,
    /// See [`RateStep::recovery_s`].
    pub recovery_s: Option<f64>,
}

/// The few numbers that are judged.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Summary {
    /// The voice under loss.
    pub voice_share: VoiceShare,
    /// The step of the rate.
    pub rate_step: StepSummary,
    /// What silence costs on the wire.
    pub silence_kbit_s: Option<f64>,
    /// What a call costs.
    pub cpu_percent: Option<f64>,
}

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Version of this object.
    pub schema: u32,
    /// The judged numbers.
    pub summary: Summary,
    /// Every cell.
    pub cells: Vec<CellResult>,
    /// The step of the rate, if it was run.
    pub rate_step: Option<RateStep>,
    /// Silence, if it was run.
    pub silence: Option<Silence>,
    /// CPU, if it was run.
    pub cpu: Option<Cpu>,
    /// What else failed, and why.
    pub other_failures: Vec<String>,
    /// Seconds of each measured window.
    pub window_s: f64,
    /// How long all of it took, s.
    pub took_s: f64,
}

impl Report {
    /// Fills the summary from the rest.
    pub fn conclude(&mut self) {
        let share = |name: &str| {
            let cell = self.cells.iter().find(|cell| cell.name == name)?;
            Some((cell.median.as_ref()?.voice.share * 1e4).round() / 1e4)
        };
        self.summary = Summary {
            voice_share: VoiceShare {
                loss_0: share("loss_0"),
                loss_10: share("loss_10"),
                loss_20: share("loss_20"),
                loss_30: share("loss_30"),
            },
            rate_step: self.rate_step.as_ref().map_or(StepSummary::default(), |step| StepSummary {
                audio_delay_p95_ms: step.audio_delay_p95_ms,
                recovery_s: step.recovery_s,
            }),
            silence_kbit_s: self.silence.as_ref().map(|silence| silence.kbit_s),
            cpu_percent: self.cpu.as_ref().map(|cpu| cpu.percent),
        };
    }

    /// All failures, each with its cell.
    #[must_use]
    pub fn failures(&self) -> Vec<String> {
        let of =
            |cell: &CellResult| cell.failures.iter().map(|why| format!("{}: {why}", cell.name)).collect::<Vec<_>>();
        self.cells.iter().flat_map(of).chain(self.other_failures.iter().cloned()).collect()
    }

    /// The table for people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::new();
        let base = self.cells.iter().find(|cell| cell.name == "loss_0");
        let base = base.and_then(|cell| cell.median.as_ref()?.picture.as_ref()?.psnr_db);
        if !self.cells.is_empty() {
            let _ = writeln!(
                text,
                "{:<12} {:>2}  {:>6} {:>5}  {:>11} {:>6} {:>6}  {:>6} {:>6} {:>5} {:>5} {:>9} {:>7}  {:>12} {:>9}",
                "cell",
                "n",
                "share",
                "PESQ",
                "delay p50/95",
                "made up",
                "voice",
                "PSNR",
                "vs 0",
                "SSIM",
                "fps",
                "freezes",
                "longest",
                "wire/target",
                "lips p95"
            );
        }
        for cell in &self.cells {
            let Some(one) = &cell.median else {
                let _ = writeln!(text, "{:<12} failed: {}", cell.name, cell.failures.join("; "));
                continue;
            };
            let voice = &one.voice;
            let _ = write!(
                text,
                "{:<12} {:>2}  {:>4.1} % {:>5.2}  {:>5}/{:<6} {:>5.1} % {:>5.1}k ",
                cell.name,
                cell.directions.len(),
                voice.share * 100.0,
                voice.pesq,
                show(voice.delay_p50_ms, 0),
                show(voice.delay_p95_ms, 0),
                voice.concealed * 100.0,
                voice.kbit_s,
            );
            if let Some(picture) = &one.picture {
                let _ = write!(
                    text,
                    " {:>6} {:>6} {:>5} {:>5.1} {:>3} {:>4.0} % {:>5.0}ms",
                    show(picture.psnr_db, 1),
                    show(picture.psnr_db.zip(base).map(|(here, base)| here - base), 1),
                    show(picture.ssim, 3),
                    picture.frame_rate,
                    picture.freezes,
                    picture.frozen * 100.0,
                    picture.longest_ms,
                );
            }
            let target = show(one.target_kbit_s, 0);
            let _ = write!(text, "  {:>5.0}/{:<6}", one.wire_kbit_s, target);
            let lips = one.picture.as_ref().and_then(|picture| picture.lips_p95_ms);
            let _ = writeln!(text, " {:>6} ms", show(lips, 0));
        }
        if let Some(step) = &self.rate_step {
            let _ = writeln!(
                text,
                "rate step    voice delay p50/p95 {}/{} ms after the first second, 80 % again after {} s, {:.0} % of 700 kbit/s used",
                show(step.audio_delay_p50_ms, 0),
                show(step.audio_delay_p95_ms, 0),
                show(step.recovery_s, 1),
                step.used * 100.0
            );
        }
        if let Some(silence) = &self.silence {
            let _ = writeln!(
                text,
                "silence      {:.1} kbit/s (voice {:.1}, RTCP {:.1}, STUN {:.1}); the link besides {:.1}",
                silence.kbit_s, silence.voice_kbit_s, silence.rtcp_kbit_s, silence.stun_kbit_s, silence.link_kbit_s
            );
        }
        if let Some(cpu) = &self.cpu {
            let _ = writeln!(
                text,
                "cpu          {:.1} % of a core (node {:.1}, client {:.1}); memory {:.0} and {:.0} MB",
                cpu.percent, cpu.node, cpu.client, cpu.node_mb, cpu.client_mb
            );
        }
        for failure in self.failures() {
            let _ = writeln!(text, "failed: {failure}");
        }
        text
    }
}

fn show(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quality::cells::grid;

    #[test]
    fn the_object_has_the_judged_numbers_and_the_table_every_cell() {
        let mut cells: Vec<CellResult> = grid().iter().map(CellResult::new).collect();
        for (at, cell) in cells.iter_mut().enumerate() {
            for share in [0.5, 0.7, 0.9 - at as f64 / 100.0] {
                let voice = VoiceScore { share, pesq: 3.0, ..VoiceScore::default() };
                let picture = Some(PictureScore { psnr_db: Some(36.0), ..PictureScore::default() });
                cell.directions.push(Direction { voice, picture, target_kbit_s: None, wire_kbit_s: 800.0 });
            }
            cell.conclude();
        }
        cells[2].median = None;
        cells[2].failures.push("nobody answered".to_owned());
        let mut report = Report {
            schema: SCHEMA,
            summary: Summary::default(),
            cells,
            rate_step: Some(RateStep { audio_delay_p95_ms: Some(120.0), ..RateStep::default() }),
            silence: Some(Silence { kbit_s: 8.0, ..Silence::default() }),
            cpu: Some(Cpu { percent: 14.0, ..Cpu::default() }),
            other_failures: Vec::new(),
            window_s: 20.0,
            took_s: 600.0,
        };
        report.conclude();
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["summary"]["voice_share"]["loss_0"], 0.7);
        assert_eq!(json["summary"]["rate_step"]["audio_delay_p95_ms"], 120.0);
        assert_eq!(json["summary"]["silence_kbit_s"], 8.0);
        assert_eq!(json["summary"]["cpu_percent"], 14.0);
        let table = report.table();
        for cell in &report.cells {
            assert!(table.contains(cell.name), "{table}");
        }
        assert!(table.contains("nobody answered"), "{table}");
    }
}
