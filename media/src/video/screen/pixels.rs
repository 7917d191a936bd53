//! Raw pixels of a screen, four bytes each, and how they become a picture.

use std::borrow::Cow;

use super::Error;
use crate::video::picture::{MATRIX, MAX_PIXELS, MAX_SIDE, Picture, RANGE};

/// Bytes of a pixel.
pub(super) const PIXEL: usize = 4;
/// Longest side of a screen that is looked at, in pixels: two 8K screens beside each other. Larger is a mistake.
pub(super) const MAX_RAW_SIDE: u32 = 16_384;

/// Which colour comes first; the fourth byte is nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Blue, green, red: what most displays have.
    Bgr,
    /// Red, green, blue.
    Rgb,
}

/// Pixels in tight rows as a picture, made smaller by whole factors until it is one that can be sent. An odd last column
/// or row is left out.
pub(super) fn convert(pixels: &[u8], (width, height): (u32, u32), order: Order) -> Result<Picture, Error> {
    let wrong = || Error::Screen("the display gives a picture that is none".into());
    if width < 2 || height < 2 || pixels.len() != width as usize * height as usize * PIXEL {
        return Err(wrong());
    }
    let factor = (1..).find(|factor| fits((width / factor) & !1, (height / factor) & !1)).unwrap_or(1);
    let size = ((width / factor) & !1, (height / factor) & !1);
    let pixels = shrunk(pixels, (width as usize, height as usize), factor as usize);
    let (width, height) = size;
    let subsampling = yuv::YuvChromaSubsampling::Yuv420;
    let mut planes = yuv::YuvPlanarImageMut::<u8>::alloc(width, height, subsampling);
    let mode = yuv::YuvConversionMode::Balanced;
    let stride = width * PIXEL as u32;
    match order {
        Order::Bgr => yuv::bgra_to_yuv420(&mut planes, &pixels, stride, RANGE, MATRIX, mode),
        Order::Rgb => yuv::rgba_to_yuv420(&mut planes, &pixels, stride, RANGE, MATRIX, mode),
    }
    .map_err(|_| wrong())?;
    let tight = |plane: &[u8], stride: u32, width: u32, height: u32| {
        if stride == width {
            return plane[..(width * height) as usize].to_vec();
        }
        plane.chunks(stride as usize).take(height as usize).flat_map(|row| &row[..width as usize]).copied().collect()
    };
    let y = tight(planes.y_plane.borrow(), planes.y_stride, width, height);
    let u = tight(planes.u_plane.borrow(), planes.u_stride, width / 2, height / 2);
    let v = tight(planes.v_plane.borrow(), planes.v_stride, width / 2, height / 2);
    Ok(Picture::from_planes(width, height, y, u, v)?)
}

fn fits(width: u32, height: u32) -> bool {
    width <= MAX_SIDE && height <= MAX_SIDE && width * height <= MAX_PIXELS
}

/// Pixels in even sizes, each the mean of a square of so many; as they are, if there is nothing to change.
fn shrunk(pixels: &[u8], (width, height): (usize, usize), factor: usize) -> Cow<'_, [u8]> {
    let (across, down) = ((width / factor) & !1, (height / factor) & !1);
    if factor == 1 && (across, down) == (width, height) {
        return Cow::Borrowed(pixels);
    }
    let mut out = Vec::with_capacity(across * down * PIXEL);
    if factor == 1 {
        for row in pixels.chunks_exact(width * PIXEL).take(down) {
            out.extend_from_slice(&row[..across * PIXEL]);
        }
        return Cow::Owned(out);
    }
    let square = u32::try_from(factor * factor).unwrap_or(u32::MAX);
    let mut sums = vec![0u32; across * PIXEL];
    for rows in pixels.chunks_exact(width * PIXEL * factor).take(down) {
        sums.fill(0);
        for row in rows.chunks_exact(width * PIXEL) {
            for (sum, block) in sums.chunks_exact_mut(PIXEL).zip(row.chunks_exact(PIXEL * factor)) {
                for pixel in block.chunks_exact(PIXEL) {
                    sum.iter_mut().zip(pixel).for_each(|(sum, &byte)| *sum += u32::from(byte));
                }
            }
        }
        out.extend(sums.iter().map(|sum| u8::try_from(sum / square).unwrap_or(u8::MAX)));
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_become_a_picture_of_their_colour() {
        let white = convert(&[255; 64 * 34 * PIXEL], (64, 34), Order::Bgr).unwrap();
        assert!(white.luma().iter().all(|&luma| luma >= 234));
        let first: Vec<u8> = [0, 0, 255, 0].repeat(64 * 34);
        let red = convert(&first, (64, 34), Order::Bgr).unwrap().to_rgb();
        assert!(red[0] > 245 && red[1] < 12 && red[2] < 12, "{:?}", &red[..3]);
        let blue = convert(&first, (64, 34), Order::Rgb).unwrap().to_rgb();
        assert!(blue[2] > 245 && blue[1] < 12 && blue[0] < 12, "{:?}", &blue[..3]);
        assert!(convert(&[0; 8], (64, 34), Order::Bgr).is_err());
        assert!(convert(&[], (0, 0), Order::Bgr).is_err());
    }

    #[test]
    fn odd_sizes_lose_their_last_column_and_row() {
        let row = |last: u8| [[0, 0, 255, 0].repeat(4), vec![255, last, 0, 0]].concat();
        let pixels = [row(1), row(2), row(3)].concat();
        let picture = convert(&pixels, (5, 3), Order::Bgr).unwrap();
        assert_eq!((picture.width(), picture.height()), (4, 2));
        let rgb = picture.to_rgb();
        assert!(rgb.chunks_exact(3).all(|pixel| pixel[0] > 240 && pixel[2] < 16), "{rgb:?}");
    }

    #[test]
    fn a_screen_that_is_too_large_is_made_smaller_as_a_whole() {
        let (width, height) = (5120_u32, 2880_u32);
        let mut pixels = vec![0; width as usize * height as usize * PIXEL];
        // The lower right quarter is white, and so is every second column of the upper left one: grey from afar.
        for (y, row) in pixels.chunks_exact_mut(width as usize * PIXEL).enumerate() {
            for (x, pixel) in row.chunks_exact_mut(PIXEL).enumerate() {
                let low_right = x >= 2560 && y >= 1440;
                let up_left = x < 2560 && y < 1440 && x % 2 == 1;
                pixel.fill(if low_right || up_left { 255 } else { 0 });
            }
        }
        let picture = convert(&pixels, (width, height), Order::Bgr).unwrap();
        assert_eq!((picture.width(), picture.height()), (2560, 1440));
        let at = |x: usize, y: usize| picture.luma()[y * 2560 + x];
        assert_eq!((at(2000, 1000), at(2000, 100)), (235, 16));
        assert!((120..132).contains(&at(600, 300)), "{}", at(600, 300));
    }
}
