//! Round trips, bounds and hostile bytes of the wire format.

use proptest::prelude::*;

use super::*;
use crate::rendezvous::Grant;

fn description(kind: DescriptionKind, length: usize) -> Description {
    let sdp = Bounded::new("s".repeat(length)).expect("within the bound");
    let more = Bounded::new("m".repeat(length.min(MAX_MORE))).expect("within the bound");
    Description { kind, generation: u32::MAX, fingerprint: [0xff; 32], sdp, more }
}

fn many_candidates() -> Candidates {
    List::first_of((0..MAX_CANDIDATES + 5).map(|_| Candidate::new("c".repeat(256)).expect("within the bound")))
}

fn frame(message: Message) -> Frame {
    Frame { sequence: Some(u64::MAX), acknowledged: Some(u64::MAX), message }
}

fn raw(kind: &str, body: &impl Serialize) -> Vec<u8> {
    seal(kind, None, None, to_cbor("test", body).expect("encodes")).expect("seals")
}

#[test]
fn the_largest_invite_fits_into_one_frame() {
    let message = Message::Call(CallMessage {
        call: CallId([0xff; 16]),
        participant: u16::MAX,
        body: CallBody::Invite {
            description: description(DescriptionKind::Offer, MAX_SDP),
            candidates: many_candidates(),
            video: true,
            resumes: Some(CallId([255; 16])),
        },
    });
    let bytes = frame(message.clone()).encode().expect("fits");
    assert!(bytes.len() <= MAX_FRAME, "{} bytes", bytes.len());
    assert_eq!(Frame::decode(&bytes).expect("decodes").message, message);
}

#[test]
fn an_unknown_kind_is_told_apart_and_an_unknown_field_is_ignored() {
    #[derive(Serialize)]
    struct Later {
        id: u64,
        colour: &'static str,
        nested: Vec<Vec<u8>>,
    }
    let later = Later { id: 7, colour: "green", nested: vec![vec![1, 2]] };
    assert_eq!(Frame::decode(&raw("ping", &later)).expect("decodes").message, Message::Ping(7));
    let unknown = Frame::decode(&raw("hologram", &later)).expect("decodes").message;
    assert_eq!(unknown, Message::Unknown(Bounded::new("hologram").expect("short")));
    assert!(frame(unknown).encode().is_err(), "what was not understood is never sent on");
}

#[test]
fn a_word_of_a_later_version_is_read_as_other() {
    #[derive(Serialize)]
    struct Presence {
        availability: &'static str,
    }
    let bytes = raw("presence", &Presence { availability: "asleep" });
    assert_eq!(Frame::decode(&bytes).expect("decodes").message, Message::Presence(Availability::Other));
}

#[test]
fn whatever_is_beyond_its_bound_is_refused() {
    #[derive(Serialize)]
    struct Profile {
        name: String,
    }
    let long = Profile { name: "a".repeat(257) };
    assert!(matches!(Frame::decode(&raw("profile", &long)), Err(WireError::Malformed { .. })));

    #[derive(Serialize)]
    struct Addressed {
        call: serde_bytes::ByteBuf,
        participant: u16,
        body: Body,
    }
    #[derive(Serialize)]
    struct Body {
        generation: u32,
        candidates: Vec<String>,
    }
    let addressed = |id: usize, count: usize, length: usize| Addressed {
        call: serde_bytes::ByteBuf::from(vec![0; id]),
        participant: 0,
        body: Body { generation: 0, candidates: vec!["c".repeat(length); count] },
    };
    assert!(Frame::decode(&raw("call.candidates", &addressed(16, 16, 256))).is_ok());
    for (id, count, length) in [(15, 1, 1), (17, 1, 1), (16, 17, 1), (16, 1, 257)] {
        assert!(Frame::decode(&raw("call.candidates", &addressed(id, count, length))).is_err());
    }
    assert!(matches!(Frame::decode(&vec![0; MAX_FRAME + 1]), Err(WireError::TooLong(_))));
}

