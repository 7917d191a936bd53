//! `twocan audio`: which sound devices there are, and whether they work, without a call.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use twocan_media::audio::backend::{self, AudioBackend, AudioError, Device};
use twocan_media::audio::loopback::{self, Recording, RoundTrip};
use twocan_media::settings::{MediaSettings, Store};

use crate::args::{AudioAction, AudioTest};
use crate::commands::kept;
use crate::exit::{Exit, Failure};
use crate::format::{Style, Table, clean_line};
use crate::live::line::meter;
use crate::output::Out;

/// Quieter than this nothing is heard at all, dBFS: a muted or missing microphone gives less.
const NOTHING_DB: f32 = -75.0;
/// Quieter than this a voice is hard to understand.
const QUIET_DB: f32 = -45.0;
/// More samples at full scale than this share is too loud.
const CLIPPED: f64 = 0.001;
/// A longer way through both devices is felt in a conversation, ms.
const LONG_MS: f64 = 150.0;

/// A device, for `--json`.
#[derive(Clone, Debug, Serialize)]
struct Shown {
    id: String,
    name: String,
    kind: &'static str,
    default: bool,
}

/// What the test found.
#[derive(Clone, Debug, Default, Serialize)]
struct Found {
    heard_s: f64,
    rms_db: f32,
    peak_db: f32,
    clipped: f64,
    played: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    round_trip_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    echo_db: Option<f32>,
    advice: Vec<String>,
}

/// Runs what needs no node: all of `twocan audio` but `volume`.
///
/// # Errors
/// No sound server, or no such device; a file of settings that cannot be written.
pub async fn run(action: AudioAction, store: &Store, out: &mut Out) -> Result<Exit, Failure> {
    let system = backend::system();
    match action {
        AudioAction::Devices => devices(system.as_ref(), out),
        AudioAction::Show => kept::show(store, out),
        AudioAction::Set(set) => kept::set(store, &set, system.as_ref(), out),
        AudioAction::Test(options) => test(&system, options, &kept::load(store), out).await,
        AudioAction::Volume { .. } => Err(Failure::new(Exit::Internal, "whose volume it is, the node knows")),
    }
}

fn failed(error: &AudioError) -> Failure {
    Failure::new(Exit::Media, error.to_string()).hint("`twocan audio devices` lists what there is")
}

fn devices(system: &dyn AudioBackend, out: &mut Out) -> Result<Exit, Failure> {
    let devices = system.devices().map_err(|error| failed(&error))?;
    let kind = |device: &Device| match (device.input, device.monitor) {
        (true, true) => "monitor",
        (true, false) => "microphone",
        _ => "speaker",
    };
    let shown: Vec<Shown> = devices
        .iter()
        .map(|device| Shown {
            id: device.id.clone(),
            name: device.name.clone(),
            kind: kind(device),
            default: device.default,
        })
        .collect();
    let style = Style::of(out);
    out.show(&shown, |shown| {
        if shown.is_empty() {
            return "No sound devices. Files work instead: --audio-in FILE.wav, --audio-out FILE.wav.\n".to_owned();
        }
        let mut table = Table::new(["", "kind", "name", "for --audio-in and --audio-out"]);
        for device in shown {
            let star = if device.default { "*" } else { "" };
            table.row([
                star.into(),
                device.kind.into(),
                clean_line(&device.name).into(),
                format!("device:{}", clean_line(&device.id)).into(),
            ]);
        }
        format!("{}* is used by default\n", table.render(style))
    })?;
    Ok(Exit::Ok)
}

/// The device that a word names, or that is kept.
fn name(word: Option<&str>, kept: Option<&String>, option: &str) -> Result<Option<String>, Failure> {
    let Some(word) = word else { return Ok(kept.cloned()) };
    match word {
        "device" => Ok(None),
        _ => match word.strip_prefix("device:") {
            Some(name) => Ok(Some(name.to_owned())),
            None => Err(Failure::new(Exit::Usage, format!("{option} does not know \"{word}\""))
                .hint(format!("{option} takes `device` or `device:NAME` here"))),
        },
    }
}

/// Runs a piece of the test on a thread that may block.
async fn blocking<T, F>(work: F) -> Result<T, Failure>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, AudioError> + Send + 'static,
{
    let result = tokio::task::spawn_blocking(work).await;
    let result = result.map_err(|error| Failure::new(Exit::Internal, format!("the test failed: {error}")))?;
    result.map_err(|error| failed(&error))
}

