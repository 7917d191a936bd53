//! Which pictures two nodes exchange: the forms in which this node carries pictures in RTP, what a friend's description
//! says of them (RFC 3264, RFC 6184), and what is common.
//!
//! A friend may name any codecs; those that are not known here are passed over. The friend's order is followed, because
//! it is the friend who decodes. What a client can encode decides last ([`Ability`]).

use std::collections::BTreeMap;

use twocan_control::{MediaKind, PictureLimits};

use super::sdp;

/// Most payload types that are looked at in a section, and most parameters of one.
const MAX_TYPES: usize = 64;
const MAX_PARAMETERS: usize = 32;
/// Names that a client may list, and their length: codecs are few and have short names.
const MAX_NAMES: usize = 16;
const MAX_NAME: usize = 16;
/// Pixels of a macroblock.
const MACROBLOCK: u64 = 256;

/// Parameters of a payload type (`a=fmtp`), by lower-case name.
type Parameters = BTreeMap<String, String>;

/// A form in which this node carries pictures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Format {
    /// The name by which clients know the codec.
    pub(super) name: &'static str,
    /// Its encoding name in descriptions.
    pub(super) encoding: &'static str,
    /// The payload type that we offer.
    pub(super) payload_type: u8,
    /// The payload type of its repairs (RFC 4588).
    pub(super) repairs: u8,
    /// Our parameters.
    pub(super) parameters: &'static str,
    /// What a receiver with these parameters takes; `None` if the two do not fit together.
    fits: fn(&Parameters) -> Option<PictureLimits>,
}

/// The forms of this build, best first.
pub(super) const FORMATS: &[Format] = &[Format {
    name: "h264",
    encoding: "H264",
    payload_type: 102,
    repairs: 103,
    // Constrained baseline, level 5.1: the largest picture that clients take has 36 864 macroblocks.
    parameters: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e033",
    fits: h264,
}];

/// Level of `profile-level-id` in [`FORMATS`].
const OUR_LEVEL: u8 = 0x33;

/// Levels of H.264 (table A-1): number, macroblocks a second, macroblocks a picture, thousand bits a second.
const LEVELS: &[(u8, u64, u64, u64)] = &[
    (10, 1485, 99, 64),
    (11, 3000, 396, 192),
    (12, 6000, 396, 384),
    (13, 11_880, 396, 768),
    (20, 11_880, 396, 2000),
    (21, 19_800, 792, 4000),
    (22, 20_250, 1620, 4000),
    (30, 40_500, 1620, 10_000),
    (31, 108_000, 3600, 14_000),
    (32, 216_000, 5120, 20_000),
    (40, 245_760, 8192, 20_000),
    (41, 245_760, 8192, 50_000),
    (42, 522_240, 8704, 50_000),
    (50, 589_824, 22_080, 135_000),
    (51, 983_040, 36_864, 240_000),
    (52, 2_073_600, 36_864, 240_000),
    (60, 4_177_920, 139_264, 240_000),
    (61, 8_355_840, 139_264, 480_000),
    (62, 16_711_680, 139_264, 800_000),
];

/// H.264: constrained baseline in packetization mode 1, of any level (RFC 6184, 8.1 and 8.2.2).
fn h264(parameters: &Parameters) -> Option<PictureLimits> {
    let number = |name: &str| parameters.get(name).and_then(|value| value.parse::<u64>().ok());
    if number("packetization-mode") != Some(1) {
        return None;
    }
    // Without the parameter it would be plain baseline, which we do not decode.
    let id = parameters.get("profile-level-id").filter(|id| id.len() == 6 && id.is_ascii())?;
    let id = u32::from_str_radix(id, 16).ok()?;
    let (profile, flags, level) = ((id >> 16) as u8, (id >> 8) as u8, id as u8);
    // Table 5: which combinations are constrained baseline.
    let constrained = match profile {
        0x42 => flags & 0x40 != 0,
        0x4d => flags & 0x80 != 0,
        0x58 => flags & 0xc0 == 0xc0,
        _ => false,
    };
    if !constrained {
        return None;
    }
    // Level 1b is 11 with a flag, or 9; it has the sizes of level 1.
    let level = if level == 9 || (level == 11 && flags & 0x10 != 0) { 10 } else { level };
    // Unless both may differ, the lower level holds in both directions.
    let level = if number("level-asymmetry-allowed") == Some(1) { level } else { level.min(OUR_LEVEL) };
    let (_, rate, size, kilobits) = *LEVELS.iter().rev().find(|(known, ..)| *known <= level)?;
    let more = |name: &str, least: u64| number(name).map_or(least, |told| told.max(least));
    let pixels = more("max-fs", size).saturating_mul(MACROBLOCK);
    Some(PictureLimits {
        pixels: u32::try_from(pixels).unwrap_or(u32::MAX),
        pixel_rate: more("max-mbps", rate).saturating_mul(MACROBLOCK),
        bitrate: more("max-br", kilobits).saturating_mul(1000),
    })
}

