//! How good the picture is that arrived: PSNR and delay against what was sent, by drawing it again.
//!
//! [`Meter`] judges single pictures. [`Viewing`] judges what somebody saw who looked all the time: a picture that stands
//! still is compared with what should have been there instead.

use super::moving::{Scene, Tag};
use super::picture::{Picture, SizeError};

/// Peak signal-to-noise ratio of the luma planes in decibels: 35 is good, 40 and more is hard to tell from the
/// original. A picture of another size is scaled to that of the original first. Identical pictures give 99.
#[must_use]
pub fn psnr_y(original: &Picture, received: &Picture) -> f64 {
    let scaled;
    let received = if (received.width(), received.height()) == (original.width(), original.height()) {
        received
    } else {
        let Ok(picture) = received.scaled(original.width(), original.height()) else { return 0.0 };
        scaled = picture;
        &scaled
    };
    let square = |(a, b): (&u8, &u8)| u64::from(a.abs_diff(*b)).pow(2);
    let error: u64 = original.luma().iter().zip(received.luma()).map(square).sum();
    if error == 0 {
        return 99.0;
    }
    10.0 * (255.0_f64.powi(2) * original.luma().len() as f64 / error as f64).log10()
}

/// Structural similarity of the luma planes (Wang et al. 2004), over squares of 8x8 pixels at every fourth pixel: 1 is the
/// same, above 0.95 is good. A picture of another size is scaled to that of the original first.
#[must_use]
pub fn ssim_y(original: &Picture, received: &Picture) -> f64 {
    let scaled;
    let received = if (received.width(), received.height()) == (original.width(), original.height()) {
        received
    } else {
        let Ok(picture) = received.scaled(original.width(), original.height()) else { return 0.0 };
        scaled = picture;
        &scaled
    };
    // (k1 L)^2 and (k2 L)^2 of the paper.
    let (c1, c2) = ((0.01_f64 * 255.0).powi(2), (0.03_f64 * 255.0).powi(2));
    let (width, height) = (original.width() as usize, original.height() as usize);
    let (mut sum, mut count) = (0.0, 0_u32);
    for top in (0..height.saturating_sub(7)).step_by(4) {
        for left in (0..width.saturating_sub(7)).step_by(4) {
            let (mut a, mut b, mut aa, mut bb, mut ab) = (0_u32, 0_u32, 0_u32, 0_u32, 0_u32);
            for row in top..top + 8 {
                let at = row * width + left..row * width + left + 8;
                let (Some(x), Some(y)) = (original.luma().get(at.clone()), received.luma().get(at)) else { continue };
                for (x, y) in x.iter().zip(y) {
                    let (x, y) = (u32::from(*x), u32::from(*y));
                    (a, b, aa, bb, ab) = (a + x, b + y, aa + x * x, bb + y * y, ab + x * y);
                }
            }
            let mean = |sum: u32| f64::from(sum) / 64.0;
            let (ma, mb) = (mean(a), mean(b));
            let (va, vb, cov) = (mean(aa) - ma * ma, mean(bb) - mb * mb, mean(ab) - ma * mb);
            sum += (2.0 * ma * mb + c1) * (2.0 * cov + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2));
            count += 1;
        }
    }
    sum / f64::from(count.max(1))
}

/// What was measured of one received picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Which picture it is.
    pub tag: Tag,
    /// See [`psnr_y`].
    pub psnr_db: f64,
    /// See [`ssim_y`].
    pub ssim: f64,
    /// Milliseconds from capture to `now_ns`; see [`Tag::age_ms`].
    pub delay_ms: u32,
}

/// Compares received pictures with the synthetic source of the same seed and size
/// ([`super::VideoSource::Moving`]).
#[derive(Debug)]
pub struct Meter {
    scene: Scene,
}

impl Meter {
    /// A meter for the source of this seed; the size is the source's, not what arrives.
    pub fn new(width: u32, height: u32, seed: u64) -> Result<Self, SizeError> {
        Ok(Self { scene: Scene::new(width, height, seed)? })
    }

