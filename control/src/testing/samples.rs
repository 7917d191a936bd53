//! Values for tests: the same name always gives the same person.

use crate::*;

/// A phrase of the right shape that opens nothing.
pub const PHRASE: &str = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon \
                          abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon \
                          abandon art";

/// An id made from a name.
pub fn sample_id(name: &str) -> FriendId {
    let mut state = 0xcbf2_9ce4_8422_2325_u64;
    let mut id = String::new();
    while id.len() < 64 {
        for byte in name.bytes().chain([b'.']) {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        id.push_str(&format!("{state:016x}"));
    }
    id
}

/// What stands for an address of that person.
pub fn sample_address(name: &str) -> String {
    format!("twocan1{}", sample_id(name))
}

/// A friend who is online.
pub fn sample_friend(name: &str) -> Friend {
    Friend {
        id: sample_id(name),
        name: name.to_owned(),
        own_name: None,
        state: FriendState::Accepted,
        online: true,
        availability: Some(Availability::Available),
        link: Some(Link {
            path: LinkPath::Lan,
            transport: "quic".to_owned(),
            rtt_ms: Some(0.5),
            since_ms: 1_700_000_000_000,
        }),
        last_seen_ms: Some(1_700_000_000_000),
        safety_words: "one two three four five six".to_owned(),
        verified: false,
        hide_address: false,
        trouble: None,
        picture: None,
        added_ms: 1_700_000_000_000,
    }
}

/// A call with a friend.
pub fn sample_call(friend: &Friend, direction: Direction, state: CallState) -> Call {
    Call {
        id: "0".repeat(32),
        friend: friend.id.clone(),
        friend_name: friend.name.clone(),
        direction,
        state,
        started_ms: 1_700_000_000_000,
        answered_ms: None,
        ended_ms: None,
        outcome: None,
        reason: None,
        wants_video: false,
        muted: false,
        video: false,
        screen: false,
        held: false,
        remote_muted: false,
        remote_video: false,
        remote_screen: false,
        remote_held: false,
        remote_seat_empty: false,
        seat_taken: false,
        resumes: None,
        recording: None,
        quality: None,
    }
}

/// How relaying is where each of these friends has a relay.
pub fn sample_relay(serve: RelayPolicy, friends: &[Friend]) -> RelayStatus {
    let serving = serve != RelayPolicy::Off;
    let traffic = |bytes_today| RelayTraffic { allocations: 1, bytes_per_second: bytes_today / 100, bytes_today };
    let by_me = friends.iter().filter(|_| serving).map(|friend| RelayUse {
        id: friend.id.clone(),
        name: friend.name.clone(),
        guest: false,
        traffic: traffic(12_300_000),
    });
    let for_me = friends.iter().map(|friend| FriendRelay {
        id: friend.id.clone(),
        name: friend.name.clone(),
        udp: true,
        tls: false,
        ready: true,
        traffic: traffic(4_500_000),
    });
    RelayStatus {
        serve,
        serving,
        reason: if serving { "The internet can reach this node." } else { "It is switched off." }.to_owned(),
        udp: vec!["203.0.113.9:4001".to_owned()],
        tls: vec!["203.0.113.9:443".to_owned()],
        tls_note: "TLS is on port 443.".to_owned(),
        limits: RelayLimits { allocations: 64, bytes_per_second: 2_500_000, bytes_per_day: 20_000_000_000 },
        total: traffic(12_300_000),
        by_me: by_me.collect(),
        for_me: for_me.collect(),
        stun_answers: 7,
        refused: 0,
        over_quota: 0,
    }
}

/// What a preflight to a friend might find.
pub fn sample_preflight(friend: &Friend) -> Preflight {
    let stream = doctor::PreflightStream { packets: 150, loss: 0.0, jitter_ms: 1.2 };
    Preflight {
        friend: friend.id.clone(),
        friend_name: friend.name.clone(),
        works: true,
        summary: format!("A call to {} would be excellent: directly, 34 ms round trip, nothing lost.", friend.name),
        advice: Vec::new(),
        path: Some(LinkPath::Direct),
        candidates: Some("host/srflx".to_owned()),
        setup_ms: Some(120.0),
        rtt_ms: Some(34.0),
        incoming: Some(stream),
        outgoing: Some(stream),
        rate: None,
        mos: Some(4.4),
        grade: Some(doctor::Grade::Excellent),
    }
}

/// Settings as a node has them at first.
pub(super) fn sample_settings() -> Settings {
    Settings {
        read_marks: true,
        download_folder: "/tmp/downloads".to_owned(),
        auto_accept_bytes: 0,
        max_file_bytes: 4 << 30,
    }
}
