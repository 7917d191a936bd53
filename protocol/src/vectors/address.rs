//! `specs/vectors/address.json`.

use bech32::{Bech32, Bech32m, Hrp};
use serde_json::{Value, json};

use super::{bytes, check};
use crate::{
    address::{Address, AddressError, AddressUri, ContactToken, Typo, UriError},
    identity::RootKey,
};

fn address(n: u8) -> Address {
    let root = RootKey::from_secret(&bytes(n));
    Address { root: root.public(), token: ContactToken::from_bytes(&[n, 1, 2, 3, 4, 5, 6, 7]).unwrap() }
}

/// The reason as the specification names it, with the position where it has one.
fn reason(error: &AddressError) -> Value {
    let (name, position) = match error {
        AddressError::Empty => ("empty", None),
        AddressError::Prefix => ("prefix", None),
        AddressError::TooLong => ("too long", None),
        AddressError::Character { position, .. } => ("character", Some(position)),
        AddressError::MixedCase { position } => ("mixed case", Some(position)),
        AddressError::Mistyped(Typo::Wrong { position }) => ("wrong", Some(position)),
        AddressError::Mistyped(Typo::Swapped { position }) => ("swapped", Some(position)),
        AddressError::Mistyped(Typo::Missing { position }) => ("missing", Some(position)),
        AddressError::Mistyped(Typo::Extra { position }) => ("extra", Some(position)),
        AddressError::Checksum => ("checksum", None),
        AddressError::NewerVersion(_) => ("version", None),
        AddressError::Malformed => ("malformed", None),
        AddressError::Key(_) => ("key", None),
    };
    json!({ "reason": name, "position": position })
}

fn refused(text: &str) -> Value {
    let error = text.parse::<Address>().unwrap_err();
    let mut value = reason(&error);
    value["text"] = json!(text);
    value
}

#[test]
fn address_vectors() {
    let hints = ["/ip4/203.0.113.7/udp/4001/quic-v1", "/dns4/node.example/tcp/4001", "/dns4/odd%name&x=1/tcp/1"];
    let valid: Vec<Value> = [1_u8, 2, 200]
        .into_iter()
        .enumerate()
        .map(|(count, n)| {
            let address = address(n);
            let hints: Vec<String> = hints.iter().take(count + 1).map(|&hint| hint.to_owned()).collect();
            let uri = AddressUri { address, hints: hints.clone() };
            json!({
                "root": address.root.to_string(), "token": hex::encode(address.token.as_bytes()),
                "text": address.to_string(), "hints": hints, "uri": uri.to_string(),
            })
        })
        .collect();

    let good = address(1).to_string();
    let change = |at: usize, to: &str| {
        let mut text = good.clone();
        text.replace_range(at..=at, to);
        text
    };
    let other = |at: usize| if &good[at..=at] == "q" { "p" } else { "q" };
    let swap = (20..).find(|&at| good.as_bytes()[at] != good.as_bytes()[at + 1]).unwrap();
    let swapped = format!("{}{}{}{}", &good[..swap], &good[swap + 1..swap + 2], &good[swap..=swap], &good[swap + 2..]);
    let hrp = Hrp::parse_unchecked("twocan");
    let encode = |payload: &[u8]| bech32::encode::<Bech32m>(hrp, payload).unwrap();
    let mut payload = vec![1];
    payload.extend_from_slice(address(1).root.as_bytes());
    payload.extend_from_slice(address(1).token.as_bytes());
    let mut weak = payload.clone();
    weak[1..33].fill(0);
    weak[1] = 1;
    let texts = [
        String::new(),
        "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7k".to_owned(),
        change(7, other(7)),
        change(40, other(40)),
        change(78, other(78)),
        change(30, "b"),
        change(30, &good[30..=30].to_uppercase().replace(|c: char| c.is_ascii_digit(), "Q")),
        swapped,
        format!("{}{}", &good[..25], &good[26..]),
        format!("{}{}{}", &good[..25], other(25), &good[25..]),
        good[..50].to_owned(),
        bech32::encode::<Bech32>(hrp, &payload).unwrap(),
        encode(&[2; 50]),
        encode(&payload[..40]),
        encode(&weak),
    ];
    let refused: Vec<Value> = texts.iter().map(|text| refused(text)).collect();

    let uri = AddressUri { address: address(1), hints: Vec::new() }.to_string();
    let broken = format!("{}{}{}", &uri[..30], if &uri[30..31] == "q" { "p" } else { "q" }, &uri[31..]);
    let Err(UriError::Address(error)) = broken.parse::<AddressUri>() else { panic!("a typo in a URI") };
    let mut in_uri = reason(&error);
    in_uri["text"] = json!(broken);
    check(
        "address",
        &json!({
            "spec": "specs/01-identity.md", "version": 1,
            "valid": valid, "refused": refused, "refused_uris": [in_uri],
        }),
    );
}
