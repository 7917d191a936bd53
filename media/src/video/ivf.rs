//! IVF files with H.264 inside, as a source. The pictures are decoded and encoded again: bitrate, key frames on request
//! and the picture size are the call's, not the file's.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::codec::{CodecError, VideoDecoder};
use super::h264::H264Decoder;
use super::h264::decoder::MAX_ACCESS_UNIT;
use super::picture::Picture;
use super::{Error, describe};

/// Length of the header at the start of a file, and of that before each frame.
const FILE_HEADER: usize = 32;
const FRAME_HEADER: usize = 12;
/// Frames of a file that are passed over in search of one that can be decoded, before the file is given up.
const MAX_UNDECODABLE: u32 = 1000;

/// Reads and decodes pictures one after the other, from the start again at the end.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    decoder: H264Decoder,
    rate: f64,
    data_starts: u64,
}

impl Reader {
    /// Opens a file and reads its header.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |e: std::io::Error| Error::Open(path.into(), e.to_string());
        let file = File::open(path).map_err(failed)?;
        let mut file = BufReader::with_capacity(1 << 16, file);
        let mut header = [0; FILE_HEADER];
        match file.read_exact(&mut header) {
            Err(e) if e.kind() != std::io::ErrorKind::UnexpectedEof => return Err(failed(e)),
            Ok(()) if header.starts_with(b"DKIF") => {}
            _ => return Err(Error::NotIvf(path.into(), describe::file(path))),
        }
        let codec = match &header[8..12] {
            b"H264" | b"h264" | b"AVC1" | b"avc1" => None,
            b"VP80" => Some("VP8".to_owned()),
            b"VP90" => Some("VP9".to_owned()),
            b"AV01" => Some("AV1".to_owned()),
            other => Some(format!("\"{}\"", other.escape_ascii())),
        };
        if let Some(codec) = codec {
            return Err(Error::BadFile(
                path.into(),
                format!("its codec is {codec}; IVF with H.264, or Y4M, can be read"),
            ));
        }
        let word =
            |at: usize| f64::from(u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]));
        let rate = word(16) / word(20);
        // Some programs leave the time base as 1/1000 or empty; 30 is then the better guess.
        let rate = if (1.0..=120.0).contains(&rate) { rate } else { 30.0 };
        let data_starts = u64::from(u16::from_le_bytes([header[6], header[7]]));
        file.seek(SeekFrom::Start(data_starts)).map_err(failed)?;
        Ok(Self { path: path.into(), file, decoder: H264Decoder::new(), rate, data_starts })
    }

    /// Pictures per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// The next picture; after the last one the first again.
    pub fn next_picture(&mut self) -> Result<Picture, Error> {
        let mut rewound = false;
        let mut reason = None;
        for _ in 0..MAX_UNDECODABLE {
            let Some(unit) = self.next_unit()? else {
                if rewound {
                    break;
                }
                rewound = true;
                let sought = self.file.seek(SeekFrom::Start(self.data_starts));
                sought.map_err(|e| Error::Open(self.path.clone(), e.to_string()))?;
                continue;
            };
            match self.decoder.decode(&unit) {
                Ok(Some(picture)) => return Ok(picture),
                Ok(None) | Err(CodecError::NeedKey) => {}
                Err(error) => reason = Some(error.to_string()),
            }
        }
        let text = reason.unwrap_or_else(|| "it holds no picture that can be decoded".into());
        Err(Error::BadFile(self.path.clone(), format!("{text} (H.264 constrained baseline is read)")))
    }

    /// `None` at the end of the file; a frame that is cut off there counts as the end too.
    fn next_unit(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let mut header = [0; FRAME_HEADER];
        if !self.read_whole(&mut header)? {
            return Ok(None);
        }
        let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        if length > MAX_ACCESS_UNIT {
            return Err(Error::BadFile(self.path.clone(), format!("a frame of {length} bytes")));
        }
        let mut unit = vec![0; length];
        Ok(self.read_whole(&mut unit)?.then_some(unit))
    }

    fn read_whole(&mut self, into: &mut [u8]) -> Result<bool, Error> {
        match self.file.read_exact(into) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
            Err(e) => Err(Error::Open(self.path.clone(), e.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::video::codec::VideoEncoder;
    use crate::video::h264::H264Encoder;
    use crate::video::moving::{Scene, Tag};

    fn header(fourcc: &[u8; 4]) -> Vec<u8> {
        let mut file = b"DKIF\0\0\x20\0".to_vec();
        file.extend(fourcc);
        file.extend([64, 1, 180, 0]);
        for word in [25_u32, 1, 3, 0] {
            file.extend(word.to_le_bytes());
        }
        file
    }

    fn open(bytes: &[u8]) -> Result<(tempfile::TempDir, Reader), Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("film.ivf");
        std::fs::write(&path, bytes).unwrap();
        Reader::open(&path).map(|reader| (folder, reader))
    }

    #[test]
    fn pictures_of_a_file_come_in_order_and_repeat() {
        let scene = Scene::new(320, 180, 1).unwrap();
        let mut encoder = H264Encoder::new(320, 180, 25.0, 400_000).unwrap();
        let mut file = header(b"H264");
        for number in 0..3_u64 {
            let unit = encoder.encode(&scene.draw(number, 0)).unwrap().unwrap().payload;
            file.extend(u32::try_from(unit.len()).unwrap().to_le_bytes());
            file.extend(number.to_le_bytes());
            file.extend(unit);
        }
        file.extend([9, 9, 9]);
        let (_folder, mut reader) = open(&file).unwrap();
        assert!((reader.rate() - 25.0).abs() < 1e-9);
        let numbers: Vec<u32> = (0..7).map(|_| Tag::read(&reader.next_picture().unwrap()).unwrap().number).collect();
        assert_eq!(numbers, [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn bad_files_are_named_with_what_is_wrong() {
        for (bytes, expected) in [
            (b"RIFF\x24\0\0\0WAVEfmt ".to_vec(), "a WAV sound file"),
            (Vec::new(), "an empty file"),
            (b"YUV4MPEG2 W16 H16 F30:1\n".to_vec(), "a Y4M video file"),
            (header(b"VP80"), "VP8"),
            (header(b"a\0\nb"), r"a\x00\nb"),
        ] {
            let error = open(&bytes).unwrap_err().to_string();
            assert!(error.contains("film.ivf") && error.contains(expected), "{error}");
        }
        let (_folder, mut reader) = open(&header(b"H264")).unwrap();
        assert!(reader.next_picture().unwrap_err().to_string().contains("no picture"));
        let mut huge = header(b"H264");
        huge.extend([255; 40]);
        let (_folder, mut reader) = open(&huge).unwrap();
        assert!(reader.next_picture().unwrap_err().to_string().contains("4294967295 bytes"));
    }
}
