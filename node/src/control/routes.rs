//! Paths to handlers, and what holds for all of them: who may ask, in which version, for how long.

use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post, put};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use twocan_control::limits::MAX_BODY;
use twocan_control::{API_VERSION, Code, Endpoint, Handle, VERSION_HEADER};
use utoipa::ToSchema;

use super::extract::{Failure, Json};
use super::{Limits, calls, events, files, friends, identity, media, messages, node, settings};

/// What all handlers share.
#[derive(Clone, Debug)]
pub(super) struct Shared<H> {
    pub(super) handle: H,
    pub(super) limits: Limits,
    pub(super) endpoint: Endpoint,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

/// The versions that this node speaks.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct Versions {
    /// Versions of the local API, each the N of a path `/vN/…`.
    pub api: Vec<u32>,
    /// Version of the program.
    pub version: String,
}

pub(super) fn router<H: Handle>(shared: Shared<H>) -> Router {
    let quick = Router::new()
        .route("/version", get(version))
        .route("/v1/status", get(node::status::<H>))
        .route("/v1/availability", put(node::set_availability::<H>))
        .route("/v1/report", get(node::report::<H>))
        .route("/v1/relay", get(node::relay::<H>).put(node::set_relay::<H>))
        .route("/v1/shutdown", post(node::shutdown::<H>))
        .route("/v1/identity", get(identity::identity::<H>))
        .route("/v1/identity/rotate", post(identity::rotate_token::<H>))
        .route("/v1/identity/profile", put(identity::set_profile::<H>))
        .route("/v1/identity/phrase", get(identity::phrase::<H>))
        .route("/v1/friends", get(friends::friends::<H>).post(friends::add_friend::<H>))
        .route(
            "/v1/friends/{friend}",
            get(friends::friend::<H>).patch(friends::update_friend::<H>).delete(friends::remove_friend::<H>),
        )
        .route("/v1/friends/{friend}/block", post(friends::block::<H>))
        .route("/v1/blocked", get(friends::blocked::<H>))
        .route("/v1/blocked/{id}", delete(friends::unblock::<H>))
        .route("/v1/requests", get(friends::requests::<H>))
        .route("/v1/requests/{id}", post(friends::answer_request::<H>))
        .route("/v1/privacy", get(friends::privacy::<H>).put(friends::set_privacy::<H>))
        .route("/v1/calls", get(calls::calls::<H>).post(calls::place_call::<H>))
        .route("/v1/calls/{call}", get(calls::call::<H>).merge(patch(calls::update_call::<H>)))
        .route("/v1/calls/{call}/answer", post(calls::answer_call::<H>))
        .route("/v1/calls/{call}/resume", post(calls::resume_call::<H>))
        .route("/v1/calls/{call}/seat", post(calls::take_seat::<H>))
        .route("/v1/calls/{call}/decline", post(calls::decline_call::<H>))
        .route("/v1/calls/{call}/hangup", post(calls::hangup::<H>))
        .route("/v1/calls/{call}/recording", post(calls::record_call::<H>))
        .route("/v1/calls/{call}/media", get(media::media::<H>))
        .route("/v1/history", get(calls::history::<H>).delete(calls::clear_history::<H>))
        .route("/v1/history/seen", post(calls::history_seen::<H>))
        .route("/v1/messages", get(messages::conversations::<H>))
        .route(
            "/v1/friends/{friend}/messages",
            get(messages::messages::<H>).post(messages::send_message::<H>).delete(messages::delete_conversation::<H>),
        )
        .route("/v1/friends/{friend}/messages/read", post(messages::mark_read::<H>))
        .route("/v1/friends/{friend}/files", post(files::offer_file::<H>))
        .route("/v1/friends/{friend}/picture", get(settings::friend_picture::<H>))
        .route("/v1/files", get(files::files::<H>))
        .route("/v1/files/{file}", get(files::file::<H>).delete(files::forget_file::<H>))
        .route("/v1/files/{file}/accept", post(files::accept::<H>))
        .route("/v1/files/{file}/decline", post(files::decline::<H>))
        .route("/v1/files/{file}/pause", post(files::pause::<H>))
        .route("/v1/files/{file}/resume", post(files::resume::<H>))
        .route("/v1/files/{file}/cancel", post(files::cancel::<H>))
        .route("/v1/identity/picture", get(settings::picture::<H>).put(settings::set_picture::<H>))
        .route("/v1/settings", get(settings::settings::<H>).patch(settings::update_settings::<H>))
        .route("/v1/events", get(events::events::<H>))
        .route_layer(middleware::from_fn_with_state(shared.limits.quick, deadline));
    let slow = Router::new()
        .route("/v1/unlock", post(node::unlock::<H>))
        .route("/v1/lookup", post(node::lookup::<H>))
        .route("/v1/doctor", get(node::doctor::<H>))
        .route("/v1/friends/{friend}/preflight", post(node::preflight::<H>))
        .route("/v1/identity/backup", post(identity::backup::<H>))
        .route("/v1/identity/passphrase", put(identity::set_passphrase::<H>))
        .route_layer(middleware::from_fn_with_state(shared.limits.slow, deadline));
    quick
        .merge(slow)
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(shared.endpoint.clone(), guard))
        .with_state(shared)
}

