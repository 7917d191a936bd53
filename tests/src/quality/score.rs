//! What a call came to: what was heard against what was said, what was shown against what was drawn.

use anyhow::Result;
use serde::Serialize;
use twocan_media::audio::AudioSettings;
use twocan_media::audio::codec::{OpusDecoder, OpusEncoder, VoiceDecoder, VoiceEncoder};
use twocan_media::measure::{DelayProbe, Piece};
use twocan_media::video;
use twocan_media::video::measure::Meter;

use super::person::{Notes, Shown};
use super::pesq::{Pesq, WORST};

/// Samples per second of all sound.
pub const RATE: usize = twocan_media::audio::SAMPLE_RATE as usize;
/// The reference codec: bits per second.
pub const REFERENCE_BITRATE: u32 = 24_000;
/// Sound is scored in pieces of about this length, cut where it is quiet.
const PIECE_S: f64 = 8.0;
/// How far a cut may be moved to where it is quiet.
const CUT_S: f64 = 1.5;
/// Delays are looked for up to this.
const MAX_DELAY_MS: u64 = 3_000;
/// A picture that stands for longer than this is frozen.
pub const FREEZE_MS: f64 = 300.0;

/// The voice of one direction.
#[derive(Clone, Debug, Default, Serialize)]
pub struct VoiceScore {
    /// PESQ wideband of what was heard.
    pub pesq: f64,
    /// The same of Opus at 24 kbit/s by itself, without any network.
    pub reference_pesq: f64,
    /// The first as a share of the second.
    pub share: f64,
    /// From the encoder's queue to the end of the jitter buffer, ms.
    pub delay_p50_ms: Option<f64>,
    /// The same, 95 of 100.
    pub delay_p95_ms: Option<f64>,
    /// Share of audible pieces that were found again in what was said.
    pub found: f64,
    /// Share of the sound that was made up.
    pub concealed: f64,
    /// Bits per second of voice on the line, with RTP, UDP and IP headers.
    pub kbit_s: f64,
}

/// The picture of one direction.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PictureScore {
    /// Median PSNR of the luma against what was drawn, dB; none if no picture was shown.
    pub psnr_db: Option<f64>,
    /// Median structural similarity.
    pub ssim: Option<f64>,
    /// Pictures a second.
    pub frame_rate: f64,
    /// The size most pictures had.
    pub width: u32,
    /// The size most pictures had.
    pub height: u32,
    /// How often a picture stood for more than 300 ms.
    pub freezes: usize,
    /// Share of the time in such freezes.
    pub frozen: f64,
    /// The longest time that a picture stood, ms.
    pub longest_ms: f64,
    /// From drawing to showing, median, ms.
    pub delay_ms: Option<f64>,
    /// How much later the picture is than the voice of the same moment: median, ms; negative: the picture comes first.
    pub lips_ms: Option<f64>,
    /// Its distance from zero, 95 of 100.
    pub lips_p95_ms: Option<f64>,
}

/// Middle value.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    percentile(values, 0.5)
}

/// The smallest value that at least this share does not exceed; between the two middle ones for a median.
#[must_use]
pub fn percentile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    if (share - 0.5).abs() < f64::EPSILON {
        let (low, high) = (sorted.get((sorted.len().max(1) - 1) / 2)?, sorted.get(sorted.len() / 2)?);
        return Some(f64::midpoint(*low, *high));
    }
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

