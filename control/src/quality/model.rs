//! How numbers become an estimated mean opinion score (MOS) and a level. Pure functions; `docs/scores.md` says the same
//! in words.
//!
//! **Sound** is rated by the E-model (ITU-T G.107), simplified: `R = 93.2 - Id - Ie,eff`. `Id` is the delay impairment in
//! the piecewise linear form of Cole and Rosenbluth (2001); `Ie,eff = Ie + (95 - Ie) * P / (P / BurstR + Bpl)` is that of
//! codec and loss. The ITU publishes no values for Opus: `Ie` by bitrate ([`opus_ie`]) and `Bpl` are our assumptions, the
//! latter the 10 (bare concealment) and 20 (with repair) that public WebRTC scores use.
//!
//! **Pictures** are rated in the form of ITU-T G.1070: coding quality, times a factor of the frame rate, times a factor
//! of what went wrong. The coding quality is logarithmic in bits per pixel; instead of packet loss, the share of time in
//! which the picture was frozen counts, because a damaged picture is never shown. A small picture counts less.
//!
//! **Levels** are the user satisfaction classes of G.107, Annex B.

/// Rating of a telephone connection without any impairment (G.107, all parameters at their defaults).
const R0: f64 = 93.2;
/// Packet loss robustness where what is lost is concealed from its surroundings: for the share that was concealed.
pub const BPL_CONCEALED: f64 = 10.0;
/// Packet loss robustness where most of what is lost is repaired (in-band FEC, RED): for the loss on the network.
pub const BPL_REPAIRED: f64 = 20.0;
/// Above this delay people begin to interrupt each other, milliseconds (Cole and Rosenbluth).
const DELAY_KNEE: f64 = 177.3;
/// `Ie` of Opus speech by bits per second of encoded sound; linear in between.
const OPUS_IE: [(f64, f64); 7] =
    [(6e3, 25.0), (8e3, 20.0), (12e3, 12.0), (16e3, 8.0), (24e3, 4.0), (32e3, 2.0), (48e3, 0.0)];
/// Frame rate above which more is not seen, and how fast the score falls below it (the form of G.1070).
const BEST_RATE: f64 = 30.0;
const RATE_WIDTH: f64 = 1.4;
/// Share of frozen time, and of lost packets, at which the score's surplus over 1 has fallen to 37 %.
const FROZEN_SCALE: f64 = 0.1;
const LOST_SCALE: f64 = 0.2;
/// Height below which a camera's picture and a shared screen count less, pixels.
const CAMERA_HEIGHT: f64 = 360.0;
const SCREEN_HEIGHT: f64 = 720.0;

/// MOS of a rating (G.107, Annex B): 1 to 4.5.
#[must_use]
pub fn mos_of_r(r: f64) -> f64 {
    if r.is_nan() || r <= 0.0 {
        return 1.0;
    }
    if r >= 100.0 {
        return 4.5;
    }
    (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6).clamp(1.0, 4.5)
}

/// Equipment impairment of Opus at this many bits per second of encoded speech.
#[must_use]
pub fn opus_ie(bits_per_second: f64) -> f64 {
    let (mut below, mut above) = (OPUS_IE[0], OPUS_IE[OPUS_IE.len() - 1]);
    if bits_per_second.is_nan() || bits_per_second <= below.0 {
        return below.1;
    }
    if bits_per_second >= above.0 {
        return above.1;
    }
    for pair in OPUS_IE.windows(2) {
        if (pair[0].0..=pair[1].0).contains(&bits_per_second) {
            (below, above) = (pair[0], pair[1]);
        }
    }
    below.1 + (above.1 - below.1) * (bits_per_second - below.0) / (above.0 - below.0)
}

/// What a rating of sound depends on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sound {
    /// Bits per second of encoded sound while somebody speaks; `None` where nobody has spoken yet.
    pub bitrate: Option<f64>,
    /// Share that is lost to the listener (or, with [`BPL_REPAIRED`], on the network), 0 to 1.
    pub lost: f64,
    /// Mean length of a run of losses over that of random losses of the same share; 1 is random.
    pub burst: f64,
    /// [`BPL_CONCEALED`] or [`BPL_REPAIRED`].
    pub bpl: f64,
    /// From mouth to ear, milliseconds.
    pub delay_ms: f64,
}

