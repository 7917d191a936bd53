//! The result of the demo: the JSON object of schema 1, and the table next to the numbers to reach.

use std::path::PathBuf;

use serde::Serialize;
use twocan_control::LinkPath;

use super::call::Numbers;
use super::numbers::{median, tenth};
use crate::format::{Colour, Style};

/// A number for each side of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Sides<T> {
    /// Who called.
    pub caller: T,
    /// Who answered.
    pub callee: T,
}

/// A number for each person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct People {
    /// Alice.
    pub alice: f64,
    /// Bob.
    pub bob: f64,
}

/// Sound at one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Audio {
    /// Packets sent.
    pub sent: u64,
    /// Packets received.
    pub received: u64,
    /// Packets' worth of sound that were made up.
    pub concealed: u64,
    /// Encoder queue to jitter buffer's end, median, milliseconds.
    pub delay_ms: Option<f64>,
    /// The same, 95th percentile.
    pub delay_p95_ms: Option<f64>,
}

/// Pictures at one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Video {
    /// Frames sent.
    pub sent: u64,
    /// Frames decoded.
    pub decoded: u64,
    /// Median PSNR of what was received, dB; null for sources that cannot be drawn again.
    pub psnr_db: Option<f64>,
}

/// Memory of a node, megabytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Rss {
    /// With one friend online.
    pub idle: Option<f64>,
    /// In the call.
    pub in_call: Option<f64>,
}

/// CPU, percent of one core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Cpu {
    /// One node.
    pub node: Option<f64>,
    /// One client with its codecs.
    pub client: Option<f64>,
}

/// Restart to friend online, milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Relink {
    /// With remembered addresses.
    pub cached: f64,
    /// From a home without any.
    pub dht: f64,
}

/// Lengths of the windows, seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Window {
    /// Of `cpu_percent`.
    pub cpu: f64,
    /// Of `idle_bytes_per_s`.
    pub idle: f64,
}

/// The object that `twocan demo --json` prints. Medians over all successful calls.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// 1.
    pub schema: u32,
    /// First start to ready.
    pub ready_ms: People,
    /// First start to the API's first answer.
    pub api_ms: People,
    /// Adding a friend to their client being told.
    pub request_ms: f64,
    /// Accepting to both online.
    pub accept_to_link_ms: f64,
    /// Calling to the callee's client being told.
    pub ring_ms: Option<f64>,
    /// Answering to the first audible sound.
    pub answer_to_audio_ms: Sides<Option<f64>>,
    /// Answering to the first picture.
    pub answer_to_video_ms: Sides<Option<f64>>,
    /// Hanging up to the other client being told.
    pub hangup_ms: Option<f64>,
    /// Sound.
    pub audio: Sides<Audio>,
    /// Pictures; null without video.
    pub video: Option<Sides<Video>>,
    /// "direct" or "relayed".
    pub path: Option<&'static str>,
    /// Candidate kinds of the chosen pair.
    pub candidates: Option<String>,
    /// Asking for a slot to its first valid copy.
    pub dht_lookup_ms: f64,
    /// Memory.
    pub rss_mb: Rss,
    /// CPU.
    pub cpu_percent: Cpu,
    /// IP bytes a second of an idle node, both directions; null if they could not be counted.
    pub idle_bytes_per_s: Option<f64>,
    /// How they were counted, or why not.
    pub idle_method: String,
    /// Restart to friend online.
    pub relink_ms: Relink,
    /// Windows.
    pub window_s: Window,
    /// Calls made.
    pub calls: u32,
    /// Calls of these that failed.
    pub failed_calls: u32,
    /// Why they failed.
    pub failures: Vec<String>,
    /// What was received, as files.
    pub received: Received,
}

/// Files of what the callee heard and saw last.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Received {
    /// A WAV file.
    pub sound: PathBuf,
    /// A PNG file; null without video.
    pub picture: Option<PathBuf>,
}

fn middle(calls: &[Numbers], pick: impl Fn(&Numbers) -> Option<f64>) -> Option<f64> {
    median(&calls.iter().filter_map(pick).collect::<Vec<f64>>()).map(tenth)
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of a call's frames are far below 2^52, and not negative"
)]
fn count(calls: &[Numbers], pick: impl Fn(&Numbers) -> u64) -> u64 {
    middle(calls, |numbers| Some(pick(numbers) as f64)).unwrap_or_default() as u64
}

