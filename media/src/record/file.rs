//! The file of a recording: a head that is written anew in its place, clusters behind it, and an index at the end.
//!
//! A cluster is put together in memory and written as one piece with its length, about once a second. The head (what the
//! tracks are) has room reserved and is replaced in one write when a track appears, which may be in the middle of the
//! call. Until the end the segment has no length, which players take as "to the end of the file": so whatever the moment
//! of a crash, the file can be played up to its last whole cluster.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::ebml::{UNKNOWN_SIZE, element, float, id, long_size, master, put_id, put_size, text, unsigned, void};
use super::{RecordError, write_error};

/// Room for everything that stands before the first cluster, behind the segment's length.
const HEAD: usize = 16 * 1024;
/// Places that are kept for the index: at one a second more than five hours. Later ones are found by going on from there.
const MAX_CUES: usize = 20_000;
/// How often the disk is asked to keep what was written: what a power failure can cost besides.
const SYNC: std::time::Duration = std::time::Duration::from_secs(5);
/// Seconds from the Unix epoch to that of Matroska's dates, 2001-01-01.
const EPOCH_2001: u64 = 978_307_200;

/// One block on its way into a cluster.
#[derive(Clone, Debug)]
pub(super) struct Block {
    /// Milliseconds since the recording began.
    pub(super) time_ms: i64,
    pub(super) track: u8,
    pub(super) key: bool,
    pub(super) data: Vec<u8>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    file: File,
    /// Where the segment's content begins: positions in it count from here.
    content: u64,
    /// Length of the file, always after a whole element.
    end: u64,
    /// The tracks, as they are in the head.
    entries: Vec<Vec<u8>>,
    cues: Vec<(u64, u64, u8)>,
    began: SystemTime,
    synced: Instant,
    /// The disk is full beyond this length.
    #[cfg(test)]
    pub(super) limit: Option<u64>,
}

