//! Messages about packet relays: who offers one, credentials for it, and the relays of a call. What they mean and when
//! they are sent is in `specs/08-relay.md`.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::text::words;
use super::{Bounded, CallId, List, WireError, from_cbor, to_cbor};
use crate::limits::{MULTIADDR_MAX, RELAY_CIRCUITS_MAX, RELAY_ENDPOINTS_MAX, RELAYS_PER_CALL_MAX};

/// Longest text of an IP address and port: `[` 45 characters with an embedded IPv4 address `]:65535`, and room.
const ENDPOINT_MAX: usize = 64;
/// Longest user name or password. Ours have 32 characters.
const CREDENTIAL_MAX: usize = 64;

/// IP address and port as text: `203.0.113.9:4001` or `[2001:db8::1]:4001`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Endpoint(Bounded<ENDPOINT_MAX>);

impl Endpoint {
    /// The address, if the text is one with a port above 0.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.0.as_str().parse().ok().filter(|address: &SocketAddr| address.port() != 0)
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        // A scope id has no meaning on another machine, and every address without one fits.
        let text = SocketAddr::new(address.ip(), address.port()).to_string();
        Self(Bounded::new(text).unwrap_or_default())
    }
}

/// IP addresses and ports of one relay over one transport.
pub type Endpoints = List<Endpoint, RELAY_ENDPOINTS_MAX>;

/// A user name or password. Never shown.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Word(Bounded<CREDENTIAL_MAX>);

impl Word {
    /// Takes the text if it is short enough.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Option<Self> {
        Bounded::new(text).map(Self)
    }

    /// The text itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Where a relay answers, and by which certificate it is known over TLS. Empty lists withdraw an offer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Multiaddresses with `/p2p/…` of the node that offers, for circuits through it.
    #[serde(default)]
    pub circuits: List<Bounded<MULTIADDR_MAX>, RELAY_CIRCUITS_MAX>,
    /// STUN and TURN over UDP.
    #[serde(default)]
    pub udp: Endpoints,
    /// TURN over TLS.
    #[serde(default)]
    pub tls: Endpoints,
    /// SHA-256 of the TLS certificate, 32 bytes.
    #[serde(with = "serde_bytes")]
    pub certificate: [u8; 32],
}

impl Offer {
    /// Whether it offers nothing (any more).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.circuits.as_slice().is_empty() && self.udp.as_slice().is_empty() && self.tls.as_slice().is_empty()
    }
}

/// A user name and its password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// User name.
    pub user: Word,
    /// Password.
    pub password: Word,
}

/// Body of [`RelayMessage::Grant`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayGrant {
    /// Of the question.
    pub id: u64,
    /// For the one who asked.
    pub own: Credential,
    /// For the partner in the call.
    pub partner: Credential,
    /// Seconds from now in which an allocation must be made.
    pub lifetime: u32,
}

/// A relay that the receiver may use in a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRelay {
    /// STUN and TURN over UDP.
    #[serde(default)]
    pub udp: Endpoints,
    /// TURN over TLS.
    #[serde(default)]
    pub tls: Endpoints,
    /// SHA-256 of the TLS certificate, 32 bytes.
    #[serde(with = "serde_bytes")]
    pub certificate: [u8; 32],
    /// User name.
    pub user: Word,
    /// Password.
    pub password: Word,
    /// Seconds from now in which an allocation must be made.
    pub lifetime: u32,
}

/// Body of [`RelayMessage::Guest`]: a relay for a node that is no friend of its owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestRelay {
    /// STUN and TURN over UDP.
    #[serde(default)]
    pub udp: Endpoints,
    /// TURN over TLS.
    #[serde(default)]
    pub tls: Endpoints,
    /// SHA-256 of the TLS certificate, 32 bytes.
    #[serde(with = "serde_bytes")]
    pub certificate: [u8; 32],
    /// For the one who asked.
    pub own: Credential,
    /// For the partner in the call.
    pub partner: Credential,
    /// Seconds from now in which an allocation must be made.
    pub lifetime: u32,
}

words! {
    /// Why no credential is given.
    RelayRefusal {
        /// It does not relay, or not for this friend.
        Off = "off",
        /// All it gives is in use.
        Busy = "busy",
    } else
    /// A word of a later version; to be treated as off.
    Other
}

/// Something about relays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelayMessage {
    /// What the sender offers; replaces the offer before.
    Offer(Offer),
    /// Asks for a credential.
    Ask {
        /// Names the question.
        id: u64,
    },
    /// Answers [`RelayMessage::Ask`].
    Grant(RelayGrant),
    /// Answers [`RelayMessage::Ask`].
    Refuse {
        /// Of the question.
        id: u64,
        /// Why.
        reason: RelayRefusal,
    },
    /// Answers a node that is no friend, on a stream of its own.
    Guest(GuestRelay),
    /// Relays that the receiver may use in this call.
    Call {
        /// Which call.
        call: CallId,
        /// Who speaks: 0 the caller, 1 the callee.
        participant: u16,
        /// The relays; replaces the list before.
        relays: List<CallRelay, RELAYS_PER_CALL_MAX>,
    },
}

