//! The media socket: frames both ways, seats, and what happens to those who speak garbage.

use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use tokio::net::UnixStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use twocan_control::media::MAX_FRAME_LEN;
use twocan_control::*;
use twocan_node::control::Limits;

use crate::support::{Bench, soon};

fn frame(sequence: u32, length: usize) -> MediaFrame {
    MediaFrame {
        kind: MediaKind::Video,
        key: true,
        gap: false,
        restart: false,
        red: false,
        layer: 1,
        stream: 0,
        sequence,
        timestamp: 9000 * sequence,
        time_ns: 1_000_000,
        payload: Bytes::from(vec![7; length]),
    }
}

async fn call(bench: &Bench) -> SeatedCall {
    bench.node.befriend("bob");
    bench.node.place_call(PlaceCall { friend: "bob".to_owned(), video: true }).await.unwrap()
}

#[tokio::test]
async fn frames_and_words_go_both_ways_unchanged() {
    let bench = Bench::new().await;
    let client = bench.client().await;
    let SeatedCall { call, seat } = call(&bench).await;
    let mut near = client.media(&call.id, &seat).await.unwrap();
    let mut far = bench.node.far_end(&call.id).unwrap();
    let largest = MAX_FRAME_LEN - twocan_control::media::HEADER_LEN;
    for (sequence, length) in [(0, 0), (1, 160), (2, 100_000), (3, largest)] {
        let message = MediaMessage::Frame(frame(sequence, length));
        near.tx.send(message.clone()).await.unwrap();
        assert_eq!(soon("a frame to the node", far.rx.recv()).await, Some(message.clone()));
        far.tx.send(message.clone()).await.unwrap();
        assert_eq!(soon("a frame to the client", near.rx.recv()).await, Some(message));
    }
    let word = MediaMessage::Control(MediaControl::Flow { audio: true, video: false, screen: false });
    far.tx.send(word.clone()).await.unwrap();
    assert_eq!(soon("a word to the client", near.rx.recv()).await, Some(word));
    let shown = Shown {
        stream: 3,
        width: 640,
        height: 360,
        frame_rate: 29.5,
        freezes: 1,
        freeze_ms: 120,
        av_offset_ms: Some(-4.0),
    };
    let made = Made { kind: MediaKind::Screen, width: 1280, height: 720, frame_rate: 10.0 };
    let words = [
        MediaControl::NeedKeyFrame { stream: 3 },
        MediaControl::Playout { concealed: 0.25, delay_ms: 40.0, late: 3 },
        MediaControl::Codecs { encode: vec!["h264".into()], decode: vec!["h264".into()] },
        MediaControl::Shown(shown),
        MediaControl::Made(made),
    ];
    for word in words.map(MediaMessage::Control) {
        near.tx.send(word.clone()).await.unwrap();
        assert_eq!(soon("a word to the node", far.rx.recv()).await, Some(word));
    }
}

#[tokio::test]
async fn the_end_of_the_call_ends_the_socket_and_the_end_of_the_socket_frees_the_seat() {
    let bench = Bench::new().await;
    let client = bench.client().await;
    let SeatedCall { call, seat } = call(&bench).await;
    let mut near = client.media(&call.id, &seat).await.unwrap();
    let far = bench.node.far_end(&call.id).unwrap();
    far.tx.send(MediaMessage::Control(MediaControl::Ended)).await.unwrap();
    drop(far);
    let ended = soon("the last word", near.rx.recv()).await;
    assert_eq!(ended, Some(MediaMessage::Control(MediaControl::Ended)));
    assert_eq!(soon("the end", near.rx.recv()).await, None);

    let near = client.media(&call.id, &seat).await.unwrap();
    let mut far = bench.node.far_end(&call.id).unwrap();
    drop(near);
    assert_eq!(soon("the end at the node", far.rx.recv()).await, None);
    soon("the seat to be free", far.tx.closed()).await;
}

#[tokio::test]
async fn a_wrong_seat_is_refused_before_the_socket_opens() {
    let bench = Bench::new().await;
    let client = bench.client().await;
    let SeatedCall { call, seat } = call(&bench).await;
    let wrong = client.media(&call.id, &SeatToken("f".repeat(64))).await.unwrap_err();
    assert_eq!(wrong.code, Code::SeatTaken);
    let odd = client.media(&call.id, &SeatToken("a/b?c".to_owned())).await.unwrap_err();
    assert_eq!(odd.code, Code::SeatTaken);
    let unknown = client.media("0123", &seat).await.unwrap_err();
    assert_eq!(unknown.code, Code::NotFound);
    let _held = client.media(&call.id, &seat).await.unwrap();
    let second = client.media(&call.id, &seat).await.unwrap_err();
    assert_eq!(second.code, Code::SeatTaken);
}

