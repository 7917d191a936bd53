//! A picture: three planes of 8-bit YUV 4:2:0, bounded in size, with the time when it was captured.

use std::sync::Arc;

use super::Turn;

/// Longest side of a picture that is taken from anyone, in pixels (4K cinema), lying or upright.
pub const MAX_SIDE: u32 = 4096;
/// Most pixels of a picture that is taken from anyone: a hostile header cannot make us allocate more.
pub const MAX_PIXELS: u32 = MAX_SIDE * 2304;
/// Shortest side of a picture that is sent: an encoder's block.
pub const MIN_SIDE: u32 = 16;

/// A picture whose size is no picture's, or whose planes do not fit its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a picture of {width}x{height} pixels is not possible here (even numbers, 2 to {MAX_SIDE}, {MAX_PIXELS} pixels at most)"
)]
pub struct SizeError {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
}

/// Checks a size: even, not empty, within [`MAX_SIDE`] and [`MAX_PIXELS`].
pub fn check_size(width: u32, height: u32) -> Result<(), SizeError> {
    let fits = |n: u32| (2..=MAX_SIDE).contains(&n) && n.is_multiple_of(2);
    if fits(width) && fits(height) && width * height <= MAX_PIXELS { Ok(()) } else { Err(SizeError { width, height }) }
}

/// I420: a plane of `width * height` luma samples and two planes of a quarter of that; video range (luma 16 to 235),
/// BT.601. Rows are tight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    width: u32,
    height: u32,
    /// Luma, `width * height` bytes.
    pub(crate) y: Vec<u8>,
    /// Blue difference, `width/2 * height/2` bytes.
    pub(crate) u: Vec<u8>,
    /// Red difference, `width/2 * height/2` bytes.
    pub(crate) v: Vec<u8>,
    /// [`crate::now_ns`] when it was captured (own pictures); 0 where that is not known.
    pub time_ns: u64,
    /// RTP timestamp, 90 kHz.
    pub timestamp: u32,
}

impl Picture {
    /// A picture of one colour.
    pub fn filled(width: u32, height: u32, (y, u, v): (u8, u8, u8)) -> Result<Self, SizeError> {
        check_size(width, height)?;
        let luma = width as usize * height as usize;
        Ok(Self {
            width,
            height,
            y: vec![y; luma],
            u: vec![u; luma / 4],
            v: vec![v; luma / 4],
            time_ns: 0,
            timestamp: 0,
        })
    }

    /// A black picture.
    pub fn black(width: u32, height: u32) -> Result<Self, SizeError> {
        Self::filled(width, height, (16, 128, 128))
    }

    /// A picture of given planes (tight rows, see the fields of this type).
    pub fn from_planes(width: u32, height: u32, y: Vec<u8>, u: Vec<u8>, v: Vec<u8>) -> Result<Self, SizeError> {
        check_size(width, height)?;
        let luma = width as usize * height as usize;
        if y.len() != luma || u.len() != luma / 4 || v.len() != luma / 4 {
            return Err(SizeError { width, height });
        }
        Ok(Self { width, height, y, u, v, time_ns: 0, timestamp: 0 })
    }

    /// Pixels.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Pixels.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The luma plane.
    #[must_use]
    pub fn luma(&self) -> &[u8] {
        &self.y
    }

    /// The two chroma planes: blue difference, red difference.
    #[must_use]
    pub fn chroma(&self) -> (&[u8], &[u8]) {
        (&self.u, &self.v)
    }

    /// Eight-bit RGB, three bytes a pixel, tight rows.
    #[must_use]
    pub fn to_rgb(&self) -> Vec<u8> {
        let mut out = vec![0; self.width as usize * self.height as usize * 3];
        let result = yuv::yuv420_to_rgb(&self.as_yuv(), &mut out, self.width * 3, RANGE, MATRIX);
        debug_assert!(result.is_ok(), "the planes were checked when the picture was made");
        out
    }

