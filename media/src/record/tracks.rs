//! From frames to blocks: which track a frame belongs to, when it is to be played, and in what form it is stored.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::ebml::{element, float, id, master, text, unsigned};
use super::file::{Block, Writer};
use super::timeline::Timeline;
use super::{RecordError, RecordReport};
use crate::audio::codec::LOOKAHEAD;
use crate::audio::{packet, red};
use crate::frame::{EncodedFrame, Kind};
use crate::video::h264::stored;

/// Most tracks of one file; streams beyond are left out.
const MAX_TRACKS: usize = 16;
/// A cluster is written when it holds so much time or so many bytes.
const CLUSTER_MS: i64 = 1_000;
const CLUSTER_BYTES: usize = 1 << 20;
/// Blocks wait so long for others that came later and are to be played earlier.
const ORDER_MS: i64 = 300;
/// A block so far ahead of all others is not believed (a relative time in a cluster has 16 bits).
const MAX_AHEAD_MS: i64 = 20_000;
/// Timestamps of a stream that are remembered, to know a packet again that came twice.
const SEEN: usize = 64;
/// Longest name of a person in the file, in characters.
const MAX_NAME: usize = 64;

/// One stream of one side.
#[derive(Debug)]
struct Track {
    line: Timeline,
    /// Its number in the file; none until its format is known, or if there is no room.
    number: Option<u8>,
    refused: bool,
    last_ms: i64,
    /// The latest timestamps.
    seen: VecDeque<u32>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Tracks {
    file: Writer,
    own: String,
    friend: String,
    tracks: HashMap<(bool, Kind, u16), Track>,
    names: Vec<String>,
    /// The video track that the index leads to, else the first.
    leading: Option<u8>,
    waiting: Vec<Block>,
    bytes: usize,
    /// When the recording began, ns.
    zero: Option<i128>,
    newest_ms: i64,
    written_ms: i64,
    frames: u64,
}

impl Tracks {
    pub(super) fn new(file: Writer, own: &str, friend: &str) -> Self {
        let clean = |name: &str| name.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect::<String>();
        Self {
            file,
            own: clean(own),
            friend: clean(friend),
            tracks: HashMap::new(),
            names: Vec::new(),
            leading: None,
            waiting: Vec::new(),
            bytes: 0,
            zero: None,
            newest_ms: 0,
            written_ms: i64::MIN,
            frames: 0,
        }
    }

    /// Takes a frame that passed just now.
    pub(super) fn take(&mut self, own: bool, frame: EncodedFrame) -> Result<(), RecordError> {
        if frame.red {
            // The copies fill what the network lost; those of packets that came are left out below.
            for block in red::read(&frame.payload).unwrap_or_default() {
                let timestamp = frame.timestamp.wrapping_sub(block.offset);
                let payload = block.payload.to_vec();
                self.take(own, EncodedFrame { red: false, timestamp, payload, ..frame.clone() })?;
            }
            return Ok(());
        }
        let EncodedFrame { kind, key, restart, stream, timestamp, time_ns, payload, .. } = frame;
        if !kind.is_picture() && packet::duration(&payload).is_err() || payload.is_empty() {
            return Ok(());
        }
        let place = (own, kind, stream);
        if !self.tracks.contains_key(&place) {
            if self.tracks.len() >= MAX_TRACKS {
                return Ok(());
            }
            let line = Timeline::new(kind.clock_rate());
            self.tracks
                .insert(place, Track { line, number: None, refused: false, last_ms: i64::MIN, seen: VecDeque::new() });
        }
        let Some(track) = self.tracks.get_mut(&place).filter(|track| !track.refused) else { return Ok(()) };
        if track.seen.contains(&timestamp) {
            return Ok(());
        }
        if track.seen.len() >= SEEN {
            track.seen.pop_front();
        }
        track.seen.push_back(timestamp);
        let at = track.line.place(timestamp, time_ns, restart);
        let number = track.number;
        let number = match number {
            Some(number) => number,
            None => match self.begin(place, key, &payload)? {
                Some(number) => number,
                None => return Ok(()),
            },
        };
        let zero = *self.zero.get_or_insert(at);
        let time_ms = i64::try_from((at - zero).div_euclid(1_000_000)).unwrap_or(0).max(0);
        if time_ms > self.newest_ms + MAX_AHEAD_MS && self.frames > 0 {
            return Ok(());
        }
        let data = if !kind.is_picture() { payload } else { stored::lengths(&payload) };
        self.newest_ms = self.newest_ms.max(time_ms);
        self.bytes += data.len();
        self.waiting.push(Block { time_ms, track: number, key: !kind.is_picture() || key, data });
        let oldest = self.waiting.iter().map(|block| block.time_ms).min().unwrap_or(time_ms);
        if self.newest_ms - oldest >= CLUSTER_MS + ORDER_MS || self.bytes >= CLUSTER_BYTES {
            self.write(self.newest_ms - ORDER_MS)?;
        }
        Ok(())
    }

