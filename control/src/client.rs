//! The client of the local API over the Unix socket.

/// Speaks to a node over its socket.
#[derive(Clone, Debug)]
pub struct Client {}
