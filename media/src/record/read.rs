//! Reads recordings back, whole or broken off: to take the voices out of them, and to check them.
//!
//! Files may come from anywhere: every length is bounded before anything is read.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::RecordError;
use super::ebml::id;

/// Most tracks that are looked at.
const MAX_TRACKS: usize = 64;
/// Longest head element (the tracks), and longest frame.
const MAX_HEAD: u64 = 1 << 20;
const MAX_FRAME: u64 = 4 << 20;
/// Ids and sizes are at most so long.
const MAX_ID: usize = 4;
const MAX_SIZE: usize = 8;

/// A track of a recording.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Track {
    /// Its number in blocks.
    pub number: u64,
    /// Whose it is.
    pub name: String,
    /// "A_OPUS" or "V_MPEG4/ISO/AVC".
    pub codec: String,
    /// What a decoder needs first.
    pub private: Vec<u8>,
    /// Pixels, of a picture.
    pub size: Option<(u64, u64)>,
}

/// One frame of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Which track.
    pub track: u64,
    /// Milliseconds since the recording began.
    pub time_ms: i64,
    /// A picture that needs no other; sound always.
    pub key: bool,
    /// The encoded bytes.
    pub data: Vec<u8>,
}

/// A recording that is being read.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    input: BufReader<File>,
    tracks: Vec<Track>,
    duration_ms: Option<f64>,
    /// Whether the file has an index: it was completed.
    indexed: bool,
    cluster_ms: i64,
    /// Frames of the element that is being read.
    waiting: std::collections::VecDeque<Block>,
}

impl Reader {
    /// Opens a file and reads what stands before the first frame.
    ///
    /// # Errors
    /// It cannot be read, or is no Matroska file.
    pub fn open(path: &Path) -> Result<Self, RecordError> {
        let wrong = |reason: String| RecordError::NotOne { path: path.to_owned(), reason };
        let file = File::open(path).map_err(|error| wrong(error.to_string()))?;
        let mut reader = Self {
            path: path.to_owned(),
            input: BufReader::new(file),
            tracks: Vec::new(),
            duration_ms: None,
            indexed: false,
            cluster_ms: 0,
            waiting: std::collections::VecDeque::new(),
        };
        if reader.header().is_none_or(|(id, _)| id != id::EBML) {
            return Err(wrong("it does not begin like Matroska".to_owned()));
        }
        reader.input.seek(SeekFrom::Start(0)).map_err(|error| wrong(error.to_string()))?;
        if let Some(block) = reader.next_block() {
            reader.waiting.push_front(block);
        }
        Ok(reader)
    }

    /// The tracks.
    #[must_use]
    pub fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    /// How long it says that it is; nothing if it was broken off.
    #[must_use]
    pub fn duration_ms(&self) -> Option<f64> {
        self.duration_ms
    }

