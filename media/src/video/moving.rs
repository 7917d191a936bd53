//! The picture that moves by itself: a colourful scene, the same for the same seed and number, so that who receives it
//! can draw what was sent and compare.
//!
//! In its corner stands a [`Tag`] as black and white cells, which survives the codec, scaling and a screenshot: the
//! number of the picture and the time when it was made. A person sees a ball that flies about, lines of writing and a
//! running counter.

use super::picture::{Picture, SizeError};

/// Cells of the tag: this many columns and rows, each a fortieth of the picture's width.
const TAG_COLUMNS: usize = 16;
const TAG_ROWS: usize = 4;
const CELLS_ACROSS: usize = 40;
/// Both numbers of a tag wrap here.
const TAG_WRAP: u64 = 1 << 24;

/// What the cells in the corner say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Which picture, counted from the start of the source; wraps at 2^24.
    pub number: u32,
    /// [`crate::now_ns`] in milliseconds when it was captured; wraps at 2^24 (4.6 hours).
    pub time_ms: u32,
}

impl Tag {
    /// The tag of picture `number`, captured at `time_ns`.
    #[must_use]
    pub fn new(number: u64, time_ns: u64) -> Self {
        let wrap = |n: u64| u32::try_from(n % TAG_WRAP).unwrap_or(0);
        Self { number: wrap(number), time_ms: wrap(time_ns / 1_000_000) }
    }

    /// Milliseconds from the capture to `now_ns`. Means something only on the machine that made the picture, whose
    /// monotonic clock both times are read from.
    #[must_use]
    pub fn age_ms(&self, now_ns: u64) -> u32 {
        let now = now_ns / 1_000_000 % TAG_WRAP;
        u32::try_from((now + TAG_WRAP - u64::from(self.time_ms)) % TAG_WRAP).unwrap_or(0)
    }

    fn to_bits(self) -> u64 {
        let body = u64::from(self.number) << 24 | u64::from(self.time_ms);
        body << 16 | u64::from(crc16(body))
    }

    fn from_bits(bits: u64) -> Option<Self> {
        let body = bits >> 16;
        let matches = u64::from(crc16(body)) == bits & 0xffff;
        let low = |n: u64| u32::try_from(n % TAG_WRAP).unwrap_or(0);
        matches.then(|| Self { number: low(body >> 24), time_ms: low(body) })
    }

    /// Reads the tag of a received picture, in whatever size it came. `None`: there is none, or it is damaged.
    #[must_use]
    pub fn read(picture: &Picture) -> Option<Self> {
        let width = picture.width() as usize;
        let mut bits = 0;
        for (left, top, side) in cells(width) {
            // The middle half of the cell: its borders are where a codec smears.
            let (inset, span) = (side / 4, (side / 2).max(1));
            let mut sum = 0;
            for y in top + inset..top + inset + span {
                let row = picture.luma().get(y * width..(y + 1) * width)?;
                sum += row.get(left + inset..left + inset + span)?.iter().map(|&l| usize::from(l)).sum::<usize>();
            }
            bits = bits << 1 | u64::from(sum > 126 * span * span);
        }
        // A picture without a tag, all black, must not read as a valid one: the check of 0 is not 0.
        Self::from_bits(bits)
    }
}

/// Draws a tag into the corner of a picture.
pub(crate) fn stamp(picture: &mut Picture, tag: Tag) {
    let (width, bits) = (picture.width() as usize, tag.to_bits());
    for (at, (left, top, side)) in cells(width).enumerate() {
        let luma = if bits >> (63 - at) & 1 == 1 { 235 } else { 16 };
        fill(picture, (left, top), (side, side), (luma, 128, 128));
    }
}

/// CRC-16/CCITT-FALSE over the six bytes of a tag's body.
fn crc16(body: u64) -> u16 {
    body.to_be_bytes()[2..].iter().fold(0xffff, |crc, &byte| {
        (0..8).fold(crc ^ u16::from(byte) << 8, |c, _| if c & 0x8000 == 0 { c << 1 } else { c << 1 ^ 0x1021 })
    })
}

/// Left, top and side of each cell in pixels, first bit first.
fn cells(width: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    let edge = move |n: usize| n * width / CELLS_ACROSS;
    (0..TAG_ROWS * TAG_COLUMNS).map(move |cell| {
        let (column, row) = (cell % TAG_COLUMNS, cell / TAG_COLUMNS);
        (edge(column), edge(row), (edge(column + 1) - edge(column)).max(1))
    })
}

/// Draws the pictures of one seed and size.
#[derive(Clone, Debug)]
pub struct Scene {
    seed: u64,
    background: Picture,
}

