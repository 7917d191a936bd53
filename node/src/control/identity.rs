//! Who I am: identity, address, profile, phrase, backup, passphrase.

use axum::extract::State;
use twocan_control::{Backup, BackupRequest, Handle, Identity, Passphrase, Phrase, Profile};

use super::extract::{Answer, Body, Done, Json};
use super::routes::Shared;

/// Who I am, and the address to hand out.
#[utoipa::path(
    get,
    path = "/v1/identity",
    tag = "identity",
    responses((status = 200, body = Identity, description = "Done."))
)]
pub(super) async fn identity<H: Handle>(State(shared): State<Shared<H>>) -> Answer<Json<Identity>> {
    Ok(Json(shared.handle.identity().await?))
}

/// Makes a new contact token: the old address stops working for strangers.
#[utoipa::path(
    post,
    path = "/v1/identity/rotate",
    tag = "identity",
    responses((status = 200, body = Identity, description = "Done."))
)]
pub(super) async fn rotate_token<H: Handle>(State(shared): State<Shared<H>>) -> Answer<Json<Identity>> {
    Ok(Json(shared.handle.rotate_token().await?))
}

/// Changes what friends see of me.
#[utoipa::path(
    put,
    path = "/v1/identity/profile",
    tag = "identity",
    request_body = Profile,
    responses((status = 200, body = Identity, description = "Done."))
)]
pub(super) async fn set_profile<H: Handle>(
    State(shared): State<Shared<H>>,
    Body(body): Body<Profile>,
) -> Answer<Json<Identity>> {
    Ok(Json(shared.handle.set_profile(body).await?))
}

/// The 24 words. Whoever has them is the person.
#[utoipa::path(
    get,
    path = "/v1/identity/phrase",
    tag = "identity",
    responses((status = 200, body = Phrase, description = "Done."))
)]
pub(super) async fn phrase<H: Handle>(State(shared): State<Shared<H>>) -> Answer<Json<Phrase>> {
    Ok(Json(shared.handle.phrase().await?))
}

/// An encrypted backup file.
#[utoipa::path(
    post,
    path = "/v1/identity/backup",
    tag = "identity",
    request_body = BackupRequest,
    responses((status = 200, body = Backup, description = "Done."))
)]
pub(super) async fn backup<H: Handle>(
    State(shared): State<Shared<H>>,
    Body(body): Body<BackupRequest>,
) -> Answer<Json<Backup>> {
    Ok(Json(shared.handle.backup(body).await?))
}

/// Puts the keys under a passphrase; an empty one takes it off.
#[utoipa::path(
    put,
    path = "/v1/identity/passphrase",
    tag = "identity",
    request_body = Passphrase,
    responses((status = 204, description = "Done."))
)]
pub(super) async fn set_passphrase<H: Handle>(
    State(shared): State<Shared<H>>,
    Body(body): Body<Passphrase>,
) -> Answer<Done> {
    shared.handle.set_passphrase(body).await?;
    Ok(Done)
}
