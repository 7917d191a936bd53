//! `specs/vectors/identity.json` and the word list that the phrases are made of.

use bip39::Language;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use serde_json::{Value, json};

use super::{bytes, check, check_file};
use crate::{
    address::ContactToken,
    domain,
    gate::{contact_tag, link_tag},
    identity::{Certificate, DeviceKey, FriendshipKey, PeerId, RootKey, RootPublic},
    safety::safety_words,
    sealed::{StoreKey, passphrase},
};

fn certificate(n: u8, m: u8, index: u32, issued_s: u64, expires_s: u64) -> Value {
    let certificate = Certificate::issue(
        &RootKey::from_secret(&bytes(n)),
        DeviceKey::from_secret(&bytes(m)).public(),
        index,
        issued_s,
        expires_s,
    );
    json!({
        "entropy": hex::encode(bytes(n)), "device_seed": hex::encode(bytes(m)),
        "index": index, "issued_s": issued_s, "expires_s": expires_s, "encoded": hex::encode(certificate.encode()),
    })
}

fn pair(a: &RootKey, b: &RootKey) -> Value {
    let [one, two] =
        [1, 2].map(|n| PeerId::from_bytes(&[&[0, 0x24, 8, 1, 0x12, 0x20], &bytes(n)[..]].concat()).unwrap());
    let key = FriendshipKey::of(a, &b.public());
    let token = ContactToken::derived(b);
    json!({
        "entropy_a": hex::encode(a.secret().as_slice()), "entropy_b": hex::encode(b.secret().as_slice()),
        "friendship_key": hex::encode(key.as_bytes()),
        "safety_words": safety_words(&a.public(), &b.public()),
        "peer_a": hex::encode(one.as_bytes()), "peer_b": hex::encode(two.as_bytes()),
        "link_tag_a_to_b": hex::encode(link_tag(&key, &one, &two)),
        "link_tag_b_to_a": hex::encode(link_tag(&key, &two, &one)),
        "contact_tag_a_to_b": hex::encode(contact_tag(&b.public(), &token, &one, &two)),
    })
}

fn refused_key(key: [u8; 32], why: &str) -> Value {
    assert!(RootPublic::from_bytes(&key).is_err(), "{why}");
    json!({ "key": hex::encode(key), "note": why })
}

fn refused_keys() -> Vec<Value> {
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let mut alias = [0xff; 32];
    alias[0] = 0xee;
    alias[31] = 0x7f;
    let eight = curve25519_dalek::constants::EIGHT_TORSION[1];
    let honest = crate::identity::checked_point(RootKey::from_secret(&bytes(1)).public().as_bytes()).unwrap();
    let mut no_point = [0; 32];
    no_point[0] = 2;
    vec![
        refused_key(neutral, "neutral element"),
        refused_key(alias, "not canonical"),
        refused_key(eight.compress().to_bytes(), "small order"),
        refused_key((honest + eight).compress().to_bytes(), "mixed order"),
        refused_key(no_point, "not on the curve"),
    ]
}

#[test]
fn identity_vectors() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let roots: Vec<Value> = [[0; 32], bytes(1), [0xff; 32]]
        .iter()
        .map(|entropy| {
            let root = RootKey::from_secret(entropy);
            json!({
                "entropy": hex::encode(entropy), "phrase": root.phrase().as_str(),
                "seed": hex::encode(root.signing().to_bytes()), "public": root.public().to_string(),
                "montgomery": hex::encode(root.public().montgomery()),
                "first_token": hex::encode(ContactToken::derived(&root).as_bytes()),
            })
        })
        .collect();
    let devices: Vec<Value> = [bytes(1), bytes(100)]
        .iter()
        .map(|seed| {
            let public = DeviceKey::from_secret(seed).public();
            json!({
                "seed": hex::encode(seed), "public": public.to_string(), "montgomery": hex::encode(public.montgomery()),
            })
        })
        .collect();
    let store = StoreKey::from_secret(&bytes(50));
    let sealed = store.seal(b"friends", b"a friend", &mut rng);
    let file = |kind, text: &str, rng: &mut ChaCha20Rng| {
        hex::encode(passphrase::seal("correct horse \u{e9}", kind, text.as_bytes(), rng).unwrap())
    };
    let [root_a, root_b, root_c] = [1, 2, 3].map(|n| RootKey::from_secret(&bytes(n)));
    check(
        "identity",
        &json!({
            "spec": "specs/01-identity.md", "version": 1,
            "tuples": [
                { "label": "a", "parts": [], "hex": hex::encode(&*domain::tuple("a", &[])) },
                { "label": "ab", "parts": ["", "0102"], "hex": hex::encode(&*domain::tuple("ab", &[&[], &[1, 2]])) },
            ],
            "kdf": [{
                "label": "twocan/1 test", "key_material": "000102", "parts": ["ff"],
                "out": hex::encode(*domain::kdf("twocan/1 test", &[0, 1, 2], &[&[0xff]])),
            }],
            "roots": roots,
            "refused_phrases": [
                { "phrase": "abandon ".repeat(24).trim(), "reason": "checksum" },
                { "phrase": "abandon abandon", "reason": "count" },
                { "phrase": format!("{}abandonn", "abandon ".repeat(23)), "reason": "word 24" },
            ],
            "devices": devices,
            "refused_keys": refused_keys(),
            "certificates": [
                certificate(1, 100, 0, 1_800_000_000, 1_831_536_000),
                certificate(2, 101, 7, 0, u64::from(u32::MAX)),
            ],
            "pairs": [pair(&root_a, &root_b), pair(&root_b, &root_a), pair(&root_c, &root_a)],
            "store": [{
                "key": hex::encode(bytes(50)), "context": hex::encode("friends"), "plaintext": hex::encode("a friend"),
                "sealed": hex::encode(sealed),
                "index": hex::encode(store.index(b"friends", b"a friend")),
            }],
            "files": [
                {
                    "passphrase": "correct horse \u{e9}", "kind": "key file", "plaintext": hex::encode("keys"),
                    "file": file(passphrase::Kind::KeyFile, "keys", &mut rng),
                },
                {
                    "passphrase": "correct horse \u{e9}", "kind": "backup", "plaintext": hex::encode("everything"),
                    "file": file(passphrase::Kind::Backup, "everything", &mut rng),
                },
            ],
        }),
    );
    assert_eq!(RootKey::from_phrase("abandon ".repeat(24).trim()).unwrap_err(), crate::identity::PhraseError::Checksum);
}

#[test]
fn the_word_list_is_the_one_in_the_specs() {
    let mut text = Language::English.word_list().join("\n");
    text.push('\n');
    check_file("bip39-english.txt", &text);
}
