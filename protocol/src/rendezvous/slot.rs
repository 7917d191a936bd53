//! The three kinds of slots: who can compute where they are, and who can sign there.

use ed25519_dalek::SigningKey;
use rand::CryptoRng;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::{
    blind::{self, BlindedKey},
    record::{Publisher, Reader},
};
use crate::{
    address::{Address, ContactToken},
    domain,
    identity::{FriendshipKey, KeyError, RootKey, RootPublic, checked_point, fixed_bytes_serde, secret_debug},
};

/// Contact slots of one day. Whoever holds the address can compute where they are, and put nodes of his own there: then
/// he must do so at this many places far from each other.
pub const CONTACT_SLOTS: u8 = 4;

/// The own presence slot: a key pair and a secret, made anew whenever somebody must lose sight of us.
pub struct PresenceKey {
    signing: SigningKey,
    secret: Zeroizing<[u8; 32]>,
    generation: u64,
}

secret_debug!(PresenceKey, Grant);

impl PresenceKey {
    /// A new slot. Generations count up, so that a friend can tell an older grant from a newer one.
    pub fn generate(generation: u64, rng: &mut impl CryptoRng) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        let mut secret = Zeroizing::new([0; 32]);
        rng.fill_bytes(seed.as_mut_slice());
        rng.fill_bytes(secret.as_mut_slice());
        Self { signing: SigningKey::from_bytes(&seed), secret, generation }
    }

    /// What every friend is given.
    pub fn grant(&self) -> Grant {
        Grant {
            slot_public: self.signing.verifying_key().to_bytes(),
            secret: *self.secret,
            generation: self.generation,
        }
    }

    /// Which generation this is.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// `seed 32 | secret 32 | generation u64`, for the sealed store and for nothing else.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 72]> {
        let mut out = Zeroizing::new([0; 72]);
        out[..32].copy_from_slice(self.signing.as_bytes());
        out[32..64].copy_from_slice(self.secret.as_slice());
        out[64..].copy_from_slice(&self.generation.to_be_bytes());
        out
    }

    /// Reads [`Self::to_bytes`]; any bytes are a slot.
    pub fn from_bytes(bytes: &[u8; 72]) -> Result<Self, std::convert::Infallible> {
        let mut seed = Zeroizing::new([0; 32]);
        let mut secret = Zeroizing::new([0; 32]);
        let mut generation = [0; 8];
        seed.copy_from_slice(&bytes[..32]);
        secret.copy_from_slice(&bytes[32..64]);
        generation.copy_from_slice(&bytes[64..]);
        Ok(Self { signing: SigningKey::from_bytes(&seed), secret, generation: u64::from_be_bytes(generation) })
    }
}

fixed_bytes_serde!(PresenceKey, 72);

/// The right to find somebody's presence slot, and nothing more. Zeroized when dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Public key that is blinded for every epoch.
    #[serde(with = "serde_bytes")]
    pub slot_public: [u8; 32],
    /// What makes the blinding secret, and the seal.
    #[serde(with = "serde_bytes")]
    pub secret: [u8; 32],
    /// Of two grants by one friend the higher counts.
    pub generation: u64,
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl Grant {
    /// Whether the key in it is a good one; to be asked before a grant from the wire is kept.
    pub fn check(&self) -> Result<(), KeyError> {
        checked_point(&self.slot_public).map(|_| ())
    }
}

/// Publishes the own presence.
pub fn presence_publisher(key: &PresenceKey, epoch: u64) -> Publisher {
    let grant = key.grant();
    let (factor, seal) = presence(&grant, epoch);
    Publisher::new(BlindedKey::new(&key.signing, &factor), seal)
}

/// Reads the presence of `owner`, who gave us the grant.
pub fn presence_reader(owner: &RootPublic, grant: &Grant, epoch: u64) -> Result<Reader, KeyError> {
    let (factor, seal) = presence(grant, epoch);
    Ok(Reader::new(&blind::public(&grant.slot_public, &factor)?, *owner, seal))
}

/// Publishes for one friend.
pub fn pair_publisher(root: &RootKey, friendship: &FriendshipKey, epoch: u64) -> Publisher {
    let (factor, seal) = pair(&root.public(), friendship, epoch);
    Publisher::new(BlindedKey::new(root.signing(), &factor), seal)
}

/// Reads what `owner` published for this friendship.
pub fn pair_reader(owner: &RootPublic, friendship: &FriendshipKey, epoch: u64) -> Result<Reader, KeyError> {
    let (factor, seal) = pair(owner, friendship, epoch);
    Ok(Reader::new(&blind::public(owner.as_bytes(), &factor)?, *owner, seal))
}

/// Publishes for whoever holds the address, in slot `index` (below [`CONTACT_SLOTS`]) of the day.
pub fn contact_publisher(root: &RootKey, token: &ContactToken, day: u64, index: u8) -> Publisher {
    let (factor, seal) = contact(&root.public(), token, day, index);
    Publisher::new(BlindedKey::new(root.signing(), &factor), seal)
}

