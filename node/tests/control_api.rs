//! The local API over a real socket: the client speaks to the server, behind which a node lives in memory; and whatever
//! else can be thrown at the socket.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests say what they expect by failing")]

#[path = "control_api/client.rs"]
mod client;
#[path = "control_api/events.rs"]
mod events;
#[path = "control_api/hostile.rs"]
mod hostile;
#[path = "control_api/media.rs"]
mod media;
#[path = "control_api/spec.rs"]
mod spec;
#[path = "control_api/support.rs"]
mod support;
