//! The few lines of a session description that we read ourselves, and the bounds a foreign one must keep.
//!
//! webrtc parses the rest. What reaches it from a friend has been cut to size here: bounded length, one audio and at
//! most one video section, exactly one certificate fingerprint, and no candidates (those come on their own and are
//! examined one by one, see [`super::candidate`]).

use super::{DescriptionError, Fingerprint, MAX_SDP_LEN};

/// Longest line taken.
const MAX_LINE: usize = 1024;
/// Most lines taken.
const MAX_LINES: usize = 512;

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

/// Checks a friend's description and gives it as webrtc may see it.
pub(super) fn examined(sdp: &str) -> Result<String, DescriptionError> {
    if sdp.len() > MAX_SDP_LEN {
        return Err(DescriptionError::TooLong);
    }
    if !sdp.is_ascii() || sdp.bytes().any(|b| b.is_ascii_control() && b != b'\r' && b != b'\n') {
        return Err(DescriptionError::Text);
    }
    let (mut audio, mut video, mut other) = (0, 0, 0);
    for (number, line) in lines(sdp).enumerate() {
        if number >= MAX_LINES || line.len() > MAX_LINE {
            return Err(DescriptionError::TooLong);
        }
        if let Some(section) = line.strip_prefix("m=") {
            match section.split(' ').next() {
                Some("audio") => audio += 1,
                Some("video") => video += 1,
                _ => other += 1,
            }
        }
    }
    if audio != 1 || video > 1 || other > 0 {
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
    fn what_we_would_not_say_is_refused() {
        let data = format!("{}m=application 9 X webrtc-datachannel\r\n", sample());
        assert_eq!(examined(&data), Err(DescriptionError::Sections));
        let second = format!("{}m=audio 9 X 111\r\n", sample());
        assert_eq!(examined(&second), Err(DescriptionError::Sections));
        let two_prints = format!("{}a=fingerprint:sha-256 {}\r\n", sample(), PRINT.replace("00", "01"));
        assert_eq!(examined(&two_prints), Err(DescriptionError::Fingerprint));
        assert_eq!(examined(&sample().replace("sha-256", "sha-1")), Err(DescriptionError::Fingerprint));
        assert_eq!(examined("m=audio 9 X 1\r\n"), Err(DescriptionError::Fingerprint));
        assert_eq!(examined(&format!("{}{}", sample(), "a=x\r\n".repeat(10_000))), Err(DescriptionError::TooLong));
        assert_eq!(examined(&format!("{}a=\u{e9}\r\n", sample())), Err(DescriptionError::Text));
    }
}