impl Report {
    /// Enters the medians of the calls.
    pub fn enter_calls(&mut self, calls: &[Numbers], failures: Vec<String>) {
        let total = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        self.calls = total(calls.len() + failures.len());
        self.failed_calls = total(failures.len());
        self.failures = failures;
        self.ring_ms = middle(calls, |n| Some(n.ring_ms));
        self.hangup_ms = middle(calls, |n| Some(n.hangup_ms));
        self.answer_to_audio_ms =
            Sides { caller: middle(calls, |n| Some(n.audio_ms.0)), callee: middle(calls, |n| Some(n.audio_ms.1)) };
        self.answer_to_video_ms = Sides {
            caller: middle(calls, |n| n.video_ms.map(|ms| ms.0)),
            callee: middle(calls, |n| n.video_ms.map(|ms| ms.1)),
        };
        let audio = |side: fn(&Numbers) -> super::call::Sound| Audio {
            sent: count(calls, |n| side(n).sent),
            received: count(calls, |n| side(n).received),
            concealed: count(calls, |n| side(n).concealed),
            delay_ms: middle(calls, |n| side(n).delay_ms),
            delay_p95_ms: middle(calls, |n| side(n).delay_p95_ms),
        };
        self.audio = Sides { caller: audio(|n| n.sound.0), callee: audio(|n| n.sound.1) };
        let video = |side: fn(&(super::call::Vision, super::call::Vision)) -> super::call::Vision| Video {
            sent: count(calls, |n| n.vision.as_ref().map_or(0, |both| side(both).sent)),
            decoded: count(calls, |n| n.vision.as_ref().map_or(0, |both| side(both).decoded)),
            psnr_db: middle(calls, |n| n.vision.as_ref().and_then(|both| side(both).psnr_db)),
        };
        let with_video = calls.iter().any(|numbers| numbers.vision.is_some());
        self.video = with_video.then(|| Sides { caller: video(|both| both.0), callee: video(|both| both.1) });
        let last = calls.last();
        self.path = last.and_then(|n| n.path).map(|path| match path {
            LinkPath::Relayed => "relayed",
            LinkPath::Loopback | LinkPath::Lan | LinkPath::Direct => "direct",
        });
        self.candidates = last.and_then(|n| n.candidates.clone());
        self.rss_mb.in_call = middle(calls, |n| n.rss_mb);
        self.cpu_percent = Cpu { node: middle(calls, |n| n.cpu_node), client: middle(calls, |n| n.cpu_client) };
        self.window_s.cpu = middle(calls, |n| Some(n.window_s)).unwrap_or_default();
    }

    /// The table for people: what was measured, what is to be reached.
    pub fn table(&self, style: Style) -> String {
        let mut out = String::new();
        let mut row = |what: &str, value: Option<f64>, unit: &str, target: Option<f64>| {
            let Some(value) = value else { return };
            let shown = format!("{value:.1} {unit}");
            let judged = match target {
                Some(target) if value <= target => style.paint(Colour::Green, &format!("ok     (≤ {target} {unit})")),
                Some(target) => style.paint(Colour::Red, &format!("MISSED (≤ {target} {unit})")),
                None => String::new(),
            };
            out.push_str(format!("{what:<44}{shown:>14}  {judged}").trim_end());
            out.push('\n');
        };
        let slower = |sides: Sides<Option<f64>>| sides.caller.into_iter().chain(sides.callee).reduce(f64::max);
        row("first start to API, slower of the two", Some(self.api_ms.alice.max(self.api_ms.bob)), "ms", Some(100.0));
        row(
            "first start to ready, slower of the two",
            Some(self.ready_ms.alice.max(self.ready_ms.bob)),
            "ms",
            Some(500.0),
        );
        row("request to the other's client", Some(self.request_ms), "ms", None);
        row("accept to link", Some(self.accept_to_link_ms), "ms", Some(200.0));
        row("DHT lookup, empty caches", Some(self.dht_lookup_ms), "ms", None);
        row("ring", self.ring_ms, "ms", Some(10.0));
        row("answer to first audio, slower side", slower(self.answer_to_audio_ms), "ms", Some(60.0));
        row("answer to first video, slower side", slower(self.answer_to_video_ms), "ms", Some(150.0));
        let delay = Sides { caller: self.audio.caller.delay_ms, callee: self.audio.callee.delay_ms };
        row("audio delay, median, slower side", slower(delay), "ms", Some(60.0));
        let p95 = Sides { caller: self.audio.caller.delay_p95_ms, callee: self.audio.callee.delay_p95_ms };
        row("audio delay, 95th percentile, slower side", slower(p95), "ms", None);
        row("hang-up to the other's client", self.hangup_ms, "ms", None);
        row("relink after restart, remembered addresses", Some(self.relink_ms.cached), "ms", Some(500.0));
        row("relink after restart, DHT alone", Some(self.relink_ms.dht), "ms", Some(2000.0));
        row("node memory, idle", self.rss_mb.idle, "MB", Some(20.0));
        row("node memory, in the call", self.rss_mb.in_call, "MB", Some(28.0));
        row("node CPU in the call", self.cpu_percent.node, "%", None);
        row("client CPU in the call", self.cpu_percent.client, "%", None);
        row("node idle traffic, both directions", self.idle_bytes_per_s, "B/s", Some(150.0));
        out.push_str(&self.quality());
        out
    }

