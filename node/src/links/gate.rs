//! Whom to let in: the tags that open a stream to this node.

use std::sync::Arc;

use twocan_protocol::{
    address::ContactToken,
    gate::{Key, Tag, same},
    identity::{FriendshipKey, PeerId, RootPublic},
};

/// What a right tag stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// A friend opens a link.
    Friend(RootPublic),
    /// A friend fetches a file.
    File(RootPublic),
    /// Somebody with the address opens a contact stream.
    Contact,
    /// Somebody asks for a relay, where this node relays for anyone.
    Relay,
}

/// Gets the source of a question for a relay, gives the bytes of the answer.
type Answer = dyn Fn(&str) -> Option<Vec<u8>> + Send + Sync;

/// Answers a question for a relay.
#[derive(Clone)]
pub struct RelayDesk(pub Arc<Answer>);

impl std::fmt::Debug for RelayDesk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RelayDesk")
    }
}

/// The tags that open something here at present. Replaced as a whole when friends or the token change.
#[derive(Clone, Debug, Default)]
pub struct GateTable {
    friends: Vec<(RootPublic, Key, Key)>,
    contact: Option<Key>,
    relay: Option<(Key, RelayDesk)>,
}

impl GateTable {
    /// Links from these friends, and contact streams for the own root and token unless absent (say, while locked).
    pub fn new<'a>(
        friends: impl IntoIterator<Item = (RootPublic, &'a FriendshipKey)>,
        contact: Option<(&RootPublic, &ContactToken)>,
    ) -> Self {
        Self {
            friends: friends.into_iter().map(|(root, key)| (root, Key::link(key), Key::file(key))).collect(),
            contact: contact.map(|(root, token)| Key::contact(root, token)),
            relay: None,
        }
    }

    /// The same table, and questions for a relay are answered.
    #[must_use]
    pub fn with_relay(self, desk: RelayDesk) -> Self {
        Self { relay: Some((Key::relay(), desk)), ..self }
    }

    /// Who answers questions for a relay.
    pub(super) fn relay_desk(&self) -> Option<&RelayDesk> {
        self.relay.as_ref().map(|(_, desk)| desk)
    }

    /// What the tag opens, from node `initiator` to node `responder`. Always compares with all entries, so that the
    /// time taken does not tell which one fits.
    pub fn admit(&self, tag: &Tag, initiator: &PeerId, responder: &PeerId) -> Option<Admission> {
        let mut found = None;
        for (root, link, file) in &self.friends {
            if same(&link.tag(initiator, responder), tag) {
                found = Some(Admission::Friend(*root));
            }
            if same(&file.tag(initiator, responder), tag) {
                found = Some(Admission::File(*root));
            }
        }
        if self.contact.as_ref().is_some_and(|key| same(&key.tag(initiator, responder), tag)) {
            found = Some(Admission::Contact);
        }
        if self.relay.as_ref().is_some_and(|(key, _)| same(&key.tag(initiator, responder), tag)) {
            found = Some(Admission::Relay);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use twocan_protocol::{gate, identity::RootKey};

    use super::*;

    #[test]
    fn only_friends_and_holders_of_the_present_token_are_let_in() {
        let [alice, bob, eve] = [1, 2, 3].map(|n| RootKey::from_secret(&[n; 32]));
        let [a, b] = [1, 2].map(|n| PeerId::from_bytes(&[n; 38]).unwrap());
        let with_alice = FriendshipKey::of(&bob, &alice.public());
        let with_eve = FriendshipKey::of(&bob, &eve.public());
        let (token, old) = (ContactToken::derived(&bob), ContactToken::derived(&eve));
        let table = GateTable::new([(alice.public(), &with_alice)], Some((&bob.public(), &token)));
        let admit = |tag| table.admit(&tag, &a, &b);
        assert_eq!(admit(gate::link_tag(&with_alice, &a, &b)), Some(Admission::Friend(alice.public())));
        assert_eq!(admit(gate::contact_tag(&bob.public(), &token, &a, &b)), Some(Admission::Contact));
        assert_eq!(admit(gate::link_tag(&with_eve, &a, &b)), None);
        assert_eq!(admit(Key::file(&with_alice).tag(&a, &b)), Some(Admission::File(alice.public())));
        assert_eq!(admit(Key::file(&with_eve).tag(&a, &b)), None);
        assert_eq!(admit(gate::link_tag(&with_alice, &b, &a)), None);
        assert_eq!(admit(gate::contact_tag(&bob.public(), &old, &a, &b)), None);
        assert_eq!(admit([0; 32]), None);
        let relay = gate::Key::relay().tag(&a, &b);
        assert_eq!(admit(relay), None, "relaying for friends only shows nothing");
        let anyone = table.clone().with_relay(RelayDesk(Arc::new(|_| None)));
        assert_eq!(anyone.admit(&relay, &a, &b), Some(Admission::Relay));
        assert_eq!(GateTable::default().admit(&gate::link_tag(&with_alice, &a, &b), &a, &b), None);
    }
}
