//! The media socket: a WebSocket bridged to the seat of a call.
//!
//! Each direction goes on without the other, through bounded queues. A client that does not read leaves the frames in
//! the seat's own queue, which drops the oldest; one that sends what is neither a frame nor a known word is closed with
//! the reason.

use axum::extract::rejection::QueryRejection;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Query, State};
use axum::response::Response;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use twocan_control::limits::MAX_MEDIA_TEXT;
use twocan_control::media::MAX_FRAME_LEN;
use twocan_control::{Code, Handle, MediaChannel, MediaControl, MediaFrame, MediaMessage, SeatToken, Validate};

use super::GRACE;
use super::extract::{Answer, Call, Failure};
use super::routes::Shared;

/// What is read at once: many audio frames, a part of a video frame.
const READ_BUFFER: usize = 32 * 1024;

/// The seat in the query.
#[derive(Debug, Deserialize)]
pub(super) struct Seat {
    seat: SeatToken,
}

/// Opens the media of a seat: a WebSocket (RFC 6455) of binary frames and JSON words, see `specs/06-control-api.md`.
#[utoipa::path(
    get,
    path = "/v1/calls/{call}/media",
    tag = "calls",
    params(
        ("call" = String, Path, description = "Id, or a unique beginning of it."),
        ("seat" = String, Query, description = "The seat token.")
    ),
    responses((status = 101, description = "The connection is a WebSocket from here on."))
)]
pub(super) async fn media<H: Handle>(
    State(shared): State<Shared<H>>,
    Call(call): Call,
    seat: Result<Query<Seat>, QueryRejection>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Answer<Response> {
    let no_seat = |_| Failure::new(Code::Invalid, "the seat is missing").hint("append ?seat= and the seat token");
    let Query(Seat { seat }) = seat.map_err(no_seat)?;
    seat.validate()?;
    let no_socket = |error: WebSocketUpgradeRejection| {
        Failure::new(Code::Invalid, format!("this path is a WebSocket: {}", error.body_text()))
            .hint("send the headers of RFC 6455, section 4.1")
    };
    let upgrade = upgrade.map_err(no_socket)?;
    let channel = shared.handle.media(&call, &seat).await?;
    let (tasks, stop) = (shared.tasks, shared.stop);
    Ok(upgrade
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * MAX_FRAME_LEN)
        .max_message_size(MAX_FRAME_LEN)
        .max_frame_size(MAX_FRAME_LEN)
        .on_upgrade(move |socket| async move { tasks.track_future(bridge(socket, channel, stop)).await }))
}

/// Carries frames until one side ends, then tells the client why.
async fn bridge(socket: WebSocket, channel: MediaChannel, stop: CancellationToken) {
    let MediaChannel { tx, mut rx } = channel;
    let (mut sink, source) = socket.split();
    let end = tokio::select! {
        end = to_client(&mut sink, &mut rx) => end,
        end = to_node(source, tx) => end,
        () = stop.cancelled() => End::because(close_code::AWAY, "the node stops"),
    };
    // The seat is free before the client hears of it.
    drop(rx);
    let Some(end) = end else { return };
    tracing::debug!(reason = end.reason, "closed a media socket");
    let close = Message::Close(Some(CloseFrame { code: end.code, reason: end.reason.into() }));
    let closing = async {
        sink.send(close).await?;
        sink.close().await
    };
    if !matches!(tokio::time::timeout(GRACE, closing).await, Ok(Ok(()))) {
        tracing::debug!("a media client was gone before it was told why");
    }
}

/// Why a media socket is closed by the node.
struct End {
    code: u16,
    reason: &'static str,
}

impl End {
    fn because(code: u16, reason: &'static str) -> Option<Self> {
        Some(Self { code, reason })
    }
}

async fn to_client(sink: &mut SplitSink<WebSocket, Message>, rx: &mut mpsc::Receiver<MediaMessage>) -> Option<End> {
    while let Some(message) = rx.recv().await {
        let message = match message {
            MediaMessage::Frame(frame) => Message::Binary(frame.encode()),
            MediaMessage::Control(control) => match serde_json::to_string(&control) {
                Ok(text) => Message::Text(text.into()),
                Err(error) => {
                    tracing::error!(%error, "a word on the media socket could not be written");
                    continue;
                }
            },
        };
        // A client that is gone, or has not read for too long.
        sink.send(message).await.ok()?;
    }
    End::because(close_code::NORMAL, "the call is over, or the seat was taken")
}

async fn to_node(mut source: SplitStream<WebSocket>, tx: mpsc::Sender<MediaMessage>) -> Option<End> {
    loop {
        let message = match source.next().await {
            None | Some(Ok(Message::Close(_))) => return None,
            Some(Err(error)) => return broken(&error),
            Some(Ok(message)) => message,
        };
        let message = match read(message) {
            Ok(Some(message)) => message,
            Ok(None) => continue,
            Err(end) => return Some(end),
        };
        if tx.send(message).await.is_err() {
            return End::because(close_code::NORMAL, "the call is over, or the seat was taken");
        }
    }
}

/// What a client may say. Words of a kind that this node does not know are skipped: a newer client says them.
fn read(message: Message) -> Result<Option<MediaMessage>, End> {
    match message {
        Message::Binary(bytes) => match MediaFrame::decode(bytes) {
            Ok(frame) => Ok(Some(MediaMessage::Frame(frame))),
            Err(_) => Err(End { code: close_code::INVALID, reason: "this is no media frame" }),
        },
        Message::Text(text) if text.len() > MAX_MEDIA_TEXT => {
            Err(End { code: close_code::SIZE, reason: "this word is too long" })
        }
        Message::Text(text) => match serde_json::from_str(&text) {
            Ok(
                word @ (MediaControl::Codecs { .. }
                | MediaControl::NeedKeyFrame { .. }
                | MediaControl::Playout { .. }
                | MediaControl::Shown(_)
                | MediaControl::Made(_)),
            ) => Ok(Some(MediaMessage::Control(word))),
            Ok(_) => Err(End { code: close_code::POLICY, reason: "only the node says this" }),
            Err(_) if is_word(&text) => Ok(None),
            Err(_) => Err(End { code: close_code::INVALID, reason: "this is no JSON object with a type" }),
        },
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) => Ok(None),
    }
}

/// Whether it is an object with a `type` that this node does not know.
fn is_word(text: &str) -> bool {
    const KNOWN: [&str; 10] = [
        "streams",
        "flow",
        "feedback",
        "key_frame_request",
        "codecs",
        "need_key_frame",
        "clock",
        "playout",
        "shown",
        "made",
    ];
    #[derive(Deserialize)]
    struct Word {
        #[serde(rename = "type")]
        kind: String,
    }
    serde_json::from_str(text).is_ok_and(|word: Word| !KNOWN.contains(&word.kind.as_str()))
}

/// A socket that broke: told why, where it broke by its own fault.
fn broken(error: &axum::Error) -> Option<End> {
    let text = error.to_string();
    if text.contains("Space limit") {
        End::because(close_code::SIZE, "a media message has at most 1 MiB")
    } else {
        tracing::debug!(error = text, "a media socket broke");
        End::because(close_code::PROTOCOL, "this is no WebSocket message")
    }
}
