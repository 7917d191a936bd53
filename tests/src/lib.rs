//! The harness of the whole-system tests: real `twocand` processes with homes of their own, driven over their local API.
//!
//! A test reads like a story: make a [`World`], let people meet, let them talk, break something on purpose, and wait for
//! what must follow. Everything waits for events, with a deadline; nothing sleeps and hopes.

mod attacker;
#[cfg(target_os = "linux")]
pub mod foreign;
#[cfg(target_os = "linux")]
pub mod gui;
#[cfg(target_os = "linux")]
pub mod lab;
#[cfg(target_os = "linux")]
pub mod lurker;
mod node;
pub mod picture;
#[cfg(target_os = "linux")]
pub mod quality;
mod seat;
pub mod sim;
#[cfg(target_os = "linux")]
pub mod spy;
mod world;

pub use attacker::{Attacker, Recorder, garbage, say};
pub use node::{DEADLINE, Events, Node, Options, binary};
pub use seat::{Seat, Sent};
pub use world::{World, ask, incoming_call, incoming_request, offline, online, talk};
