//! Placeholder: the crate's doc is written with its first module.
