//! The media socket: a WebSocket on a connection of its own, bridged to a [`MediaChannel`].
//!
//! Two tasks carry the two directions, so that a client that does not read never stops what it sends. Both end when the
//! connection does or when the channel is dropped; either end closes the whole.

use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};

use super::http::{Wire, check_version, error_of, escape, segment};
use crate::endpoint::{Endpoint, no_node};
use crate::error::{Code, Error, Result};
use crate::handle::{MediaChannel, MediaMessage};
use crate::limits::{MARGIN, MAX_MEDIA_TEXT, MEDIA_QUEUE, QUICK};
use crate::media::{MAX_FRAME_LEN, MediaFrame};
use crate::{API_VERSION, SeatToken, VERSION_HEADER};

/// What is read at once: many audio frames, a part of a video frame.
const READ_BUFFER: usize = 32 * 1024;

pub(super) async fn open(wire: &Wire, id: &str, seat: &SeatToken) -> Result<MediaChannel> {
    let path = format!("/v1/calls/{}/media?seat={}", segment(id)?, escape(&seat.0));
    let request = request(wire.endpoint(), &path)?;
    let opening = async {
        match wire.endpoint() {
            #[cfg(unix)]
            Endpoint::Unix(socket) => {
                let stream = tokio::net::UnixStream::connect(socket).await.map_err(|_| no_node())?;
                handshake(request, stream).await
            }
            #[cfg(not(unix))]
            Endpoint::Unix(_) => Err(no_node()),
            Endpoint::Tcp { port, .. } => {
                let stream = tokio::net::TcpStream::connect(("127.0.0.1", *port)).await.map_err(|_| no_node())?;
                stream.set_nodelay(true).map_err(|_| no_node())?;
                handshake(request, stream).await
            }
        }
    };
    tokio::time::timeout(QUICK + MARGIN, opening)
        .await
        .map_err(|_| Error::new(Code::NoNode, "the node does not answer on the media socket"))?
}

fn request(endpoint: &Endpoint, path: &str) -> Result<Request> {
    let unsendable = |_| Error::new(Code::Invalid, "the id of the call or the seat cannot be sent");
    let host = match endpoint {
        Endpoint::Unix(_) => "twocan".to_owned(),
        Endpoint::Tcp { port, .. } => format!("127.0.0.1:{port}"),
    };
    let mut request = format!("ws://{host}{path}").into_client_request().map_err(unsendable)?;
    request.headers_mut().insert(VERSION_HEADER, HeaderValue::from(API_VERSION));
    if let Endpoint::Tcp { token, .. } = endpoint {
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.as_str()))
            .map_err(|_| Error::new(Code::Internal, "the control token cannot be sent"))?;
        value.set_sensitive(true);
        request.headers_mut().insert("authorization", value);
    }
    Ok(request)
}

async fn handshake<S>(request: Request, stream: S) -> Result<MediaChannel>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut config = WebSocketConfig::default();
    config.read_buffer_size = READ_BUFFER;
    config.write_buffer_size = 0;
    config.max_write_buffer_size = 2 * MAX_FRAME_LEN;
    config.max_message_size = Some(MAX_FRAME_LEN);
    config.max_frame_size = Some(MAX_FRAME_LEN);
    let (socket, response) =
        tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await.map_err(refusal)?;
    check_version(response.headers().get(VERSION_HEADER))?;
    let (sink, source) = socket.split();
    let (to_node, from_client) = mpsc::channel(MEDIA_QUEUE);
    let (to_client, from_node) = mpsc::channel(MEDIA_QUEUE);
    tokio::spawn(async move {
        // Whichever direction ends first ends the other: half a seat is of no use.
        tokio::select! {
            () = write(sink, from_client) => {}
            () = read(source, to_client) => {}
        }
    });
    Ok(MediaChannel { tx: to_node, rx: from_node })
}

/// Client to node, until the channel is dropped; then a proper close.
async fn write<S>(mut sink: SplitSink<WebSocketStream<S>, Message>, mut messages: mpsc::Receiver<MediaMessage>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = messages.recv().await {
        let message = match message {
            MediaMessage::Frame(frame) => Message::Binary(frame.encode()),
            MediaMessage::Control(control) => match serde_json::to_string(&control) {
                Ok(text) => Message::text(text),
                Err(_) => continue,
            },
        };
        if sink.send(message).await.is_err() {
            return;
        }
    }
    // The node sees the close; nothing is left to do where it cannot be sent.
    let _ = tokio::time::timeout(MARGIN, sink.close()).await;
}

/// Node to client, until either end closes. What is neither a frame nor a known word is skipped.
async fn read<S>(mut source: SplitStream<WebSocketStream<S>>, messages: mpsc::Sender<MediaMessage>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = source.next().await {
        let message = match message {
            Message::Binary(bytes) => MediaFrame::decode(bytes).ok().map(MediaMessage::Frame),
            Message::Text(text) if text.len() <= MAX_MEDIA_TEXT => {
                serde_json::from_str(&text).ok().map(MediaMessage::Control)
            }
            Message::Close(_) => return,
            _ => None,
        };
        if let Some(message) = message
            && messages.send(message).await.is_err()
        {
            return;
        }
    }
}

fn refusal(error: tungstenite::Error) -> Error {
    match error {
        tungstenite::Error::Http(response) => {
            if let Err(version) = check_version(response.headers().get(VERSION_HEADER)) {
                return version;
            }
            error_of(response.status().as_u16(), response.body().as_deref().unwrap_or_default())
        }
        other => Error::new(Code::NoNode, format!("the media socket cannot be opened: {other}")),
    }
}
