//! Test vectors: what this crate computes must be what stands in `specs/vectors/`. With `TWOCAN_BLESS=1` the files are
//! written anew, for the case that a specification was changed on purpose; `specs/vectors/check.py` then says, from the
//! words of the specification alone, whether the new files are right.

mod address;
mod handshake;
mod identity;
mod messages;
mod public_dht;
mod rendezvous;

use std::{fs, path::PathBuf};

use serde_json::Value;

/// Compares with (or writes) `specs/vectors/<name>.json`.
pub(crate) fn check(name: &str, value: &Value) {
    let mut text = serde_json::to_string_pretty(value).unwrap();
    text.push('\n');
    check_file(&format!("{name}.json"), &text);
}

fn check_file(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../specs/vectors").join(name);
    if std::env::var_os("TWOCAN_BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        return;
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(there == text, "code and specs/vectors/{name} differ; if the specification changed: TWOCAN_BLESS=1");
}

/// 32 bytes `n, n+1, n+2, …`: easy to recognise in a file.
fn bytes(n: u8) -> [u8; 32] {
    std::array::from_fn(|index| n.wrapping_add(u8::try_from(index).unwrap()))
}
