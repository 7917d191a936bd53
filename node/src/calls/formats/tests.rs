//! Descriptions of other programs, and of builds with other codecs than this one.

use super::*;

const LEVEL_3_1: PictureLimits = PictureLimits { pixels: 3600 * 256, pixel_rate: 108_000 * 256, bitrate: 14_000_000 };

fn limits(parameters: &str) -> Option<PictureLimits> {
    let line = format!("a=fmtp:96 {parameters}");
    let found = common_of(FORMATS, &["m=video 9 X 96", "a=rtpmap:96 h264/90000", &line]);
    found.first().map(|found| found.limits)
}

#[test]
fn constrained_baseline_in_mode_1_fits_whatever_its_level() {
    let level_3_1 = Some(LEVEL_3_1);
    let asymmetric = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=";
    for id in ["42e01f", "42E01F", "42c01f", "4d801f", "58c01f"] {
        assert_eq!(limits(&format!("{asymmetric}{id}")), level_3_1, "{id}");
    }
    for id in ["42001f", "4d001f", "64001f", "640c1f", "58801f", "42e0", "42e01f00", "xyzxyz", "42e0\u{e9}"] {
        assert_eq!(limits(&format!("{asymmetric}{id}")), None, "{id}");
    }
    for broken in
        ["", "profile-level-id=42e01f", "packetization-mode=0;profile-level-id=42e01f", "packetization-mode=1"]
    {
        assert_eq!(limits(broken), None, "{broken}");
    }
}

#[test]
fn the_level_and_larger_single_values_are_what_the_friend_takes() {
    let of = |rest: &str| limits(&format!("packetization-mode=1; level-asymmetry-allowed=1; {rest}")).unwrap();
    assert_eq!(of("profile-level-id=42e00a").pixels, 99 * 256);
    assert_eq!(of("profile-level-id=42f00b").pixels, 99 * 256, "level 1b");
    assert_eq!(of("profile-level-id=42e00b").pixels, 396 * 256);
    assert_eq!(of("profile-level-id=42e033").pixels, 36_864 * 256);
    assert_eq!(of("profile-level-id=42e035").pixels, 36_864 * 256, "between two levels the lower one");
    let more = of("profile-level-id=42e01f;max-fs=8160;max-mbps=245760;max-br=20000");
    assert_eq!(more, PictureLimits { pixels: 8160 * 256, pixel_rate: 245_760 * 256, bitrate: 20_000_000 });
    // A value below the level's says nothing (RFC 6184, 8.1), and none is too large to be read.
    assert_eq!(of("profile-level-id=42e01f;max-fs=10;max-br=x"), LEVEL_3_1);
    assert_eq!(of("profile-level-id=42e01f;max-fs=18446744073709551615").pixels, u32::MAX);
    // If the levels must be the same, the friend's cannot be above ours.
    let same = limits("packetization-mode=1;profile-level-id=42e03e").unwrap();
    assert_eq!(same.pixels, 36_864 * 256);
}

/// A browser's section: several codecs, several profiles of H.264, repairs.
const BROWSER: &str = "m=video 9 UDP/TLS/RTP/SAVPF 96 97 102 103 104 105 106 107 108\r\n\
    a=mid:1\r\na=sendrecv\r\na=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
    a=rtpmap:102 H264/90000\r\na=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f\r\n\
    a=rtpmap:104 H264/90000\r\na=fmtp:104 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f\r\n\
    a=rtpmap:106 H264/90000\r\na=fmtp:106 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
    a=rtpmap:108 AV1/90000\r\n";

fn with(section: &str) -> String {
    format!("v=0\r\nm=audio 9 X 111\r\na=mid:0\r\na=rtpmap:111 opus/48000/2\r\n{section}")
}

#[test]
fn of_a_browsers_codecs_the_one_that_is_ours_is_found_and_the_others_are_passed_over() {
    let found = common(&with(BROWSER), MediaKind::Video);
    assert_eq!(found, [Common { name: "h264", payload_type: 106, limits: LEVEL_3_1 }]);
    assert_eq!(common(&with(BROWSER), MediaKind::Screen), [], "there is no such section");
    assert_eq!(common(&with(&BROWSER.replace("m=video 9", "m=video 0")), MediaKind::Video), []);
    assert_eq!(answerable(&with(BROWSER)), (with(BROWSER), vec![]));
}

