//! Sends WAV files over simulated networks and writes what is heard beside them, with one line of JSON for each.
//!
//! `cargo run --release --example voice_path -- OUT_FOLDER SPEECH.wav…`: for each file and cell a WAV file of what was
//! heard, and on standard output what it cost. `tools/voice-scores` makes speech, runs this and scores it (PESQ-WB).

use std::path::{Path, PathBuf};

use twocan_media::audio::source::SoundSource;
use twocan_media::audio::wav::WavSink;
use twocan_media::audio::{AudioSettings, AudioSource};
use twocan_media::measure::voice_path::{Loss, VoicePath, run};

/// Seeds of each cell.
const SEEDS: u64 = 5;
const SAMPLE_RATE: u64 = 48_000;

type Failure = Box<dyn std::error::Error>;

fn load(path: &Path) -> Result<Vec<f32>, Failure> {
    let seconds = hound::WavReader::open(path)
        .map(|reader| u64::from(reader.duration()) / u64::from(reader.spec().sample_rate))?;
    let mut source = SoundSource::open(&AudioSource::Wav { path: path.to_owned(), repeat: false })?;
    let mut sound = vec![0.0; usize::try_from((seconds + 1) * SAMPLE_RATE)?];
    for piece in sound.chunks_mut(480) {
        source.fill(piece);
    }
    Ok(sound)
}

fn cells() -> Vec<(String, VoicePath)> {
    let reference = AudioSettings { max_bitrate: 24_000, ..AudioSettings::default() };
    let base = VoicePath { settings: AudioSettings::default(), ..VoicePath::default() };
    let mut cells =
        vec![("reference".to_owned(), VoicePath { redundancy: false, settings: reference.clone(), ..base.clone() })];
    for percent in [0, 5, 10, 20, 30] {
        let loss = Loss::Random(f64::from(percent) / 100.0);
        cells.push((format!("loss_{percent}"), VoicePath { loss, ..base.clone() }));
        cells.push((format!("loss_{percent}_24k"), VoicePath { loss, settings: reference.clone(), ..base.clone() }));
        cells.push((format!("loss_{percent}_no_copies"), VoicePath { loss, redundancy: false, ..base.clone() }));
    }
    cells.push(("bursts_10".to_owned(), VoicePath { loss: Loss::Bursts { share: 0.1, length: 3.0 }, ..base.clone() }));
    cells.push(("jitter_30".to_owned(), VoicePath { jitter_ms: 30.0, ..base.clone() }));
    cells.push(("jitter_100".to_owned(), VoicePath { jitter_ms: 100.0, ..base.clone() }));
    cells.push(("rate_64k".to_owned(), VoicePath { bitrate: 64_000, ..base.clone() }));
    cells.push(("rate_64k_loss_10".to_owned(), VoicePath { bitrate: 64_000, loss: Loss::Random(0.1), ..base.clone() }));
    for bitrate in [12_000, 16_000, 20_000, 28_000, 32_000] {
        let settings = AudioSettings { max_bitrate: bitrate, ..AudioSettings::default() };
        cells.push((format!("clean_{bitrate}"), VoicePath { settings, ..base.clone() }));
    }
    cells
}

fn main() -> Result<(), Failure> {
    let mut args = std::env::args_os().skip(1);
    let folder = PathBuf::from(args.next().ok_or("usage: voice_path OUT_FOLDER SPEECH.wav…")?);
    for file in args.map(PathBuf::from) {
        let sound = load(&file)?;
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        for (cell, path) in cells() {
            for seed in 1..=SEEDS {
                let path = VoicePath { seed, ..path.clone() };
                let outcome = run(&sound, &path)?;
                let heard = folder.join(format!("{name}.{cell}.{seed}.wav"));
                let mut sink = WavSink::create(&heard)?;
                sink.write(&outcome.heard)?;
                sink.finish()?;
                let (median, p95) = outcome.delay.map_or((0.0, 0.0), |delay| (delay.median_ms, delay.p95_ms));
                let stats = outcome.stats;
                println!(
                    "{{\"speech\":{:?},\"cell\":{cell:?},\"seed\":{seed},\"file\":{:?},\"wire_kbit_s\":{:.1},\"delay_ms\":{median:.1},\"delay_p95_ms\":{p95:.1},\"copies\":{:.2},\"concealed\":{:.4},\"fec\":{:.4},\"red\":{:.4},\"shortened\":{},\"lengthened\":{}}}",
                    file.display().to_string(),
                    heard.display().to_string(),
                    outcome.wire_bitrate / 1e3,
                    outcome.generations,
                    stats.concealed_share(),
                    stats.fec as f64 / stats.played.max(1) as f64,
                    stats.red as f64 / stats.played.max(1) as f64,
                    stats.shortened,
                    stats.lengthened,
                );
            }
        }
    }
    Ok(())
}
