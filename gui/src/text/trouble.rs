//! Words for what goes wrong, and what to do.

crate::words! {}
