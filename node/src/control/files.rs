//! Files between friends: offered, taken, held, given up.

use axum::extract::State;
use twocan_control::{AcceptFile, FileAct, FileTransfer, Handle, OfferFile};

use super::extract::{Answer, Body, Call, Done, Friend, Json};
use super::routes::Shared;

/// Transfers, the latest offer first: all that go on, and the last of those that are over.
#[utoipa::path(
    get,
    path = "/v1/files",
    tag = "files",
    responses((status = 200, body = Vec<FileTransfer>, description = "Done."))
)]
pub(super) async fn files<H: Handle>(State(shared): State<Shared<H>>) -> Answer<Json<Vec<FileTransfer>>> {
    Ok(Json(shared.handle.files().await?))
}

/// One transfer.
#[utoipa::path(
    get,
    path = "/v1/files/{file}",
    tag = "files",
    params(("file" = String, Path, description = "Id, or a unique beginning of it.")),
    responses((status = 200, body = FileTransfer, description = "Done."))
)]
pub(super) async fn file<H: Handle>(State(shared): State<Shared<H>>, Call(file): Call) -> Answer<Json<FileTransfer>> {
    Ok(Json(shared.handle.file(&file).await?))
}

/// Takes a transfer that is over off the list; the file stays where it is.
#[utoipa::path(
    delete,
    path = "/v1/files/{file}",
    tag = "files",
    params(("file" = String, Path, description = "Id, or a unique beginning of it.")),
    responses((status = 204, description = "Done."))
)]
pub(super) async fn forget_file<H: Handle>(State(shared): State<Shared<H>>, Call(file): Call) -> Answer<Done> {
    shared.handle.forget_file(&file).await?;
    Ok(Done)
}

/// Offers a file to a friend. It is told when the friend is next online, and read when it is taken.
#[utoipa::path(
    post,
    path = "/v1/friends/{friend}/files",
    tag = "files",
    params(("friend" = String, Path, description = "Name, id, beginning of an id, or address.")),
    request_body = OfferFile,
    responses((status = 200, body = FileTransfer, description = "Done."))
)]
pub(super) async fn offer_file<H: Handle>(
    State(shared): State<Shared<H>>,
    Friend(friend): Friend,
    Body(body): Body<OfferFile>,
) -> Answer<Json<FileTransfer>> {
    Ok(Json(shared.handle.offer_file(&friend, body).await?))
}

/// Takes a file that a friend offers. Its size is kept to, and its name is made harmless.
#[utoipa::path(
    post,
    path = "/v1/files/{file}/accept",
    tag = "files",
    params(("file" = String, Path, description = "Id, or a unique beginning of it.")),
    request_body = AcceptFile,
    responses((status = 200, body = FileTransfer, description = "Done."))
)]
pub(super) async fn accept<H: Handle>(
    State(shared): State<Shared<H>>,
    Call(file): Call,
    Body(body): Body<AcceptFile>,
) -> Answer<Json<FileTransfer>> {
    Ok(Json(shared.handle.file_act(&file, FileAct::Accept(body)).await?))
}

/// Does not take a file that a friend offers.
#[utoipa::path(
    post,
    path = "/v1/files/{file}/decline",
    tag = "files",
    params(("file" = String, Path, description = "Id, or a unique beginning of it.")),
    responses((status = 200, body = FileTransfer, description = "Done."))
)]
pub(super) async fn decline<H: Handle>(
    State(shared): State<Shared<H>>,
    Call(file): Call,
) -> Answer<Json<FileTransfer>> {
    Ok(Json(shared.handle.file_act(&file, FileAct::Decline).await?))
}

/// Holds a transfer.
#[utoipa::path(
    post,
    path = "/v1/files/{file}/pause",
    tag = "files",
    params(("file" = String, Path, description = "Id, or a unique beginning of it.")),
    responses((status = 200, body = FileTransfer, description = "Done."))
)]
pub(super) async fn pause<H: Handle>(State(shared): State<Shared<H>>, Call(file): Call) -> Answer<Json<FileTransfer>> {
    Ok(Json(shared.handle.file_act(&file, FileAct::Pause).await?))
}

/// Goes on with a transfer that was paused here.
#[utoipa::path(
    post,
    path = "/v1/files/{file}/resume",
    tag = "files",
    params(("file" = String, Path, description = "Id, or a unique beginning of it.")),
    responses((status = 200, body = FileTransfer, description = "Done."))
)]
pub(super) async fn resume<H: Handle>(State(shared): State<Shared<H>>, Call(file): Call) -> Answer<Json<FileTransfer>> {
    Ok(Json(shared.handle.file_act(&file, FileAct::Resume).await?))
}

/// Gives a transfer up, from either side. What has come of it is removed.
#[utoipa::path(
    post,
    path = "/v1/files/{file}/cancel",
    tag = "files",
    params(("file" = String, Path, description = "Id, or a unique beginning of it.")),
    responses((status = 200, body = FileTransfer, description = "Done."))
)]
pub(super) async fn cancel<H: Handle>(State(shared): State<Shared<H>>, Call(file): Call) -> Answer<Json<FileTransfer>> {
    Ok(Json(shared.handle.file_act(&file, FileAct::Cancel).await?))
}