/// The versions that this node speaks. Needs no version itself.
#[utoipa::path(get, path = "/version", tag = "node", responses((status = 200, body = Versions, description = "Done.")))]
pub(super) async fn version() -> Json<Versions> {
    Json(Versions { api: vec![API_VERSION], version: env!("CARGO_PKG_VERSION").to_owned() })
}

/// Who may ask, and in which version; every answer names the node's version.
async fn guard(State(endpoint): State<Endpoint>, request: Request, next: Next) -> Response {
    let mut response = match admit(&endpoint, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(failure) => failure.into_response(),
    };
    response.headers_mut().insert(VERSION_HEADER, HeaderValue::from(API_VERSION));
    response
}

fn admit(endpoint: &Endpoint, headers: &HeaderMap) -> Result<(), Failure> {
    if headers.contains_key(header::ORIGIN) {
        return Err(Failure::new(Code::Forbidden, "web pages may not use the control API"));
    }
    if let Endpoint::Tcp { token, .. } = endpoint {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !token.matches(given.strip_prefix("Bearer ").unwrap_or_default()) {
            return Err(Failure::new(Code::Forbidden, "the control token is missing or wrong")
                .hint("send `Authorization: Bearer` with the second line of control.token"));
        }
    }
    match headers.get(VERSION_HEADER).map(HeaderValue::as_bytes) {
        None => Ok(()),
        Some(text) if text == API_VERSION.to_string().as_bytes() => Ok(()),
        Some(_) => Err(version_failure()),
    }
}

/// Gives an operation up when its time is over, its body included.
async fn deadline(State(time): State<Duration>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(time, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            Failure::new(Code::Internal, format!("this took more than {} seconds and was given up", time.as_secs()))
                .hint("try again; `twocan doctor` says what is slow")
                .into_response()
        }
    }
}

async fn unknown_path(uri: Uri) -> Response {
    let version = uri.path().strip_prefix("/v").and_then(|rest| rest.split('/').next()?.parse::<u32>().ok());
    if version.is_some_and(|version| version != API_VERSION) {
        return version_failure().into_response();
    }
    Failure::new(Code::NotFound, "there is no such path")
        .hint("specs/06-control-api.md lists them; a name in a path is percent-encoded")
        .into_response()
}

async fn wrong_method(method: axum::http::Method) -> Response {
    let mut response = Failure::new(Code::Invalid, format!("this path does not take {method}"))
        .hint("the Allow header of this answer says what it takes")
        .into_response();
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}

fn version_failure() -> Failure {
    Failure::new(Code::Version, format!("this node speaks version {API_VERSION} of the control API only"))
        .hint("`GET /version` says which versions a node speaks")
}
