//! The OpenAPI document of the control API, generated from the handlers and the types they speak.
//!
//! `specs/openapi.json` is this document; a test compares the two, and writes the file anew under `TWOCAN_BLESS=1`.

use twocan_control::{API_VERSION, Error, MediaControl};
use utoipa::openapi::path::Operation;
use utoipa::openapi::{Content, OpenApi as Document, Ref, RefOr, ResponseBuilder};
use utoipa::{Modify, OpenApi};

use super::{calls, events, files, friends, identity, media, messages, node, routes, settings};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "twocan control API",
        description = "The local API of a twocan node, spoken over its Unix socket. specs/06-control-api.md explains it.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    paths(
        routes::version,
        node::status,
        node::set_availability,
        node::unlock,
        node::lookup,
        node::relay,
        node::set_relay,
        node::doctor,
        node::preflight,
        node::report,
        node::shutdown,
        identity::identity,
        identity::rotate_token,
        identity::set_profile,
        identity::phrase,
        identity::backup,
        identity::set_passphrase,
        friends::friends,
        friends::add_friend,
        friends::friend,
        friends::update_friend,
        friends::remove_friend,
        friends::block,
        friends::blocked,
        friends::unblock,
        friends::requests,
        friends::answer_request,
        friends::privacy,
        friends::set_privacy,
        calls::calls,
        calls::place_call,
        calls::call,
        calls::update_call,
        calls::answer_call,
        calls::resume_call,
        calls::take_seat,
        calls::decline_call,
        calls::hangup,
        calls::record_call,
        calls::history,
        calls::clear_history,
        calls::history_seen,
        messages::conversations,
        messages::messages,
        messages::send_message,
        messages::mark_read,
        messages::delete_conversation,
        files::files,
        files::file,
        files::forget_file,
        files::offer_file,
        files::accept,
        files::decline,
        files::pause,
        files::resume,
        files::cancel,
        settings::settings,
        settings::update_settings,
        settings::picture,
        settings::set_picture,
        settings::friend_picture,
        media::media,
        events::events,
    ),
    components(schemas(Error, MediaControl)),
    tags(
        (name = "node", description = "The node itself"),
        (name = "identity", description = "Who this node speaks for"),
        (name = "friends", description = "Friends, requests, blocks"),
        (name = "calls", description = "Calls, seats and media"),
        (name = "messages", description = "Conversations with friends"),
        (name = "files", description = "Files between friends"),
        (name = "events", description = "What happens, as it happens")
    ),
    modifiers(&Whole)
)]
struct Api;

/// Completes the document with what holds everywhere.
struct Whole;

impl Modify for Whole {
    fn modify(&self, document: &mut Document) {
        document.info.version = API_VERSION.to_string();
        for item in document.paths.paths.values_mut() {
            let methods = [&mut item.get, &mut item.put, &mut item.post, &mut item.patch, &mut item.delete];
            for operation in methods.into_iter().flatten() {
                add_failure(operation);
            }
        }
    }
}

fn add_failure(operation: &mut Operation) {
    let error = Content::new(Some(Ref::from_schema_name("Error")));
    let response = ResponseBuilder::new()
        .description("It failed; `code` says how, and the status goes with it.")
        .content("application/json", error)
        .build();
    operation.responses.responses.insert("default".to_owned(), RefOr::T(response));
}

/// The document as JSON text, ending with a line break.
///
/// # Errors
/// If it cannot be written as JSON, which would be a fault of the schema generator.
pub fn json() -> Result<String, serde_json::Error> {
    // Through a value, whose keys are sorted: the file changes only where the API does.
    let value = serde_json::to_value(Api::openapi())?;
    Ok(serde_json::to_string_pretty(&value)? + "\n")
}
