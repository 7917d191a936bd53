//! Slots published, refreshed, found.
