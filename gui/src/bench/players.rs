//! The others in the bench's call: films that are encoded once, written to files, and played from there through the real
//! decoder at the pace of a camera.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use twocan_media::video::codec::Registry;
use twocan_media::video::moving::Scene;
use twocan_media::video::{Receiver, VideoSink};
use twocan_media::{EncodedFrame, Kind, now_ns};

use crate::seat::Film;

/// What is played: the size and rate of a call.
pub(super) const WIDTH: u32 = 640;
/// Pixels.
pub(super) const HEIGHT: u32 = 360;
/// Pictures a second.
pub(super) const RATE: u32 = 30;
/// Bits per second.
const BITRATE: u32 = 800_000;
/// Length of each film in seconds; it repeats.
const SECONDS: u32 = 5;
/// Most bytes of one encoded picture in a file.
const MAX_FRAME: usize = 1 << 20;

/// Encodes a film into a file: length (u32, big-endian) and bytes of each access unit.
///
/// # Errors
/// The encoder or the disk refuses.
pub(super) fn encode(path: &Path, seed: u64) -> anyhow::Result<()> {
    let scene = Scene::new(WIDTH, HEIGHT, seed)?;
    let mut encoder = Registry::default().encoder("h264", (WIDTH, HEIGHT), RATE as f32, BITRATE)?;
    let mut out = Vec::new();
    for number in 0..u64::from(SECONDS * RATE) {
        if let Some(encoded) = encoder.encode(&scene.draw(number, now_ns()))? {
            out.extend(u32::try_from(encoded.payload.len())?.to_be_bytes());
            out.push(u8::from(encoded.key));
            out.extend(encoded.payload);
        }
    }
    std::fs::write(path, out).with_context(|| format!("cannot write {}", path.display()))
}

fn read(path: &Path) -> anyhow::Result<Vec<(bool, Vec<u8>)>> {
    let bytes = std::fs::read(path)?;
    let (mut rest, mut frames) = (bytes.as_slice(), Vec::new());
    while let Some((head, after)) = rest.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        ensure!(length <= MAX_FRAME && length <= after.len(), "{} is damaged", path.display());
        let (frame, after) = after.split_at(length);
        frames.push((head[4] == 1, frame.to_vec()));
        rest = after;
    }
    ensure!(!frames.is_empty(), "{} is empty", path.display());
    Ok(frames)
}

/// Plays files until it is dropped.
pub(super) struct Players {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Players {
    /// Plays each file into its film; the people's pictures come at times that have nothing to do with each other.
    ///
    /// # Errors
    /// A file cannot be read, or the system gives no threads.
    pub(super) fn start(films: &[(PathBuf, Film)]) -> anyhow::Result<Self> {
        let mut playing = Vec::new();
        for (number, (path, film)) in films.iter().enumerate() {
            let sink = VideoSink::Tap(film.tap());
            let receiver = Receiver::start(sink, Arc::new(|_, _| None), Arc::new(|_| ()))?;
            let offset = Duration::from_secs(1) / RATE * u32::try_from(number)? / u32::try_from(films.len())?;
            playing.push((read(path)?, receiver, offset, 0_u32));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("players".into()).spawn(move || {
            let begin = Instant::now();
            while !stopping.load(Ordering::Relaxed) {
                let mut next = Duration::MAX;
                for (frames, receiver, offset, sent) in &mut playing {
                    let due = *offset + Duration::from_secs(1) * *sent / RATE;
                    if begin.elapsed() >= due {
                        let (key, payload) = &frames[*sent as usize % frames.len()];
                        receiver.push(frame(*key, *sent, payload.clone()));
                        *sent += 1;
                    }
                    next = next.min(*offset + Duration::from_secs(1) * *sent / RATE);
                }
                std::thread::sleep(next.saturating_sub(begin.elapsed()));
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Players {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic was printed when it happened.
            drop(thread.join());
        }
    }
}

/// Plays a file once as fast as it can be decoded, as a call of its own: all parts begin and end with it.
///
/// # Errors
/// As of [`Players::start`].
pub(super) fn rush(path: &Path, film: &Film) -> anyhow::Result<u64> {
    let before = film.count();
    let receiver = Receiver::start(VideoSink::Tap(film.tap()), Arc::new(|_, _| None), Arc::new(|_| ()))?;
    let frames = read(path)?;
    for (number, (key, payload)) in frames.into_iter().enumerate() {
        receiver.push(frame(key, u32::try_from(number)?, payload));
        while receiver.stats().decoded + receiver.stats().dropped <= number as u64 {
            std::thread::yield_now();
        }
    }
    drop(receiver);
    Ok(film.count() - before)
}

fn frame(key: bool, number: u32, payload: Vec<u8>) -> EncodedFrame {
    EncodedFrame {
        kind: Kind::Video,
        key,
        gap: false,
        restart: false,
        red: false,
        layer: 0,
        stream: 1,
        sequence: number,
        timestamp: number.wrapping_mul(90_000 / RATE),
        time_ns: now_ns(),
        payload,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_film_is_written_and_every_picture_of_it_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.film");
        encode(&path, 3).unwrap();
        let film = Film::new(Arc::new(|| ()));
        assert_eq!(rush(&path, &film).unwrap(), u64::from(SECONDS * RATE));
        std::fs::write(&path, [0, 0, 1, 0, 1, 9]).unwrap();
        assert!(read(&path).is_err());
    }
}
