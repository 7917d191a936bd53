//! Redundant audio data (RFC 2198) as it passes: the node looks at the block headers only.
//!
//! The client packs and unpacks; between client and node every block is Opus of payload type [`CLIENT_TYPE`]. On the
//! wire the blocks carry the type that was negotiated for Opus, which is the offerer's choice. Nothing here trusts a
//! length: a payload whose headers do not fit is no redundant audio.

use bytes::Bytes;

/// Payload type of the blocks between client and node.
pub(super) const CLIENT_TYPE: u8 = 111;
/// Most blocks in one payload, the primary one included: far more than anybody sends.
const MAX_BLOCKS: usize = 16;
/// Header of a block that is not the last: F, type (7 bits), timestamp offset (14), length (10).
const HEADER_LEN: usize = 4;

/// What the headers say.
struct Layout {
    /// Where each header begins.
    headers: Vec<usize>,
    /// Where the last block, the primary one, begins.
    primary: usize,
}

/// Reads the headers; `None` if they do not fit, or a block is of another type.
fn layout(payload: &[u8], block_type: u8) -> Option<Layout> {
    let (mut headers, mut at, mut content) = (Vec::new(), 0, 0);
    loop {
        let &first = payload.get(at)?;
        if headers.len() >= MAX_BLOCKS || first & 0x7f != block_type {
            return None;
        }
        headers.push(at);
        if first & 0x80 == 0 {
            let primary = at + 1 + content;
            return (primary < payload.len()).then_some(Layout { headers, primary });
        }
        let &[high, low] = payload.get(at + 2..at + HEADER_LEN)? else { return None };
        content += usize::from(u16::from_be_bytes([high, low]) & 0x3ff);
        at += HEADER_LEN;
    }
}

/// The payload with all blocks of type `from` said to be of type `to`; `None` if it is no redundant audio of `from`.
pub(super) fn retyped(payload: Bytes, from: u8, to: u8) -> Option<Bytes> {
    let layout = layout(&payload, from)?;
    if from == to {
        return Some(payload);
    }
    let mut changed = payload.to_vec();
    for at in layout.headers {
        if let Some(byte) = changed.get_mut(at) {
            *byte = (*byte & 0x80) | (to & 0x7f);
        }
    }
    Some(changed.into())
}

/// The newest block alone, for a friend who takes no redundant audio.
pub(super) fn primary(payload: &Bytes) -> Option<Bytes> {
    let layout = layout(payload, CLIENT_TYPE)?;
    Some(payload.slice(layout.primary..))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TWO: &[u8] = b"\xef\x0f\x00\x03\x6f\xf8\x01\x02\xf8\x03\x04\x05";

    #[test]
    fn the_types_of_all_blocks_are_changed_and_nothing_else() {
        let two = Bytes::from_static(TWO);
        let changed = retyped(two.clone(), 111, 96).unwrap();
        assert_eq!(&changed[..], b"\xe0\x0f\x00\x03\x60\xf8\x01\x02\xf8\x03\x04\x05");
        assert_eq!(retyped(changed, 96, 111), Some(two.clone()));
        assert_eq!(retyped(two.clone(), 111, 111), Some(two));
    }

    #[test]
    fn the_primary_block_is_the_last_one() {
        assert_eq!(primary(&Bytes::from_static(TWO)), Some(Bytes::from_static(b"\xf8\x03\x04\x05")));
        assert_eq!(primary(&Bytes::from_static(b"\x6f\xf8")), Some(Bytes::from_static(b"\xf8")));
    }

    #[test]
    fn what_does_not_fit_or_is_of_another_type_is_refused() {
        for bad in [
            &b""[..],
            b"\x6f",
            b"\x0d\x01",
            b"\xef\x0f\x00",
            b"\xef\x0f\x00\x03\x6f\xf8\x01\x02",
            b"\xef\x0f\x00\x03\x0d\x01\x02\x03\x04",
        ] {
            assert_eq!(retyped(Bytes::from_static(bad), 111, 96), None, "{bad:02x?}");
        }
        let many: Vec<u8> = [0xef, 0, 0, 0].repeat(100);
        assert_eq!(retyped(many.into(), 111, 96), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80), kind in 0..128_u8) {
            let payload = Bytes::from(bytes);
            if let Some(changed) = retyped(payload.clone(), kind, 1) {
                prop_assert_eq!(changed.len(), payload.len());
            }
            if let Some(primary) = primary(&payload) {
                prop_assert!(!primary.is_empty() && primary.len() < payload.len());
            }
        }
    }
}
