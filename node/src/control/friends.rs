//! Friends, blocks, and what strangers asked.

use axum::extract::State;
use twocan_control::{AddFriend, FriendId, FriendUpdate, Handle, Privacy, Request, RequestAnswer};

use super::extract::{Answer, Body, Done, Friend, Json};
use super::routes::Shared;

/// Friends, and those who were asked.
#[utoipa::path(
    get,
    path = "/v1/friends",
    tag = "friends",
    responses((status = 200, body = Vec<twocan_control::Friend>, description = "Done."))
)]
pub(super) async fn friends<H: Handle>(State(shared): State<Shared<H>>) -> Answer<Json<Vec<twocan_control::Friend>>> {
    Ok(Json(shared.handle.friends().await?))
}

/// Asks somebody to be a friend. Delivered now, or when that person is next online.
#[utoipa::path(
    post,
    path = "/v1/friends",
    tag = "friends",
    request_body = AddFriend,
    responses((status = 200, body = twocan_control::Friend, description = "Done."))
)]
pub(super) async fn add_friend<H: Handle>(
    State(shared): State<Shared<H>>,
    Body(body): Body<AddFriend>,
) -> Answer<Json<twocan_control::Friend>> {
    Ok(Json(shared.handle.add_friend(body).await?))
}

/// One friend.
#[utoipa::path(
    get,
    path = "/v1/friends/{friend}",
    tag = "friends",
    params(("friend" = String, Path, description = "Id, unique beginning of it (at least 6 digits), exact name, or address; percent-encoded.")),
    responses((status = 200, body = twocan_control::Friend, description = "Done."))
)]
pub(super) async fn friend<H: Handle>(
    State(shared): State<Shared<H>>,
    Friend(friend): Friend,
) -> Answer<Json<twocan_control::Friend>> {
    Ok(Json(shared.handle.friend(&friend).await?))
}

/// Renames a friend, or marks the safety words as compared.
#[utoipa::path(
    patch,
    path = "/v1/friends/{friend}",
    tag = "friends",
    params(("friend" = String, Path, description = "Id, unique beginning of it (at least 6 digits), exact name, or address; percent-encoded.")),
    request_body = FriendUpdate,
    responses((status = 200, body = twocan_control::Friend, description = "Done."))
)]
pub(super) async fn update_friend<H: Handle>(
    State(shared): State<Shared<H>>,
    Friend(friend): Friend,
    Body(body): Body<FriendUpdate>,
) -> Answer<Json<twocan_control::Friend>> {
    Ok(Json(shared.handle.update_friend(&friend, body).await?))
}

/// Ends a friendship, or withdraws a request.
#[utoipa::path(
    delete,
    path = "/v1/friends/{friend}",
    tag = "friends",
    params(("friend" = String, Path, description = "Id, unique beginning of it (at least 6 digits), exact name, or address; percent-encoded.")),
    responses((status = 204, description = "Done."))
)]
pub(super) async fn remove_friend<H: Handle>(State(shared): State<Shared<H>>, Friend(friend): Friend) -> Answer<Done> {
    shared.handle.remove_friend(&friend).await?;
    Ok(Done)
}

/// Blocks a friend, or anybody else by id or address.
#[utoipa::path(
    post,
    path = "/v1/friends/{friend}/block",
    tag = "friends",
    params(("friend" = String, Path, description = "Id, unique beginning of it (at least 6 digits), exact name, or address; percent-encoded.")),
    responses((status = 204, description = "Done."))
)]
pub(super) async fn block<H: Handle>(State(shared): State<Shared<H>>, Friend(friend): Friend) -> Answer<Done> {
    shared.handle.block(&friend).await?;
    Ok(Done)
}

/// Ids of those who are blocked.
#[utoipa::path(
    get,
    path = "/v1/blocked",
    tag = "friends",
    responses((status = 200, body = Vec<FriendId>, description = "Done."))
)]
pub(super) async fn blocked<H: Handle>(State(shared): State<Shared<H>>) -> Answer<Json<Vec<FriendId>>> {
    Ok(Json(shared.handle.blocked().await?))
}

/// Lifts a block.
#[utoipa::path(
    delete,
    path = "/v1/blocked/{id}",
    tag = "friends",
    params(("id" = String, Path, description = "Id of the blocked.")),
    responses((status = 204, description = "Done."))
)]
pub(super) async fn unblock<H: Handle>(State(shared): State<Shared<H>>, Friend(friend): Friend) -> Answer<Done> {
    shared.handle.unblock(&friend).await?;
    Ok(Done)
}

/// What strangers asked.
#[utoipa::path(
    get,
    path = "/v1/requests",
    tag = "friends",
    responses((status = 200, body = Vec<Request>, description = "Done."))
)]
pub(super) async fn requests<H: Handle>(State(shared): State<Shared<H>>) -> Answer<Json<Vec<Request>>> {
    Ok(Json(shared.handle.requests().await?))
}

/// Accepts, declines or blocks a request.
#[utoipa::path(
    post,
    path = "/v1/requests/{id}",
    tag = "friends",
    params(("id" = String, Path, description = "Id of the asker, or a unique beginning of it.")),
    request_body = RequestAnswer,
    responses((status = 204, description = "Done."))
)]
pub(super) async fn answer_request<H: Handle>(
    State(shared): State<Shared<H>>,
    Friend(friend): Friend,
    Body(body): Body<RequestAnswer>,
) -> Answer<Done> {
    shared.handle.answer_request(&friend, body).await?;
    Ok(Done)
}

/// What others learn of this node.
#[utoipa::path(
    get,
    path = "/v1/privacy",
    tag = "friends",
    responses((status = 200, body = Privacy, description = "Done."))
)]
pub(super) async fn privacy<H: Handle>(State(shared): State<Shared<H>>) -> Answer<Json<Privacy>> {
    Ok(Json(shared.handle.privacy().await?))
}

/// Hides this node's addresses from everybody, or shows them again.
#[utoipa::path(
    put,
    path = "/v1/privacy",
    tag = "friends",
    request_body = Privacy,
    responses((status = 200, body = Privacy, description = "Done."))
)]
pub(super) async fn set_privacy<H: Handle>(
    State(shared): State<Shared<H>>,
    Body(body): Body<Privacy>,
) -> Answer<Json<Privacy>> {
    Ok(Json(shared.handle.set_privacy(body).await?))
}