    /// Measures one received picture (about a millisecond of work at 640x360). `None`: it carries no readable tag.
    #[must_use]
    pub fn measure(&self, received: &Picture, now_ns: u64) -> Option<Measured> {
        let tag = Tag::read(received)?;
        let sent = self.scene.draw_tagged(tag);
        let (psnr_db, ssim) = (psnr_y(&sent, received), ssim_y(&sent, received));
        Some(Measured { tag, psnr_db, ssim, delay_ms: tag.age_ms(now_ns) })
    }
}

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Viewed {
    /// Mean PSNR, decibels, of what stood on the screen at the moment of each picture of the source.
    pub psnr_db: f64,
    /// The worst twentieth of those moments begins here, decibels.
    pub psnr_p5_db: f64,
    /// Mean PSNR of the pictures themselves, against what each of them should be.
    pub own_psnr_db: f64,
    /// Moments judged.
    pub moments: u64,
    /// Pictures shown.
    pub shown: u64,
    /// Longest time that a picture stood still beyond the time between two pictures of the source, milliseconds.
    pub longest_freeze_ms: f64,
    /// How often it stood still for more than 150 ms beyond that.
    pub freezes: u64,
    /// How long altogether, milliseconds.
    pub freeze_ms: f64,
}

/// A picture that stands still for so much longer than the time between two pictures counts as frozen, nanoseconds.
const FREEZE_NS: u64 = 150_000_000;
/// Moments of one still picture that are judged at most: ten seconds.
const MAX_STILL: u64 = 300;

/// Looks on from the first picture to the last.
#[derive(Debug)]
pub struct Viewing {
    scene: Scene,
    period_ns: f64,
    delay_ns: u64,
    /// Capture time of picture 0 on the clock of the viewer.
    origin_ns: Option<f64>,
    last: Option<(Picture, Tag, u64)>,
    moments: Vec<f64>,
    own: f64,
    viewed: Viewed,
}

impl Viewing {
    /// A viewer of the source of this size and seed with `rate` pictures a second, who sees each picture `delay_ns` after
    /// its capture where nothing is late.
    pub fn new(width: u32, height: u32, seed: u64, rate: f64, delay_ns: u64) -> Result<Self, SizeError> {
        Ok(Self {
            scene: Scene::new(width, height, seed)?,
            period_ns: 1e9 / rate,
            delay_ns,
            origin_ns: None,
            last: None,
            moments: Vec::new(),
            own: 0.0,
            viewed: Viewed::default(),
        })
    }

    /// A picture appears now. One without a readable tag counts for nothing.
    pub fn show(&mut self, picture: &Picture, now_ns: u64) {
        let Some(tag) = Tag::read(picture) else { return };
        let age_ns = f64::from(tag.age_ms(now_ns)) * 1e6;
        self.origin_ns.get_or_insert(now_ns as f64 - age_ns - f64::from(tag.number) * self.period_ns);
        self.still(now_ns);
        if let Some((_, _, since)) = &self.last {
            let still = now_ns.saturating_sub(*since).saturating_sub(self.period_ns as u64);
            self.viewed.longest_freeze_ms = self.viewed.longest_freeze_ms.max(still as f64 / 1e6);
            if still > FREEZE_NS {
                self.viewed.freezes += 1;
                self.viewed.freeze_ms += still as f64 / 1e6;
            }
        }
        self.viewed.shown += 1;
        self.own += psnr_y(&self.scene.draw_tagged(tag), picture);
        self.last = Some((picture.clone(), tag, now_ns));
    }

