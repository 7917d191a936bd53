//! The desktop program: shows who is there, and lets a person be asked, call and be called.
//!
//! ```text
//! node ◀─ control::Client ─▶ worker (own thread, tokio) ── Update ──▶ model (pure) ──▶ screens (egui)
//!                              ▲                                                        │
//!                              └──────────────────────── Command ───────────────────────┘
//! ```
//!
//! The UI thread draws and sends commands, and never waits for the node; the worker owns the client and the media of
//! the call; what the node says passes through [`model::Model`], which knows neither window nor socket and is tested
//! without both.

pub mod app;
pub mod attention;
pub mod bench;
pub mod clock;
pub mod design;
pub mod local;
pub mod model;
pub mod pace;
pub mod pictures;
pub mod places;
pub mod prefs;
pub mod screens;
pub mod seat;
pub mod text;
pub mod theme;
pub mod trial;
pub mod widgets;
pub mod worker;

pub use app::{open, run};