/// Scores a voice: said by one, heard by the other, in a window of time (ns).
///
/// # Errors
/// PESQ or the reference codec fails.
pub fn voice(pesq: &Pesq, said: &Notes, heard: &Notes, window: (u64, u64)) -> Result<(VoiceScore, Vec<Piece>)> {
    let probe = DelayProbe { sent: said.said.clone(), received: heard.heard.clone() };
    let (pieces, looked_for) = probe.pieces(window.0..window.1, MAX_DELAY_MS);
    let delays: Vec<f64> = pieces.iter().map(|piece| piece.delay_ms).collect();
    let delay = median(&delays);
    let (sent, received) = (probe.sent.samples(), probe.received.samples());
    let shift = (delay.unwrap_or(0.0) * 1e6) as u64;
    // The window is of hearing: what was said for it began a delay earlier.
    let range =
        probe.sent.index_at(window.0.saturating_sub(shift))..probe.sent.index_at(window.1.saturating_sub(shift));
    let cuts = cuts(&sent, range);
    let mut pairs: Vec<(Vec<f32>, Vec<f32>, Vec<f32>)> = Vec::new();
    for cut in cuts.windows(2) {
        let said = sent.get(cut[0]..cut[1]).unwrap_or_default().to_vec();
        let begin = probe.received.index_at(probe.sent.time_of(cut[0]) + shift);
        let mut heard = received.get(begin..(begin + said.len()).min(received.len())).unwrap_or_default().to_vec();
        heard.resize(said.len(), 0.0);
        let reference = reference(&said)?;
        pairs.push((said, heard, reference));
    }
    let heard: Vec<(&[f32], &[f32])> = pairs.iter().map(|(said, heard, _)| (&said[..], &heard[..])).collect();
    let clean: Vec<(&[f32], &[f32])> = pairs.iter().map(|(said, _, clean)| (&said[..], &clean[..])).collect();
    let scores = pesq.score(&[heard, clean].concat())?;
    let (heard, clean) = scores.split_at(pairs.len());
    let mean =
        |values: &[f64]| if values.is_empty() { WORST } else { values.iter().sum::<f64>() / values.len() as f64 };
    let (score, reference_pesq) = (mean(heard), mean(clean));
    let score = VoiceScore {
        pesq: score,
        reference_pesq,
        share: score / reference_pesq,
        delay_p50_ms: delay,
        delay_p95_ms: percentile(&delays, 0.95),
        found: if looked_for == 0 { 0.0 } else { pieces.len() as f64 / looked_for as f64 },
        ..VoiceScore::default()
    };
    Ok((score, pieces))
}

/// Where to cut a range of sound: about every [`PIECE_S`], in the quietest fifth of a second nearby.
fn cuts(sound: &[f32], range: std::ops::Range<usize>) -> Vec<usize> {
    let range = range.start.min(sound.len())..range.end.min(sound.len());
    let (piece, near, hush) = ((PIECE_S * RATE as f64) as usize, (CUT_S * RATE as f64) as usize, RATE / 5);
    let mut cuts = vec![range.start];
    let mut next = range.start + piece;
    while next + near + hush < range.end {
        let energy = |at: usize| sound[at..at + hush].iter().map(|x| f64::from(x * x)).sum::<f64>();
        let best = (next - near..next + near).step_by(RATE / 50).min_by(|a, b| energy(*a).total_cmp(&energy(*b)));
        let cut = best.unwrap_or(next) + hush / 2;
        cuts.push(cut);
        next = cut + piece;
    }
    // What is left counts if it is long enough to be scored.
    if range.end - cuts.last().copied().unwrap_or(range.start) > piece / 2 {
        cuts.push(range.end);
    }
    cuts
}

/// The sound after Opus at [`REFERENCE_BITRATE`] and back, in the same place.
fn reference(sound: &[f32]) -> Result<Vec<f32>> {
    let settings = AudioSettings { max_bitrate: REFERENCE_BITRATE, dtx: false, ..AudioSettings::default() };
    let (mut encoder, mut decoder) = (OpusEncoder::new(&settings)?, OpusDecoder::new()?);
    encoder.set_expected_loss(0.0);
    let (mut out, mut packet) = (Vec::with_capacity(sound.len() + 960), Vec::new());
    for frame in sound.chunks(960) {
        let mut frame = frame.to_vec();
        frame.resize(960, 0.0);
        encoder.encode(&frame, &mut packet)?;
        decoder.decode(&packet, &mut out)?;
    }
    out.resize(sound.len(), 0.0);
    Ok(out)
}

