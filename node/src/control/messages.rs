//! Conversations: lines of text, what is read, and what is unread.

use axum::extract::{Query, State};
use twocan_control::{
    ChatMessage, Code, Conversation, Handle, MarkRead, MessagePage, PageRequest, SendMessage, Validate,
};

use super::extract::{Answer, Body, Done, Failure, Friend, Json};
use super::routes::Shared;

/// All conversations, the one with the latest line first.
#[utoipa::path(
    get,
    path = "/v1/messages",
    tag = "messages",
    responses((status = 200, body = Vec<Conversation>, description = "Done."))
)]
pub(super) async fn conversations<H: Handle>(State(shared): State<Shared<H>>) -> Answer<Json<Vec<Conversation>>> {
    Ok(Json(shared.handle.conversations().await?))
}

/// Lines of a conversation, in their order.
#[utoipa::path(
    get,
    path = "/v1/friends/{friend}/messages",
    tag = "messages",
    params(
        ("friend" = String, Path, description = "Name, id, beginning of an id, or address."),
        ("before" = Option<u64>, Query, description = "Only lines before this place; without it, the latest."),
        ("limit" = Option<u32>, Query, description = "How many at most: 1 to 100, 50 if absent.")
    ),
    responses((status = 200, body = MessagePage, description = "Done."))
)]
pub(super) async fn messages<H: Handle>(
    State(shared): State<Shared<H>>,
    Friend(friend): Friend,
    page: Result<Query<PageRequest>, axum::extract::rejection::QueryRejection>,
) -> Answer<Json<MessagePage>> {
    let Ok(Query(page)) = page else {
        return Err(Failure::new(Code::Invalid, "`before` and `limit` are numbers"));
    };
    page.validate()?;
    Ok(Json(shared.handle.messages(&friend, page).await?))
}

/// Sends a message. It is kept until the friend's node has it.
#[utoipa::path(
    post,
    path = "/v1/friends/{friend}/messages",
    tag = "messages",
    params(("friend" = String, Path, description = "Name, id, beginning of an id, or address.")),
    request_body = SendMessage,
    responses((status = 200, body = ChatMessage, description = "Kept, and on its way."))
)]
pub(super) async fn send_message<H: Handle>(
    State(shared): State<Shared<H>>,
    Friend(friend): Friend,
    Body(body): Body<SendMessage>,
) -> Answer<Json<ChatMessage>> {
    Ok(Json(shared.handle.send_message(&friend, body).await?))
}

/// Marks lines of the friend as read, and tells the friend if the settings allow it.
#[utoipa::path(
    post,
    path = "/v1/friends/{friend}/messages/read",
    tag = "messages",
    params(("friend" = String, Path, description = "Name, id, beginning of an id, or address.")),
    request_body = MarkRead,
    responses((status = 200, body = Conversation, description = "Done."))
)]
pub(super) async fn mark_read<H: Handle>(
    State(shared): State<Shared<H>>,
    Friend(friend): Friend,
    Body(body): Body<MarkRead>,
) -> Answer<Json<Conversation>> {
    Ok(Json(shared.handle.mark_read(&friend, body).await?))
}

/// Deletes a conversation on this machine, with what waits in it.
#[utoipa::path(
    delete,
    path = "/v1/friends/{friend}/messages",
    tag = "messages",
    params(("friend" = String, Path, description = "Name, id, beginning of an id, or address.")),
    responses((status = 204, description = "Done."))
)]
pub(super) async fn delete_conversation<H: Handle>(
    State(shared): State<Shared<H>>,
    Friend(friend): Friend,
) -> Answer<Done> {
    shared.handle.delete_conversation(&friend).await?;
    Ok(Done)
}
