//! From older formats of the store to the present one.
//!
//! Each format has a module that describes how it lies on the disk, frozen on the day when the next one came. Such a
//! module imports nothing from the rest of the store, so that no change there can alter how old files are read. Format 1
//! is the present one: its description serves the test that what the store writes can be read by it.

use std::path::Path;

use super::Error;

#[cfg(test)]
pub(in crate::store) mod v1;

/// Brings the store in `dir` from format `found` to the present one.
pub(super) fn run(_dir: &Path, found: u32) -> Result<(), Error> {
    // No format before 1 was ever released.
    Err(Error::Older { found })
}