    /// Whether an index was met: only known at the end.
    #[must_use]
    pub fn indexed(&self) -> bool {
        self.indexed
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next frame; nothing at the end, or where the file breaks off.
    pub fn next_block(&mut self) -> Option<Block> {
        loop {
            if let Some(block) = self.waiting.pop_front() {
                return Some(block);
            }
            let (id, size) = self.header()?;
            match id {
                // Their content is read as what follows.
                id::SEGMENT | id::CLUSTER => {}
                id::TIMESTAMP => self.cluster_ms = i64::try_from(number(&self.content(size?, 8)?)).ok()?,
                id::SIMPLE_BLOCK => {
                    let content = self.content(size?, MAX_FRAME)?;
                    let block = self.block(&content);
                    self.waiting.extend(block);
                }
                id::INFO => {
                    let content = self.content(size?, MAX_HEAD)?;
                    let duration = children(&content).find(|(id, _)| *id == id::DURATION);
                    self.duration_ms = duration.and_then(|(_, bytes)| Some(f64::from_be_bytes(bytes.try_into().ok()?)));
                }
                id::TRACKS => {
                    let content = self.content(size?, MAX_HEAD)?;
                    let entries = children(&content).filter(|(id, _)| *id == id::TRACK_ENTRY).take(MAX_TRACKS);
                    self.tracks = entries.map(|(_, entry)| track(entry)).collect();
                }
                other => {
                    self.indexed |= other == id::CUES;
                    let skip = i64::try_from(size?).ok()?;
                    self.input.seek_relative(skip).ok()?;
                }
            }
        }
    }

    fn block(&self, content: &[u8]) -> Option<Block> {
        let (track, length) = vint(content)?;
        let rest = content.get(length..)?;
        let (relative, rest) = rest.split_first_chunk::<2>()?;
        let (flags, data) = rest.split_first()?;
        Some(Block {
            track,
            time_ms: self.cluster_ms + i64::from(i16::from_be_bytes(*relative)),
            key: flags & 0x80 != 0,
            data: data.to_vec(),
        })
    }

    /// Id and size of the next element; no size if it is not known.
    fn header(&mut self) -> Option<(u32, Option<u64>)> {
        let mut first = [0];
        self.read(&mut first)?;
        let length = first[0].leading_zeros() as usize + 1;
        if length > MAX_ID {
            return None;
        }
        let mut bytes = [0; MAX_ID];
        bytes[MAX_ID - length] = first[0];
        self.read(bytes.get_mut(MAX_ID - length + 1..)?)?;
        let id = u32::from_be_bytes(bytes);
        self.read(&mut first)?;
        let length = first[0].leading_zeros() as usize + 1;
        if length > MAX_SIZE {
            return None;
        }
        let mut bytes = [0; MAX_SIZE];
        bytes[MAX_SIZE - length] = first[0] & (0xff_u16 >> length) as u8;
        self.read(bytes.get_mut(MAX_SIZE - length + 1..)?)?;
        let size = u64::from_be_bytes(bytes);
        let unknown = (1_u64 << (7 * length)) - 1;
        Some((id, (size != unknown).then_some(size)))
    }

    fn content(&mut self, size: u64, most: u64) -> Option<Vec<u8>> {
        if size > most {
            return None;
        }
        let mut content = Vec::new();
        let read = (&mut self.input).take(size).read_to_end(&mut content).ok()?;
        (read as u64 == size).then_some(content)
    }

    fn read(&mut self, bytes: &mut [u8]) -> Option<()> {
        loop {
            match self.input.read_exact(bytes) {
                Ok(()) => return Some(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
    }
}

/// A number with a length marker, and how many bytes it took.
fn vint(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let length = first.leading_zeros() as usize + 1;
    if length > MAX_SIZE {
        return None;
    }
    let start = u64::from(first & (0xff_u16 >> length) as u8);
    let value = bytes.get(1..length)?.iter().fold(start, |value, byte| value << 8 | u64::from(*byte));
    Some((value, length))
}

/// An unsigned number of up to eight bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// The elements inside of one.
fn children(mut content: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    std::iter::from_fn(move || {
        let length = content.first()?.leading_zeros() as usize + 1;
        if length > MAX_ID {
            return None;
        }
        let id = u32::try_from(number(content.get(..length)?)).ok()?;
        let (size, taken) = vint(content.get(length..)?)?;
        let from = length + taken;
        let to = from.checked_add(usize::try_from(size).ok()?)?;
        let inside = content.get(from..to)?;
        content = content.get(to..)?;
        Some((id, inside))
    })
}

fn track(entry: &[u8]) -> Track {
    let mut track = Track::default();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    for (id, content) in children(entry) {
        match id {
            id::TRACK_NUMBER => track.number = number(content),
            id::NAME => track.name = text(content),
            id::CODEC_ID => track.codec = text(content),
            id::CODEC_PRIVATE => track.private = content.to_vec(),
            id::VIDEO => {
                let find = |wanted| children(content).find(|(id, _)| *id == wanted).map(|(_, bytes)| number(bytes));
                track.size = find(id::PIXEL_WIDTH).zip(find(id::PIXEL_HEIGHT));
            }
            _ => {}
        }
    }
    track
}