    /// Judges the moments in which the last picture was on the screen.
    fn still(&mut self, until_ns: u64) {
        let (Some((picture, tag, since)), Some(origin)) = (&self.last, self.origin_ns) else { return };
        // Moments of pictures are half a period wide around their time, so that a jittering clock hits each of them once.
        let number =
            |at: u64| ((at as f64 - self.delay_ns as f64 - origin) / self.period_ns + 0.5).floor().max(0.0) as u64;
        let (first, end) = (number(*since), number(until_ns));
        for number in (first..end).take(MAX_STILL as usize) {
            let time =
                tag.time_ms.wrapping_add(((number as f64 - f64::from(tag.number)) * self.period_ns / 1e6) as u32);
            let shown = Tag { number: number as u32, time_ms: time & 0xff_ffff };
            self.moments.push(psnr_y(&self.scene.draw_tagged(shown), picture));
        }
    }

    /// Ends now and says what was seen.
    #[must_use]
    pub fn finish(mut self, now_ns: u64) -> Viewed {
        self.still(now_ns);
        let count = self.moments.len().max(1) as f64;
        let mut sorted = self.moments.clone();
        sorted.sort_by(f64::total_cmp);
        Viewed {
            psnr_db: self.moments.iter().sum::<f64>() / count,
            psnr_p5_db: sorted.get(sorted.len() / 20).copied().unwrap_or(0.0),
            own_psnr_db: self.own / self.viewed.shown.max(1) as f64,
            moments: self.moments.len() as u64,
            ..self.viewed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn psnr_is_what_its_formula_says() {
        let a = Picture::filled(64, 36, (100, 128, 128)).unwrap();
        let b = Picture::filled(64, 36, (110, 128, 128)).unwrap();
        let expected = 20.0 * (255.0_f64 / 10.0).log10();
        assert!((psnr_y(&a, &b) - expected).abs() < 1e-9);
        assert!((psnr_y(&a, &a) - 99.0).abs() < 1e-9);
    }

    #[test]
    fn a_received_picture_is_matched_to_the_sent_one() {
        let scene = Scene::new(640, 360, 5).unwrap();
        let meter = Meter::new(640, 360, 5).unwrap();
        let sent = scene.draw(77, 3_000_000_000);
        let same = meter.measure(&sent, 3_040_000_000).unwrap();
        assert_eq!((same.tag.number, same.delay_ms), (77, 40));
        assert!(same.psnr_db > 98.0 && (same.ssim - 1.0).abs() < 1e-9);
        let half = meter.measure(&sent.scaled(320, 180).unwrap(), 3_040_000_000).unwrap();
        assert!(half.psnr_db > 15.0 && half.psnr_db < 40.0, "{}", half.psnr_db);
        assert!(half.ssim > 0.5 && half.ssim < 0.99, "{}", half.ssim);
        let other = Meter::new(640, 360, 6).unwrap().measure(&sent, 0).unwrap();
        assert!(other.psnr_db < 25.0, "{}", other.psnr_db);
        assert!(meter.measure(&Picture::black(640, 360).unwrap(), 0).is_none());
    }

    #[test]
    fn a_still_picture_costs_what_it_differs_from_what_should_be_there() {
        const MS: u64 = 1_000_000;
        let scene = Scene::new(640, 360, 5).unwrap();
        let view = |lost: std::ops::Range<u64>| {
            let mut viewing = Viewing::new(640, 360, 5, 25.0, 50 * MS).unwrap();
            for number in (0..50).filter(|number| !lost.contains(number)) {
                let captured = (100 + number * 40) * MS;
                viewing.show(&scene.draw(number, captured), captured + 50 * MS);
            }
            viewing.finish((100 + 50 * 40 + 50) * MS)
        };
        let whole = view(0..0);
        assert_eq!((whole.moments, whole.shown, whole.freezes), (50, 50, 0));
        assert!(whole.psnr_db > 98.0 && whole.longest_freeze_ms < 1.0, "{whole:?}");
        let broken = view(20..30);
        assert_eq!((broken.moments, broken.shown, broken.freezes), (50, 40, 1));
        assert!((broken.longest_freeze_ms - 400.0).abs() < 1.0, "{broken:?}");
        assert!(broken.psnr_db < whole.psnr_db - 5.0 && broken.own_psnr_db > 98.0, "{broken:?}");
    }
}
