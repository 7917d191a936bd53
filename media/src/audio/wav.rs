//! WAV files as microphone and as recorder.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};

use hound::{SampleFormat, WavReader, WavSpec, WavWriter};

use super::SAMPLE_RATE;
use super::resample::Resampler;

/// Rates that a file may have.
const RATES: std::ops::RangeInclusive<u32> = 4_000..=384_000;
/// Most channels that are mixed down.
const MAX_CHANNELS: u16 = 32;
/// So many frames of the file are read at once.
const READ_FRAMES: usize = 2_048;
/// The header of a file that is written tells its length anew this often: what a crash can cost.
const HEADER_EVERY: usize = SAMPLE_RATE as usize;
/// Largest file: the format counts bytes in 32 bits. After that the recording ends (6 hours).
const MAX_SAMPLES: u64 = 2_000_000_000;

/// Why a file is no sound, or cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WavError {
    /// The file cannot be opened, read or written.
    #[error("cannot {doing} {}: {reason}", path.display())]
    Io {
        /// "open", "write".
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// The bytes are no WAV file.
    #[error("{} is no WAV file ({reason}); convert it with `ffmpeg -i FILE out.wav`", path.display())]
    NotWav {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A WAV file of a kind that is not understood, or without sound.
    #[error("{}: {reason}; convert it with `ffmpeg -i FILE -ar 48000 -ac 1 -c:a pcm_s16le out.wav`", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What is not understood.
        reason: String,
    },
}

fn io(doing: &'static str, path: &Path, reason: &impl ToString) -> WavError {
    WavError::Io { doing, path: path.to_owned(), reason: reason.to_string() }
}

/// A WAV file of any usual kind as a stream of mono 48 kHz.
pub struct WavSource {
    path: PathBuf,
    reader: WavReader<BufReader<File>>,
    resampler: Resampler,
    ready: Vec<f32>,
    given: usize,
    repeat: bool,
    ended: bool,
}

impl std::fmt::Debug for WavSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WavSource").field("path", &self.path).finish_non_exhaustive()
    }
}

impl WavSource {
    /// Opens and checks the file. With `repeat` it begins anew at its end.
    pub fn open(path: &Path, repeat: bool) -> Result<Self, WavError> {
        let file = File::open(path).map_err(|error| io("open", path, &error))?;
        if file.metadata().is_ok_and(|data| data.is_dir()) {
            return Err(io("open", path, &"it is a directory"));
        }
        let reader = WavReader::new(BufReader::new(file)).map_err(|error| not_wav(path, &error))?;
        let spec = reader.spec();
        let unsupported = |reason: String| WavError::Unsupported { path: path.to_owned(), reason };
        if !RATES.contains(&spec.sample_rate) {
            return Err(unsupported(format!("{} samples a second are not supported", spec.sample_rate)));
        }
        if spec.channels == 0 || spec.channels > MAX_CHANNELS {
            return Err(unsupported(format!("{} channels are not supported", spec.channels)));
        }
        if reader.duration() == 0 {
            return Err(unsupported("the file holds no sound".to_owned()));
        }
        match (spec.sample_format, spec.bits_per_sample) {
            (SampleFormat::Float, 32) | (SampleFormat::Int, 8 | 16 | 24 | 32) => {}
            (format, bits) => return Err(unsupported(format!("{bits} bit {format:?} samples are not supported"))),
        }
        let resampler = Resampler::new(spec.sample_rate);
        Ok(Self { path: path.to_owned(), reader, resampler, ready: Vec::new(), given: 0, repeat, ended: false })
    }

    /// Fills `out` with what comes next; silence after the end. False once the end was reached.
    pub fn fill(&mut self, out: &mut [f32]) -> bool {
        for slot in out.iter_mut() {
            while self.given >= self.ready.len() && !self.ended {
                self.read();
            }
            *slot = self.ready.get(self.given).copied().unwrap_or(0.0);
            self.given += 1;
        }
        !self.ended
    }

    /// Reads and converts the next piece; nothing comes of it at the end.
    fn read(&mut self) {
        self.ready.clear();
        self.given = 0;
        let mono = self.read_mono();
        if !mono.is_empty() {
            self.resampler.push(&mono, &mut self.ready);
            return;
        }
        self.resampler.finish(&mut self.ready);
        self.resampler = Resampler::new(self.reader.spec().sample_rate);
        if !self.repeat || self.reader.seek(0).is_err() {
            self.ended = true;
        }
    }

