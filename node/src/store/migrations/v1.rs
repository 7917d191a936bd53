//! Format 1 of the store, as specs/07-storage.md has it. Frozen: when format 2 comes, its migration reads with this.

use std::collections::BTreeMap;
use std::path::Path;

use ciborium::Value;
use twocan_protocol::sealed::StoreKey;

/// Key, version of the record, record, by tree and order of writing.
pub(in crate::store) type Entries = BTreeMap<(u8, u64), (Vec<u8>, u16, Vec<u8>)>;

/// All entries of the sled database in `dir/sled`, and the generation.
pub(in crate::store) fn read(dir: &Path, key: &StoreKey) -> Option<(u64, Entries)> {
    let database = sled::Config::new().path(dir.join("sled")).open().ok()?;
    let tree = database.open_tree(b"entries").ok()?;
    let generation = u64::from_be_bytes(tree.get(b"\0generation").ok()??.as_ref().try_into().ok()?);
    let mut entries = Entries::new();
    for item in &tree {
        let (place, sealed) = item.ok()?;
        if place[0] == 0 {
            continue;
        }
        let plain = key.open(&[b"twocan store entry", place.as_ref()].concat(), &sealed).ok()?;
        let (order, version, name, record) = parse(&plain)?;
        let index = key.index(&[b"twocan store entry", &place[..1]].concat(), &name);
        if index != place[1..] {
            return None;
        }
        entries.insert((place[0], order), (name, version, record));
    }
    Some((generation, entries))
}

/// CBOR `[order, version, key, record]`.
fn parse(plain: &[u8]) -> Option<(u64, u16, Vec<u8>, Vec<u8>)> {
    let value: Value = ciborium::from_reader(plain).ok()?;
    let [order, version, name, record] = value.into_array().ok()?.try_into().ok()?;
    let order = order.into_integer().ok()?.try_into().ok()?;
    let version = version.into_integer().ok()?.try_into().ok()?;
    Some((order, version, name.into_bytes().ok()?, record.into_bytes().ok()?))
}