    fn quality(&self) -> String {
        let mut out = String::new();
        let sides = [("Alice", self.audio.caller, "Bob"), ("Bob", self.audio.callee, "Alice")];
        for (name, audio, _) in sides {
            out.push_str(&format!(
                "{name}'s sound: {} packets sent, {} received, {} ms made up\n",
                audio.sent,
                audio.received,
                audio.concealed * 20
            ));
        }
        if let Some(video) = &self.video {
            for (name, video) in [("Alice", video.caller), ("Bob", video.callee)] {
                let psnr = video.psnr_db.map(|db| format!(", {db:.1} dB PSNR")).unwrap_or_default();
                out.push_str(&format!(
                    "{name}'s picture: {} frames sent, {} received and decoded{psnr}\n",
                    video.sent, video.decoded
                ));
            }
        }
        let path = self.path.unwrap_or("unknown");
        let candidates = self.candidates.as_deref().map(|kinds| format!(" ({kinds})")).unwrap_or_default();
        out.push_str(&format!("path: {path}{candidates}; {} of {} calls failed\n", self.failed_calls, self.calls));
        for failure in &self.failures {
            out.push_str(&format!("failed: {failure}\n"));
        }
        out.push_str(&format!("idle traffic: {}\n", self.idle_method));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_has_every_key_of_schema_1() {
        let mut report = Report { schema: 1, ..Report::default() };
        let video = Some(Default::default());
        report.enter_calls(&[Numbers { vision: video, ..Numbers::default() }], vec!["one failed".into()]);
        let json = serde_json::to_value(&report).unwrap();
        for path in [
            "/schema",
            "/ready_ms/alice",
            "/ready_ms/bob",
            "/request_ms",
            "/accept_to_link_ms",
            "/ring_ms",
            "/answer_to_audio_ms/caller",
            "/answer_to_audio_ms/callee",
            "/answer_to_video_ms/caller",
            "/answer_to_video_ms/callee",
            "/hangup_ms",
            "/audio/caller/sent",
            "/audio/caller/received",
            "/audio/caller/concealed",
            "/audio/caller/delay_ms",
            "/audio/callee/sent",
            "/video/caller/sent",
            "/video/caller/decoded",
            "/video/caller/psnr_db",
            "/video/callee/psnr_db",
            "/path",
            "/dht_lookup_ms",
            "/rss_mb/idle",
            "/rss_mb/in_call",
            "/cpu_percent/node",
            "/cpu_percent/client",
            "/idle_bytes_per_s",
            "/relink_ms/cached",
            "/relink_ms/dht",
            "/window_s",
            "/calls",
            "/failed_calls",
        ] {
            assert!(json.pointer(path).is_some(), "{path} is missing in {json}");
        }
        assert_eq!((report.calls, report.failed_calls), (2, 1));
    }

    #[test]
    fn the_table_judges_what_has_a_target() {
        let report = Report { ring_ms: Some(11.0), accept_to_link_ms: 20.0, ..Report::default() };
        let table = report.table(Style::default());
        assert!(table.lines().any(|line| line.starts_with("ring ") && line.contains("MISSED (≤ 10 ms)")), "{table}");
        assert!(table.lines().any(|line| line.starts_with("accept to link") && line.contains("ok ")), "{table}");
    }
}
