//! Pictures that come from outside: of people, and of QR codes. All are decoded with limits, off the window's thread.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use eframe::egui::ColorImage;
use image::{DynamicImage, ImageReader, Limits, imageops::FilterType};
use twocan_control::limits::MAX_PICTURE;

/// Largest file that is read as a picture: a photo of a telephone has under 20 MB.
const MAX_BYTES: u64 = 40 * 1024 * 1024;
/// Largest side, and memory that decoding may take: 12 000 × 12 000 would be a bomb, a photo has 8 000 × 6 000.
const MAX_SIDE: u32 = 10_000;
const MAX_MEMORY: u64 = 320 * 1024 * 1024;
/// The same for pictures of friends, which are 256 × 256.
const MAX_FRIEND_SIDE: u32 = 1_024;
const MAX_FRIEND_MEMORY: u64 = 16 * 1024 * 1024;
/// Side of pictures of people.
pub const SIDE: u32 = 256;
/// A picture in which a code is looked for is made at most so wide or high: enough for a code that fills a tenth.
const SCAN_SIDE: u32 = 1_600;

/// Why there is no picture, or nothing in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It cannot be read.
    #[error("{0} cannot be read: {1}")]
    Read(PathBuf, std::io::Error),
    /// It is too large.
    #[error("this picture is too large")]
    TooLarge,
    /// It is no picture.
    #[error("this is no PNG or JPEG picture")]
    NoPicture,
    /// It cannot be made small enough.
    #[error("this picture cannot be made small enough")]
    NotSmall,
    /// The clipboard has no picture.
    #[error("there is no picture in the clipboard")]
    NoClipboard,
    /// There is no code in it.
    #[error("there is no QR code in this picture")]
    NoCode,
}

fn decode(bytes: &[u8], side: u32, memory: u64) -> Result<DynamicImage, Error> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|_| Error::NoPicture)?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(side);
    limits.max_image_height = Some(side);
    limits.max_alloc = Some(memory);
    reader.limits(limits);
    reader.decode().map_err(|error| match error {
        image::ImageError::Limits(_) => Error::TooLarge,
        _ => Error::NoPicture,
    })
}

fn read(path: &Path) -> Result<DynamicImage, Error> {
    let failed = |error| Error::Read(path.into(), error);
    if std::fs::metadata(path).map_err(failed)?.len() > MAX_BYTES {
        return Err(Error::TooLarge);
    }
    decode(&std::fs::read(path).map_err(failed)?, MAX_SIDE, MAX_MEMORY)
}

/// A person's picture to be shown, from what a friend's node sent: at most 256 × 256 whatever comes.
///
/// # Errors
/// It is no picture, or a bomb.
pub fn portrait(bytes: &[u8]) -> Result<ColorImage, Error> {
    let picture = square(decode(bytes, MAX_FRIEND_SIDE, MAX_FRIEND_MEMORY)?).to_rgba8();
    let size = [picture.width() as usize, picture.height() as usize];
    Ok(ColorImage::from_rgba_unmultiplied(size, picture.as_raw()))
}

/// My picture from a file: the middle of it as a JPEG of 256 × 256 that the node takes.
///
/// # Errors
/// The file cannot be read, is no picture, or too large.
pub fn own_portrait(path: &Path) -> Result<Vec<u8>, Error> {
    let picture = square(read(path)?).to_rgb8();
    for quality in [88, 75, 60, 40] {
        let mut bytes = Vec::new();
        let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, quality);
        picture.write_with_encoder(encoder).map_err(|_| Error::NotSmall)?;
        if bytes.len() <= MAX_PICTURE {
            return Ok(bytes);
        }
    }
    Err(Error::NotSmall)
}

fn square(picture: DynamicImage) -> DynamicImage {
    picture.resize_to_fill(SIDE, SIDE, FilterType::Triangle)
}

/// The text of a QR code in a file.
///
/// # Errors
/// The file cannot be read, is no picture, too large, or has no code in it.
pub fn scan_file(path: &Path) -> Result<String, Error> {
    scan(read(path)?)
}

/// The text of a QR code in the picture that was copied.
///
/// # Errors
/// There is no picture, or no code in it.
pub fn scan_clipboard() -> Result<String, Error> {
    let copied = arboard::Clipboard::new().and_then(|mut clipboard| clipboard.get_image());
    let copied = copied.map_err(|_| Error::NoClipboard)?;
    let (width, height) = (u32::try_from(copied.width).unwrap_or(0), u32::try_from(copied.height).unwrap_or(0));
    if width > MAX_SIDE || height > MAX_SIDE {
        return Err(Error::TooLarge);
    }
    let picture = image::RgbaImage::from_raw(width, height, copied.bytes.into_owned()).ok_or(Error::NoClipboard)?;
    scan(DynamicImage::ImageRgba8(picture))
}

