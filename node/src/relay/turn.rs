//! TURN (RFC 8656) over STUN (RFC 8489), without I/O: the codec, who is let in, and the two state machines. Time comes
//! in as an argument, sockets as a trait, so that tests run in virtual time. Nothing here knows of the rest of the
//! relay; the fuzz target `turn` builds these files alone.

pub(crate) mod auth;
pub(crate) mod client;
pub(crate) mod codec;
pub(crate) mod framing;
pub(crate) mod peers;
pub(crate) mod quota;
pub(crate) mod server;