/// Scores a picture that was shown in a window of time (ns), drawn from this seed in this size; `pieces` are of the
/// voice of the same person.
///
/// # Errors
/// A size that no picture can have.
pub fn picture(
    shown: &[Shown],
    drawn: (u64, &video::Settings),
    pieces: &[Piece],
    window: (u64, u64),
) -> Result<PictureScore> {
    let inside: Vec<&Shown> = shown.iter().filter(|one| (window.0..window.1).contains(&one.at_ns)).collect();
    let (seed, settings) = drawn;
    let meter = Meter::new(settings.width, settings.height, seed)?;
    let measured: Vec<_> = inside.iter().filter_map(|one| meter.measure(one.picture.as_deref()?, one.at_ns)).collect();
    // A picture that is shown again (the same number) is no new one.
    let mut times = vec![window.0];
    let mut last = None;
    for one in &inside {
        if one.tag.is_none() || one.tag.map(|tag| tag.number) != last {
            times.push(one.at_ns);
            last = one.tag.map(|tag| tag.number);
        }
    }
    times.push(window.1);
    let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1e6).collect();
    let seconds = (window.1 - window.0) as f64 / 1e9;
    let frozen = gaps.iter().filter(|gap| **gap > FREEZE_MS).fold(0.0, |sum, gap| sum + gap);
    let ages: Vec<f64> = inside
        .iter()
        .filter_map(|one| Some(f64::from(one.tag?.age_ms(one.at_ns))))
        .filter(|age| *age < 60_000.0)
        .collect();
    // Each picture against the voice that was heard nearest to it in time.
    let lips: Vec<f64> = inside
        .iter()
        .filter_map(|one| {
            let near = pieces.iter().min_by_key(|piece| piece.heard_ns.abs_diff(one.at_ns))?;
            let close = near.heard_ns.abs_diff(one.at_ns) < 200_000_000;
            close.then_some(f64::from(one.tag?.age_ms(one.at_ns)) - near.delay_ms)
        })
        .collect();
    let distances: Vec<f64> = lips.iter().map(|lip| lip.abs()).collect();
    let mut sizes: Vec<(u32, u32)> = inside.iter().map(|one| one.size).collect();
    sizes.sort_unstable();
    let (width, height) = sizes.get(sizes.len() / 2).copied().unwrap_or_default();
    Ok(PictureScore {
        psnr_db: median(&measured.iter().map(|one| one.psnr_db).collect::<Vec<_>>()),
        ssim: median(&measured.iter().map(|one| one.ssim).collect::<Vec<_>>()),
        frame_rate: (times.len() - 2) as f64 / seconds,
        width,
        height,
        freezes: gaps.iter().filter(|gap| **gap > FREEZE_MS).count(),
        frozen: frozen / 1e3 / seconds,
        longest_ms: gaps.iter().copied().fold(0.0, f64::max),
        delay_ms: median(&ages),
        lips_ms: median(&lips),
        lips_p95_ms: percentile(&distances, 0.95),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use twocan_media::video::moving::{Scene, Tag};

    const MS: u64 = 1_000_000;

    #[test]
    fn sound_is_cut_where_it_is_quiet() {
        let mut sound = vec![0.3_f32; 30 * RATE];
        for second in [9, 16, 25] {
            sound[second * RATE..second * RATE + RATE / 3].fill(0.0);
        }
        let cuts = cuts(&sound, 0..30 * RATE);
        assert_eq!(cuts.first(), Some(&0));
        for second in [9.1, 16.1, 25.1] {
            let near = |cut: &usize| (*cut as f64 / RATE as f64 - second).abs() < 0.2;
            assert!(cuts.iter().any(near), "{second}: {cuts:?}");
        }
    }

    #[test]
    fn a_standing_picture_is_a_freeze_even_if_it_is_shown_again() {
        let settings = video::Settings { width: 320, height: 180, ..video::Settings::default() };
        let scene = Scene::new(320, 180, 1).unwrap();
        let shown = |number: u64, at_ms: u64| {
            let picture = std::sync::Arc::new(scene.draw(number, (at_ms - 80) * MS));
            Shown { at_ns: at_ms * MS, tag: Tag::read(&picture), size: (320, 180), picture: Some(picture) }
        };
        // Thirty a second for two seconds; number 20 stands for 400 ms, shown again in between.
        let mut all: Vec<Shown> = (0..60).map(|at| shown(at, 1_000 + at * 33)).collect();
        let stand = all[20].clone();
        all.drain(21..33);
        all.insert(21, Shown { at_ns: stand.at_ns + 200 * MS, ..stand });
        let pieces = [Piece { heard_ns: 1_500 * MS, delay_ms: 60.0, similarity: 1.0 }];
        let score = picture(&all, (1, &settings), &pieces, (1_000 * MS, 3_000 * MS)).unwrap();
        assert_eq!(score.freezes, 1, "{score:?}");
        assert!((400.0..450.0).contains(&score.longest_ms), "{score:?}");
        assert_eq!(score.psnr_db, Some(99.0));
        assert_eq!(score.delay_ms, Some(80.0));
        assert_eq!(score.lips_ms, Some(20.0));
    }

    #[test]
    fn the_reference_is_a_codec_and_keeps_its_place() {
        use twocan_media::audio::synth::{Speech, Synth};
        let mut sound = vec![0.0; 2 * RATE];
        Speech::new(3).fill(&mut sound);
        let coded = reference(&sound).unwrap();
        assert_eq!(coded.len(), sound.len());
        assert_ne!(coded, sound);
        assert!(twocan_media::measure::correlation(&sound[..sound.len() - 312], &coded[312..]) > 0.8);
    }
}
