//! twocand, the background node of twocan: it finds friends, keeps links to them, places calls, and serves the local
//! API. It holds no codec and opens no device: those are the client's who takes a seat.
//!
//! [`service`] owns all state; the other modules are drivers that turn its outputs into I/O and I/O into its inputs.

pub mod backup;
pub mod calls;
pub mod config;
pub mod control;
pub mod dht;
pub mod emitter;
mod files;
mod footprint;
pub mod home;
pub mod keyfile;
pub mod links;
pub mod logging;
pub mod netwatch;
pub mod portmap;
pub mod relay;
pub mod rendezvous;
pub mod runtime;
pub mod service;
pub mod store;
pub mod swarm;
