//! Says what a file is that was taken for another: "a WAV sound file" helps more than "bad magic".

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// What the first bytes of a file look like, as a phrase.
#[must_use]
pub(crate) fn file(path: &Path) -> String {
    let mut start = Vec::with_capacity(64);
    let read = File::open(path).and_then(|file| file.take(64).read_to_end(&mut start));
    if let Err(error) = read {
        return format!("nothing readable ({error})");
    }
    bytes(&start).into()
}

fn bytes(start: &[u8]) -> &'static str {
    let at = |from: usize, what: &[u8]| start.get(from..from + what.len()) == Some(what);
    match start {
        [] => "an empty file",
        _ if at(0, b"YUV4MPEG2") => "a Y4M video file",
        _ if at(0, b"DKIF") => "an IVF video file",
        _ if at(0, b"RIFF") && at(8, b"WAVE") => "a WAV sound file",
        _ if at(0, b"RIFF") && at(8, b"AVI ") => "an AVI video file",
        _ if at(4, b"ftyp") => "an MP4 or MOV video file",
        _ if at(0, b"\x1a\x45\xdf\xa3") => "a Matroska or WebM video file",
        _ if at(0, b"OggS") => "an Ogg file",
        _ if at(0, b"\x89PNG") => "a PNG picture",
        _ if at(0, b"\xff\xd8\xff") => "a JPEG picture",
        _ if at(0, b"GIF8") => "a GIF picture",
        _ if at(0, b"\0\0\0\x01") || at(0, b"\0\0\x01") => "a raw H.264 or H.265 stream",
        _ if start.iter().all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace()) => "a text file",
        _ => "a file of another kind",
    }
}