#[test]
fn another_envelope_version_and_trailing_bytes_are_refused() {
    let mut bytes = Frame::plain(Message::Ping(1)).encode().expect("encodes");
    bytes.push(0);
    assert_eq!(Frame::decode(&bytes), Err(WireError::Trailing(1)));
    let envelope = Envelope { v: 2, k: Bounded::new("ping").expect("short"), n: None, a: None, b: Blob::default() };
    assert_eq!(Frame::decode(&to_cbor("test", &envelope).expect("encodes")), Err(WireError::Version(2)));
}

#[test]
fn hostile_lengths_and_nesting_cost_nothing() {
    // A map whose byte string claims 2^63 bytes, arrays that claim 2^32 items, and ten thousand arrays in each other.
    let mut claims = vec![0xa1, 0x61, b'b', 0x5b, 0x7f];
    claims.extend([0xff; 7]);
    let mut items = vec![0xa1, 0x61, b'b', 0x9a];
    items.extend([0xff; 4]);
    let mut nested = vec![0xa1, 0x61, b'x'];
    nested.extend(std::iter::repeat_n(0x81, 10_000));
    let mut endless = vec![0xa1, 0x61, b'k', 0x7f];
    endless.extend(std::iter::repeat_n(0x60, 20_000));
    for bytes in [claims, items, nested, endless] {
        assert!(Frame::decode(&bytes).is_err());
    }
}

#[test]
fn text_of_strangers_loses_what_hides_or_turns_it() {
    let name = Name::clean("  al\u{202e}ice\u{0}\n\u{200b}\u{2066}bob\u{1b}[31m \u{e0041} ");
    assert_eq!(name.as_str(), "alice bob[31m");
    assert_eq!(Name::clean(&"é".repeat(100)).as_str().chars().count(), 64);
    assert_eq!(Note::clean(&"x".repeat(300)).as_str().len(), 280);
    assert!(Name::clean("\u{202e}\u{0}  ").is_empty());
    assert_eq!(Name::clean("👩\u{200d}💻").as_str(), "👩\u{200d}💻");
}

#[test]
fn a_grant_is_not_shown_in_logs() {
    let grant = Grant { slot_public: [1; 32], secret: [0xab; 32], generation: 3 };
    let shown = format!("{:?}", Message::Grant(grant));
    assert!(!shown.contains("171") && !shown.to_lowercase().contains("abab"), "{shown}");
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = Frame::decode(&bytes);
        let _ = ContactMessage::decode(&bytes);
    }

    #[test]
    fn a_frame_with_flipped_bytes_decodes_or_errs(place in 0usize..2000, bit in 0u8..8, length in 0usize..1500) {
        let message = Message::Call(CallMessage {
            call: CallId([7; 16]),
            participant: 0,
            body: CallBody::Offer {
                description: description(DescriptionKind::Offer, length),
                candidates: many_candidates(),
            },
        });
        let mut bytes = frame(message).encode().expect("encodes");
        let place = place % bytes.len();
        bytes[place] ^= 1 << bit;
        let _ = Frame::decode(&bytes);
        let _ = Frame::decode(&bytes[..place]);
    }

    #[test]
    fn cleaned_text_stays_as_it_is(text in "\\PC{0,400}") {
        let once = Note::clean(&text);
        prop_assert_eq!(Note::clean(once.as_str()), once);
    }

    #[test]
    fn requests_survive_the_wire(id in any::<u64>(), name in "[a-zé ]{0,64}", line in "[a-z ]{0,280}", friends in any::<bool>()) {
        let request = Request { id, name: Name::clean(&name), message: Note::clean(&line), friends };
        let bytes = ContactMessage::Request(request.clone()).encode().expect("encodes");
        prop_assert_eq!(ContactMessage::decode(&bytes).expect("decodes"), ContactMessage::Request(request));
    }
}