/// The E-model's rating of a voice.
#[must_use]
pub fn rating(sound: &Sound) -> f64 {
    let delay = clean(sound.delay_ms, 0.0, 10_000.0);
    let delayed = 0.024 * delay + 0.11 * (delay - DELAY_KNEE).max(0.0);
    let coded = sound.bitrate.map_or(opus_ie(32e3), opus_ie);
    let percent = clean(sound.lost, 0.0, 1.0) * 100.0;
    let lost = (95.0 - coded) * percent / (percent / clean(sound.burst, 1.0, 100.0) + sound.bpl);
    (R0 - delayed - coded - lost).clamp(0.0, 100.0)
}

/// MOS of a voice.
#[must_use]
pub fn sound_mos(sound: &Sound) -> f64 {
    mos_of_r(rating(sound))
}

/// What the rating of a picture depends on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Picture {
    /// A shared screen: its frame rate follows what changes there, and says nothing.
    pub screen: bool,
    /// Pixels; 0 while unknown.
    pub width: u32,
    /// Pixels; 0 while unknown.
    pub height: u32,
    /// Pictures per second.
    pub frame_rate: f64,
    /// Bits per second of encoded pictures.
    pub bitrate: f64,
    /// Share of time in which it was frozen, where that is known.
    pub frozen: Option<f64>,
    /// Share of packets lost on the network; counts where `frozen` is not known.
    pub lost: f64,
}

/// MOS of a picture, 1 to 5.
#[must_use]
pub fn picture_mos(picture: &Picture) -> f64 {
    let rate = clean(picture.frame_rate, 0.0, 240.0);
    let full = if picture.screen { SCREEN_HEIGHT } else { CAMERA_HEIGHT };
    let (long, short) = (picture.width.max(picture.height), picture.width.min(picture.height));
    let size = if short == 0 { 1.0 } else { (1.0 + 0.25 * (f64::from(short) / full).log2()).clamp(0.2, 1.0) };
    let wrong = match picture.frozen {
        Some(frozen) => (-clean(frozen, 0.0, 1.0) / FROZEN_SCALE).exp(),
        None => (-clean(picture.lost, 0.0, 1.0) / LOST_SCALE).exp(),
    };
    if picture.screen {
        return 1.0 + 4.0 * size * wrong;
    }
    if rate <= 0.0 {
        return 1.0;
    }
    let pixels = f64::from(long.max(1)) * f64::from(short.max(1)) * rate;
    let coding = if short == 0 { 4.0 } else { 0.56 * (clean(picture.bitrate, 1.0, 1e9) / pixels).ln() + 5.36 };
    let slow = (BEST_RATE / rate.min(BEST_RATE)).ln();
    let smooth = (-slow * slow / (2.0 * RATE_WIDTH * RATE_WIDTH)).exp();
    1.0 + (coding.clamp(1.0, 5.0) - 1.0) * smooth * size * wrong
}

/// The level of a MOS: 5 from 4.02 on (R 80, "satisfied"), 4 from 3.59 (R 70, "some dissatisfied"), 3 from 3.10 (R 60,
/// "many dissatisfied"), 2 from 2.57 (R 50, "nearly all dissatisfied"), else 1. Level 0 is for a stream that should
/// come and does not.
#[must_use]
pub fn level(mos: f64) -> u8 {
    match mos {
        _ if mos >= 4.02 => 5,
        _ if mos >= 3.59 => 4,
        _ if mos >= 3.10 => 3,
        _ if mos >= 2.57 => 2,
        _ => 1,
    }
}

/// A level in a word.
#[must_use]
pub fn word(level: u8) -> &'static str {
    match level {
        0 => "nothing comes",
        1 => "bad",
        2 => "poor",
        3 => "fair",
        4 => "good",
        _ => "very good",
    }
}

