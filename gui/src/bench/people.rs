//! The people of the bench: a list of friends as long as one likes, and a call with several of them.

use serde_json::json;
use twocan_control::{Call, CallState, Error, Friend, Quality};

use crate::model::call::{Mark, Party};
use crate::model::{Snapshot, Update};

/// Names that the list is made of.
const FIRST: [&str; 12] =
    ["Mira", "Jonas", "Ana", "Pavel", "Yuki", "Zoë", "Samir", "Greta", "Tomás", "Léa", "Kofi", "Ingrid"];
const LAST: [&str; 9] = ["Okafor", "Lindqvist", "Ribeiro", "Novák", "Tanaka", "Haddad", "Schäfer", "Dubois", "Mensah"];

/// The name of the friend of this number.
pub(super) fn name(number: usize) -> String {
    let name = format!("{} {}", FIRST[number % FIRST.len()], LAST[number / FIRST.len() % LAST.len()]);
    if number < FIRST.len() * LAST.len() { name } else { format!("{name} {number}") }
}

/// A friend as the node tells of one.
fn friend(number: usize) -> serde_json::Result<Friend> {
    let online = number.is_multiple_of(7);
    serde_json::from_value(json!({
        "id": id(number),
        "name": name(number),
        "state": "accepted",
        "online": online,
        "availability": if online { json!("available") } else { json!(null) },
        "last_seen_ms": 1_700_000_000_000_u64 + number as u64 * 1000,
        "safety_words": "a b c d e f",
        "verified": number.is_multiple_of(3),
        "added_ms": 0,
    }))
}

fn id(number: usize) -> String {
    format!("{:064x}", (number as u128 + 1) * 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835_u128 % (1 << 120))
}

/// A call that runs.
fn call(friend: &Friend) -> serde_json::Result<Call> {
    serde_json::from_value(json!({
        "id": "00000000000000000000000000000001",
        "friend": friend.id,
        "friend_name": friend.name,
        "direction": "outgoing",
        "state": CallState::Active,
        "started_ms": 1_700_000_000_000_u64,
        "answered_ms": 1_700_000_005_000_u64,
        "wants_video": true,
        "muted": false,
        "video": true,
        "held": false,
        "remote_muted": false,
        "remote_video": true,
        "remote_held": false,
        "remote_seat_empty": false,
        "seat_taken": true,
    }))
}

/// What the node tells when the window connects: this many friends, and a call if wanted.
pub(super) fn updates(friends: usize, calling: bool) -> anyhow::Result<Vec<Update>> {
    let friends = (0..friends.max(1)).map(friend).collect::<serde_json::Result<Vec<_>>>()?;
    let calls = if calling { vec![call(&friends[0])?] } else { Vec::new() };
    let identity = serde_json::from_value(json!({
        "address": format!("twocan1{}", "q".repeat(100)), "uri": "twocan:", "root": id(0), "name": "Alice", "device_index": 0,
    }))?;
    let status = serde_json::from_value(json!({
        "api_version": 1, "version": "0", "pid": 1, "home": "", "uptime_s": 1, "locked": false,
        "availability": "available", "peer_id": "", "listen": [], "media_port": 1, "reachability": "unknown",
        "dht": serde_json::to_value(twocan_control::Health::default())?,
        "friends": friends.len(), "friends_online": 0, "requests": 0, "calls": calls.len(),
        "timings": serde_json::to_value(twocan_control::Timings::default())?, "notices": [],
    }))?;
    let seat = calls.first().map(|call| call.id.clone());
    let snapshot = Snapshot { identity, status, friends, requests: Vec::new(), calls };
    Ok(vec![Update::Connected(snapshot), Update::Seat(seat)])
}

/// Numbers of the call at some second.
pub(super) fn numbers(second: u64) -> Update {
    let wave = (second as f64 / 7.0).sin();
    let quality = Quality {
        rtt_ms: Some(40.0 + 10.0 * wave),
        loss_in: 0.01 + 0.01 * wave,
        jitter_ms: 4.0 + wave,
        bitrate_in: 2_400_000,
        bitrate_out: 800_000,
        level: 4,
        ..Quality::default()
    };
    Update::Quality { call: "00000000000000000000000000000001".into(), quality }
}

/// A person in the call.
pub(super) fn party(number: usize) -> Party {
    Party {
        participant: u16::try_from(number + 1).unwrap_or(u16::MAX),
        id: id(number),
        name: name(number),
        video: true,
        screen: false,
        muted: number == 2,
        held: false,
        away: false,
        mark: Some(Mark { level: 5 - (number % 3) as u8, why: "straight over the local network".into() }),
    }
}

/// Something that the node says while nothing else happens, for the long run.
pub(super) fn chatter(number: usize) -> anyhow::Result<Update> {
    Ok(if number.is_multiple_of(50) {
        Update::Refused(Error::new(twocan_control::Code::Internal, format!("number {number}")))
    } else {
        Update::Event(twocan_control::Event::Friend { friend: friend(number % 1000)? })
    })
}