    /// Adds the track of a stream to the file, if this frame says what it is.
    fn begin(&mut self, place: (bool, Kind, u16), key: bool, payload: &[u8]) -> Result<Option<u8>, RecordError> {
        let (own, kind, _) = place;
        let number = u8::try_from(self.names.len() + 1).unwrap_or(u8::MAX);
        let who = if own { &self.own } else { &self.friend };
        let name = match kind {
            Kind::Audio | Kind::Video => who.clone(),
            Kind::Screen | Kind::Sound => format!("{who} (screen)"),
        };
        let common = [
            unsigned(id::TRACK_NUMBER, u64::from(number)),
            unsigned(id::TRACK_UID, u64::from(number)),
            unsigned(id::FLAG_LACING, 0),
            text(id::NAME, &name),
            text(id::LANGUAGE, "und"),
        ];
        let special = if !kind.is_picture() {
            voice_entry()
        } else {
            // A picture begins with a key frame, which carries its parameters.
            let format = if key { stored::Format::of(payload) } else { None };
            let Some(format) = format else { return Ok(None) };
            vec![
                unsigned(id::TRACK_TYPE, 1),
                text(id::CODEC_ID, "V_MPEG4/ISO/AVC"),
                element(id::CODEC_PRIVATE, &format.configuration),
                master(
                    id::VIDEO,
                    &[
                        unsigned(id::PIXEL_WIDTH, u64::from(format.width)),
                        unsigned(id::PIXEL_HEIGHT, u64::from(format.height)),
                    ],
                ),
            ]
        };
        let entry = master(id::TRACK_ENTRY, &[common.concat(), special.concat()]);
        let added = self.file.add_track(entry)?;
        let Some(track) = self.tracks.get_mut(&place) else { return Ok(None) };
        if !added {
            track.refused = true;
            return Ok(None);
        }
        track.number = Some(number);
        let what = if !kind.is_picture() { "sound" } else { "picture" };
        self.names.push(format!("{name}: {what}"));
        if kind.is_picture() && self.leading.is_none() {
            self.leading = Some(number);
        }
        Ok(Some(number))
    }

    /// Writes what is to be played before a time, in order.
    fn write(&mut self, before_ms: i64) -> Result<(), RecordError> {
        self.waiting.sort_by_key(|block| block.time_ms);
        let split = self.waiting.partition_point(|block| block.time_ms < before_ms);
        let rest = self.waiting.split_off(split);
        let ready = std::mem::replace(&mut self.waiting, rest);
        self.bytes = self.waiting.iter().map(|block| block.data.len()).sum();
        // Twice the same, or later than what was written: a player could not use it.
        let mut last: BTreeMap<u8, i64> = BTreeMap::new();
        for track in self.tracks.values() {
            if let Some(number) = track.number {
                last.insert(number, track.last_ms);
            }
        }
        let mut fits = |block: &Block| {
            let last = last.entry(block.track).or_insert(i64::MIN);
            let fits = block.time_ms > *last;
            *last = block.time_ms.max(*last);
            fits
        };
        let blocks: Vec<Block> = ready.into_iter().filter(|block| fits(block)).collect();
        for track in self.tracks.values_mut() {
            if let Some(number) = track.number {
                track.last_ms = last.get(&number).copied().unwrap_or(track.last_ms);
            }
        }
        for piece in blocks.chunk_by(|a, b| a.time_ms / i64::from(i16::MAX) == b.time_ms / i64::from(i16::MAX)) {
            let leads = |block: &&Block| self.leading.is_none_or(|number| block.track == number) && block.key;
            let cue = piece.iter().find(leads).map(|block| block.track);
            self.file.cluster(piece, cue)?;
            self.frames += piece.len() as u64;
            self.written_ms = piece.last().map_or(self.written_ms, |block| self.written_ms.max(block.time_ms));
        }
        Ok(())
    }

    /// Writes the rest and completes the file.
    pub(super) fn finish(mut self, trouble: Option<RecordError>) -> RecordReport {
        let rest = if trouble.is_none() { self.write(i64::MAX) } else { Ok(()) };
        let duration_ms = self.written_ms.max(0) as f64 + 20.0;
        let finished = self.file.finish(duration_ms);
        let path = self.file.path().to_owned();
        let bytes = match &finished {
            Ok(bytes) => *bytes,
            Err(_) => std::fs::metadata(&path).map_or(0, |meta| meta.len()),
        };
        RecordReport {
            path,
            bytes,
            seconds: if self.frames == 0 { 0.0 } else { duration_ms / 1e3 },
            frames: self.frames,
            dropped: 0,
            tracks: self.names,
            error: trouble.or(rest.err()).or(finished.err()),
        }
    }
}

/// What a track of Opus says (RFC 7845, 5.1, and the Matroska codec mappings).
fn voice_entry() -> Vec<Vec<u8>> {
    let mut head = b"OpusHead".to_vec();
    head.extend_from_slice(&[1, 1]);
    head.extend_from_slice(&u16::try_from(LOOKAHEAD).unwrap_or(312).to_le_bytes());
    head.extend_from_slice(&crate::audio::SAMPLE_RATE.to_le_bytes());
    head.extend_from_slice(&[0, 0, 0]);
    vec![
        unsigned(id::TRACK_TYPE, 2),
        text(id::CODEC_ID, "A_OPUS"),
        element(id::CODEC_PRIVATE, &head),
        unsigned(id::CODEC_DELAY, LOOKAHEAD as u64 * 1_000_000_000 / u64::from(crate::audio::SAMPLE_RATE)),
        unsigned(id::SEEK_PRE_ROLL, 80_000_000),
        master(
            id::AUDIO,
            &[float(id::SAMPLING_FREQUENCY, f64::from(crate::audio::SAMPLE_RATE)), unsigned(id::CHANNELS, 1)],
        ),
    ]
}