/// Numbers of the network may be anything; those of the model are finite and in range.
fn clean(value: f64, least: f64, most: f64) -> f64 {
    if value.is_nan() { least } else { value.clamp(least, most) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voice() -> Sound {
        Sound { bitrate: Some(48e3), lost: 0.0, burst: 1.0, bpl: BPL_CONCEALED, delay_ms: 0.0 }
    }

    fn camera() -> Picture {
        Picture {
            screen: false,
            width: 640,
            height: 360,
            frame_rate: 30.0,
            bitrate: 800e3,
            frozen: Some(0.0),
            lost: 0.0,
        }
    }

    #[test]
    fn ratings_become_the_scores_of_g_107_annex_b() {
        for (r, mos) in [(93.2, 4.41), (90.0, 4.34), (80.0, 4.03), (70.0, 3.60), (60.0, 3.10), (50.0, 2.58)] {
            assert!((mos_of_r(r) - mos).abs() < 0.01, "R {r}: {}", mos_of_r(r));
        }
        assert_eq!((mos_of_r(0.0), mos_of_r(120.0), mos_of_r(f64::NAN)), (1.0, 4.5, 1.0));
        assert_eq!([93.2, 80.0, 70.0, 60.0, 50.0, 30.0].map(|r| level(mos_of_r(r + 0.1))), [5, 5, 4, 3, 2, 1]);
    }

    #[test]
    fn delay_costs_what_cole_and_rosenbluth_say() {
        let r = |delay_ms| rating(&Sound { delay_ms, ..voice() });
        assert!((r(0.0) - 93.2).abs() < 1e-9);
        assert!((r(100.0) - (93.2 - 2.4)).abs() < 1e-9);
        assert!((r(400.0) - (93.2 - 9.6 - 24.497)).abs() < 1e-9);
    }

    #[test]
    fn loss_costs_by_the_formula_of_g_107() {
        let r = |lost, bpl, burst| rating(&Sound { lost, bpl, burst, ..voice() });
        // 95 * 10 / (10 + 10) and 95 * 10 / (10 + 20).
        assert!((r(0.1, BPL_CONCEALED, 1.0) - (93.2 - 47.5)).abs() < 1e-9);
        assert!((r(0.1, BPL_REPAIRED, 1.0) - (93.2 - 31.666_666_666)).abs() < 1e-6);
        // Bursts are worse: 95 * 10 / (10 / 2 + 10).
        assert!((r(0.1, BPL_CONCEALED, 2.0) - (93.2 - 63.333_333_333)).abs() < 1e-6);
    }

    #[test]
    fn a_lower_bitrate_is_never_better() {
        assert_eq!((opus_ie(1.0), opus_ie(20e3), opus_ie(1e6), opus_ie(f64::NAN)), (25.0, 6.0, 0.0, 25.0));
        let rates = (1..100).map(|n| opus_ie(f64::from(n) * 1000.0)).collect::<Vec<_>>();
        assert!(rates.windows(2).all(|pair| pair[1] <= pair[0]));
        assert!((rating(&Sound { bitrate: None, ..voice() }) - 91.2).abs() < 1e-9);
    }

    #[test]
    fn a_picture_falls_with_bits_rate_size_and_freezes() {
        let full = picture_mos(&camera());
        assert!((full - 4.15).abs() < 0.02, "{full}");
        for worse in [
            Picture { bitrate: 200e3, ..camera() },
            Picture { frame_rate: 10.0, bitrate: 270e3, ..camera() },
            Picture { width: 160, height: 90, bitrate: 100e3, ..camera() },
            Picture { frozen: Some(0.05), ..camera() },
            Picture { frozen: None, lost: 0.1, ..camera() },
        ] {
            assert!(picture_mos(&worse) < full - 0.4, "{worse:?}: {}", picture_mos(&worse));
        }
        assert_eq!(picture_mos(&Picture { frame_rate: 0.0, ..camera() }), 1.0);
        assert_eq!(level(full), 5);
    }

    #[test]
    fn a_still_screen_is_no_bad_screen() {
        let screen = Picture { screen: true, width: 1920, height: 1080, frame_rate: 0.0, bitrate: 0.0, ..camera() };
        assert_eq!(picture_mos(&screen), 5.0);
        assert!(picture_mos(&Picture { width: 640, height: 360, ..screen }) < 4.1);
        assert!(picture_mos(&Picture { frozen: Some(0.2), ..screen }) < 2.0);
    }

    #[test]
    fn no_numbers_of_the_network_make_nonsense() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 1e300] {
            let sound = Sound { bitrate: Some(value), lost: value, burst: value, bpl: BPL_CONCEALED, delay_ms: value };
            assert!((1.0..=4.5).contains(&sound_mos(&sound)), "{value}");
            for screen in [false, true] {
                let picture = Picture {
                    screen,
                    width: u32::MAX,
                    height: 1,
                    frame_rate: value,
                    bitrate: value,
                    frozen: Some(value),
                    lost: value,
                };
                assert!((1.0..=5.0).contains(&picture_mos(&picture)), "{value}");
            }
        }
    }
}