    /// Eight-bit RGBA, four bytes a pixel, tight rows, opaque: what GUI toolkits upload as a texture.
    #[must_use]
    pub fn to_rgba(&self) -> Vec<u8> {
        let mut out = vec![0; self.width as usize * self.height as usize * 4];
        let written = self.write_rgba(&mut out);
        debug_assert!(written, "the buffer has the picture's size");
        out
    }

    /// The same into a buffer of the caller's, which must have four bytes for each pixel; else nothing is written and
    /// the answer is false.
    pub fn write_rgba(&self, out: &mut [u8]) -> bool {
        out.len() == self.width as usize * self.height as usize * 4
            && yuv::yuv420_to_rgba(&self.as_yuv(), out, self.width * 4, RANGE, MATRIX).is_ok()
    }

    /// The picture in another size, bilinear; shrinking by whole factors averages, so that text does not flicker.
    pub fn scaled(&self, width: u32, height: u32) -> Result<Self, SizeError> {
        if (width, height) == (self.width, self.height) {
            return Ok(self.clone());
        }
        check_size(width, height)?;
        let from = (self.width as usize, self.height as usize);
        let to = (width as usize, height as usize);
        let half = |(w, h): (usize, usize)| (w / 2, h / 2);
        Ok(Self {
            width,
            height,
            y: scale_plane(&self.y, from, to),
            u: scale_plane(&self.u, half(from), half(to)),
            v: scale_plane(&self.v, half(from), half(to)),
            time_ns: self.time_ns,
            timestamp: self.timestamp,
        })
    }

    /// The picture turned clockwise.
    #[must_use]
    pub fn turned(&self, turn: Turn) -> Self {
        let (w, h) = (self.width as usize, self.height as usize);
        let plane = |plane: &[u8], w: usize, h: usize| turn_plane(plane, w, h, turn);
        let (width, height) = match turn {
            Turn::None | Turn::Half => (self.width, self.height),
            Turn::Quarter | Turn::ThreeQuarters => (self.height, self.width),
        };
        Self {
            width,
            height,
            y: plane(&self.y, w, h),
            u: plane(&self.u, w / 2, h / 2),
            v: plane(&self.v, w / 2, h / 2),
            time_ns: self.time_ns,
            timestamp: self.timestamp,
        }
    }

    pub(crate) fn as_yuv(&self) -> yuv::YuvPlanarImage<'_, u8> {
        yuv::YuvPlanarImage {
            y_plane: &self.y,
            y_stride: self.width,
            u_plane: &self.u,
            u_stride: self.width / 2,
            v_plane: &self.v,
            v_stride: self.width / 2,
            width: self.width,
            height: self.height,
        }
    }
}

pub(crate) const RANGE: yuv::YuvRange = yuv::YuvRange::Limited;
pub(crate) const MATRIX: yuv::YuvStandardMatrix = yuv::YuvStandardMatrix::Bt601;

/// Scales one plane of tight rows.
fn scale_plane(src: &[u8], from: (usize, usize), to: (usize, usize)) -> Vec<u8> {
    if from.0 == to.0 * 2 && from.1 == to.1 * 2 {
        return halve(src, from.0);
    }
    let taps_x = taps(from.0, to.0);
    let mut out = Vec::with_capacity(to.0 * to.1);
    for (top, bottom, weight) in taps(from.1, to.1) {
        let (top, bottom) = (&src[top * from.0..][..from.0], &src[bottom * from.0..][..from.0]);
        out.extend(taps_x.iter().map(|&(left, right, across)| {
            let upper = u32::from(top[left]) * (256 - across) + u32::from(top[right]) * across;
            let lower = u32::from(bottom[left]) * (256 - across) + u32::from(bottom[right]) * across;
            let sum = upper * (256 - weight) + lower * weight;
            u8::try_from((sum + (1 << 15)) >> 16).unwrap_or(u8::MAX)
        }));
    }
    out
}

/// For each sample of the target: the two samples of the source around it, and the share of the second in 256ths.
fn taps(from: usize, to: usize) -> Vec<(usize, usize, u32)> {
    (0..to)
        .map(|i| {
            // The centre of the target sample in the source, in 256ths, half a sample back.
            let centre = ((2 * i + 1) * from * 128 / to).saturating_sub(128);
            let first = (centre / 256).min(from - 1);
            (first, (first + 1).min(from - 1), u32::try_from(centre % 256).unwrap_or(0))
        })
        .collect()
}

