//! Y4M files (YUV4MPEG2): raw pictures with a line of text before each. Read as a source, written as a sink.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::picture::{Picture, Shared, check_size};
use super::{Error, describe};

/// Longest header line that is read, in bytes; real ones have 40 to 100.
const MAX_LINE: u64 = 1024;
/// Rates outside of this are taken for a mistake in the file.
const RATES: std::ops::RangeInclusive<f64> = 1.0..=120.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chroma {
    /// A quarter of the samples.
    C420,
    /// Half of the columns.
    C422,
    /// All samples.
    C444,
    /// None.
    Mono,
}

/// Reads pictures one after the other, from the start again at the end.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    chroma: Chroma,
    width: u32,
    height: u32,
    rate: f64,
    data_starts: u64,
}

impl Reader {
    /// Opens a file and reads its first line.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|e| Error::Open(path.into(), e.to_string()))?;
        let mut file = BufReader::with_capacity(1 << 16, file);
        let line = match read_line(&mut file) {
            Ok(Some(line)) if line.starts_with(b"YUV4MPEG2 ") => line,
            Ok(_) => return Err(Error::NotY4m(path.into(), describe::file(path))),
            Err(error) => return Err(Error::Open(path.into(), error.to_string())),
        };
        let bad = |text: String| Error::BadFile(path.into(), text);
        let line = String::from_utf8_lossy(&line).into_owned();
        let (mut width, mut height, mut rate, mut chroma) = (0, 0, 30.0, Chroma::C420);
        for field in line.split_ascii_whitespace().skip(1) {
            let (name, value) = field.split_at(field.chars().next().map_or(0, char::len_utf8));
            match name {
                "W" => width = value.parse().unwrap_or(0),
                "H" => height = value.parse().unwrap_or(0),
                "F" => rate = frame_rate(value).ok_or_else(|| bad(format!("frame rate {value}")))?,
                "C" => {
                    chroma = colour(value).ok_or_else(|| {
                        bad(format!("the colour format {value} is not read; 420, 422, 444 and mono with 8 bits are"))
                    })?
                }
                "I" if !matches!(value, "p" | "?") => return Err(bad("interlaced video".into())),
                _ => {}
            }
        }
        check_size(width, height).map_err(|e| bad(e.to_string()))?;
        let data_starts = file.stream_position().map_err(|e| Error::Open(path.into(), e.to_string()))?;
        Ok(Self { path: path.into(), file, chroma, width, height, rate, data_starts })
    }

    /// Pixels and pictures per second.
    #[must_use]
    pub fn format(&self) -> (u32, u32, f64) {
        (self.width, self.height, self.rate)
    }

    /// The next picture; after the last one the first again.
    pub fn next_picture(&mut self) -> Result<Picture, Error> {
        if let Some(picture) = self.read_picture()? {
            return Ok(picture);
        }
        let rewound = self.file.seek(SeekFrom::Start(self.data_starts));
        rewound.map_err(|e| Error::Open(self.path.clone(), e.to_string()))?;
        self.read_picture()?.ok_or_else(|| Error::BadFile(self.path.clone(), "it holds no picture".into()))
    }

    /// `None` at the end of the file; a picture that is cut off there counts as the end too.
    fn read_picture(&mut self) -> Result<Option<Picture>, Error> {
        let failed = |path: &Path, e: std::io::Error| Error::Open(path.into(), e.to_string());
        let line = read_line(&mut self.file).map_err(|e| failed(&self.path, e))?;
        let Some(line) = line else { return Ok(None) };
        if !line.starts_with(b"FRAME") {
            return Err(Error::BadFile(self.path.clone(), "a line with FRAME is missing between two pictures".into()));
        }
        let (w, h) = (self.width as usize, self.height as usize);
        let chroma_samples = match self.chroma {
            Chroma::C420 => w * h / 4,
            Chroma::C422 => w * h / 2,
            Chroma::C444 => w * h,
            Chroma::Mono => 0,
        };
        let mut planes = [vec![0; w * h], vec![0; chroma_samples], vec![0; chroma_samples]];
        for plane in &mut planes {
            match self.file.read_exact(plane) {
                Ok(()) => {}
                Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(e) => return Err(failed(&self.path, e)),
            }
        }
        let [y, u, v] = planes;
        let (u, v) = match self.chroma {
            Chroma::C420 => (u, v),
            Chroma::C422 => (thin(&u, w / 2, 1), thin(&v, w / 2, 1)),
            Chroma::C444 => (thin(&u, w, 2), thin(&v, w, 2)),
            Chroma::Mono => (vec![128; w * h / 4], vec![128; w * h / 4]),
        };
        Picture::from_planes(self.width, self.height, y, u, v)
            .map(Some)
            .map_err(|e| Error::BadFile(self.path.clone(), e.to_string()))
    }
}