    /// Up to [`READ_FRAMES`] frames, each as the mean of its channels; a file that breaks off ends there.
    fn read_mono(&mut self) -> Vec<f32> {
        let spec = self.reader.spec();
        let channels = usize::from(spec.channels);
        let wanted = READ_FRAMES * channels;
        let samples: Vec<f32> = match spec.sample_format {
            SampleFormat::Float => self.reader.samples::<f32>().take(wanted).map_while(Result::ok).collect(),
            SampleFormat::Int => {
                let scale = 1.0 / (1_u64 << (spec.bits_per_sample - 1)) as f32;
                let samples = self.reader.samples::<i32>().take(wanted);
                samples.map_while(Result::ok).map(|sample| sample as f32 * scale).collect()
            }
        };
        let tame = |x: f32| if x.is_finite() { x.clamp(-1.0, 1.0) } else { 0.0 };
        samples.chunks(channels).map(|frame| tame(frame.iter().sum::<f32>() / channels as f32)).collect()
    }
}

fn not_wav(path: &Path, error: &hound::Error) -> WavError {
    let reason = match error {
        hound::Error::IoError(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
            // The crate's own word for a file that begins differently.
            error.to_string()
        }
        hound::Error::IoError(_) => "it is too short".to_owned(),
        hound::Error::FormatError(reason) => (*reason).to_owned(),
        hound::Error::Unsupported => {
            return WavError::Unsupported { path: path.to_owned(), reason: "this kind of WAV is not supported".into() };
        }
        other => other.to_string(),
    };
    WavError::NotWav { path: path.to_owned(), reason }
}

/// Records mono 48 kHz, 16 bit. The header is put right every second, so that a crash costs at most that.
pub struct WavSink {
    path: PathBuf,
    writer: Option<WavWriter<BufWriter<File>>>,
    since_header: usize,
    written: u64,
}

impl std::fmt::Debug for WavSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WavSink").field("path", &self.path).field("written", &self.written).finish_non_exhaustive()
    }
}

impl WavSink {
    /// Creates or replaces the file.
    pub fn create(path: &Path) -> Result<Self, WavError> {
        let spec =
            WavSpec { channels: 1, sample_rate: SAMPLE_RATE, bits_per_sample: 16, sample_format: SampleFormat::Int };
        let file = File::create(path).map_err(|error| io("write", path, &error))?;
        let writer = WavWriter::new(BufWriter::new(file), spec).map_err(|error| io("write", path, &error))?;
        Ok(Self { path: path.to_owned(), writer: Some(writer), since_header: 0, written: 0 })
    }

