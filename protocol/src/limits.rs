//! Every bound on what comes from outside, in one place, each with its reason. The modules enforce them while they
//! decode, so that nothing larger ever exists in memory.

/// Longest PeerId in bytes. libp2p's are 34 (RSA, hashed) to 38 (Ed25519) bytes; 64 leaves room for longer hashes.
pub const PEER_ID_MAX: usize = 64;

/// Longest text that is looked at as an address or `twocan:` URI: the address (79 characters) and three hints.
pub const ADDRESS_TEXT_MAX: usize = 1024;

/// Hints that a `twocan:` URI carries; more would not fit a QR code that a phone can read.
pub const HINTS_MAX: usize = 3;

/// Longest multiaddr text. A relayed address with two PeerIds has about 170 characters.
pub const MULTIADDR_MAX: usize = 200;

/// Network addresses of one kind (direct, LAN, relayed) in a slot record. A node with IPv4 and IPv6, QUIC and TCP has
/// four of each; what is beyond is dropped when the record is made and refused when it is read.
pub const ADDRESSES_PER_KIND_MAX: usize = 8;

/// Exact size of every slot record: small enough for one DHT packet, and equal for all so that size tells nothing.
pub const RECORD_LEN: usize = 1024;

/// Largest payload inside a handshake message; today's is 161 bytes, the rest is room for later fields.
pub const HANDSHAKE_PAYLOAD_MAX: usize = 1024;

/// Largest handshake message: the payload, an ephemeral key, an encrypted static key and two tags.
pub const HANDSHAKE_MESSAGE_MAX: usize = HANDSHAKE_PAYLOAD_MAX + 32 + 48 + 16;

/// Largest Noise message (the Noise specification's own limit).
pub const NOISE_MESSAGE_MAX: usize = 65_535;

/// Largest plaintext of one Noise message on a link: exactly one frame of [`crate::wire`].
pub const LINK_FRAME_MAX: usize = crate::wire::MAX_FRAME;

/// Clocks may differ this much (seconds) before a certificate counts as issued in the future.
pub const CLOCK_SKEW_S: u64 = 24 * 3600;

/// Largest plaintext sealed under a passphrase: a key file is 200 bytes, a backup of a thousand friends under 1 MB.
pub const SEALED_FILE_MAX: usize = 16 * 1024 * 1024;

/// Shortest passphrase for a backup, in characters.
pub const PASSPHRASE_MIN: usize = 8;

/// Longest passphrase in bytes: hashing it must not take time of its own.
pub const PASSPHRASE_MAX: usize = 1024;

/// Addresses of one relay over one transport: IPv4 and IPv6, and a mapped or second port of each.
pub const RELAY_ENDPOINTS_MAX: usize = 4;

/// Multiaddresses for circuits in a relay offer: IPv4 and IPv6, QUIC and TCP, and room for a second interface.
pub const RELAY_CIRCUITS_MAX: usize = 8;

/// Relays that one side brings to a call: each costs an allocation and its checks on both sides.
pub const RELAYS_PER_CALL_MAX: usize = 4;
