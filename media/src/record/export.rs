//! The voices of a recording as WAV files: one for each person, and one in which all speak.

use std::path::{Path, PathBuf};

use super::read::Reader;
use super::{RecordError, write_error};
use crate::audio::SAMPLE_RATE;
use crate::audio::codec::{LOOKAHEAD, OpusDecoder, VoiceDecoder};
use crate::audio::wav::WavSink;

/// A gap up to this is guessed by the decoder, as in the call; a longer one is silence.
const CONCEAL_MS: i64 = 100;
/// Two blocks that are nearer to each other than this follow without a gap: times are in whole milliseconds.
const ROUNDING: i64 = 3 * SAMPLE_RATE as i64 / 1000;
/// Longest recording that is taken out: six hours, what a WAV file can hold.
const MAX_SAMPLES: i64 = 6 * 3600 * SAMPLE_RATE as i64;
const PER_MS: i64 = SAMPLE_RATE as i64 / 1000;

/// One voice on its way into a file.
struct Voice {
    track: u64,
    decoder: OpusDecoder,
    sink: WavSink,
    path: PathBuf,
    /// Samples written, and to be left out at the begin (the codec's lookahead).
    written: i64,
    skip: usize,
}

/// Writes each voice of the recording beside it: `call.mkv` gives `call-alice.wav` and `call-bob.wav`, each as long as the call
/// up to its last word, so that they lie one on the other. Gives the names of what was written; replaces no file.
///
/// # Errors
/// The recording cannot be read, or a file exists or cannot be written.
pub fn wav(recording: &Path) -> Result<Vec<PathBuf>, RecordError> {
    let mut reader = Reader::open(recording)?;
    let stem = recording.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let mut voices: Vec<Voice> = Vec::new();
    for track in reader.tracks().iter().filter(|track| track.codec == "A_OPUS") {
        let mut name = format!("{stem}-{}", file_name(&track.name));
        if voices.iter().any(|voice| voice.path.file_stem().is_some_and(|other| *other == *name)) {
            name = format!("{name}-{}", track.number);
        }
        let path = recording.with_file_name(format!("{name}.wav"));
        if path.exists() {
            return Err(RecordError::Exists(path));
        }
        let decoder = OpusDecoder::new()
            .map_err(|error| RecordError::NotOne { path: recording.to_owned(), reason: error.to_string() })?;
        let sink = WavSink::create(&path).map_err(|error| write_error(&path, &std::io::Error::other(error)))?;
        voices.push(Voice { track: track.number, decoder, sink, path, written: 0, skip: LOOKAHEAD });
    }
    if voices.is_empty() {
        return Err(RecordError::NotOne { path: recording.to_owned(), reason: "there is no voice in it".to_owned() });
    }
    while let Some(block) = reader.next_block() {
        if let Some(voice) = voices.iter_mut().find(|voice| voice.track == block.track) {
            voice.take(block.time_ms, &block.data)?;
        }
    }
    voices.into_iter().map(Voice::finish).collect()
}

/// A name that every file system takes.
#[must_use]
pub fn file_name(name: &str) -> String {
    let clean: String = name.chars().map(|c| if c.is_alphanumeric() || c == '-' { c } else { '_' }).take(40).collect();
    if clean.is_empty() { "voice".to_owned() } else { clean }
}

impl Voice {
    fn take(&mut self, time_ms: i64, packet: &[u8]) -> Result<(), RecordError> {
        let at = time_ms.clamp(0, MAX_SAMPLES / PER_MS) * PER_MS;
        let gap = at - self.written;
        if gap < -ROUNDING {
            // It overlaps what is written: a late one.
            return Ok(());
        }
        let mut sound = Vec::new();
        if gap > ROUNDING {
            let guessed = if gap <= CONCEAL_MS * PER_MS && self.written > 0 {
                // The codec guesses in steps of 2.5 ms.
                self.decoder.conceal(usize::try_from(gap).unwrap_or(0) / 120 * 120, &mut sound).unwrap_or(0)
            } else {
                0
            };
            let rest = usize::try_from(gap).unwrap_or(0).saturating_sub(guessed);
            self.write(&sound)?;
            self.silence(rest)?;
            sound.clear();
        }
        if self.decoder.decode(packet, &mut sound).is_err() {
            return Ok(());
        }
        self.write(&sound)
    }

    fn silence(&mut self, mut samples: usize) -> Result<(), RecordError> {
        let quiet = [0.0; 4_800];
        while samples > 0 {
            let now = samples.min(quiet.len());
            self.write(quiet.get(..now).unwrap_or_default())?;
            samples -= now;
        }
        Ok(())
    }

    fn write(&mut self, sound: &[f32]) -> Result<(), RecordError> {
        self.written += i64::try_from(sound.len()).unwrap_or(0);
        let skip = self.skip.min(sound.len());
        self.skip -= skip;
        let sound = sound.get(skip..).unwrap_or_default();
        self.sink.write(sound).map_err(|error| write_error(&self.path, &std::io::Error::other(error)))
    }

    fn finish(self) -> Result<PathBuf, RecordError> {
        self.sink.finish().map_err(|error| write_error(&self.path, &std::io::Error::other(error)))?;
        Ok(self.path)
    }
}
