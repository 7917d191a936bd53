//! Writes a picture as PNG, so that a received frame can be opened by anything. Uncompressed inside (one stored
//! deflate block after the other): it is meant for a few snapshots, and needs no compressor.

use std::io::{self, Write};

use super::picture::Picture;

/// Longest stored block of deflate (RFC 1951, 3.2.4).
const MAX_STORED: usize = 65_535;

/// Writes `picture` as an 8-bit RGB PNG (ISO/IEC 15948).
pub fn write_png(picture: &Picture, mut out: impl Write) -> io::Result<()> {
    let (width, rgb) = (picture.width() as usize, picture.to_rgb());
    let mut rows = Vec::with_capacity(rgb.len() + picture.height() as usize);
    for row in rgb.chunks_exact(width * 3) {
        rows.push(0); // filter type "none"
        rows.extend_from_slice(row);
    }
    let mut zlib = vec![0x78, 0x01];
    let mut blocks = rows.chunks(MAX_STORED).peekable();
    while let Some(block) = blocks.next() {
        zlib.push(u8::from(blocks.peek().is_none()));
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        zlib.extend_from_slice(&length.to_le_bytes());
        zlib.extend_from_slice(&(!length).to_le_bytes());
        zlib.extend_from_slice(block);
    }
    zlib.extend_from_slice(&adler32(&rows).to_be_bytes());

    let mut header = Vec::with_capacity(13);
    header.extend_from_slice(&picture.width().to_be_bytes());
    header.extend_from_slice(&picture.height().to_be_bytes());
    header.extend_from_slice(&[8, 2, 0, 0, 0]); // 8 bits, RGB, deflate, filters per row, not interlaced
    out.write_all(b"\x89PNG\r\n\x1a\n")?;
    chunk(&mut out, b"IHDR", &header)?;
    chunk(&mut out, b"IDAT", &zlib)?;
    chunk(&mut out, b"IEND", &[])?;
    out.flush()
}

fn chunk(out: &mut impl Write, kind: &[u8; 4], body: &[u8]) -> io::Result<()> {
    let length = u32::try_from(body.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    out.write_all(&length.to_be_bytes())?;
    out.write_all(kind)?;
    out.write_all(body)?;
    out.write_all(&(!crc32(crc32(u32::MAX, kind), body)).to_be_bytes())
}

/// CRC-32 (ISO 3309) without the final inversion, four bits at a time.
fn crc32(crc: u32, bytes: &[u8]) -> u32 {
    const TABLE: [u32; 16] = {
        let mut table = [0; 16];
        let mut n = 0;
        while n < 16 {
            let mut c = n as u32;
            let mut bit = 0;
            while bit < 4 {
                c = if c & 1 == 1 { c >> 1 ^ 0xedb8_8320 } else { c >> 1 };
                bit += 1;
            }
            table[n] = c;
            n += 1;
        }
        table
    };
    bytes.iter().fold(crc, |mut crc, &byte| {
        crc ^= u32::from(byte);
        crc = TABLE[(crc & 15) as usize] ^ crc >> 4;
        TABLE[(crc & 15) as usize] ^ crc >> 4
    })
}

fn adler32(bytes: &[u8]) -> u32 {
    let (mut a, mut b) = (1_u32, 0_u32);
    // 5552 bytes are what fits into 32 bits before the remainder must be taken (RFC 1950).
    for part in bytes.chunks(5552) {
        for &byte in part {
            a += u32::from(byte);
            b += a;
        }
        a %= 65_521;
        b %= 65_521;
    }
    b << 16 | a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_the_published_ones() {
        assert_eq!(!crc32(u32::MAX, b"123456789"), 0xcbf4_3926);
        assert_eq!(adler32(b"Wikipedia"), 0x11e6_0398);
    }

    #[test]
    fn a_png_has_its_parts_and_all_rows() {
        let mut file = Vec::new();
        write_png(&Picture::filled(640, 360, (120, 90, 200)).unwrap(), &mut file).unwrap();
        assert_eq!(&file[..16], b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR");
        assert_eq!(&file[16..24], [0, 0, 2, 128, 0, 0, 1, 104]);
        let raw: usize = 360 * (1 + 640 * 3);
        let stored = raw + 5 * raw.div_ceil(MAX_STORED) + 2 + 4;
        assert_eq!(file.len(), 8 + (12 + 13) + (12 + stored) + 12);
        assert!(file.ends_with(b"\0\0\0\0IEND\xaeB`\x82"));
    }
}