/// Halves the rows of a plane and keeps every `step`th column, averaging two rows and `step` columns.
fn thin(plane: &[u8], width: usize, step: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(plane.len() / 2 / step);
    for rows in plane.chunks_exact(2 * width) {
        let (top, bottom) = rows.split_at(width);
        for (a, b) in top.chunks_exact(step).zip(bottom.chunks_exact(step)) {
            let sum: usize = a.iter().chain(b).map(|&s| usize::from(s)).sum();
            out.push(u8::try_from((sum + step) / (2 * step)).unwrap_or(u8::MAX));
        }
    }
    out
}

/// A line without its end; `None` at the end of the file. A longer one than [`MAX_LINE`] is cut there.
fn read_line(file: &mut impl BufRead) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    file.take(MAX_LINE).read_until(b'\n', &mut line)?;
    if line.pop_if(|last| *last == b'\n').is_none() && line.is_empty() {
        return Ok(None);
    }
    Ok(Some(line))
}

fn frame_rate(text: &str) -> Option<f64> {
    let (numerator, denominator) = text.split_once(':')?;
    let rate = numerator.parse::<u32>().ok()? as f64 / f64::from(denominator.parse::<u32>().ok()?);
    RATES.contains(&rate).then_some(rate)
}

fn colour(text: &str) -> Option<Chroma> {
    match text {
        "420" | "420jpeg" | "420mpeg2" | "420paldv" => Some(Chroma::C420),
        "422" => Some(Chroma::C422),
        "444" => Some(Chroma::C444),
        "mono" => Some(Chroma::Mono),
        _ => None,
    }
}

/// Writes pictures at 30 a second: a picture that stayed on the screen for long is written as often as it was shown,
/// so that sound and picture of a recording keep together.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    file: BufWriter<File>,
    /// Size of the first picture; others are scaled to it, since a file has one size.
    size: Option<(u32, u32)>,
    last: Option<Shared>,
    /// Ticks of 90 kHz since the first picture, and how many pictures were written.
    ticks: u64,
    written: u64,
}

/// Pictures per second of a written file.
const WRITTEN_RATE: u64 = 30;
/// Ticks of 90 kHz that one written picture stands for.
const TICKS: u64 = 90_000 / WRITTEN_RATE;
/// Longest time between two pictures that is believed, in ticks of 90 kHz (10 s): a timestamp that jumps (a new sender,
/// a hostile one) must not fill the disk.
const MAX_GAP: u32 = 10 * 90_000;