/// A payload type of a friend's description.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Offered {
    payload_type: u8,
    encoding: String,
    parameters: Parameters,
}

/// What a section of a description lists, in its order.
fn offered(section: &[&str]) -> Vec<Offered> {
    let types = section.first().map(|line| line.split(' ').skip(3).take(MAX_TYPES)).into_iter().flatten();
    let types: Vec<u8> = types.filter_map(|word| word.parse().ok()).collect();
    let of = |start: &str, payload_type: u8| {
        section.iter().find_map(|line| {
            let (number, rest) = line.strip_prefix(start)?.split_once(' ')?;
            (number.parse() == Ok(payload_type)).then_some(rest)
        })
    };
    let known = types.into_iter().filter_map(|payload_type| {
        let (encoding, _) = of("a=rtpmap:", payload_type)?.split_once('/')?;
        let parameters = of("a=fmtp:", payload_type).unwrap_or_default();
        let parameters = parameters.split(';').take(MAX_PARAMETERS).filter_map(|one| {
            let (name, value) = one.trim().split_once('=')?;
            Some((name.to_ascii_lowercase(), value.to_owned()))
        });
        Some(Offered { payload_type, encoding: encoding.to_owned(), parameters: parameters.collect() })
    });
    known.collect()
}

/// A form that both have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Common {
    /// The name by which clients know the codec.
    pub(super) name: &'static str,
    /// The payload type in which the friend takes it.
    pub(super) payload_type: u8,
    /// What the friend takes of it.
    pub(super) limits: PictureLimits,
}

/// What is common to our forms and a section, in the order of the section.
fn common_of(ours: &[Format], section: &[&str]) -> Vec<Common> {
    let fitting = offered(section).into_iter().filter_map(|theirs| {
        let format = ours.iter().find(|format| format.encoding.eq_ignore_ascii_case(&theirs.encoding))?;
        let limits = (format.fits)(&theirs.parameters)?;
        Some(Common { name: format.name, payload_type: theirs.payload_type, limits })
    });
    fitting.collect()
}

/// What a friend takes of pictures of this kind that we carry, best first. Nothing if the section is turned down.
pub(super) fn common(sdp: &str, kind: MediaKind) -> Vec<Common> {
    if !sdp::takes(sdp, kind) {
        return Vec::new();
    }
    sdp::sections(sdp).1.get(super::place_of(kind)).map(|section| common_of(FORMATS, section)).unwrap_or_default()
}