impl Writer {
    /// Makes the file, which must not exist, for its owner alone.
    pub(super) fn create(path: &Path) -> Result<Self, RecordError> {
        let mut options = OpenOptions::new();
        options.write(true).read(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => RecordError::Exists(path.to_owned()),
            _ => write_error(path, &error),
        })?;
        let mut writer = Self {
            path: path.to_owned(),
            file,
            content: 0,
            end: 0,
            entries: Vec::new(),
            cues: Vec::new(),
            began: SystemTime::now(),
            synced: Instant::now(),
            #[cfg(test)]
            limit: None,
        };
        writer.begin().map_err(|error| write_error(path, &error))?;
        Ok(writer)
    }

    fn begin(&mut self) -> io::Result<()> {
        let mut out = master(
            id::EBML,
            &[
                unsigned(id::EBML_VERSION, 1),
                unsigned(id::EBML_READ_VERSION, 1),
                unsigned(id::EBML_MAX_ID, 4),
                unsigned(id::EBML_MAX_SIZE, 8),
                text(id::DOC_TYPE, "matroska"),
                unsigned(id::DOC_TYPE_VERSION, 4),
                unsigned(id::DOC_TYPE_READ_VERSION, 2),
            ],
        );
        put_id(&mut out, id::SEGMENT);
        out.extend_from_slice(&UNKNOWN_SIZE);
        self.content = out.len() as u64;
        out.extend_from_slice(&self.head(None, None));
        self.file.write_all(&out)?;
        self.end = out.len() as u64;
        Ok(())
    }

    /// The head in exactly [`HEAD`] bytes.
    fn head(&self, duration_ms: Option<f64>, cues: Option<u64>) -> Vec<u8> {
        let since = self.began.duration_since(UNIX_EPOCH).unwrap_or_default();
        let date = i64::try_from(since.as_nanos()).unwrap_or(i64::MAX) - EPOCH_2001.cast_signed() * 1_000_000_000;
        let app = concat!("twocan ", env!("CARGO_PKG_VERSION"));
        let mut info = vec![
            unsigned(id::TIMESTAMP_SCALE, 1_000_000),
            element(id::DATE_UTC, &date.to_be_bytes()),
            text(id::MUXING_APP, app),
            text(id::WRITING_APP, app),
        ];
        info.extend(duration_ms.map(|duration| float(id::DURATION, duration)));
        let mut head = Vec::with_capacity(HEAD);
        if let Some(cues) = cues {
            let mut name = Vec::new();
            put_id(&mut name, id::CUES);
            let seek = master(id::SEEK, &[element(id::SEEK_ID, &name), unsigned(id::SEEK_POSITION, cues)]);
            head.extend_from_slice(&element(id::SEEK_HEAD, &seek));
        }
        head.extend_from_slice(&master(id::INFO, &info));
        if !self.entries.is_empty() {
            head.extend_from_slice(&master(id::TRACKS, &self.entries));
        }
        // Room for at least an empty element: tracks that would not leave it are not taken.
        head.extend_from_slice(&void(HEAD.saturating_sub(head.len()).max(2)));
        head
    }

    /// Adds a track whose entry this is. False: there is no room for it.
    pub(super) fn add_track(&mut self, entry: Vec<u8>) -> Result<bool, RecordError> {
        self.entries.push(entry);
        // With everything that will be in it at the end.
        if self.head(Some(0.0), Some(u64::MAX)).len() != HEAD {
            self.entries.pop();
            return Ok(false);
        }
        let head = self.head(None, None);
        self.rewrite(self.content, &head)?;
        Ok(true)
    }

    /// Appends a cluster of these blocks, which are in order of time. `cue`: the track that the index leads to.
    pub(super) fn cluster(&mut self, blocks: &[Block], cue: Option<u8>) -> Result<(), RecordError> {
        let Some(first) = blocks.first() else { return Ok(()) };
        let start = first.time_ms.max(0);
        let mut content = unsigned(id::TIMESTAMP, start.unsigned_abs());
        for block in blocks {
            let relative = i16::try_from(block.time_ms - start).unwrap_or(i16::MAX);
            put_id(&mut content, id::SIMPLE_BLOCK);
            put_size(&mut content, block.data.len() as u64 + 4);
            content.push(0x80 | block.track);
            content.extend_from_slice(&relative.to_be_bytes());
            content.push(if block.key { 0x80 } else { 0 });
            content.extend_from_slice(&block.data);
        }
        if let Some(track) = cue.filter(|_| self.cues.len() < MAX_CUES) {
            self.cues.push((start.unsigned_abs(), self.end - self.content, track));
        }
        let cluster = element(id::CLUSTER, &content);
        self.append(&cluster)?;
        if self.synced.elapsed() > SYNC {
            self.synced = Instant::now();
            self.file.sync_data().map_err(|error| write_error(&self.path, &error))?;
        }
        Ok(())
    }

    /// Completes the file: index, length, and where the index is. Even after an error what can be put right is.
    pub(super) fn finish(&mut self, duration_ms: f64) -> Result<u64, RecordError> {
        let cues = self.end - self.content;
        let points: Vec<Vec<u8>> = self
            .cues
            .iter()
            .map(|(time, position, track)| {
                let place = [unsigned(id::CUE_TRACK, u64::from(*track)), unsigned(id::CUE_CLUSTER_POSITION, *position)];
                let place = master(id::CUE_TRACK_POSITIONS, &place);
                master(id::CUE_POINT, &[unsigned(id::CUE_TIME, *time), place])
            })
            .collect();
        let indexed = !points.is_empty() && self.append(&master(id::CUES, &points)).is_ok();
        let head = self.head(Some(duration_ms), indexed.then_some(cues));
        self.rewrite(self.content, &head)?;
        self.rewrite(self.content - 8, &long_size(self.end - self.content))?;
        self.file.sync_all().map_err(|error| write_error(&self.path, &error))?;
        Ok(self.end)
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes at the end; what could be written of it in part is taken back.
    fn append(&mut self, bytes: &[u8]) -> Result<(), RecordError> {
        let written = self.file.seek(SeekFrom::Start(self.end)).and_then(|_| self.file.write_all(bytes));
        #[cfg(test)]
        let written = match self.limit.filter(|limit| self.end + bytes.len() as u64 > *limit) {
            Some(_) => Err(io::Error::from(io::ErrorKind::StorageFull)),
            None => written,
        };
        match written {
            Ok(()) => {
                self.end += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                // If even that fails, players leave out the part.
                let _ = self.file.set_len(self.end);
                Err(write_error(&self.path, &error))
            }
        }
    }

    fn rewrite(&mut self, at: u64, bytes: &[u8]) -> Result<(), RecordError> {
        let written = self.file.seek(SeekFrom::Start(at)).and_then(|_| self.file.write_all(bytes));
        written.map_err(|error| write_error(&self.path, &error))
    }
}