fn scan(picture: DynamicImage) -> Result<String, Error> {
    let large = picture.width().max(picture.height()) > SCAN_SIDE;
    let picture = if large { picture.resize(SCAN_SIDE, SCAN_SIDE, FilterType::Triangle) } else { picture };
    let picture = picture.to_luma8();
    scan_luma(picture.width() as usize, picture.height() as usize, picture.as_raw()).ok_or(Error::NoCode)
}

/// The text of a QR code in a picture of grey values, row by row (of a camera, for example).
#[must_use]
pub fn scan_luma(width: usize, height: usize, luma: &[u8]) -> Option<String> {
    if luma.len() < width.checked_mul(height)? || width < 21 || height < 21 {
        return None;
    }
    let mut prepared = rqrr::PreparedImage::prepare_from_greyscale(width, height, |x, y| luma[y * width + x]);
    prepared.detect_grids().into_iter().find_map(|grid| grid.decode().ok().map(|(_, text)| text))
}

/// A PNG file of a picture without transparent places.
///
/// # Errors
/// It cannot be written as PNG.
pub fn png(picture: &ColorImage) -> Result<Vec<u8>, Error> {
    let [width, height] = picture.size;
    let raw = picture.pixels.iter().flat_map(|pixel| [pixel.r(), pixel.g(), pixel.b()]).collect();
    let (width, height) = (u32::try_from(width).unwrap_or(0), u32::try_from(height).unwrap_or(0));
    let picture = image::RgbImage::from_raw(width, height, raw).ok_or(Error::NotSmall)?;
    let mut bytes = Vec::new();
    let (best, filter) = (image::codecs::png::CompressionType::Best, image::codecs::png::FilterType::Adaptive);
    let encoder = image::codecs::png::PngEncoder::new_with_quality(&mut bytes, best, filter);
    picture.write_with_encoder(encoder).map_err(|_| Error::NotSmall)?;
    Ok(bytes)
}

/// The pixels of a PNG or JPEG file, for tests that compare pictures.
///
/// # Errors
/// It is no picture, or too large.
pub fn pixels(bytes: &[u8]) -> Result<ColorImage, Error> {
    let picture = decode(bytes, MAX_SIDE, MAX_MEMORY)?.to_rgba8();
    let size = [picture.width() as usize, picture.height() as usize];
    Ok(ColorImage::from_rgba_unmultiplied(size, picture.as_raw()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::design::qr;
    use eframe::egui::Color32;

    #[test]
    fn a_code_that_is_shown_can_be_scanned_from_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("code.png");
        let text = format!("twocan:{}", "a1".repeat(40));
        std::fs::write(&path, png(&qr::image(&text, 4).unwrap()).unwrap()).unwrap();
        assert_eq!(scan_file(&path).unwrap(), text);
        std::fs::write(&path, png(&ColorImage::filled([300, 200], Color32::WHITE)).unwrap()).unwrap();
        assert!(matches!(scan_file(&path), Err(Error::NoCode)));
        std::fs::write(&path, b"GIF89a").unwrap();
        assert!(matches!(scan_file(&path), Err(Error::NoPicture)));
        assert!(matches!(scan_file(&folder.path().join("none")), Err(Error::Read(..))));
        assert_eq!(scan_luma(100, 100, &[0; 10]), None);
    }

    #[test]
    fn a_portrait_is_small_and_square_whatever_the_file_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("me.png");
        let mut noise = 1_u32;
        let mut picture = ColorImage::filled([900, 500], Color32::BLACK);
        for pixel in &mut picture.pixels {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let [r, g, b, _] = noise.to_be_bytes();
            *pixel = Color32::from_rgb(r, g, b);
        }
        std::fs::write(&path, png(&picture).unwrap()).unwrap();
        let bytes = own_portrait(&path).unwrap();
        assert!(bytes.len() <= MAX_PICTURE && bytes.starts_with(&[0xff, 0xd8]));
        assert_eq!(portrait(&bytes).unwrap().size, [256, 256]);
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        // 20 000 × 20 000 in its header, nothing behind it.
        let mut bomb = png(&ColorImage::filled([8, 8], Color32::WHITE)).unwrap();
        bomb[16..24].copy_from_slice(&[0, 0, 0x4e, 0x20, 0, 0, 0x4e, 0x20]);
        // The checksum of the header follows its 13 bytes.
        let sum = bomb[12..29].iter().fold(!0_u32, |mut sum, byte| {
            sum ^= u32::from(*byte);
            for _ in 0..8 {
                sum = if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 };
            }
            sum
        });
        bomb[29..33].copy_from_slice(&(!sum).to_be_bytes());
        assert!(matches!(portrait(&bomb), Err(Error::TooLarge)), "{:?}", portrait(&bomb).err());
        let large = png(&ColorImage::filled([1_400, 10], Color32::WHITE)).unwrap();
        assert!(matches!(portrait(&large), Err(Error::TooLarge)));
    }
}