async fn test(
    system: &Arc<dyn AudioBackend>,
    options: AudioTest,
    kept: &MediaSettings,
    out: &mut Out,
) -> Result<Exit, Failure> {
    let microphone = name(options.audio_in.as_deref(), kept.audio.microphone.as_ref(), "--audio-in")?;
    let speaker = name(options.audio_out.as_deref(), kept.audio.speaker.as_ref(), "--audio-out")?;
    let quiet = out.json();
    let say = |out: &mut Out, text: String| if quiet { Ok(()) } else { out.line(&text) };

    say(out, format!("Speak: the microphone is recorded for {} s.", options.seconds))?;
    let (input, on) = (microphone.clone(), Arc::clone(system));
    let length = Duration::from_secs(options.seconds);
    let terminal = !quiet && out.terminal();
    let recording: Recording = blocking(move || {
        loopback::record(on.as_ref(), input.as_deref(), length, |level| {
            if terminal {
                eprint!("\r{} {:>5.0} dB ", meter(level.rms_db), level.rms_db);
            }
        })
    })
    .await?;
    if terminal {
        eprintln!();
    }
    let level = recording.level();
    let mut found = Found {
        heard_s: recording.samples.len() as f64 / 48_000.0,
        rms_db: level.rms_db,
        peak_db: level.peak_db,
        clipped: recording.clipped(),
        ..Found::default()
    };
    found.advice.extend(advice(&found, options.seconds));
    if !options.no_playback {
        say(out, "Now you should hear it again.".to_owned())?;
        let (output, on, sound) = (speaker.clone(), Arc::clone(system), recording.samples);
        found.played = blocking(move || loopback::play(on.as_ref(), output.as_deref(), sound)).await?;
        if !found.played {
            found.advice.push("The speaker takes no sound: choose another with --audio-out device:NAME.".to_owned());
        }
        say(out, "And now a synthetic voice, to measure the way from speaker to microphone.".to_owned())?;
        let on = Arc::clone(system);
        let way: Option<RoundTrip> =
            blocking(move || loopback::round_trip(on.as_ref(), microphone.as_deref(), speaker.as_deref())).await?;
        if let Some(way) = way {
            found.round_trip_ms = Some((way.ms * 10.0).round() / 10.0);
            found.echo_db = Some(way.loudness_db);
            if way.ms > LONG_MS {
                found.advice.push(format!(
                    "{:.0} ms from speaker to microphone is long: wireless devices add this, cables do not.",
                    way.ms
                ));
            }
        }
    }
    let works = found.advice.is_empty();
    out.show(&found, |found| describe(found, options.no_playback))?;
    Ok(if works { Exit::Ok } else { Exit::Unwell })
}

fn advice(found: &Found, seconds: u64) -> Option<String> {
    Some(if found.heard_s < 0.5 * seconds as f64 {
        "The microphone gives no sound at all: unplug it and plug it in again, or choose another with \
         --audio-in device:NAME (`twocan audio devices`)."
            .to_owned()
    } else if found.peak_db < NOTHING_DB {
        "Nothing was heard: is the microphone muted, by its own switch or in the system's sound settings? Another one is \
         chosen with --audio-in device:NAME (`twocan audio devices`)."
            .to_owned()
    } else if found.peak_db < QUIET_DB {
        "Very quiet: come closer, or turn the microphone up in the system's sound settings.".to_owned()
    } else if found.clipped > CLIPPED {
        "Too loud: turn the microphone down in the system's sound settings.".to_owned()
    } else {
        return None;
    })
}

fn describe(found: &Found, no_playback: bool) -> String {
    let mut text = format!(
        "\nmicrophone  {:.1} s, loudness {:.0} dB, peak {:.0} dB\n",
        found.heard_s, found.rms_db, found.peak_db
    );
    if !no_playback {
        text.push_str(match found.played {
            true => "speaker     took everything\n",
            false => "speaker     takes nothing\n",
        });
        match (found.round_trip_ms, found.echo_db) {
            (Some(ms), Some(db)) => text.push_str(&format!(
                "round trip  {ms:.0} ms from speaker to microphone; it comes back at {db:.0} dB, and is taken out in calls\n"
            )),
            _ => text.push_str("round trip  the microphone does not hear the speaker, as with headphones\n"),
        }
    }
    for advice in &found.advice {
        text.push_str(&format!("{advice}\n"));
    }
    if found.advice.is_empty() {
        text.push_str("All is well.\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_with_what_to_do() {
        let good = Found { heard_s: 5.0, rms_db: -25.0, peak_db: -8.0, ..Found::default() };
        assert_eq!(advice(&good, 5), None);
        let says =
            |found: Found, word: &str| assert!(advice(&found, 5).is_some_and(|text| text.contains(word)), "{word}");
        says(Found { heard_s: 0.0, ..good.clone() }, "no sound at all");
        says(Found { peak_db: -100.0, ..good.clone() }, "muted");
        says(Found { peak_db: -50.0, ..good.clone() }, "quiet");
        says(Found { clipped: 0.1, ..good }, "Too loud");
    }
}
