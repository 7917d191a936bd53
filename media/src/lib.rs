//! Devices, codecs, jitter buffer, sources and sinks: all that a person's ears and eyes need, and no network.
//!
//! A [`session::Session`] stands for a person with microphone, speaker, camera and screen (or the file and synthetic
//! twins of these). It gives encoded frames out and takes encoded frames in; whoever owns it carries them to a node
//! and back. Nothing here knows of friends, calls or sockets, and nothing here needs an async runtime: devices,
//! encoders and decoders run on threads of their own, joined by bounded channels.
//!
//! The caller's law: drain what the session gives out ([`session::Outgoing`]) without blocking for long, and hand in
//! every frame in the order in which it arrived: order, loss and timing are this crate's work.

pub mod audio;
pub mod clock;
pub mod frame;
pub mod measure;
pub mod record;
pub mod session;
pub mod settings;
pub mod video;

pub use clock::now_ns;
pub use frame::{EncodedFrame, Kind};