    /// Appends samples. After the first error (a full disk) nothing more is written: the error is told once.
    pub fn write(&mut self, samples: &[f32]) -> Result<(), WavError> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let mut result = Ok(());
        for sample in samples {
            result = writer.write_sample((sample.clamp(-1.0, 1.0) * 32_767.0).round() as i16);
            if result.is_err() {
                break;
            }
        }
        self.since_header += samples.len();
        self.written += samples.len() as u64;
        if result.is_ok() && self.since_header >= HEADER_EVERY {
            self.since_header = 0;
            result = writer.flush();
        }
        if result.is_err() || self.written > MAX_SAMPLES {
            self.writer = None;
        }
        result.map_err(|error| io("write", &self.path, &error))
    }

    /// Completes the file.
    pub fn finish(mut self) -> Result<(), WavError> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        writer.finalize().map_err(|error| io("write", &self.path, &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::synth::{Synth, Tone};
    use crate::measure::correlation;

    fn write(path: &Path, spec: WavSpec, frames: u32) {
        let mut writer = WavWriter::create(path, spec).unwrap();
        for i in 0..frames {
            let value = 0.25 * (std::f32::consts::TAU * 440.0 * i as f32 / spec.sample_rate as f32).sin();
            for _ in 0..spec.channels {
                match spec.sample_format {
                    SampleFormat::Float => writer.write_sample(value).unwrap(),
                    SampleFormat::Int => {
                        let scale = (1_i64 << (spec.bits_per_sample - 1)) as f32;
                        writer.write_sample((value * scale) as i32).unwrap();
                    }
                }
            }
        }
        writer.finalize().unwrap();
    }

    #[test]
    fn files_of_any_usual_kind_sound_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let mut tone = vec![0.0; 24_000];
        Tone::new(440.0).fill(&mut tone);
        for (rate, channels, bits, format) in [
            (48_000, 1, 16, SampleFormat::Int),
            (44_100, 2, 16, SampleFormat::Int),
            (8_000, 1, 8, SampleFormat::Int),
            (16_000, 6, 24, SampleFormat::Int),
            (96_000, 2, 32, SampleFormat::Int),
            (22_050, 1, 32, SampleFormat::Float),
        ] {
            let path = folder.path().join("in.wav");
            let spec = WavSpec { channels, sample_rate: rate, bits_per_sample: bits, sample_format: format };
            write(&path, spec, rate);
            let mut source = WavSource::open(&path, false).unwrap();
            let mut heard = vec![0.0; 24_000];
            assert!(source.fill(&mut heard));
            let similarity = correlation(&tone, &heard);
            assert!(similarity > 0.99, "{rate} Hz, {channels} channels, {bits} bit: {similarity}");
        }
    }

    #[test]
    fn a_file_ends_in_silence_or_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("short.wav");
        let spec = WavSpec { channels: 1, sample_rate: 48_000, bits_per_sample: 16, sample_format: SampleFormat::Int };
        write(&path, spec, 4_800);
        let mut heard = vec![1.0; 9_600];
        assert!(!WavSource::open(&path, false).unwrap().fill(&mut heard));
        assert!(heard[4_800..].iter().all(|x| *x == 0.0));
        assert!(WavSource::open(&path, true).unwrap().fill(&mut heard));
        assert!(correlation(&heard[..4_800], &heard[4_800..]) > 0.999);
    }

    #[test]
    fn what_is_no_wav_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("song.mp3");
        assert!(matches!(WavSource::open(&path, false), Err(WavError::Io { doing: "open", .. })));
        for bytes in [&b"ID3\x04this is an MP3, honestly, believe me"[..], b"", b"RIFF", b"RIFF\x10\0\0\0AVI LIST"] {
            std::fs::write(&path, bytes).unwrap();
            let error = WavSource::open(&path, false).unwrap_err();
            assert!(matches!(error, WavError::NotWav { .. }), "{error:?}");
            assert!(error.to_string().contains("song.mp3 is no WAV file"), "{error}");
        }
        assert!(matches!(WavSource::open(folder.path(), false), Err(WavError::Io { .. })));
    }

    #[test]
    fn an_empty_wav_file_and_a_cut_one_are_no_surprise() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in.wav");
        let spec = WavSpec { channels: 1, sample_rate: 48_000, bits_per_sample: 16, sample_format: SampleFormat::Int };
        write(&path, spec, 0);
        assert!(matches!(WavSource::open(&path, true), Err(WavError::Unsupported { .. })));
        write(&path, spec, 48_000);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let mut heard = vec![0.0; 48_000];
        assert!(!WavSource::open(&path, false).unwrap().fill(&mut heard));
        assert!(heard[1_000..20_000].iter().any(|x| x.abs() > 0.2));
    }

    #[test]
    fn a_recording_that_is_never_finished_can_be_played() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.wav");
        let mut sink = WavSink::create(&path).unwrap();
        for _ in 0..250 {
            sink.write(&[0.5; 480]).unwrap();
        }
        // As after a crash: nobody finishes the file.
        let copy = folder.path().join("copy.wav");
        std::fs::copy(&path, &copy).unwrap();
        let reader = WavReader::open(&copy).unwrap();
        assert!(reader.duration() >= 96_000, "{} samples can be read", reader.duration());
        sink.finish().unwrap();
        assert_eq!(WavReader::open(&path).unwrap().duration(), 120_000);
    }

    #[test]
    fn a_full_disk_is_told_once() {
        let full = Path::new("/dev/full");
        if !full.exists() {
            println!("skipped: this system has no /dev/full");
            return;
        }
        let result =
            WavSink::create(full).map(|mut sink| (0..300).filter(|_| sink.write(&[0.1; 480]).is_err()).count());
        assert!(matches!(result, Err(_) | Ok(1)), "{result:?}");
    }
}
