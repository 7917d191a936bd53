//! The few lines of a session description that we read ourselves, and the bounds a foreign one must keep.
//!
//! webrtc parses the rest. What reaches it from a friend has been cut to size here: bounded length, the sections of a
//! call and no others, exactly one certificate fingerprint, and no candidates (those come on their own and are examined
//! one by one, see [`super::candidate`]).
//!
//! The first two sections (voice, camera) travel as a whole description, the others (screen, its sound) beside it: see
//! [`parted`] and [`joined`].

use twocan_control::MediaKind;

use super::{DescriptionError, Fingerprint, MAX_SDP_LEN};

/// Longest line taken.
const MAX_LINE: usize = 1024;
/// Most lines taken.
const MAX_LINES: usize = 512;
/// Sections that travel in the description itself.
const FIRST_SECTIONS: usize = 2;
/// The sections of a call, in their order.
const SECTIONS: [MediaKind; 4] = MediaKind::ALL;

/// Lines of a description, without their line ends.
fn lines(sdp: &str) -> impl Iterator<Item = &str> {
    sdp.split('\n').map(|line| line.trim_end_matches('\r')).filter(|line| !line.is_empty())
}

fn is_candidate(line: &str) -> bool {
    line.starts_with("a=candidate:") || line.starts_with("a=end-of-candidates") || line.starts_with("a=remote-cand")
}

/// The description without candidates: they travel apart.
pub(super) fn without_candidates(sdp: &str) -> String {
    let mut out = String::with_capacity(sdp.len());
    for line in lines(sdp).filter(|line| !is_candidate(line)) {
        out.push_str(line);
        out.push_str("\r\n");
    }
    out
}

/// The one SHA-256 fingerprint of a description.
pub(super) fn fingerprint(sdp: &str) -> Result<Fingerprint, DescriptionError> {
    let mut found: Option<Fingerprint> = None;
    for line in lines(sdp) {
        let Some(value) = line.strip_prefix("a=fingerprint:") else { continue };
        let (algorithm, hex) = value.split_once(' ').ok_or(DescriptionError::Fingerprint)?;
        if !algorithm.eq_ignore_ascii_case("sha-256") {
            return Err(DescriptionError::Fingerprint);
        }
        let this = Fingerprint::from_text(hex.trim()).ok_or(DescriptionError::Fingerprint)?;
        if found.is_some_and(|earlier| earlier != this) {
            return Err(DescriptionError::Fingerprint);
        }
        found = Some(this);
    }
    found.ok_or(DescriptionError::Fingerprint)
}

/// The value of an attribute (`a=name:value`), where it is first; all sections share one transport.
pub(super) fn attribute<'a>(sdp: &'a str, name: &str) -> Option<&'a str> {
    lines(sdp).find_map(|line| line.strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':'))
}

/// Whether a description knows redundant audio data (RFC 2198).
pub(super) fn takes_red(sdp: &str) -> bool {
    let maps = lines(sdp).filter_map(|line| line.strip_prefix("a=rtpmap:")?.split_once(' '));
    maps.into_iter().any(|(_, codec)| codec.to_ascii_lowercase().starts_with("red/48000"))
}

/// Part in the DTLS handshake (RFC 5763, 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DtlsPart {
    Active,
    Passive,
}

impl DtlsPart {
    /// The part of the other side.
    pub(super) fn other(self) -> Self {
        match self {
            Self::Active => Self::Passive,
            Self::Passive => Self::Active,
        }
    }
}

/// The part that an answer settles on.
pub(super) fn dtls_part(sdp: &str) -> Option<DtlsPart> {
    match attribute(sdp, "setup")? {
        "active" => Some(DtlsPart::Active),
        "passive" => Some(DtlsPart::Passive),
        _ => None,
    }
}

/// A description that was said before, said again: another version, and the DTLS part as settled (open in an offer).
pub(super) fn again(sdp: &str, version: u64, part: Option<DtlsPart>) -> String {
    let part = match part {
        None => "actpass",
        Some(DtlsPart::Active) => "active",
        Some(DtlsPart::Passive) => "passive",
    };
    let mut out = String::with_capacity(sdp.len() + 16);
    for line in lines(sdp) {
        if line.starts_with("a=setup:") {
            out.push_str("a=setup:");
            out.push_str(part);
        } else if let Some(origin) = line.strip_prefix("o=") {
            let mut words: Vec<String> = origin.split(' ').map(str::to_owned).collect();
            if let Some(word) = words.get_mut(2) {
                let first: u64 = word.parse().unwrap_or_default();
                *word = first.saturating_add(version).to_string();
            }
            out.push_str("o=");
            out.push_str(&words.join(" "));
        } else {
            out.push_str(line);
        }
        out.push_str("\r\n");
    }
    out
}