/// Reads what the owner of the address published in slot `index` of the day.
pub fn contact_reader(address: &Address, day: u64, index: u8) -> Result<Reader, KeyError> {
    let (factor, seal) = contact(&address.root, &address.token, day, index);
    Ok(Reader::new(&blind::public(address.root.as_bytes(), &factor)?, address.root, seal))
}

type FactorAndSeal = (curve25519_dalek::Scalar, Zeroizing<[u8; 32]>);

fn presence(grant: &Grant, epoch: u64) -> FactorAndSeal {
    let epoch = epoch.to_be_bytes();
    (
        blind::factor(domain::BLIND_PRESENCE, &[&grant.slot_public, &grant.secret, &epoch]),
        domain::kdf(domain::SEAL_PRESENCE, &grant.secret, &[&grant.slot_public, &epoch]),
    )
}

fn pair(owner: &RootPublic, friendship: &FriendshipKey, epoch: u64) -> FactorAndSeal {
    let epoch = epoch.to_be_bytes();
    (
        blind::factor(domain::BLIND_PAIR, &[owner.as_bytes(), friendship.as_bytes(), &epoch]),
        domain::kdf(domain::SEAL_PAIR, friendship.as_bytes(), &[owner.as_bytes(), &epoch]),
    )
}

/// Slot 0 has no index in its tuples: it is the one slot that nodes before there were several know.
fn contact(root: &RootPublic, token: &ContactToken, day: u64, index: u8) -> FactorAndSeal {
    let (day, index) = (day.to_be_bytes(), [index]);
    let blind: [&[u8]; 4] = [root.as_bytes(), token.as_bytes(), &day, &index];
    let seal: [&[u8]; 3] = [root.as_bytes(), &day, &index];
    let left_out = usize::from(index == [0]);
    (
        blind::factor(domain::BLIND_CONTACT, &blind[..4 - left_out]),
        domain::kdf(domain::SEAL_CONTACT, token.as_bytes(), &seal[..3 - left_out]),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    use super::*;
    use crate::rendezvous::{BodyError, RECORD_LEN, RecordError, RecordKey, body::tests::body_of, verify_record};

    fn root(n: u8) -> RootKey {
        RootKey::from_secret(&[n; 32])
    }

    #[test]
    fn the_entitled_find_and_open_every_kind_of_slot() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (alice, bob) = (root(1), root(2));
        let body = body_of(&alice);
        let key = PresenceKey::generate(3, &mut rng);
        let friendship = FriendshipKey::of(&bob, &alice.public());
        let token = ContactToken::derived(&alice);
        let address = Address { root: alice.public(), token };
        let slots = [
            (presence_publisher(&key, 5), presence_reader(&alice.public(), &key.grant(), 5).unwrap()),
            (pair_publisher(&alice, &friendship, 5), pair_reader(&alice.public(), &friendship, 5).unwrap()),
            (contact_publisher(&alice, &token, 5, 0), contact_reader(&address, 5, 0).unwrap()),
        ];
        for (publisher, reader) in &slots {
            let record = publisher.record(7, &body, &mut rng).unwrap();
            assert_eq!(record.len(), RECORD_LEN);
            assert_eq!(publisher.key, reader.key);
            assert_eq!(verify_record(publisher.key.as_bytes(), &record), Ok(7));
            assert_eq!(reader.open(&record).unwrap(), (7, body.clone()));
        }
        let keys: std::collections::BTreeSet<RecordKey> = slots.iter().map(|(publisher, _)| publisher.key).collect();
        assert_eq!(keys.len(), 3);
    }

    #[test]
    fn slots_move_with_every_epoch_and_token_and_friend_and_direction() {
        let (alice, bob, carol) = (root(1), root(2), root(3));
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let token = ContactToken::derived(&alice);
        let with_bob = FriendshipKey::of(&alice, &bob.public());
        let with_carol = FriendshipKey::of(&alice, &carol.public());
        let (old, new) = (PresenceKey::generate(1, &mut rng), PresenceKey::generate(2, &mut rng));
        let keys = [
            contact_publisher(&alice, &token, 1, 0).key,
            contact_publisher(&alice, &token, 1, 1).key,
            contact_publisher(&alice, &token, 1, 2).key,
            contact_publisher(&alice, &token, 2, 0).key,
            contact_publisher(&alice, &ContactToken::random(&mut rng), 1, 0).key,
            contact_publisher(&bob, &token, 1, 0).key,
            pair_publisher(&alice, &with_bob, 1).key,
            pair_publisher(&alice, &with_bob, 2).key,
            pair_publisher(&bob, &with_bob, 1).key,
            pair_publisher(&alice, &with_carol, 1).key,
            presence_publisher(&old, 1).key,
            presence_publisher(&old, 2).key,
            presence_publisher(&new, 1).key,
        ];
        assert_eq!(keys.iter().collect::<std::collections::BTreeSet<_>>().len(), keys.len());
    }

    #[test]
    fn a_change_to_any_byte_of_a_record_is_noticed() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let alice = root(1);
        let publisher = contact_publisher(&alice, &ContactToken::derived(&alice), 1, 0);
        let record = publisher.record(7, &body_of(&alice), &mut rng).unwrap();
        for at in 0..record.len() {
            let mut changed = record.clone();
            changed[at] ^= 0x20;
            assert!(verify_record(publisher.key.as_bytes(), &changed).is_err(), "byte {at}");
        }
        assert_eq!(
            verify_record(publisher.key.as_bytes(), &record[..RECORD_LEN - 1]),
            Err(RecordError::Length(RECORD_LEN - 1))
        );
        assert_eq!(verify_record(&[0; 32], &record), Err(RecordError::Key));
        assert_eq!(verify_record(&[], &record), Err(RecordError::Key));
    }

    #[test]
    fn a_stranger_cannot_write_into_a_slot_that_he_can_read() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (alice, mallory) = (root(1), root(9));
        let token = ContactToken::derived(&alice);
        let reader = contact_reader(&Address { root: alice.public(), token }, 1, 0).unwrap();
        let own = contact_publisher(&mallory, &token, 1, 0).record(8, &body_of(&mallory), &mut rng).unwrap();
        assert_eq!(reader.open(&own), Err(RecordError::Key));
        let mut forged = own;
        forged[..32].copy_from_slice(
            &contact_publisher(&alice, &token, 1, 0).record(1, &body_of(&alice), &mut rng).unwrap()[..32],
        );
        assert_eq!(reader.open(&forged), Err(RecordError::Signature));
    }

    #[test]
    fn a_friend_cannot_speak_for_somebody_else_in_his_slot() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (bob, carol) = (root(2), root(3));
        let key = PresenceKey::generate(1, &mut rng);
        let record = presence_publisher(&key, 1).record(1, &body_of(&carol), &mut rng).unwrap();
        let reader = presence_reader(&bob.public(), &key.grant(), 1).unwrap();
        assert_eq!(reader.open(&record), Err(RecordError::Owner));
    }

    #[test]
    fn a_record_with_more_addresses_than_a_list_may_have_is_refused_however_well_it_is_signed() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let alice = root(1);
        let token = ContactToken::derived(&alice);
        let publisher = contact_publisher(&alice, &token, 5, 3);
        let reader = contact_reader(&Address { root: alice.public(), token }, 5, 3).unwrap();
        let certificate = body_of(&alice).certificate.encode();
        let with = |lists: &[u8], text: &[u8]| {
            let mut body = vec![1];
            body.extend_from_slice(&certificate);
            body.extend_from_slice(&u64::MAX.to_be_bytes());
            body.extend_from_slice(&[38]);
            body.extend_from_slice(&[9; 38]);
            for count in lists {
                body.push(*count);
                for _ in 0..*count {
                    body.push(text.len() as u8);
                    body.extend_from_slice(text);
                }
            }
            body
        };
        let mut open = |body: &[u8]| reader.open(&publisher.hostile_record(7, body, &mut rng));
        assert_eq!(open(&with(&[8, 8, 8], b"/ip4/9.9.9.9/tcp/1")).unwrap().1.lan.len(), 8);
        for body in [
            with(&[9], b"/ip4/9.9.9.9/tcp/1"),
            with(&[0, 200], b"/"),
            with(&[0, 0, 255], b""),
            with(&[1], b"no address"),
            with(&[1], b"/ip4/9.9.9.9/tcp/1\x1b[2J"),
            with(&[1], &[b'/'; 201]),
        ] {
            assert_eq!(open(&body), Err(RecordError::Body(BodyError::Malformed)));
        }
    }

    #[test]
    fn a_weak_key_in_a_grant_is_refused() {
        let mut weak = [0; 32];
        weak[0] = 1;
        let grant = Grant { slot_public: weak, secret: [1; 32], generation: 1 };
        assert_eq!(grant.check(), Err(KeyError::Weak));
        assert!(presence_reader(&root(1).public(), &grant, 1).is_err());
    }

    #[test]
    fn keys_and_grants_come_back_from_their_bytes() {
        let key = PresenceKey::generate(7, &mut ChaCha20Rng::seed_from_u64(1));
        let again = PresenceKey::from_bytes(&key.to_bytes()).unwrap();
        assert!(again.grant() == key.grant());
        let mut bytes = Vec::new();
        ciborium::into_writer(&key.grant(), &mut bytes).unwrap();
        assert!(ciborium::from_reader::<Grant, _>(bytes.as_slice()).unwrap() == key.grant());
        assert_eq!(format!("{:?}{:?}", key, key.grant()), "PresenceKey(..)Grant(..)");
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_without_a_panic(
            value in proptest::collection::vec(any::<u8>(), RECORD_LEN),
            short in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            use sha2::{Digest, Sha256};
            let key = Sha256::digest(&value[..32]);
            prop_assert!(verify_record(&key, &value).is_err());
            prop_assert!(verify_record(&key, &short).is_err());
        }
    }
}