#[tokio::test]
async fn a_client_that_does_not_read_does_not_stop_what_it_sends() {
    let bench = Bench::new().await;
    let client = bench.client().await;
    let SeatedCall { call, seat } = call(&bench).await;
    let near = client.media(&call.id, &seat).await.unwrap();
    let mut far = bench.node.far_end(&call.id).unwrap();
    // Fills every queue towards the client until the seat itself would have to drop.
    let mut given = 0;
    while far.tx.try_send(MediaMessage::Frame(frame(given, 50_000))).is_ok() || given < 200 {
        given += 1;
        tokio::task::yield_now().await;
        assert!(given < 10_000, "the queues towards a client that does not read are not bounded");
    }
    for sequence in 0..100 {
        let message = MediaMessage::Frame(frame(sequence, 100));
        near.tx.send(message.clone()).await.unwrap();
        assert_eq!(soon("a frame from a client that does not read", far.rx.recv()).await, Some(message));
    }
}

async fn raw_socket(bench: &Bench, seated: &SeatedCall) -> WebSocketStream<UnixStream> {
    let url = format!("ws://x/v1/calls/{}/media?seat={}", seated.call.id, seated.seat.0);
    tokio_tungstenite::client_async(url, bench.raw().await).await.unwrap().0
}

async fn close_of(mut socket: WebSocketStream<UnixStream>) -> (CloseCode, String) {
    soon("the close", async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Close(Some(frame)))) => return (frame.code, frame.reason.to_string()),
                Some(Ok(_)) => {}
                other => panic!("closed without a reason: {other:?}"),
            }
        }
    })
    .await
}

#[tokio::test]
async fn garbage_closes_the_socket_with_the_reason_and_frees_the_seat() {
    let bench = Bench::new().await;
    let seated = call(&bench).await;
    let junk = [
        (Message::binary(vec![9_u8; 64]), CloseCode::Invalid),
        (Message::binary(vec![1_u8; 5]), CloseCode::Invalid),
        (Message::binary(Vec::new()), CloseCode::Invalid),
        (Message::text("not json"), CloseCode::Invalid),
        (Message::text("[1,2,3]"), CloseCode::Invalid),
        (Message::text(r#"{"type":"playout","concealed":"lots"}"#), CloseCode::Invalid),
        (Message::text(format!("{{\"type\":\"{}\"}}", "x".repeat(20_000))), CloseCode::Size),
        (Message::text(r#"{"type":"ended"}"#), CloseCode::Policy),
    ];
    for (message, code) in junk {
        let mut socket = raw_socket(&bench, &seated).await;
        let far = bench.node.far_end(&seated.call.id).unwrap();
        socket.send(message.clone()).await.unwrap();
        let (seen, reason) = close_of(socket).await;
        assert_eq!(seen, code, "{message:?}");
        assert!(!reason.is_empty());
        soon("the seat to be free", far.tx.closed()).await;
    }
}

#[tokio::test]
async fn an_oversized_frame_is_refused_by_its_header() {
    let bench = Bench::new().await;
    let seated = call(&bench).await;
    let mut socket = raw_socket(&bench, &seated).await;
    let far = bench.node.far_end(&seated.call.id).unwrap();
    // The node may close while the client still writes.
    let _ = socket.send(Message::binary(vec![1_u8; 4 << 20])).await;
    soon("the seat to be free", far.tx.closed()).await;
}

#[tokio::test]
async fn words_of_a_newer_client_are_skipped() {
    let bench = Bench::new().await;
    let seated = call(&bench).await;
    let mut socket = raw_socket(&bench, &seated).await;
    let mut far = bench.node.far_end(&seated.call.id).unwrap();
    socket.send(Message::text(r#"{"type":"wave","hands":2}"#)).await.unwrap();
    let sent = frame(5, 10);
    socket.send(Message::Binary(sent.encode())).await.unwrap();
    assert_eq!(soon("the frame after the word", far.rx.recv()).await, Some(MediaMessage::Frame(sent)));
}

#[tokio::test]
async fn raw_junk_after_the_upgrade_ends_the_socket() {
    use tokio::io::AsyncWriteExt;
    let bench = Bench::new().await;
    let seated = call(&bench).await;
    let socket = raw_socket(&bench, &seated).await;
    let far = bench.node.far_end(&seated.call.id).unwrap();
    let mut stream = socket.into_inner();
    let _ = stream.write_all(&[0xff; 4096]).await;
    soon("the seat to be free", far.tx.closed()).await;
}

#[tokio::test]
async fn a_quiet_media_socket_outlives_every_deadline() {
    let short = Duration::from_millis(50);
    let limits = Limits { quick: short, slow: short, idle: short, stall: short, ..Limits::default() };
    let bench = Bench::with(limits).await;
    let client = bench.client().await;
    let SeatedCall { call, seat } = call(&bench).await;
    let mut near = client.media(&call.id, &seat).await.unwrap();
    let far = bench.node.far_end(&call.id).unwrap();
    tokio::time::sleep(10 * short).await;
    let message = MediaMessage::Frame(frame(1, 100));
    far.tx.send(message.clone()).await.unwrap();
    assert_eq!(soon("a frame", near.rx.recv()).await, Some(message));
}
