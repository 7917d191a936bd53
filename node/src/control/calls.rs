//! Calls: placing, answering, steering, and what is remembered of them.

use axum::extract::State;
use twocan_control::{
    AnswerCall, CallUpdate, Decline, Handle, HistoryEntry, PlaceCall, RecordCall, SeatedCall, TakeSeat,
};

use super::extract::{Answer, Body, Call, Done, Json};
use super::routes::Shared;

/// Calls that are not over, and those that ended in the last minute.
#[utoipa::path(
    get,
    path = "/v1/calls",
    tag = "calls",
    responses((status = 200, body = Vec<twocan_control::Call>, description = "Done."))
)]
pub(super) async fn calls<H: Handle>(State(shared): State<Shared<H>>) -> Answer<Json<Vec<twocan_control::Call>>> {
    Ok(Json(shared.handle.calls().await?))
}

/// Calls a friend and takes the seat.
#[utoipa::path(
    post,
    path = "/v1/calls",
    tag = "calls",
    request_body = PlaceCall,
    responses((status = 200, body = SeatedCall, description = "Done."))
)]
pub(super) async fn place_call<H: Handle>(
    State(shared): State<Shared<H>>,
    Body(body): Body<PlaceCall>,
) -> Answer<Json<SeatedCall>> {
    Ok(Json(shared.handle.place_call(body).await?))
}

/// One call.
#[utoipa::path(
    get,
    path = "/v1/calls/{call}",
    tag = "calls",
    params(("call" = String, Path, description = "Id, or a unique beginning of it.")),
    responses((status = 200, body = twocan_control::Call, description = "Done."))
)]
pub(super) async fn call<H: Handle>(
    State(shared): State<Shared<H>>,
    Call(call): Call,
) -> Answer<Json<twocan_control::Call>> {
    Ok(Json(shared.handle.call(&call).await?))
}

/// Mutes, holds, video on and off.
#[utoipa::path(
    patch,
    path = "/v1/calls/{call}",
    tag = "calls",
    params(("call" = String, Path, description = "Id, or a unique beginning of it.")),
    request_body = CallUpdate,
    responses((status = 200, body = twocan_control::Call, description = "Done."))
)]
pub(super) async fn update_call<H: Handle>(
    State(shared): State<Shared<H>>,
    Call(call): Call,
    Body(body): Body<CallUpdate>,
) -> Answer<Json<twocan_control::Call>> {
    Ok(Json(shared.handle.update_call(&call, body).await?))
}

/// Answers and takes the seat.
#[utoipa::path(
    post,
    path = "/v1/calls/{call}/answer",
    tag = "calls",
    params(("call" = String, Path, description = "Id, or a unique beginning of it.")),
    request_body = AnswerCall,
    responses((status = 200, body = SeatedCall, description = "Done."))
)]
pub(super) async fn answer_call<H: Handle>(
    State(shared): State<Shared<H>>,
    Call(call): Call,
    Body(body): Body<AnswerCall>,
) -> Answer<Json<SeatedCall>> {
    Ok(Json(shared.handle.answer_call(&call, body).await?))
}

/// Goes on with a call that was lost, in a new call, and takes its seat.
#[utoipa::path(
    post,
    path = "/v1/calls/{call}/resume",
    tag = "calls",
    params(("call" = String, Path, description = "Id of the lost call, or a unique beginning of it.")),
    request_body = AnswerCall,
    responses((status = 200, body = SeatedCall, description = "Done."))
)]
pub(super) async fn resume_call<H: Handle>(
    State(shared): State<Shared<H>>,
    Call(call): Call,
    Body(body): Body<AnswerCall>,
) -> Answer<Json<SeatedCall>> {
    Ok(Json(shared.handle.resume_call(&call, body).await?))
}

/// Takes the seat of a running call.
#[utoipa::path(
    post,
    path = "/v1/calls/{call}/seat",
    tag = "calls",
    params(("call" = String, Path, description = "Id, or a unique beginning of it.")),
    request_body = TakeSeat,
    responses((status = 200, body = SeatedCall, description = "Done."))
)]
pub(super) async fn take_seat<H: Handle>(
    State(shared): State<Shared<H>>,
    Call(call): Call,
    Body(body): Body<TakeSeat>,
) -> Answer<Json<SeatedCall>> {
    Ok(Json(shared.handle.take_seat(&call, body).await?))
}

/// Says no.
#[utoipa::path(
    post,
    path = "/v1/calls/{call}/decline",
    tag = "calls",
    params(("call" = String, Path, description = "Id, or a unique beginning of it.")),
    request_body = Decline,
    responses((status = 204, description = "Done."))
)]
pub(super) async fn decline_call<H: Handle>(
    State(shared): State<Shared<H>>,
    Call(call): Call,
    Body(body): Body<Decline>,
) -> Answer<Done> {
    shared.handle.decline_call(&call, body).await?;
    Ok(Done)
}

/// Leaves, or gives up calling.
#[utoipa::path(
    post,
    path = "/v1/calls/{call}/hangup",
    tag = "calls",
    params(("call" = String, Path, description = "Id, or a unique beginning of it.")),
    responses((status = 204, description = "Done."))
)]
pub(super) async fn hangup<H: Handle>(State(shared): State<Shared<H>>, Call(call): Call) -> Answer<Done> {
    shared.handle.hangup(&call).await?;
    Ok(Done)
}

/// Asks to record the call, agrees to it, refuses, begins, ends.
#[utoipa::path(
    post,
    path = "/v1/calls/{call}/recording",
    tag = "calls",
    params(("call" = String, Path, description = "Id, or a unique beginning of it.")),
    request_body = RecordCall,
    responses((status = 200, body = twocan_control::Call, description = "Done."))
)]
pub(super) async fn record_call<H: Handle>(
    State(shared): State<Shared<H>>,
    Call(call): Call,
    Body(body): Body<RecordCall>,
) -> Answer<Json<twocan_control::Call>> {
    Ok(Json(shared.handle.record_call(&call, body).await?))
}

/// Calls that are over, newest first.
#[utoipa::path(
    get,
    path = "/v1/history",
    tag = "calls",
    responses((status = 200, body = Vec<HistoryEntry>, description = "Done."))
)]
pub(super) async fn history<H: Handle>(State(shared): State<Shared<H>>) -> Answer<Json<Vec<HistoryEntry>>> {
    Ok(Json(shared.handle.history().await?))
}

/// Forgets all calls that are over.
#[utoipa::path(
    delete,
    path = "/v1/history",
    tag = "calls",
    responses((status = 204, description = "Done."))
)]
pub(super) async fn clear_history<H: Handle>(State(shared): State<Shared<H>>) -> Answer<Done> {
    shared.handle.clear_history().await?;
    Ok(Done)
}

/// Marks all missed calls as seen.
#[utoipa::path(
    post,
    path = "/v1/history/seen",
    tag = "calls",
    responses((status = 204, description = "Done."))
)]
pub(super) async fn history_seen<H: Handle>(State(shared): State<Shared<H>>) -> Answer<Done> {
    shared.handle.history_seen().await?;
    Ok(Done)
}
