//! People, words and calls to be shown.

use twocan_control::doctor::{Check, Doctor, Reachability};
use twocan_control::testing::{sample_address, sample_call, sample_friend, sample_id, sample_relay};
use twocan_control::{
    Availability, Call, CallState, ChatMessage, Conversation, Direction, Event, FileNote, FileState, FileTransfer,
    Friend, FriendState, Health, HistoryEntry, Identity, LinkPath, MessagePage, MessageState, Outcome, Privacy,
    RelayPolicy, Settings, Status, Timings,
};

use super::stage::{NOW, Stage};
use crate::model::desk::{Desk, Loadable, NodeUpdate};
use crate::model::{Snapshot, Update};

const MINUTE: u64 = 60_000;

pub(super) fn friend(name: &str, online: bool) -> Friend {
    let mut friend = sample_friend(name);
    friend.online = online;
    if !online {
        (friend.link, friend.availability) = (None, None);
    }
    friend
}

pub(super) fn snapshot() -> Snapshot {
    let mut jonas = friend("Jonas Lindqvist", true);
    jonas.availability = Some(Availability::Dnd);
    if let Some(link) = &mut jonas.link {
        (link.path, link.rtt_ms) = (LinkPath::Direct, Some(24.0));
    }
    let mut asked = friend("Yuki Tanaka", false);
    asked.state = FriendState::Requested;
    Snapshot {
        identity: Identity {
            address: sample_address("me"),
            uri: format!("twocan:{}", sample_id("me")),
            root: sample_id("me"),
            name: "Alice Moreau".into(),
            picture: None,
            device_index: 0,
            token_rotated_ms: None,
        },
        status: Status {
            api_version: 1,
            version: "0.1.0".into(),
            pid: 1,
            home: "/home/alice/.local/share/twocan".into(),
            uptime_s: 1,
            locked: false,
            availability: Availability::Available,
            peer_id: String::new(),
            listen: vec![],
            media_port: 4001,
            reachability: Reachability::Unknown,
            dht: Health { peers: 12, slots_confirmed: 3, discovery: "own".into(), ..Health::default() },
            friends: 3,
            friends_online: 1,
            requests: 0,
            calls: 0,
            missed: 0,
            unread: 0,
            timings: Timings::default(),
            notices: vec![],
        },
        friends: vec![friend("Mira Okafor", true), jonas, friend("Pavel Novák", false), asked],
        requests: vec![],
        calls: vec![],
    }
}

pub(super) fn up() -> Stage {
    let mut stage = Stage::new([Update::Connected(snapshot())]);
    stage.commands.clear();
    stage
}

pub(super) fn call(state: CallState, direction: Direction) -> Call {
    let mut call = sample_call(&sample_friend("Mira Okafor"), direction, state);
    call.answered_ms = Some(NOW - 61_000);
    call
}

pub(super) fn line(place: u64, mine: bool, text: &str, minutes_ago: u64) -> ChatMessage {
    let at = NOW - minutes_ago * MINUTE;
    ChatMessage {
        id: format!("{place:032x}"),
        friend: sample_id("Mira Okafor"),
        place,
        direction: if mine { Direction::Outgoing } else { Direction::Incoming },
        text: text.into(),
        sent_ms: at,
        kept_ms: at,
        state: MessageState::Waiting,
        call: None,
        file: None,
    }
}

pub(super) fn file(state: FileState) -> FileTransfer {
    FileTransfer {
        id: "f".repeat(32),
        friend: sample_id("Mira Okafor"),
        friend_name: "Mira Okafor".into(),
        direction: Direction::Incoming,
        name: "holiday.jpg".into(),
        size: 4_800_000,
        state,
        done: if state == FileState::Offered { 0 } else { 1_200_000 },
        bytes_per_second: (state == FileState::Running).then_some(640_000),
        paused_here: state == FileState::Paused,
        paused_there: false,
        path: None,
        reason: None,
        offered_ms: NOW - MINUTE,
        ended_ms: None,
    }
}