/// The word of an `m=` line.
fn media_of(kind: MediaKind) -> &'static str {
    if kind.is_picture() { "video" } else { "audio" }
}

/// The value of `a=mid` in each section, in their order.
fn mids(sdp: &str) -> Vec<&str> {
    lines(sdp).filter_map(|line| line.strip_prefix("a=mid:")).collect()
}

/// The description with its `a=group:BUNDLE` naming these sections.
fn bundled(sdp: &str, mids: &[&str]) -> String {
    let mut out = String::with_capacity(sdp.len() + 16);
    for line in lines(sdp) {
        if line.starts_with("a=group:BUNDLE") {
            out.push_str("a=group:BUNDLE ");
            out.push_str(&mids.join(" "));
        } else {
            out.push_str(line);
        }
        out.push_str("\r\n");
    }
    out
}

/// Parts our description into what every node takes (voice and camera, a whole description) and the further sections,
/// which a node of an older version does not know.
pub(super) fn parted(sdp: &str) -> (String, String) {
    let (mut first, mut more, mut section) = (String::with_capacity(sdp.len()), String::new(), 0);
    for line in lines(sdp) {
        section += usize::from(line.starts_with("m="));
        let to = if section > FIRST_SECTIONS { &mut more } else { &mut first };
        to.push_str(line);
        to.push_str("\r\n");
    }
    let rejected = rejected(&first);
    let bundle: Vec<&str> = mids(&first).into_iter().filter(|mid| !rejected.contains(mid)).collect();
    (bundled(&first, &bundle), more)
}

/// A friend's two parts as one description.
pub(super) fn joined(sdp: &str, more: &str) -> String {
    if more.is_empty() || sdp.len() + more.len() > MAX_SDP_LEN {
        // What is too long is refused by `examined`, in these words or without the further sections.
        return sdp.to_owned();
    }
    let mut whole = sdp.trim_end_matches(['\r', '\n']).to_owned();
    whole.push_str("\r\n");
    whole.push_str(more);
    let rejected = rejected(&whole);
    let mids = mids(&whole);
    let bundle: Vec<&str> = mids.iter().copied().filter(|mid| !rejected.contains(mid)).collect();
    bundled(&whole, &bundle)
}

/// The sections that are turned down (port 0), by their `a=mid`.
fn rejected(sdp: &str) -> Vec<&str> {
    let (mut port, mut out) = (false, Vec::new());
    for line in lines(sdp) {
        if let Some(section) = line.strip_prefix("m=") {
            port = section.split(' ').nth(1) == Some("0");
        } else if let Some(mid) = line.strip_prefix("a=mid:").filter(|_| port) {
            out.push(mid);
        }
    }
    out
}

/// The lines before the first section, and the lines of each section.
pub(super) fn sections(sdp: &str) -> (Vec<&str>, Vec<Vec<&str>>) {
    let (mut head, mut sections) = (Vec::new(), Vec::<Vec<&str>>::new());
    for line in lines(sdp) {
        if line.starts_with("m=") {
            sections.push(Vec::new());
        }
        sections.last_mut().unwrap_or(&mut head).push(line);
    }
    (head, sections)
}

/// Whether a section is there and not turned down (port 0).
pub(super) fn is_open(section: &[&str]) -> bool {
    section.first().is_some_and(|line| line.split(' ').nth(1) != Some("0"))
}

/// An answer with a section for each of the offer's, as RFC 3264 asks: those that the friend's node does not know, or
/// turns down, are turned down in words that webrtc reads (it looks for the codecs in these, too).
pub(super) fn completed(answer: &str, offer: &str) -> String {
    let (head, answered) = sections(answer);
    let (_, offered) = sections(offer);
    let mut out: Vec<String> = head.into_iter().map(str::to_owned).collect();
    for (at, offered) in offered.iter().enumerate() {
        if let Some(section) = answered.get(at).filter(|section| is_open(section)) {
            out.extend(section.iter().map(|line| (*line).to_owned()));
            continue;
        }
        let mut words: Vec<&str> = offered.first().map(|line| line.split(' ').collect()).unwrap_or_default();
        if let Some(port) = words.get_mut(1) {
            *port = "0";
        }
        out.push(words.join(" "));
        out.extend(["c=IN IP4 0.0.0.0".to_owned(), "a=inactive".to_owned()]);
        let kept = ["a=mid:", "a=rtpmap:", "a=fmtp:", "a=rtcp-fb:"];
        let codecs = offered.iter().filter(|line| kept.iter().any(|start| line.starts_with(start)));
        out.extend(codecs.map(|line| (*line).to_owned()));
    }
    out.iter().flat_map(|line| [line.as_str(), "\r\n"]).collect()
}

