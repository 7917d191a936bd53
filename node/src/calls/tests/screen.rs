//! The shared screen and its sound beside voice and camera; and friends whose node knows neither.

use std::time::Duration;

use twocan_control::{Made, MediaControl, MediaKind, Quality, Shown};

use super::harness::{self, Pair, access_unit};
use super::{OPEN, OfferKind, PeerCommand, PeerEvent, SCREEN_STREAM, SOUND_STREAM};

/// Sends one frame of each kind from both sides until each has all kinds that it shall get; gives those of the first.
async fn all_pass(pair: &mut Pair, kinds: &[MediaKind]) {
    for n in 0..100 {
        for side in [&mut pair.a, &mut pair.b] {
            for kind in MediaKind::ALL {
                let key = n % 10 == 0;
                let payload = if kind.is_picture() {
                    access_unit(4000 + usize::from(kind.number()), key)
                } else {
                    harness::opus(n)
                };
                side.send(kind, payload, key).await;
            }
        }
        let mut whole = true;
        for side in [&mut pair.a, &mut pair.b] {
            let mut got = Vec::new();
            while let Some(twocan_control::MediaMessage::Frame(frame)) =
                side.maybe_frame(Duration::from_millis(50)).await
            {
                assert!(kinds.contains(&frame.kind), "{:?} came, which was not negotiated", frame.kind);
                assert_eq!(frame.stream, u16::from(frame.kind.number()));
                if frame.kind.is_picture() {
                    let expected = 4000 + usize::from(frame.kind.number());
                    assert_eq!(frame.payload, access_unit(expected, frame.key));
                }
                got.push(frame.kind);
            }
            whole &= kinds.iter().all(|kind| got.contains(kind));
        }
        if whole {
            return;
        }
    }
    panic!("not all kinds came through");
}

#[tokio::test]
async fn a_screen_and_its_sound_flow_beside_voice_and_camera() {
    let mut pair = Pair::connected().await;
    pair.open(OPEN).await;
    all_pass(&mut pair, &MediaKind::ALL).await;
}

#[tokio::test]
async fn a_friend_whose_node_knows_no_screen_gets_voice_and_camera() {
    for old_offers in [false, true] {
        let mut pair = Pair::new().await;
        let (offers, answers) = if old_offers { (&pair.b, &pair.a) } else { (&pair.a, &pair.b) };
        // What an older node does not understand it leaves out, of what it reads as of what it says.
        for side in [offers, answers] {
            side.tamper(|description| description.more.clear());
        }
        offers.command(PeerCommand::Offer { generation: 1, kind: OfferKind::First });
        pair.connect().await;
        pair.open(OPEN).await;
        all_pass(&mut pair, &[MediaKind::Audio, MediaKind::Video]).await;
        let told = |c: &MediaControl| matches!(c, MediaControl::Streams { screen_codec: None, sound_codec: None, .. });
        pair.a.control(told).await;
        pair.b.control(told).await;
    }
}

#[tokio::test]
async fn sections_that_are_turned_down_leave_the_call_whole() {
    let mut pair = Pair::new().await;
    pair.b.tamper(|description| description.more = description.more.replace("m=video 9 ", "m=video 0 "));
    pair.a.command(PeerCommand::Offer { generation: 1, kind: OfferKind::First });
    pair.connect().await;
    pair.open(OPEN).await;
    pair.a.control(|c| matches!(c, MediaControl::Streams { screen_codec: None, sound_codec: Some(_), .. })).await;
    pair.audio_passes(1).await;
    pair.a.send_video(access_unit(3000, true)).await;
    while pair.b.frame().await.kind != MediaKind::Video {}
}

#[tokio::test]
async fn key_frames_of_screen_and_camera_are_asked_for_apart() {
    let mut pair = Pair::connected().await;
    pair.open(OPEN).await;
    all_pass(&mut pair, &MediaKind::ALL).await;
    // What the seats asked for when they were taken has been answered.
    pair.settle().await;
    for (stream, kind) in [(SCREEN_STREAM, MediaKind::Screen), (super::VIDEO_STREAM, MediaKind::Video)] {
        pair.a.drain_controls();
        pair.b.drain_controls();
        pair.a.say(MediaControl::NeedKeyFrame { stream }).await;
        pair.b.control(|control| *control == MediaControl::KeyFrameRequest { kind }).await;
    }
    // Sound has no pictures.
    pair.a.say(MediaControl::NeedKeyFrame { stream: SOUND_STREAM }).await;
}

#[tokio::test]
async fn the_numbers_tell_of_each_stream_in_both_directions() {
    let mut pair = Pair::connected().await;
    pair.open(OPEN).await;
    let shown = Shown {
        stream: SCREEN_STREAM,
        width: 1920,
        height: 1080,
        frame_rate: 5.0,
        freezes: 2,
        freeze_ms: 0,
        av_offset_ms: None,
    };
    let whole = |quality: &Quality| {
        let one = quality.participants.first()?;
        let (here, there) = (one.received.screen.as_ref()?, one.sent.screen.as_ref()?);
        let voices = one.received.voice.as_ref()?.level.min(one.sent.voice.as_ref()?.level);
        let both = one.received.camera.is_some() && one.sent.sound.is_some();
        (both && voices > 3 && one.participant == 1 && quality.level > 0 && quality.mos.is_some()).then_some((
            here.width,
            here.freezes,
            there.width,
        ))
    };
    for _ in 0..20 {
        all_pass(&mut pair, &MediaKind::ALL).await;
        pair.a.say(MediaControl::Shown(shown)).await;
        let made = Made { kind: MediaKind::Screen, width: 1280, height: 720, frame_rate: 10.0 };
        pair.a.say(MediaControl::Made(made)).await;
        let PeerEvent::Stats(quality) = pair.a.event(|event| matches!(event, PeerEvent::Stats(_))).await else {
            unreachable!()
        };
        if whole(&quality) == Some((1920, Some(2), 1280)) {
            return;
        }
    }
    panic!("the numbers stay incomplete");
}
