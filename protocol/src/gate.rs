//! The gate: 32 bytes that open a stream between two nodes. Who does not know them learns nothing, not even whether the
//! node asked is the one looked for (`specs/03-contact.md`).

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{
    address::ContactToken,
    domain,
    identity::{FriendshipKey, PeerId, RootPublic, secret_debug},
};

/// A gate tag as it stands on the wire.
pub type Tag = [u8; 32];

/// What a tag is made with; the same on both sides. Derived once per friend or token, because a node compares each tag
/// that comes in with all it knows.
#[derive(Clone)]
pub struct Key(Zeroizing<[u8; 32]>);

secret_debug!(Key);

impl Key {
    /// For links between two friends.
    pub fn link(friendship: &FriendshipKey) -> Self {
        Self(domain::kdf(domain::GATE_LINK_KEY, friendship.as_bytes(), &[]))
    }

    /// For the bytes of files between two friends.
    pub fn file(friendship: &FriendshipKey) -> Self {
        Self(domain::kdf(domain::GATE_FILE_KEY, friendship.as_bytes(), &[]))
    }

    /// For contact streams to the owner of an address.
    pub fn contact(root: &RootPublic, token: &ContactToken) -> Self {
        Self(domain::kdf(domain::GATE_CONTACT_KEY, token.as_bytes(), &[root.as_bytes()]))
    }

    /// For questions to a node that relays for anyone. Everybody knows this key: the tag asks, and hides nothing.
    pub fn relay() -> Self {
        Self(domain::kdf(domain::GATE_RELAY_KEY, &[], &[]))
    }

    /// The tag that opens a stream from node `initiator` to node `responder`.
    pub fn tag(&self, initiator: &PeerId, responder: &PeerId) -> Tag {
        domain::hmac(&self.0, domain::GATE_TAG, &[initiator.as_bytes(), responder.as_bytes()])
    }
}

/// The tag by which a friend opens a link from node `initiator` to node `responder`.
pub fn link_tag(friendship: &FriendshipKey, initiator: &PeerId, responder: &PeerId) -> Tag {
    Key::link(friendship).tag(initiator, responder)
}

/// The tag by which whoever holds `responder`'s address opens a contact stream.
pub fn contact_tag(root: &RootPublic, token: &ContactToken, initiator: &PeerId, responder: &PeerId) -> Tag {
    Key::contact(root, token).tag(initiator, responder)
}

/// Compares two tags in constant time.
pub fn same(a: &Tag, b: &Tag) -> bool {
    a.ct_eq(b).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::RootKey;

    #[test]
    fn a_tag_holds_for_one_direction_one_pair_of_nodes_and_one_kind() {
        let [alice, bob] = [1, 2].map(|n| RootKey::from_secret(&[n; 32]));
        let [a, b, c] = [b"a", b"b", b"c"].map(|id| PeerId::from_bytes(id).unwrap());
        let key = FriendshipKey::of(&alice, &bob.public());
        let tag = link_tag(&key, &a, &b);
        assert!(same(&tag, &link_tag(&FriendshipKey::of(&bob, &alice.public()), &a, &b)));
        assert!(!same(&tag, &link_tag(&key, &b, &a)));
        assert!(!same(&tag, &link_tag(&key, &a, &c)));
        let relay = Key::relay().tag(&a, &b);
        assert!(!same(&tag, &relay) && !same(&relay, &Key::relay().tag(&b, &a)));
        let token = ContactToken::derived(&bob);
        let contact = contact_tag(&bob.public(), &token, &a, &b);
        assert!(!same(&tag, &contact));
        assert!(!same(&contact, &contact_tag(&bob.public(), &ContactToken::derived(&alice), &a, &b)));
        assert!(!same(&contact, &contact_tag(&alice.public(), &token, &a, &b)));
    }
}