#[derive(Serialize, Deserialize)]
struct AskBody {
    id: u64,
}

#[derive(Serialize, Deserialize)]
struct RefuseBody {
    id: u64,
    reason: RelayRefusal,
}

#[derive(Serialize, Deserialize)]
struct CallBody {
    call: CallId,
    participant: u16,
    body: RelaysBody,
}

#[derive(Serialize, Deserialize)]
struct RelaysBody {
    relays: List<CallRelay, RELAYS_PER_CALL_MAX>,
}

impl RelayMessage {
    /// Name of the kind on the wire.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Offer(_) => "relay.offer",
            Self::Ask { .. } => "relay.ask",
            Self::Grant(_) => "relay.grant",
            Self::Refuse { .. } => "relay.refuse",
            Self::Guest(_) => "relay.guest",
            Self::Call { .. } => "call.relays",
        }
    }
}

/// CBOR body of a relay message.
pub(super) fn encode(message: &RelayMessage) -> Result<Vec<u8>, WireError> {
    let kind = message.kind();
    match message {
        RelayMessage::Offer(offer) => to_cbor(kind, offer),
        RelayMessage::Ask { id } => to_cbor(kind, &AskBody { id: *id }),
        RelayMessage::Grant(grant) => to_cbor(kind, grant),
        RelayMessage::Refuse { id, reason } => to_cbor(kind, &RefuseBody { id: *id, reason: *reason }),
        RelayMessage::Guest(guest) => to_cbor(kind, guest),
        RelayMessage::Call { call, participant, relays } => {
            let body = RelaysBody { relays: relays.clone() };
            to_cbor(kind, &CallBody { call: *call, participant: *participant, body })
        }
    }
}

/// The relay message of a kind, or none if the kind is not about relays.
pub(super) fn decode(kind: &str, bytes: &[u8]) -> Result<Option<RelayMessage>, WireError> {
    Ok(Some(match kind {
        "relay.offer" => RelayMessage::Offer(from_cbor("relay.offer", bytes)?),
        "relay.ask" => RelayMessage::Ask { id: from_cbor::<AskBody>("relay.ask", bytes)?.id },
        "relay.grant" => RelayMessage::Grant(from_cbor("relay.grant", bytes)?),
        "relay.refuse" => {
            let RefuseBody { id, reason } = from_cbor("relay.refuse", bytes)?;
            RelayMessage::Refuse { id, reason }
        }
        "relay.guest" => RelayMessage::Guest(from_cbor("relay.guest", bytes)?),
        "call.relays" => {
            let CallBody { call, participant, body } = from_cbor("call.relays", bytes)?;
            RelayMessage::Call { call, participant, relays: body.relays }
        }
        _ => return Ok(None),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Frame, MAX_FRAME, Message};

    fn endpoint(text: &str) -> Endpoint {
        Endpoint(Bounded::new(text).unwrap())
    }

    #[test]
    fn an_endpoint_is_an_ip_address_and_a_port() {
        for text in ["203.0.113.9:4001", "[2001:db8::1]:4001"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(Endpoint::from(address), endpoint(text));
            assert_eq!(endpoint(text).address(), Some(address));
        }
        for text in ["", "203.0.113.9", "203.0.113.9:0", "relay.example:4001", "2001:db8::1:4001"] {
            assert_eq!(endpoint(text).address(), None, "{text}");
        }
        let scoped: SocketAddr = "[fe80::1%3]:1".parse().unwrap();
        assert_eq!(Endpoint::from(scoped), endpoint("[fe80::1]:1"));
    }

    #[test]
    fn the_longest_list_of_relays_fits_into_a_frame() {
        let endpoints = || Endpoints::first_of(std::iter::repeat_n(endpoint(&"1".repeat(ENDPOINT_MAX)), 99));
        let word = || Word::new("p".repeat(CREDENTIAL_MAX)).unwrap();
        let relay = CallRelay {
            udp: endpoints(),
            tls: endpoints(),
            certificate: [0xff; 32],
            user: word(),
            password: word(),
            lifetime: u32::MAX,
        };
        let relays = List::first_of(std::iter::repeat_n(relay, 99));
        let message = Message::Relay(RelayMessage::Call { call: CallId([0xff; 16]), participant: u16::MAX, relays });
        let frame = Frame { sequence: Some(u64::MAX), acknowledged: Some(u64::MAX), message };
        let bytes = frame.encode().unwrap();
        assert!(bytes.len() < MAX_FRAME / 4, "{} bytes", bytes.len());
        assert_eq!(Frame::decode(&bytes).unwrap(), frame);
    }

    #[test]
    fn credentials_are_not_shown_in_logs() {
        let word = |text| Word::new(text).unwrap();
        let pair = |user, password| Credential { user: word(user), password: word(password) };
        let grant = RelayGrant { id: 1, own: pair("user-1", "pass-1"), partner: pair("user-2", "pass-2"), lifetime: 9 };
        let shown = format!("{:?}", Message::Relay(RelayMessage::Grant(grant)));
        assert!(!shown.contains("user-") && !shown.contains("pass-"), "{shown}");
    }
}
