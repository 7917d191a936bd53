//! The pure rules between twocan nodes: no sockets, no files, no clock, no randomness of its own.

pub mod wire;
