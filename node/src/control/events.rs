//! The event stream: one JSON object a line, for as long as the client reads.

use std::convert::Infallible;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio_util::sync::CancellationToken;
use twocan_control::limits::MAX_EVENT_LINE;
use twocan_control::{Event, Handle};

use super::connection::Hangup;
use super::extract::Answer;
use super::routes::Shared;

/// Everything that happens from now on: `application/x-ndjson`, one `Event` a line, without an end. A client that does
/// not read fast enough is disconnected; it asks for the state anew and follows again.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "events",
    responses((status = 200, body = Event, content_type = "application/x-ndjson", description = "One event a line."))
)]
pub(super) async fn events<H: Handle>(
    State(shared): State<Shared<H>>,
    Extension(hangup): Extension<Hangup>,
) -> Answer<Response> {
    // Subscribed before the head of the answer goes out: whoever has seen it misses nothing from then on.
    let events = shared.handle.events().await?;
    let (lines, queue) = mpsc::channel(shared.limits.event_queue);
    shared.tasks.spawn(pump(events, lines, hangup.0, shared.stop.clone()));
    let body = stream::unfold(queue, |mut queue| async move { queue.recv().await.map(|line| (line, queue)) });
    let body = Body::from_stream(body.map(Ok::<Bytes, Infallible>));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")], body).into_response())
}

/// From the node to one client's queue, never waiting for it.
async fn pump(
    mut events: BoxStream<'static, Event>,
    lines: mpsc::Sender<Bytes>,
    hangup: CancellationToken,
    stop: CancellationToken,
) {
    loop {
        let event = tokio::select! {
            biased;
            () = lines.closed() => return,
            event = events.next() => event,
            // After the events that are there already, among them the one that says that the node stops.
            () = stop.cancelled() => None,
        };
        let Some(event) = event else { return };
        let mut line = match serde_json::to_vec(&event) {
            Ok(line) if line.len() < MAX_EVENT_LINE => line,
            Ok(_) => {
                tracing::error!("an event was too long to be told");
                continue;
            }
            Err(error) => {
                tracing::error!(%error, "an event could not be written");
                continue;
            }
        };
        line.push(b'\n');
        match lines.try_send(Bytes::from(line)) {
            Ok(()) => {}
            Err(TrySendError::Closed(_)) => return,
            Err(TrySendError::Full(_)) => {
                tracing::warn!("dropped a client that does not read its events");
                hangup.cancel();
                return;
            }
        }
    }
}