/// Dots of the digits 0 to 9, five columns and seven rows, one byte a row.
const DIGITS: [[u8; 7]; 10] = [
    [0x0e, 0x11, 0x13, 0x15, 0x19, 0x11, 0x0e],
    [0x04, 0x0c, 0x04, 0x04, 0x04, 0x04, 0x0e],
    [0x0e, 0x11, 0x01, 0x02, 0x04, 0x08, 0x1f],
    [0x0e, 0x11, 0x01, 0x06, 0x01, 0x11, 0x0e],
    [0x02, 0x06, 0x0a, 0x12, 0x1f, 0x02, 0x02],
    [0x1f, 0x10, 0x1e, 0x01, 0x01, 0x11, 0x0e],
    [0x06, 0x08, 0x10, 0x1e, 0x11, 0x11, 0x0e],
    [0x1f, 0x01, 0x02, 0x04, 0x08, 0x08, 0x08],
    [0x0e, 0x11, 0x11, 0x0e, 0x11, 0x11, 0x0e],
    [0x0e, 0x11, 0x11, 0x0f, 0x01, 0x02, 0x0c],
];

impl Scene {
    /// Draws the background once. At least 160 pixels wide and 90 high are needed for a tag that can be read.
    pub fn new(width: u32, height: u32, seed: u64) -> Result<Self, SizeError> {
        if width < 160 || height < 90 {
            return Err(SizeError { width, height });
        }
        let mut background = Picture::black(width, height)?;
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        sky_and_ground(&mut background, &mut dice);
        writing(&mut background, &mut dice);
        Ok(Self { seed, background })
    }

    /// Picture `number`, captured at `time_ns`.
    #[must_use]
    pub fn draw(&self, number: u64, time_ns: u64) -> Picture {
        let mut picture = self.draw_tagged(Tag::new(number, time_ns));
        picture.time_ns = time_ns;
        picture
    }

    /// The picture that carries this tag: what a receiver compares with.
    #[must_use]
    pub fn draw_tagged(&self, tag: Tag) -> Picture {
        let mut picture = self.background.clone();
        ball(&mut picture, tag.number, self.seed);
        counter(&mut picture, tag.number);
        stamp(&mut picture, tag);
        picture
    }
}

/// Small deterministic random numbers (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(self.0 >> 33).unwrap_or(0) % n
    }
}

fn byte(value: f32) -> u8 {
    value.clamp(16.0, 235.0) as u8
}

/// Fills a rectangle; what lies outside of the picture is left out. Chroma has half the resolution.
fn fill(p: &mut Picture, (left, top): (usize, usize), (width, height): (usize, usize), (y, u, v): (u8, u8, u8)) {
    let (w, h) = (p.width() as usize, p.height() as usize);
    let (right, bottom) = ((left + width).min(w), (top + height).min(h));
    if left >= right {
        return;
    }
    for row in top..bottom {
        p.y[row * w + left..row * w + right].fill(y);
    }
    for row in top / 2..bottom / 2 {
        let range = row * (w / 2) + left / 2..row * (w / 2) + right / 2;
        p.u[range.clone()].fill(u);
        p.v[range].fill(v);
    }
}

fn sky_and_ground(p: &mut Picture, dice: &mut Dice) {
    let (w, h) = (p.width() as usize, p.height() as usize);
    let (warm, wave) = (dice.below(60) as f32, 3.0 + dice.below(4) as f32);
    for row in 0..h {
        for column in 0..w {
            let (x, y) = (column as f32 / w as f32, row as f32 / h as f32);
            let hill = 0.62 + 0.06 * (x * wave * 2.0).sin() + 0.03 * (x * wave * 5.0).cos();
            let ground = y > hill;
            let grain = ((column * 7 + row * 13) ^ (column * row / 8)) % 17;
            let luma = if ground { 70.0 + 60.0 * (y - hill) + grain as f32 } else { 190.0 - 90.0 * y + 10.0 * x };
            p.y[row * w + column] = byte(luma);
            if row % 2 == 0 && column % 2 == 0 {
                let at = row / 2 * (w / 2) + column / 2;
                let (u, v) =
                    if ground { (105.0 - 10.0 * x, 112.0 + 12.0 * x) } else { (165.0 - 40.0 * y, 95.0 + warm * y) };
                (p.u[at], p.v[at]) = (byte(u), byte(v));
            }
        }
    }
    let colours = [
        (180, 128, 128),
        (168, 44, 136),
        (145, 147, 44),
        (134, 63, 52),
        (63, 193, 204),
        (51, 109, 212),
        (28, 212, 120),
    ];
    for (at, colour) in colours.into_iter().enumerate() {
        fill(p, (w * (20 + 2 * at) / 40, 0), (w / 20, h / 9), colour);
    }
}

/// Lines of small signs, as sharp as writing: the part that a codec finds hard.
fn writing(p: &mut Picture, dice: &mut Dice) {
    let (w, h) = (p.width() as usize, p.height() as usize);
    let dot = (w / 320).max(1);
    let (left, top, right, bottom) = (w / 20, h * 7 / 10, w * 6 / 10, h * 19 / 20);
    fill(p, (left & !1, top & !1), ((right - left) & !1, (bottom - top) & !1), (225, 126, 130));
    for line in (top + 4 * dot..bottom.saturating_sub(9 * dot)).step_by(9 * dot) {
        for sign in (left + 4 * dot..right.saturating_sub(8 * dot)).step_by(6 * dot) {
            if dice.below(6) == 0 {
                continue;
            }
            let pattern = dice.below(1 << 15);
            for cell in 0..15 {
                if pattern >> cell & 1 == 1 {
                    let (x, y) = (cell % 3, cell / 3);
                    for row in line + y * dot..line + (y + 1) * dot {
                        let from = row * w + sign + x * dot;
                        p.y[from..from + dot].fill(40);
                    }
                }
            }
        }
    }
}