/// Turns one plane of tight rows.
fn turn_plane(src: &[u8], width: usize, height: usize, turn: Turn) -> Vec<u8> {
    match turn {
        Turn::None => src.to_vec(),
        Turn::Half => src.iter().rev().copied().collect(),
        Turn::Quarter => (0..width).flat_map(|x| (0..height).rev().map(move |y| src[y * width + x])).collect(),
        Turn::ThreeQuarters => (0..width).rev().flat_map(|x| (0..height).map(move |y| src[y * width + x])).collect(),
    }
}

fn halve(src: &[u8], width: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(src.len() / 4);
    for rows in src.chunks_exact(width * 2) {
        let (top, bottom) = rows.split_at(width);
        out.extend(top.chunks_exact(2).zip(bottom.chunks_exact(2)).map(|(a, b)| {
            let sum = u16::from(a[0]) + u16::from(a[1]) + u16::from(b[0]) + u16::from(b[1]);
            u8::try_from((sum + 2) / 4).unwrap_or(u8::MAX)
        }));
    }
    out
}

/// A picture that several parts look at.
pub type Shared = Arc<Picture>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_sizes_are_refused() {
        for (width, height) in
            [(0, 2), (3, 2), (2, 5), (MAX_SIDE + 2, 2), (2, MAX_SIDE + 2), (MAX_SIDE, 2306), (u32::MAX, u32::MAX)]
        {
            assert!(Picture::black(width, height).is_err(), "{width}x{height}");
        }
        assert!(Picture::from_planes(4, 4, vec![0; 16], vec![0; 4], vec![0; 3]).is_err());
    }

    #[test]
    fn pictures_stand_upright_or_lie() {
        assert!(Picture::black(MAX_SIDE, 2304).is_ok() && Picture::black(2304, MAX_SIDE).is_ok());
        let mut picture = Picture::filled(6, 4, (50, 128, 128)).unwrap();
        (picture.y[0], picture.u[0], picture.timestamp) = (200, 7, 9);
        let quarter = picture.turned(Turn::Quarter);
        assert_eq!((quarter.width(), quarter.height(), quarter.timestamp), (4, 6, 9));
        // The upper left corner is now the upper right one.
        assert_eq!((quarter.y[3], quarter.u[1]), (200, 7));
        assert_eq!(quarter.turned(Turn::Quarter), picture.turned(Turn::Half));
        assert_eq!(quarter.turned(Turn::ThreeQuarters), picture);
        assert_eq!(picture.turned(Turn::Half).y[23], 200);
        assert_eq!(picture.turned(Turn::None), picture);
    }

    #[test]
    fn scaling_keeps_flat_pictures_flat_and_edges_in_place() {
        let flat = Picture::filled(64, 36, (77, 90, 200)).unwrap();
        for (width, height) in [(32, 18), (64, 36), (50, 30), (128, 100)] {
            let scaled = flat.scaled(width, height).unwrap();
            assert_eq!(scaled, Picture::filled(width, height, (77, 90, 200)).unwrap());
        }
        let mut edge = Picture::black(64, 36).unwrap();
        for row in edge.y.chunks_exact_mut(64) {
            row[32..].fill(235);
        }
        let half = edge.scaled(32, 18).unwrap();
        assert_eq!((half.y[15], half.y[16]), (16, 235));
        let back = half.scaled(64, 36).unwrap();
        assert!(back.y[20] == 16 && back.y[44] == 235);
    }

    #[test]
    fn black_is_black_and_white_is_white_in_rgb() {
        let rgb = Picture::black(4, 4).unwrap().to_rgb();
        assert!(rgb.iter().all(|&c| c < 3), "{rgb:?}");
        let rgba = Picture::filled(4, 4, (235, 128, 128)).unwrap().to_rgba();
        assert!(rgba.iter().all(|&c| c > 252), "{rgba:?}");
    }
}