/// What each synchronisation source of a description belongs to, by the section that names it.
pub(super) fn sources(sdp: &str) -> Vec<(u32, MediaKind)> {
    let (mut section, mut out) = (0, Vec::new());
    for line in lines(sdp) {
        section += usize::from(line.starts_with("m="));
        let kind = section.checked_sub(1).and_then(|at| SECTIONS.get(at));
        let ssrc = line.strip_prefix("a=ssrc:").and_then(|rest| rest.split(' ').next()?.parse().ok());
        if let (Some(kind), Some(ssrc)) = (kind, ssrc)
            && out.len() < MAX_LINES
            && !out.iter().any(|(known, _)| *known == ssrc)
        {
            out.push((ssrc, *kind));
        }
    }
    out
}

/// Whether a description's section of this kind is there and not turned down.
pub(super) fn takes(sdp: &str, kind: MediaKind) -> bool {
    sections(sdp).1.get(super::place_of(kind)).is_some_and(|section| is_open(section))
}

/// Checks a friend's description and gives it as webrtc may see it.
pub(super) fn examined(sdp: &str) -> Result<String, DescriptionError> {
    if sdp.len() > MAX_SDP_LEN {
        return Err(DescriptionError::TooLong);
    }
    if !sdp.is_ascii() || sdp.bytes().any(|b| b.is_ascii_control() && b != b'\r' && b != b'\n') {
        return Err(DescriptionError::Text);
    }
    let mut sections = SECTIONS.into_iter();
    for (number, line) in lines(sdp).enumerate() {
        if number >= MAX_LINES || line.len() > MAX_LINE {
            return Err(DescriptionError::TooLong);
        }
        if let Some(section) = line.strip_prefix("m=") {
            let kind = sections.next().ok_or(DescriptionError::Sections)?;
            if section.split(' ').next() != Some(media_of(kind)) {
                return Err(DescriptionError::Sections);
            }
        }
    }
    if sections.len() == SECTIONS.len() {
        return Err(DescriptionError::Sections);
    }
    fingerprint(sdp)?;
    Ok(without_candidates(sdp))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINT: &str =
        "00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF";

    fn sample() -> String {
        format!(
            "v=0\r\na=fingerprint:sha-256 {PRINT}\r\nm=audio 9 X 111\r\na=ice-ufrag:abcd\r\na=candidate:1 1 udp 1 10.0.0.1 5000 typ host\r\nm=video 9 X 102\r\n"
        )
    }

    #[test]
    fn a_description_is_taken_without_its_candidates() {
        let taken = examined(&sample()).unwrap();
        assert!(!taken.contains("candidate"));
        assert_eq!(taken.lines().count(), 5);
        assert_eq!(attribute(&taken, "ice-ufrag"), Some("abcd"));
        assert_eq!(fingerprint(&taken).unwrap().to_string().to_uppercase(), PRINT);
    }

    #[test]
    fn a_description_said_again_differs_in_its_number_and_its_part() {
        let first = "v=0\r\no=- 77 5 IN IP4 0.0.0.0\r\na=setup:active\r\na=ice-ufrag:abcd\r\n";
        let offer = again(first, 2, None);
        assert_eq!(offer, "v=0\r\no=- 77 7 IN IP4 0.0.0.0\r\na=setup:actpass\r\na=ice-ufrag:abcd\r\n");
        assert_eq!(dtls_part(&offer), None);
        assert_eq!(dtls_part(&again(&offer, 1, Some(DtlsPart::Passive))), Some(DtlsPart::Passive));
        assert_eq!(dtls_part(first).map(DtlsPart::other), Some(DtlsPart::Passive));
    }

    #[test]
    fn redundant_audio_is_found_in_a_description() {
        assert!(!takes_red(&sample()));
        assert!(takes_red(&format!("{}a=rtpmap:63 red/48000/2\r\n", sample())));
        assert!(!takes_red(&format!("{}a=rtpmap:116 red/90000\r\n", sample())));
    }

    #[test]
    fn what_we_would_not_say_is_refused() {
        let data = format!("{}m=application 9 X webrtc-datachannel\r\n", sample());
        assert_eq!(examined(&data), Err(DescriptionError::Sections));
        let second = format!("{}m=audio 9 X 111\r\n", sample());
        assert_eq!(examined(&second), Err(DescriptionError::Sections), "the third section is a screen");
        let fifth = format!("{}m=video 9 X 1\r\nm=audio 9 X 1\r\nm=video 9 X 1\r\n", sample());
        assert_eq!(examined(&fifth), Err(DescriptionError::Sections));
        assert_eq!(examined(&format!("v=0\r\na=fingerprint:sha-256 {PRINT}\r\n")), Err(DescriptionError::Sections));
        let two_prints = format!("{}a=fingerprint:sha-256 {}\r\n", sample(), PRINT.replace("00", "01"));
        assert_eq!(examined(&two_prints), Err(DescriptionError::Fingerprint));
        assert_eq!(examined(&sample().replace("sha-256", "sha-1")), Err(DescriptionError::Fingerprint));
        assert_eq!(examined("m=audio 9 X 1\r\n"), Err(DescriptionError::Fingerprint));
        assert_eq!(examined(&format!("{}{}", sample(), "a=x\r\n".repeat(10_000))), Err(DescriptionError::TooLong));
        assert_eq!(examined(&format!("{}a=\u{e9}\r\n", sample())), Err(DescriptionError::Text));
    }

    const WHOLE: &str = "v=0\r\na=group:BUNDLE 0 1 2 3\r\nm=audio 9 X 111\r\na=mid:0\r\na=ssrc:10 cname:a\r\n\
                         m=video 9 X 102\r\na=mid:1\r\na=ssrc:11 cname:a\r\na=ssrc:11 msid:b c\r\n\
                         m=video 9 X 102\r\na=mid:2\r\na=ssrc:12 cname:a\r\nm=audio 9 X 111\r\na=mid:3\r\na=ssrc:13 x\r\n";

    #[test]
    fn a_description_is_parted_into_one_that_older_nodes_take_and_the_rest_and_joined_again() {
        let (first, more) = parted(WHOLE);
        assert_eq!(first.matches("m=").count(), 2);
        assert!(first.contains("a=group:BUNDLE 0 1\r\n"), "{first}");
        assert!(more.starts_with("m=video 9 X 102\r\na=mid:2\r\n"), "{more}");
        assert_eq!(joined(&first, &more), WHOLE);
        assert_eq!(joined(&first, ""), first);
        assert_eq!(parted(&first), (first.clone(), String::new()));
        let turned_down = more.replace("video 9", "video 0");
        assert!(joined(&first, &turned_down).contains("a=group:BUNDLE 0 1 3\r\n"));
        assert_eq!(joined(&first, &"x".repeat(MAX_SDP_LEN)), first);
    }

    #[test]
    fn sections_that_an_older_node_left_out_of_its_answer_are_turned_down() {
        let (answer, _) = parted(WHOLE);
        let whole = completed(&answer, WHOLE);
        assert_eq!(whole.matches("m=").count(), 4);
        assert!(whole.contains("m=video 0 X 102\r\n") && whole.contains("m=audio 0 X 111\r\n"), "{whole}");
        assert_eq!(MediaKind::ALL.map(|kind| takes(&whole, kind)), [true, true, false, false]);
        assert_eq!(MediaKind::ALL.map(|kind| takes(&answer, kind)), [true, true, false, false]);
        assert_eq!(completed(WHOLE, WHOLE), WHOLE);
        assert_eq!(completed(WHOLE, &answer).matches("m=").count(), 2, "an answer has no more than its offer");
        let bare = WHOLE.replace("m=video 9 X 102\r\na=mid:2\r\n", "m=video 0 X 0\r\n");
        let offer = WHOLE.replace("a=mid:2\r\n", "a=mid:2\r\na=rtpmap:102 H264/90000\r\n");
        let whole = completed(&bare, &offer);
        assert!(
            whole.contains("m=video 0 X 102\r\nc=IN IP4 0.0.0.0\r\na=inactive\r\na=mid:2\r\na=rtpmap:102"),
            "{whole}"
        );
    }

    #[test]
    fn sources_belong_to_the_section_that_names_them() {
        let expected =
            [(10, MediaKind::Audio), (11, MediaKind::Video), (12, MediaKind::Screen), (13, MediaKind::Sound)];
        assert_eq!(sources(WHOLE), expected);
        let stolen = format!("{WHOLE}a=ssrc:10 again\r\n");
        assert_eq!(sources(&stolen), expected, "the first word counts");
    }
}
