//! Codecs of pictures: what both have is used, what one alone has is passed over, and without any the voice goes on.

use twocan_control::{MediaControl, MediaKind, PictureLimits};

use super::harness::{Pair, Side, access_unit};
use super::{Description, OPEN, OfferKind, PeerCommand};

async fn connected(mut pair: Pair) -> Pair {
    pair.a.command(PeerCommand::Offer { generation: 1, kind: OfferKind::First });
    pair.connect().await;
    pair.open(OPEN).await;
    pair
}

fn in_both_parts(description: &mut Description, change: impl Fn(&str) -> String) {
    description.sdp = change(&description.sdp);
    description.more = change(&description.more);
}

/// Waits until the client may send pictures of both kinds in this codec, or in none; gives what the friend takes.
async fn may_send(side: &mut Side, codec: Option<&str>) -> Option<PictureLimits> {
    let told = side
        .control(|control| match control {
            MediaControl::Streams { video_codec, screen_codec, .. } => {
                (video_codec.as_deref(), screen_codec.as_deref()) == (codec, codec)
                    && (codec.is_none() || matches!(control, MediaControl::Streams { video_limits: Some(_), .. }))
            }
            _ => false,
        })
        .await;
    let MediaControl::Streams { video_limits, screen_limits, receive, .. } = told else { unreachable!() };
    assert_eq!(video_limits, screen_limits);
    assert_eq!(receive.iter().any(|stream| stream.kind.is_picture()), codec.is_some(), "{receive:?}");
    video_limits
}

async fn video_passes(pair: &mut Pair) {
    let Pair { a, b } = pair;
    one_way(a, b).await;
    one_way(b, a).await;
}

async fn one_way(from: &mut Side, to: &mut Side) {
    from.send_video(access_unit(3000, true)).await;
    while to.frame().await.kind != MediaKind::Video {}
}

#[tokio::test]
async fn a_friend_without_any_codec_of_ours_gets_the_voice_alone() {
    for foreign_offers in [true, false] {
        let pair = Pair::new().await;
        let foreign = if foreign_offers { &pair.a } else { &pair.b };
        foreign.tamper(|description| in_both_parts(description, |sdp| sdp.replace("H264", "H265")));
        let mut pair = connected(pair).await;
        let told = if foreign_offers { &mut pair.b } else { &mut pair.a };
        may_send(told, None).await;
        if foreign_offers {
            // Our answer turns the pictures down, so that the other side knows, too.
            may_send(&mut pair.a, None).await;
        }
        pair.audio_passes(1).await;
    }
}

#[tokio::test]
async fn codecs_that_only_one_side_has_are_passed_over_wherever_they_stand() {
    let pair = Pair::new().await;
    let add = |sdp: &str| {
        let first = "m=video 9 UDP/TLS/RTP/SAVPF ";
        sdp.replace(first, &format!("{first}45 46 ")).replace(
            "a=rtpmap:102 ",
            "a=rtpmap:45 AV1/90000\r\na=rtpmap:46 VP9/90000\r\na=fmtp:46 profile-id=0\r\na=rtpmap:102 ",
        )
    };
    pair.a.tamper(move |description| {
        in_both_parts(description, add);
        assert!(description.sdp.contains("SAVPF 45 46 102"), "{}", description.sdp);
    });
    let mut pair = connected(pair).await;
    for side in [&mut pair.a, &mut pair.b] {
        may_send(side, Some("h264")).await;
    }
    video_passes(&mut pair).await;
}

#[tokio::test]
async fn both_learn_what_the_other_takes() {
    let pair = Pair::new().await;
    pair.b.tamper(|description| in_both_parts(description, |sdp| sdp.replace("42e033", "42e01f;max-fs=8160")));
    let mut pair = connected(pair).await;
    let of_b = may_send(&mut pair.a, Some("h264")).await.unwrap();
    assert_eq!((of_b.pixels, of_b.pixel_rate, of_b.bitrate), (8160 * 256, 108_000 * 256, 14_000_000));
    assert_eq!(may_send(&mut pair.b, Some("h264")).await.unwrap().pixels, 36_864 * 256);
    video_passes(&mut pair).await;
}

#[tokio::test]
async fn a_client_that_makes_other_codecs_sends_no_pictures_and_the_next_one_does() {
    let mut pair = connected(Pair::new().await).await;
    may_send(&mut pair.a, Some("h264")).await;
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    pair.a.say(MediaControl::Codecs { encode: names(&["av1"]), decode: names(&["av1"]) }).await;
    may_send(&mut pair.a, None).await;
    pair.audio_passes(1).await;
    pair.a.say(MediaControl::Codecs { encode: names(&["av1", "h264"]), decode: names(&["h264"]) }).await;
    may_send(&mut pair.a, Some("h264")).await;
    video_passes(&mut pair).await;
    pair.a.say(MediaControl::Codecs { encode: names(&[]), decode: names(&[]) }).await;
    may_send(&mut pair.a, None).await;
    // Whoever takes the seat without a word has what every client has.
    pair.a.leave_seat();
    pair.a.take_seat();
    may_send(&mut pair.a, Some("h264")).await;
    video_passes(&mut pair).await;
}