/// A shaded, striped ball on a Lissajous path.
fn ball(p: &mut Picture, number: u32, seed: u64) {
    let (w, h) = (p.width() as usize, p.height() as usize);
    let time = number as f32 / 30.0 + (seed % 97) as f32;
    let radius = h as f32 / 7.0;
    let centre_x = w as f32 * (0.5 + 0.36 * (time * 0.9).sin());
    let centre_y = h as f32 * (0.5 + 0.26 * (time * 1.3).cos());
    let spin = time * 1.7;
    let columns = (centre_x - radius) as usize & !1..((centre_x + radius) as usize + 2).min(w);
    for row in (centre_y - radius) as usize & !1..((centre_y + radius) as usize + 2).min(h) {
        for column in columns.clone() {
            let (dx, dy) = ((column as f32 - centre_x) / radius, (row as f32 - centre_y) / radius);
            let distance = dx * dx + dy * dy;
            if distance >= 1.0 {
                continue;
            }
            let stripe = ((dx * spin.cos() + dy * spin.sin()) * 5.0).rem_euclid(2.0) < 1.0;
            let light = 1.0 - 0.55 * ((dx + 0.4) * (dx + 0.4) + (dy + 0.4) * (dy + 0.4)).min(1.4);
            p.y[row * w + column] = byte(if stripe { 60.0 + 80.0 * light } else { 110.0 + 110.0 * light });
            if row % 2 == 0 && column % 2 == 0 {
                let at = row / 2 * (w / 2) + column / 2;
                (p.u[at], p.v[at]) = if stripe { (90, 210) } else { (100, 150) };
            }
        }
    }
}

/// The number of the picture in large digits.
fn counter(p: &mut Picture, number: u32) {
    let (w, h) = (p.width() as usize, p.height() as usize);
    let dot = (w / 160).max(1);
    let (left, top) = ((w * 27 / 40) & !1, (h * 31 / 40) & !1);
    fill(p, (left - 2 * dot, top - 2 * dot), (44 * dot, 12 * dot), (30, 128, 128));
    let mut scale = 1_000_000;
    for digit in 0..7 {
        let dots = DIGITS[(number / scale % 10) as usize];
        scale = (scale / 10).max(1);
        for (y, bits) in dots.into_iter().enumerate() {
            for x in (0..5).filter(|x| bits >> (4 - x) & 1 == 1) {
                let (from_x, from_y) = (left + (digit * 6 + x) * dot, top + y * dot);
                for row in from_y..(from_y + dot).min(h) {
                    p.y[row * w + from_x..row * w + (from_x + dot).min(w)].fill(220);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_and_tag_draw_the_same_picture() {
        let draw = |seed, number| Scene::new(640, 360, seed).unwrap().draw(number, 5_000_000);
        assert_eq!(draw(1, 7), draw(1, 7));
        assert_ne!(draw(1, 7), draw(2, 7));
        assert_ne!(draw(1, 7), draw(1, 8));
    }

    #[test]
    fn a_tag_is_read_in_every_size() {
        for (width, height) in [(640, 360), (320, 180), (160, 90), (1280, 720), (848, 480)] {
            let scene = Scene::new(width, height, 3).unwrap();
            for number in [0, 1, 1000, 0xff_ffff, 0x100_0005] {
                let tag = Tag::new(number, number * 33_000_000 + 77);
                let picture = scene.draw_tagged(tag);
                assert_eq!(Tag::read(&picture), Some(tag), "{width}x{height}");
            }
        }
    }

    #[test]
    fn a_tag_survives_scaling_and_noise_and_its_absence_is_seen() {
        let tag = Tag::new(123_456, 99_000_000_000);
        let mut picture = Scene::new(640, 360, 3).unwrap().draw_tagged(tag).scaled(320, 180).unwrap();
        for (at, luma) in picture.y.iter_mut().enumerate() {
            *luma = luma.saturating_add((at * 7919 % 41) as u8).saturating_sub(20);
        }
        assert_eq!(Tag::read(&picture), Some(tag));
        assert_eq!(Tag::read(&Picture::black(640, 360).unwrap()), None);
        assert_eq!(Tag::read(&Picture::filled(640, 360, (235, 128, 128)).unwrap()), None);
    }

    #[test]
    fn the_age_of_a_tag_wraps() {
        assert_eq!(Tag::new(0, 1_000_000_000).age_ms(1_042_000_000), 42);
        let just_before = (TAG_WRAP - 3) * 1_000_000;
        assert_eq!(Tag::new(0, just_before).age_ms(just_before + 10_000_000), 10);
    }
}