/// A friend's offer in a form that webrtc can answer: a section of pictures of which nothing is common stands there with
/// our codecs, inactive; webrtc refuses an offer without any. The kinds that are not taken are given beside; our answer
/// turns them down ([`turned_down`]).
pub(super) fn answerable(offer: &str) -> (String, Vec<MediaKind>) {
    let (head, sections) = sdp::sections(offer);
    let mut refused = Vec::new();
    let mut lines: Vec<String> = head.into_iter().map(str::to_owned).collect();
    for (section, kind) in sections.into_iter().zip(MediaKind::ALL) {
        if !kind.is_picture() || !sdp::is_open(&section) || !common_of(FORMATS, &section).is_empty() {
            lines.extend(section.into_iter().map(str::to_owned));
            continue;
        }
        refused.push(kind);
        let mut words: Vec<String> =
            section.first().map(|line| line.split(' ').take(3).map(str::to_owned).collect()).unwrap_or_default();
        words.extend(FORMATS.iter().map(|format| format.payload_type.to_string()));
        lines.push(words.join(" "));
        let dropped =
            ["m=", "a=rtpmap:", "a=fmtp:", "a=rtcp-fb:", "a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive"];
        let kept = section.iter().filter(|line| !dropped.iter().any(|start| line.starts_with(start)));
        lines.extend(kept.map(|line| (*line).to_owned()));
        lines.push("a=inactive".to_owned());
        for Format { encoding, payload_type, parameters, .. } in FORMATS {
            lines.push(format!("a=rtpmap:{payload_type} {encoding}/90000"));
            lines.push(format!("a=fmtp:{payload_type} {parameters}"));
        }
    }
    (lines.iter().flat_map(|line| [line.as_str(), "\r\n"]).collect(), refused)
}

/// A description with the sections of these kinds turned down.
pub(super) fn turned_down(sdp: &str, kinds: &[MediaKind]) -> String {
    if kinds.is_empty() {
        return sdp.to_owned();
    }
    let (head, sections) = sdp::sections(sdp);
    let mut lines: Vec<String> = head.into_iter().map(str::to_owned).collect();
    for (section, kind) in sections.into_iter().zip(MediaKind::ALL) {
        let down = kinds.contains(&kind);
        for line in section {
            let mut words: Vec<&str> = line.split(' ').collect();
            if let Some(port) = words.get_mut(1).filter(|_| down && line.starts_with("m=")) {
                *port = "0";
            }
            lines.push(words.join(" "));
        }
    }
    lines.iter().flat_map(|line| [line.as_str(), "\r\n"]).collect()
}

/// Our description with our own limits in it: webrtc's answers repeat the friend's parameters. A friend that allows no
/// other level in the other direction gets its own back.
pub(super) fn with_our_limits(sdp: &str) -> String {
    let mut out = String::with_capacity(sdp.len() + 64);
    for line in sdp.split("\r\n").filter(|line| !line.is_empty()) {
        match line.find("profile-level-id=").filter(|_| line.starts_with("a=fmtp:")) {
            Some(at) if line.contains("level-asymmetry-allowed=1") => {
                let value = at + "profile-level-id=".len();
                let end = line[value..].find(';').map_or(line.len(), |length| value + length);
                let profile = line.get(value..value + 4).unwrap_or("42e0");
                out.push_str(&line[..value]);
                out.push_str(&format!("{profile}{OUR_LEVEL:02x}"));
                out.push_str(&line[end..]);
            }
            _ => out.push_str(line),
        }
        out.push_str("\r\n");
    }
    out
}

/// What a client encodes and decodes. Until it says so, it is H.264, which every client has (as RFC 7742 has it).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ability {
    encode: Vec<String>,
    decode: Vec<String>,
}

impl Default for Ability {
    fn default() -> Self {
        Self { encode: vec!["h264".into()], decode: vec!["h264".into()] }
    }
}

impl Ability {
    /// As a client says it, best first; names that are none are passed over.
    pub(super) fn new(encode: Vec<String>, decode: Vec<String>) -> Self {
        let cut = |names: Vec<String>| {
            names.into_iter().filter(|name| !name.is_empty() && name.len() <= MAX_NAME).take(MAX_NAMES).collect()
        };
        Self { encode: cut(encode), decode: cut(decode) }
    }

    /// What to send in: the first that the friend takes and the client makes.
    pub(super) fn sends(&self, common: &[Common]) -> Option<Common> {
        common.iter().find(|one| self.encode.iter().any(|name| name == one.name)).copied()
    }

    /// What comes, if the client can show it.
    pub(super) fn shows(&self, common: &[Common]) -> Option<&'static str> {
        common.first().map(|one| one.name).filter(|name| self.decode.iter().any(|known| known == name))
    }
}

#[cfg(test)]
mod tests;
