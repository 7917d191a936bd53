//! The live line of a call, drawn from what is known; and the keys that steer it.

use twocan_control::{Call, CallState};

use crate::format::{self, Colour, Style, clean_line, time};

/// Cells of a level meter.
const METER: usize = 8;
/// Quietest and loudest of the meter, dBFS: a whisper shows one cell, a shout all.
const METER_RANGE: (f32, f32) = (-54.0, -6.0);

/// What the line shows besides the call.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Levels {
    /// My voice, dBFS.
    pub own_db: f32,
    /// The friend's voice, dBFS.
    pub friend_db: f32,
}

/// A key's meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Mute or unmute.
    Mute,
    /// Video on or off.
    Video,
    /// The next camera.
    Camera,
    /// Share the screen or stop it.
    Screen,
    /// Show the graph or hide it.
    Graph,
    /// Hold or resume.
    Hold,
    /// Speak while it is held.
    Talk,
    /// Echo cancelling on or off.
    Echo,
    /// Noise suppression on or off.
    Noise,
    /// Play the friend louder.
    Louder,
    /// Play the friend quieter.
    Quieter,
    /// Ask to record; agree to it; end it.
    Record,
    /// Do not agree to a recording.
    Refuse,
    /// Hang up.
    Quit,
    /// Ctrl-C: hang up, the second time at once.
    Interrupt,
    /// Answer (while it rings).
    Answer,
    /// Decline (while it rings).
    Decline,
}

/// Draws the line, at most `width` columns; without levels where they would be old as soon as printed.
pub fn draw(call: &Call, levels: Option<Levels>, style: Style, width: usize) -> String {
    let name = clean_line(&call.friend_name);
    let mut parts: Vec<(String, Option<Colour>)> = Vec::new();
    match call.state {
        CallState::Calling => parts.push((format!("calling {name} …"), None)),
        CallState::Ringing => parts.push((format!("{name}: ringing …"), None)),
        CallState::Connecting => parts.push((format!("{name}: connecting …"), None)),
        CallState::Reconnecting => parts.push((format!("{name}: reconnecting …"), Some(Colour::Yellow))),
        CallState::Active | CallState::Ended => parts.push((name, Some(Colour::Bold))),
    }
    if let Some(answered) = call.answered_ms {
        parts.push((time::clock(style.now_ms.saturating_sub(answered)), None));
    }
    if let Some(banner) = super::record::banner(call) {
        parts.push((banner, Some(Colour::Red)));
    }
    if let (CallState::Active, Some(levels)) = (call.state, levels) {
        parts.push((format!("you {} friend {}", meter(levels.own_db), meter(levels.friend_db)), None));
    }
    let flags = [
        (call.muted, "muted", Colour::Red),
        (call.held, "on hold", Colour::Yellow),
        (call.video, "video", Colour::Green),
        (call.screen, "sharing the screen", Colour::Green),
        (call.remote_muted, "friend muted", Colour::Yellow),
        (call.remote_held, "held by friend", Colour::Yellow),
        (call.remote_video, "friend's video", Colour::Green),
        (call.remote_screen, "friend's screen", Colour::Green),
        (call.remote_seat_empty, "friend's program is away", Colour::Yellow),
    ];
    for (_, text, colour) in flags.iter().filter(|(on, ..)| *on) {
        parts.push(((*text).to_owned(), Some(*colour)));
    }
    if let Some(quality) = &call.quality {
        let path = format::call::path(quality);
        if let Some(mos) = quality.mos {
            let level = format!("{}/5 MOS {mos:.1}", quality.level);
            parts.push((level, Some(format::quality::colour(quality.level))));
        }
        if let Some(rtt) = quality.rtt_ms {
            parts.push((if rtt < 10.0 { format!("{rtt:.1} ms") } else { format!("{rtt:.0} ms") }, None));
        }
        parts.push((
            format!("loss {}", format::percent(quality.loss_in)),
            (quality.loss_in > 0.05).then_some(Colour::Red),
        ));
        let (down, up) = (format::bitrate(quality.bitrate_in), format::bitrate(quality.bitrate_out));
        parts.push((format!("↓{down} ↑{up}"), None));
        parts.extend(path.map(|path| (path, None)));
    }
    fit(&parts, style, width)
}

/// Joins parts as long as they fit; whole parts are left out at the end, the first is cut if it has to be.
fn fit(parts: &[(String, Option<Colour>)], style: Style, width: usize) -> String {
    let mut line = String::new();
    let mut used = 0;
    for (index, (text, colour)) in parts.iter().enumerate() {
        let gap = if index == 0 { 0 } else { 2 };
        let long = text.chars().count();
        if index > 0 && used + gap + long > width {
            continue;
        }
        let text: String = text.chars().take(width).collect();
        line.push_str(&" ".repeat(gap));
        line.push_str(&colour.map_or_else(|| text.clone(), |colour| style.paint(colour, &text)));
        used += gap + long;
    }
    line
}

/// A level as a bar.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=METER before")]
pub fn meter(db: f32) -> String {
    let share = (db - METER_RANGE.0) / (METER_RANGE.1 - METER_RANGE.0);
    let full = if share.is_finite() { (share.clamp(0.0, 1.0) * METER as f32).round() as usize } else { 0 };
    format!("{}{}", "▮".repeat(full), "▯".repeat(METER - full))
}

#[cfg(test)]
mod tests {
    use super::*;
    use twocan_control::{Direction, LinkPath, Quality};

    fn call() -> Call {
        Call {
            id: "c0".repeat(16),
            friend: "b0".repeat(32),
            friend_name: "bob".into(),
            direction: Direction::Outgoing,
            state: CallState::Active,
            started_ms: 0,
            answered_ms: Some(1_000),
            ended_ms: None,
            outcome: None,
            reason: None,
            wants_video: false,
            muted: true,
            video: false,
            screen: false,
            held: false,
            remote_muted: false,
            remote_video: true,
            remote_screen: false,
            remote_held: false,
            remote_seat_empty: false,
            seat_taken: true,
            resumes: None,
            recording: None,
            quality: Some(Quality {
                path: Some(LinkPath::Lan),
                rtt_ms: Some(3.4),
                bitrate_in: 640_000,
                bitrate_out: 38_000,
                level: 5,
                mos: Some(4.26),
                ..Quality::default()
            }),
        }
    }

    #[test]
    fn the_line_shows_time_levels_state_and_path() {
        let style = Style { terminal: true, colour: false, now_ms: 66_000 };
        let levels = Levels { own_db: f32::NEG_INFINITY, friend_db: -30.0 };
        assert_eq!(
            draw(&call(), Some(levels), style, 200),
            "bob  1:05  you ▯▯▯▯▯▯▯▯ friend ▮▮▮▮▯▯▯▯  muted  friend's video  5/5 MOS 4.3  3.4 ms  loss 0 %  ↓640 kbit/s ↑38 kbit/s  lan"
        );
    }

    #[test]
    fn a_narrow_terminal_loses_whole_parts_never_wraps() {
        let style = Style { terminal: true, colour: false, now_ms: 66_000 };
        for width in 0..120 {
            assert!(draw(&call(), Some(Levels::default()), style, width).chars().count() <= width.max(3), "{width}");
        }
    }

    #[test]
    fn a_broken_path_is_named() {
        let broken = Call { state: CallState::Reconnecting, ..call() };
        assert!(draw(&broken, None, Style::default(), 80).starts_with("bob: reconnecting"));
    }
}
