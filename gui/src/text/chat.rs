//! Words of conversations and files.

crate::words! {}
