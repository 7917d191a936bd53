//! The gate: 32 bytes that open a stream between two nodes. Who does not know them learns nothing, not even whether the
//! node asked is the one looked for (`specs/03-contact.md`).

use subtle::ConstantTimeEq;

use crate::{
    address::ContactToken,
    domain,
    identity::{FriendshipKey, PeerId, RootPublic},
};

/// A gate tag as it stands on the wire.
pub type Tag = [u8; 32];

/// The tag by which a friend opens a link from node `initiator` to node `responder`.
pub fn link_tag(key: &FriendshipKey, initiator: &PeerId, responder: &PeerId) -> Tag {
    let key = domain::kdf(domain::GATE_LINK_KEY, key.as_bytes(), &[]);
    domain::hmac(&key, domain::GATE_TAG, &[initiator.as_bytes(), responder.as_bytes()])
}

/// The tag by which whoever holds `responder`'s address opens a contact stream.
pub fn contact_tag(root: &RootPublic, token: &ContactToken, initiator: &PeerId, responder: &PeerId) -> Tag {
    let key = domain::kdf(domain::GATE_CONTACT_KEY, token.as_bytes(), &[root.as_bytes()]);
    domain::hmac(&key, domain::GATE_TAG, &[initiator.as_bytes(), responder.as_bytes()])
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
        let token = ContactToken::derived(&bob);
        let contact = contact_tag(&bob.public(), &token, &a, &b);
        assert!(!same(&tag, &contact));
        assert!(!same(&contact, &contact_tag(&bob.public(), &ContactToken::derived(&alice), &a, &b)));
        assert!(!same(&contact, &contact_tag(&alice.public(), &token, &a, &b)));
    }
}