impl Writer {
    /// Makes the file; an old one of that name is replaced.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let file = File::create(path).map_err(|e| Error::Write(path.into(), e.to_string()))?;
        let file = BufWriter::with_capacity(1 << 16, file);
        Ok(Self { path: path.into(), file, size: None, last: None, ticks: 0, written: 0 })
    }

    /// Writes a picture at the place of its timestamp, and the one before it up to there.
    pub fn write(&mut self, picture: &Shared) -> Result<(), Error> {
        let Some(last) = self.last.replace(Arc::clone(picture)) else {
            let (w, h) = (picture.width(), picture.height());
            self.size = Some((w, h));
            self.put(format!("YUV4MPEG2 W{w} H{h} F{WRITTEN_RATE}:1 Ip A1:1 C420jpeg\n").as_bytes())?;
            return self.write_one(picture);
        };
        let step = picture.timestamp.wrapping_sub(last.timestamp);
        self.ticks += if step <= MAX_GAP { u64::from(step) } else { TICKS };
        let due = (self.ticks + TICKS / 2) / TICKS + 1;
        while self.written + 1 < due {
            self.write_one(&last)?;
        }
        if self.written < due { self.write_one(picture) } else { Ok(()) }
    }

    fn write_one(&mut self, picture: &Shared) -> Result<(), Error> {
        let (width, height) = self.size.unwrap_or((picture.width(), picture.height()));
        let fitting = if (picture.width(), picture.height()) == (width, height) {
            Arc::clone(picture)
        } else {
            let scaled = picture.scaled(width, height);
            Arc::new(scaled.map_err(|e| Error::BadFile(self.path.clone(), e.to_string()))?)
        };
        self.put(b"FRAME\n")?;
        for plane in [&fitting.y, &fitting.u, &fitting.v] {
            self.put(plane)?;
        }
        self.written += 1;
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(|e| Error::Write(self.path.clone(), e.to_string()))
    }

    /// Writes what is left in memory.
    pub fn finish(&mut self) -> Result<(), Error> {
        self.file.flush().map_err(|e| Error::Write(self.path.clone(), e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(bytes: &[u8]) -> Result<(tempfile::TempDir, Reader), Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("film.y4m");
        std::fs::write(&path, bytes).unwrap();
        Reader::open(&path).map(|reader| (folder, reader))
    }

    #[test]
    fn what_was_written_is_read_back_and_repeats_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("film.y4m");
        let mut writer = Writer::create(&path).unwrap();
        // At 0, 33 and 133 ms: the second is shown three times.
        for (luma, timestamp) in [(50, u32::MAX - 999), (90, 2000), (200, 11_000)] {
            let mut picture = Picture::filled(32, 16, (luma, 100, 150)).unwrap();
            picture.timestamp = timestamp;
            writer.write(&Arc::new(picture)).unwrap();
        }
        writer.finish().unwrap();
        let mut reader = Reader::open(&path).unwrap();
        assert_eq!(reader.format(), (32, 16, 30.0));
        let lumas: Vec<u8> = (0..7).map(|_| reader.next_picture().unwrap().luma()[0]).collect();
        assert_eq!(lumas, [50, 90, 90, 90, 200, 50, 90]);
    }

    #[test]
    fn other_colour_formats_become_420() {
        for (name, samples) in [("422", 8 * 4), ("444", 16 * 4), ("mono", 0)] {
            let mut file = format!("YUV4MPEG2 W16 H4 F25:1 C{name}\nFRAME Ip\n").into_bytes();
            file.extend([99; 64]);
            file.extend(vec![128; 2 * samples]);
            let (_folder, mut reader) = open(&file).unwrap();
            assert_eq!(reader.next_picture().unwrap(), Picture::filled(16, 4, (99, 128, 128)).unwrap(), "{name}");
        }
    }

    #[test]
    fn bad_files_are_named_with_what_is_wrong() {
        for (bytes, expected) in [
            (&b"RIFF\x24\0\0\0WAVEfmt "[..], "a WAV sound file"),
            (b"", "an empty file"),
            (b"YUV4MPEG2 W16 H4 F0:0\n", "frame rate"),
            (b"YUV4MPEG2 W16 H4 C420p10\n", "C420p10".trim_start_matches('C')),
            (b"YUV4MPEG2 W99999 H4\n", "99999x4"),
            (b"YUV4MPEG2 W16 H4 It\n", "interlaced"),
        ] {
            let error = open(bytes).unwrap_err().to_string();
            assert!(error.contains("film.y4m") && error.contains(expected), "{error}");
        }
        let (_folder, mut reader) = open(b"YUV4MPEG2 W16 H4\nFRAME\nshort").unwrap();
        assert!(reader.next_picture().unwrap_err().to_string().contains("no picture"));
        let (_folder, mut reader) = open(b"YUV4MPEG2 W16 H4\nSOMETHING\n").unwrap();
        assert!(reader.next_picture().unwrap_err().to_string().contains("FRAME"));
        assert!(Reader::open(Path::new("/nowhere/film.y4m")).unwrap_err().to_string().contains("/nowhere/film.y4m"));
    }
}
