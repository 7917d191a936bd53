//! The accept loop and the connections below it.

use std::sync::Arc;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use twocan_control::{Code, Error, Handle};

use super::listener::{Io, Listener};
use super::stall::Stall;
use super::{GRACE, Limits, extract, routes};

/// Largest head of a request in bytes: a path with a long address, and a dozen headers.
const MAX_HEAD: usize = 16 * 1024;
/// Most headers of a request.
const MAX_HEADERS: usize = 64;
/// What a connection may hold of what it reads and writes.
const MAX_BUFFER: usize = 64 * 1024;
/// Callers at one time who are told that there is no place; more are closed without a word.
const MAX_REFUSALS: usize = 16;
/// How long to wait after the system refused a connection (too many open files).
const PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

/// Ends the connection that a request came on, at once. In every request's extensions.
#[derive(Clone, Debug)]
pub(super) struct Hangup(pub(super) CancellationToken);

/// Serves until told to stop.
pub(super) async fn accept<H: Handle>(listener: Listener, handle: H, limits: Limits, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    let places = Arc::new(Semaphore::new(limits.connections));
    let refusals = Arc::new(Semaphore::new(MAX_REFUSALS));
    let state = routes::Shared {
        handle,
        limits: limits.clone(),
        endpoint: listener.endpoint().clone(),
        stop: stop.clone(),
        tasks: tasks.clone(),
    };
    let router = routes::router(state);
    loop {
        let stream = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(Some(stream)) => stream,
                Ok(None) => continue,
                Err(error) => {
                    tracing::warn!(%error, "the control socket refused a connection");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
        };
        match Arc::clone(&places).try_acquire_owned() {
            Ok(place) => drop(tasks.spawn(serve(stream, router.clone(), limits.clone(), stop.clone(), place))),
            Err(_) => {
                if let Ok(turn) = Arc::clone(&refusals).try_acquire_owned() {
                    drop(tasks.spawn(refuse(stream, turn)));
                }
            }
        }
    }
    // Nobody new; whoever comes now is told by the missing socket that no node runs.
    drop(listener);
    tasks.close();
    if tokio::time::timeout(GRACE, tasks.wait()).await.is_err() {
        tracing::debug!("some control connections were cut off at the stop");
    }
}

async fn serve(
    stream: Box<dyn Io>,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
    _place: OwnedSemaphorePermit,
) {
    let hangup = CancellationToken::new();
    let inner = TowerToHyperService::new(router);
    let service = {
        let hangup = hangup.clone();
        service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(Hangup(hangup.clone()));
            inner.call(request)
        })
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle)
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEAD)
        .max_buf_size(MAX_BUFFER)
        .serve_connection(TokioIo::new(Stall::new(stream, limits.stall)), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let mut stopping = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a control connection ended");
                }
                return;
            }
            () = hangup.cancelled() => return,
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Tells a caller for whom there is no place why, after its request: an answer to nothing asked would confuse it.
async fn refuse(mut stream: Box<dyn Io>, _turn: OwnedSemaphorePermit) {
    let error = Error::new(Code::Limit, "too many clients are connected").hint("close some of them");
    let answer = extract::plain_answer(&error);
    let telling = async {
        let mut request = [0; 4096];
        if stream.read(&mut request).await? > 0 {
            stream.write_all(answer.as_bytes()).await?;
        }
        stream.shutdown().await
    };
    if !matches!(tokio::time::timeout(GRACE, telling).await, Ok(Ok(()))) {
        tracing::debug!("a refused control client did not listen");
    }
}
