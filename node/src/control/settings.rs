//! What a person sets while the node runs, and the pictures of people.

use axum::extract::State;
use twocan_control::{Handle, Identity, Picture, Settings, SettingsUpdate};

use super::extract::{Answer, Body, Friend, Json};
use super::routes::Shared;

/// What is set: read marks, files that come.
#[utoipa::path(
    get,
    path = "/v1/settings",
    tag = "node",
    responses((status = 200, body = Settings, description = "Done."))
)]
pub(super) async fn settings<H: Handle>(State(shared): State<Shared<H>>) -> Answer<Json<Settings>> {
    Ok(Json(shared.handle.settings().await?))
}

/// Changes settings. Absent fields stay as they are.
#[utoipa::path(
    patch,
    path = "/v1/settings",
    tag = "node",
    request_body = SettingsUpdate,
    responses((status = 200, body = Settings, description = "Done."))
)]
pub(super) async fn update_settings<H: Handle>(
    State(shared): State<Shared<H>>,
    Body(body): Body<SettingsUpdate>,
) -> Answer<Json<Settings>> {
    Ok(Json(shared.handle.update_settings(body).await?))
}

/// My picture, as friends are shown it.
#[utoipa::path(
    get,
    path = "/v1/identity/picture",
    tag = "identity",
    responses((status = 200, body = Picture, description = "Done."))
)]
pub(super) async fn picture<H: Handle>(State(shared): State<Shared<H>>) -> Answer<Json<Picture>> {
    Ok(Json(shared.handle.picture().await?))
}

/// Sets my picture; an empty one takes it away.
#[utoipa::path(
    put,
    path = "/v1/identity/picture",
    tag = "identity",
    request_body = Picture,
    responses((status = 200, body = Identity, description = "Done."))
)]
pub(super) async fn set_picture<H: Handle>(
    State(shared): State<Shared<H>>,
    Body(body): Body<Picture>,
) -> Answer<Json<Identity>> {
    Ok(Json(shared.handle.set_picture(body).await?))
}

/// A friend's picture; empty if there is none, or it has not come yet.
#[utoipa::path(
    get,
    path = "/v1/friends/{friend}/picture",
    tag = "friends",
    params(("friend" = String, Path, description = "Name, id, beginning of an id, or address.")),
    responses((status = 200, body = Picture, description = "Done."))
)]
pub(super) async fn friend_picture<H: Handle>(
    State(shared): State<Shared<H>>,
    Friend(friend): Friend,
) -> Answer<Json<Picture>> {
    Ok(Json(shared.handle.friend_picture(&friend).await?))
}
