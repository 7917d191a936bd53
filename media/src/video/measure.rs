//! How good the picture is that arrived: PSNR and delay against what was sent, by drawing it again.

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

/// What was measured of one received picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Which picture it is.
    pub tag: Tag,
    /// See [`psnr_y`].
    pub psnr_db: f64,
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
        let psnr_db = psnr_y(&self.scene.draw_tagged(tag), received);
        Some(Measured { tag, psnr_db, delay_ms: tag.age_ms(now_ns) })
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
        assert!(same.psnr_db > 98.0);
        let half = meter.measure(&sent.scaled(320, 180).unwrap(), 3_040_000_000).unwrap();
        assert!(half.psnr_db > 15.0 && half.psnr_db < 40.0, "{}", half.psnr_db);
        let other = Meter::new(640, 360, 6).unwrap().measure(&sent, 0).unwrap();
        assert!(other.psnr_db < 25.0, "{}", other.psnr_db);
        assert!(meter.measure(&Picture::black(640, 360).unwrap(), 0).is_none());
    }
}