/// A conversation of a day, with a file that is offered.
pub(super) fn chat() -> Stage {
    let mut stage = up();
    let mut offered = line(9, false, "", 1);
    offered.file = Some(FileNote { id: file(FileState::Offered).id, name: "holiday.jpg".into(), size: 4_800_000 });
    let messages = vec![
        line(1, false, "Shall we eat together on Friday? I found this: https://example.org/menu", 26 * 60),
        line(2, true, "With pleasure! Eight o'clock?", 26 * 60 - 4),
        line(3, false, "Eight is good.", 26 * 60 - 5),
        line(
            4,
            false,
            "I'll bring the pictures of the holiday. There are rather many of them, so you had better have some time: we were in the mountains for two weeks and it did not rain once.",
            26 * 60 - 5,
        ),
        line(5, true, "😀 I have time", 20),
        line(6, false, "Are you there?", 6),
        line(7, true, "In five minutes", 5),
        line(8, true, "I call you then", 4),
        offered,
    ];
    let last = messages.last().cloned();
    let friend = sample_id("Mira Okafor");
    let conversation = Conversation {
        friend: friend.clone(),
        friend_name: "Mira Okafor".into(),
        unread: 2,
        waiting: 1,
        delivered_until: 7,
        read_until: 5,
        trouble: None,
        last,
    };
    let model = &mut stage.shell.model;
    model.selected = Some(friend.clone());
    model.apply(Update::Event(Event::Conversation { conversation }), NOW);
    model.apply(Update::Event(Event::File { file: file(FileState::Offered) }), NOW);
    stage.settle();
    let page = Ok(MessagePage { messages, more: false });
    stage.shell.model.apply(Update::Node(NodeUpdate::Page { friend, page }), NOW);
    stage.settle();
    stage
}

pub(super) fn history() -> Vec<HistoryEntry> {
    let entry = |name: &str, direction, outcome, minutes: u64, talked_s: u64, video, unseen| HistoryEntry {
        id: format!("{minutes:032x}"),
        friend: sample_id(name),
        friend_name: name.into(),
        direction,
        outcome,
        reason: None,
        started_ms: NOW - minutes * MINUTE,
        talked_ms: talked_s * 1000,
        video,
        unseen,
        resumes: None,
        resumable_until_ms: None,
    };
    use Direction::{Incoming, Outgoing};
    vec![
        entry("Pavel Novák", Incoming, Outcome::Unanswered, 12, 0, false, true),
        entry("Mira Okafor", Incoming, Outcome::Completed, 90, 723, true, false),
        entry("Jonas Lindqvist", Outgoing, Outcome::Declined, 26 * 60, 0, false, false),
        entry("Mira Okafor", Outgoing, Outcome::Completed, 3 * 24 * 60, 65, false, false),
        entry("Jonas Lindqvist", Incoming, Outcome::DoNotDisturb, 9 * 24 * 60, 0, false, false),
    ]
}

pub(super) fn desk() -> Desk {
    let check = |name: &str, ok, finding: &str| Check {
        name: name.into(),
        ok,
        finding: finding.into(),
        advice: (!ok).then(|| "Open UDP port 4001 in your firewall.".into()),
    };
    let doctor = Doctor {
        summary: "Most calls will be direct.".into(),
        advice: vec!["Open UDP port 4001 in your firewall.".into()],
        checks: vec![
            check("NAT", true, "One outer port for all: direct calls work with most friends."),
            check("Firewall", false, "Nobody outside reaches this node without being asked."),
            check("Clock", true, "0.2 s ahead of your friends' clocks."),
        ],
        ..Doctor::default()
    };
    let friends = [sample_friend("Mira Okafor")];
    Desk {
        history: history(),
        doctor: Loadable::Ready(doctor),
        relay: Loadable::Ready(sample_relay(RelayPolicy::Auto, &friends)),
        privacy: Loadable::Ready(Privacy::default()),
        settings: Loadable::Ready(Settings {
            read_marks: true,
            download_folder: "/home/alice/Downloads".into(),
            auto_accept_bytes: 0,
            max_file_bytes: 10_000_000_000,
        }),
        blocked: Loadable::Ready(vec![sample_id("mallory")]),
        ..Desk::default()
    }
}
