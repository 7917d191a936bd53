//! How a call goes, in words: one table for each call, a row for each stream in each direction.

use serde::Serialize;
use twocan_control::quality::model;
use twocan_control::{Call, CallState, FlowQuality, PictureQuality, Quality, SoundQuality};

use super::table::Cell;
use super::{Colour, Style, Table, clean_line, time};

/// What `twocan stats` tells of a call.
#[derive(Clone, Debug, Serialize)]
pub struct Stats {
    /// Its id.
    pub id: String,
    /// With whom (id).
    pub friend: String,
    /// With whom.
    pub friend_name: String,
    /// How far it has come.
    pub state: CallState,
    /// For how long it has been answered, milliseconds.
    pub talked_ms: u64,
    /// Its numbers, once there are any.
    pub quality: Option<Quality>,
}

impl Stats {
    /// Of a call as it stands.
    pub fn of(call: &Call, now_ms: u64) -> Self {
        Self {
            id: call.id.clone(),
            friend: call.friend.clone(),
            friend_name: call.friend_name.clone(),
            state: call.state,
            talked_ms: call.answered_ms.map_or(0, |answered| now_ms.saturating_sub(answered)),
            quality: call.quality.clone(),
        }
    }
}

/// A level with its word and score, as "4/5 good, MOS 3.9".
pub fn level(level: u8, mos: Option<f64>) -> String {
    let word = model::word(level);
    mos.map_or_else(|| format!("{level}/5 {word}"), |mos| format!("{level}/5 {word}, MOS {mos:.1}"))
}

/// The colour of a level.
pub fn colour(level: u8) -> Colour {
    match level {
        0..=2 => Colour::Red,
        3 => Colour::Yellow,
        _ => Colour::Green,
    }
}

/// A call's numbers as text.
pub fn call(stats: &Stats, style: Style) -> String {
    let name = clean_line(&stats.friend_name);
    let Some(quality) = &stats.quality else {
        return format!("{name}  {}  no numbers yet\n", time::clock(stats.talked_ms));
    };
    let mut head = vec![name, time::clock(stats.talked_ms)];
    head.extend(super::call::path(quality));
    head.extend(quality.rtt_ms.map(|rtt| format!("round trip {}", ms(rtt))));
    head.push(format!("path carries {}", super::bitrate(quality.target_bitrate)));
    head.push(style.paint(colour(quality.level), &level(quality.level, quality.mos)));
    let mut out = head.join("  ");
    out.push('\n');
    let mut table = Table::new(["with", "direction", "stream", "quality", "bitrate", "loss", "jitter", "detail"]);
    for participant in &quality.participants {
        let who = clean_line(&participant.name);
        for (word, flow) in [("received", &participant.received), ("sent", &participant.sent)] {
            for (stream, cells) in streams(flow) {
                let [level, rest @ ..] = cells;
                let [bitrate, loss, jitter, detail] = rest;
                table.row([who.clone().into(), word.into(), stream.into(), level, bitrate, loss, jitter, detail]);
            }
        }
    }
    out.push_str(&table.render(style));
    if quality.participants.iter().any(|participant| participant.sent.narrow) {
        out.push_str("video paused: the path is too narrow for a picture\n");
    }
    out
}

fn streams(flow: &FlowQuality) -> Vec<(&'static str, [Cell; 5])> {
    let mut rows = Vec::new();
    rows.extend(flow.voice.as_ref().map(|sound| ("voice", sound_cells(sound))));
    rows.extend(flow.camera.as_ref().map(|picture| ("camera", picture_cells(picture))));
    rows.extend(flow.screen.as_ref().map(|picture| ("screen", picture_cells(picture))));
    rows.extend(flow.sound.as_ref().map(|sound| ("sound", sound_cells(sound))));
    rows
}

fn rated(level: u8, mos: f64) -> Cell {
    Cell::painted(colour(level), format!("{level}/5 {mos:.1}"))
}

fn sound_cells(sound: &SoundQuality) -> [Cell; 5] {
    let mut detail = Vec::new();
    detail.extend(sound.concealed.map(|concealed| format!("concealed {}", super::percent(concealed))));
    detail.extend(sound.late.filter(|late| *late > 0).map(|late| format!("{late} packets too late")));
    detail.extend(sound.buffer_ms.map(|buffer| format!("buffer {}", ms(buffer))));
    detail.extend(sound.delay_ms.map(|delay| format!("delay about {}", ms(delay))));
    [
        rated(sound.level, sound.mos),
        super::bitrate(sound.bitrate).into(),
        super::percent(sound.loss).into(),
        ms(sound.jitter_ms).into(),
        detail.join(", ").into(),
    ]
}

fn picture_cells(picture: &PictureQuality) -> [Cell; 5] {
    let mut detail = Vec::new();
    if picture.width > 0 {
        detail.push(format!("{}x{}", picture.width, picture.height));
    }
    detail.push(format!("{:.0} a second", picture.frame_rate));
    detail.extend(picture.freezes.filter(|freezes| *freezes > 0).map(|freezes| format!("froze {freezes} times")));
    detail.extend(picture.av_offset_ms.map(|offset| format!("{offset:+.0} ms to the voice")));
    if picture.key_requests > 0 {
        detail.push(format!("{} key frames asked for", picture.key_requests));
    }
    if picture.repairs.repaired > 0 {
        detail.push(format!("{} packets repaired", picture.repairs.repaired));
    }
    [
        rated(picture.level, picture.mos),
        super::bitrate(picture.bitrate).into(),
        super::percent(picture.loss).into(),
        ms(picture.jitter_ms).into(),
        detail.join(", ").into(),
    ]
}

/// Milliseconds for people.
fn ms(ms: f64) -> String {
    if ms < 10.0 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twocan_control::{LinkPath, ParticipantQuality, RepairCounts};

    #[test]
    fn every_stream_has_a_row_in_its_direction() {
        let voice = SoundQuality {
            level: 5,
            mos: 4.3,
            bitrate: 32_000,
            concealed: Some(0.01),
            delay_ms: Some(83.0),
            ..SoundQuality::default()
        };
        let repairs = RepairCounts { asked: 5, repaired: 4, given_up: 1 };
        let screen =
            PictureQuality { level: 3, mos: 3.2, width: 1920, height: 1080, repairs, ..PictureQuality::default() };
        let participant = ParticipantQuality {
            participant: 1,
            name: "bob".into(),
            received: FlowQuality { voice: Some(voice.clone()), ..FlowQuality::default() },
            sent: FlowQuality { voice: Some(voice), screen: Some(screen), ..FlowQuality::default() },
            ..ParticipantQuality::default()
        };
        let quality = Quality {
            path: Some(LinkPath::Lan),
            rtt_ms: Some(3.4),
            target_bitrate: 900_000,
            level: 3,
            mos: Some(3.2),
            participants: vec![participant],
            ..Quality::default()
        };
        let stats = Stats {
            id: "c0".into(),
            friend: "b0".into(),
            friend_name: "bob".into(),
            state: CallState::Active,
            talked_ms: 65_000,
            quality: Some(quality),
        };
        let text = call(&stats, Style { terminal: true, ..Style::default() });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "bob  1:05  lan  round trip 3.4 ms  path carries 900 kbit/s  3/5 fair, MOS 3.2");
        assert!(lines[1].starts_with("with"), "{text}");
        assert!(lines[2].contains("received") && lines[2].contains("concealed 1.0 %"), "{text}");
        assert!(
            lines[4].contains("screen") && lines[4].contains("1920x1080") && lines[4].contains("4 packets repaired"),
            "{text}"
        );
        assert_eq!(lines.len(), 5);
    }
}
