//! The node itself: status, doctor, report, lookups, availability, unlock, shutdown.

use axum::extract::State;
use twocan_control::{
    Doctor, Handle, Lookup, LookupRequest, Passphrase, Preflight, RelayStatus, Report, SetAvailability, SetRelay,
    Status,
};

use super::extract::{Answer, Body, Done, Friend, Json};
use super::routes::Shared;

/// How the node is. Answers while it is locked, too.
#[utoipa::path(
    get,
    path = "/v1/status",
    tag = "node",
    responses((status = 200, body = Status, description = "Done."))
)]
pub(super) async fn status<H: Handle>(State(shared): State<Shared<H>>) -> Answer<Json<Status>> {
    Ok(Json(shared.handle.status().await?))
}

/// Sets the own availability.
#[utoipa::path(
    put,
    path = "/v1/availability",
    tag = "node",
    request_body = SetAvailability,
    responses((status = 204, description = "Done."))
)]
pub(super) async fn set_availability<H: Handle>(
    State(shared): State<Shared<H>>,
    Body(body): Body<SetAvailability>,
) -> Answer<Done> {
    shared.handle.set_availability(body).await?;
    Ok(Done)
}

/// Opens a locked node.
#[utoipa::path(
    post,
    path = "/v1/unlock",
    tag = "node",
    request_body = Passphrase,
    responses((status = 204, description = "Done."))
)]
pub(super) async fn unlock<H: Handle>(State(shared): State<Shared<H>>, Body(body): Body<Passphrase>) -> Answer<Done> {
    shared.handle.unlock(body).await?;
    Ok(Done)
}

/// Looks a slot up afresh, without any cache.
#[utoipa::path(
    post,
    path = "/v1/lookup",
    tag = "node",
    request_body = LookupRequest,
    responses((status = 200, body = Lookup, description = "Done."))
)]
pub(super) async fn lookup<H: Handle>(
    State(shared): State<Shared<H>>,
    Body(body): Body<LookupRequest>,
) -> Answer<Json<Lookup>> {
    Ok(Json(shared.handle.lookup(body).await?))
}

/// What this node relays for others, and others for it.
#[utoipa::path(
    get,
    path = "/v1/relay",
    tag = "node",
    responses((status = 200, body = RelayStatus, description = "Done."))
)]
pub(super) async fn relay<H: Handle>(State(shared): State<Shared<H>>) -> Answer<Json<RelayStatus>> {
    Ok(Json(shared.handle.relay().await?))
}

/// Sets whom this node relays for.
#[utoipa::path(
    put,
    path = "/v1/relay",
    tag = "node",
    request_body = SetRelay,
    responses((status = 200, body = RelayStatus, description = "Done."))
)]
pub(super) async fn set_relay<H: Handle>(
    State(shared): State<Shared<H>>,
    Body(body): Body<SetRelay>,
) -> Answer<Json<RelayStatus>> {
    Ok(Json(shared.handle.set_relay(body).await?))
}

/// Examines the node and its network.
#[utoipa::path(
    get,
    path = "/v1/doctor",
    tag = "node",
    responses((status = 200, body = Doctor, description = "Done."))
)]
pub(super) async fn doctor<H: Handle>(State(shared): State<Shared<H>>) -> Answer<Json<Doctor>> {
    Ok(Json(shared.handle.doctor().await?))
}

/// Tries the media path to a friend without a call, and predicts how one would sound.
#[utoipa::path(
    post,
    path = "/v1/friends/{friend}/preflight",
    tag = "node",
    params(("friend" = String, Path, description = "Name, id, beginning of an id, or address.")),
    responses((status = 200, body = Preflight, description = "Done."))
)]
pub(super) async fn preflight<H: Handle>(
    State(shared): State<Shared<H>>,
    Friend(friend): Friend,
) -> Answer<Json<Preflight>> {
    Ok(Json(shared.handle.preflight(&friend).await?))
}

/// A redacted report for a bug report.
#[utoipa::path(
    get,
    path = "/v1/report",
    tag = "node",
    responses((status = 200, body = Report, description = "Done."))
)]
pub(super) async fn report<H: Handle>(State(shared): State<Shared<H>>) -> Answer<Json<Report>> {
    Ok(Json(shared.handle.report().await?))
}

/// Stops the node: leaves calls, says good-bye, writes everything.
#[utoipa::path(
    post,
    path = "/v1/shutdown",
    tag = "node",
    responses((status = 204, description = "Done."))
)]
pub(super) async fn shutdown<H: Handle>(State(shared): State<Shared<H>>) -> Answer<Done> {
    shared.handle.shutdown().await?;
    Ok(Done)
}