fn any(_: &Parameters) -> Option<PictureLimits> {
    Some(LEVEL_3_1)
}

#[test]
fn the_friends_order_is_followed_and_what_the_client_can_decides() {
    let form = |name, encoding, payload_type| Format { name, encoding, payload_type, fits: any, ..FORMATS[0] };
    let ours = [form("av1", "AV1", 45), form("vp8", "VP8", 46), FORMATS[0]];
    let section: Vec<&str> = BROWSER.lines().collect();
    let found = common_of(&ours, &section);
    let names: Vec<_> = found.iter().map(|one| (one.name, one.payload_type)).collect();
    assert_eq!(names, [("vp8", 96), ("h264", 106), ("av1", 108)]);
    let able = |encode: &[&str], decode: &[&str]| {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Ability::new(names(encode), names(decode))
    };
    let both = able(&["av1", "h264"], &["vp8"]);
    assert_eq!(both.sends(&found).map(|one| one.name), Some("h264"));
    assert_eq!(both.shows(&found), Some("vp8"));
    assert_eq!(able(&["av1"], &["h264"]).sends(&found).map(|one| one.payload_type), Some(108));
    assert_eq!(able(&["vp9"], &["vp9"]).sends(&found), None);
    assert_eq!(able(&["vp9"], &["vp9"]).shows(&found), None);
    assert_eq!(Ability::default().sends(&found).map(|one| one.name), Some("h264"), "what every client has");
    // The other side, with another order of the same, comes to its own choice of what it sends.
    let theirs = [FORMATS[0], form("av1", "AV1", 45)];
    let ours = [
        "m=video 9 X 45 102",
        "a=rtpmap:45 AV1/90000",
        "a=rtpmap:102 H264/90000",
        "a=fmtp:102 packetization-mode=1;profile-level-id=42e033",
    ];
    assert_eq!(common_of(&theirs, &ours).first().map(|one| one.name), Some("av1"));
}

#[test]
fn a_section_without_anything_common_is_answered_and_turned_down() {
    let foreign = with(&BROWSER.replace("H264", "H265"));
    let (readable, refused) = answerable(&foreign);
    assert_eq!(refused, [MediaKind::Video]);
    assert!(readable.contains("m=video 9 UDP/TLS/RTP/SAVPF 102\r\n") && readable.contains("a=inactive"), "{readable}");
    assert!(!readable.contains("H265") && readable.contains("a=mid:1"), "{readable}");
    assert_eq!(common(&readable, MediaKind::Video).len(), 1, "webrtc finds what it looks for");
    let told = turned_down(&readable, &refused);
    assert!(told.contains("m=video 0 ") && told.contains("m=audio 9 "), "{told}");
    assert_eq!(turned_down(&foreign, &[]), foreign);
    // A section that is turned down already stays as it is.
    let down = foreign.replace("m=video 9", "m=video 0");
    assert_eq!(answerable(&down), (down.clone(), vec![]));
}

#[test]
fn our_answer_names_our_level_unless_both_must_be_the_same() {
    let said = "a=fmtp:106 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n";
    let ours = with_our_limits(said);
    assert_eq!(ours, said.replace("42e01f", "42e033"));
    assert_eq!(with_our_limits(&ours), ours);
    let last = "a=fmtp:106 profile-level-id=42c00a;level-asymmetry-allowed=1;packetization-mode=1\r\na=mid:1\r\n";
    assert_eq!(with_our_limits(last), last.replace("42c00a", "42c033"));
    let symmetric = "a=fmtp:106 packetization-mode=1;profile-level-id=42e01f\r\n";
    assert_eq!(with_our_limits(symmetric), symmetric);
    assert_eq!(with_our_limits("a=fmtp:1 level-asymmetry-allowed=1;profile-level-id=4\r\n").lines().count(), 1);
}

#[test]
fn what_a_client_says_is_cut_to_size() {
    let many = Ability::new(vec!["x".into(); 1000], vec!["y".repeat(1000), String::new(), "h264".into()]);
    assert_eq!((many.encode.len(), many.decode), (MAX_NAMES, vec!["h264".to_owned()]));
}
