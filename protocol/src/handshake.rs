//! Who is at the other end of a stream: Noise XK between device keys, with the certificates inside
//! (`specs/04-link.md`, "Handshake"). The only home of the `snow` crate. Sans-IO: messages go in and out as bytes.
//!
//! XK, because the responder proves itself first: the initiator's identity travels in the third message, encrypted to
//! somebody who has shown the expected key. The prologue binds the handshake to the two nodes of the swarm, so that a
//! node in between cannot pass it on to a third.

mod noise;
mod payload;
mod transport;

use rand::CryptoRng;
use snow::HandshakeState;

pub use payload::PROTOCOL_VERSION;
pub use transport::{Decryptor, Encryptor, TAG_LEN, Transport, TransportError};

use crate::{
    identity::{Certificate, CertificateError, DeviceKey, DevicePublic, PeerId, RootPublic},
    limits::HANDSHAKE_MESSAGE_MAX,
};
use payload::Payload;

/// What the stream is for. Part of the prologue: a contact stream cannot be taken for a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// The link between friends.
    Link,
    /// A contact request.
    Contact,
    /// The bytes of a file between friends.
    File,
}

impl Purpose {
    /// As it stands in the prologue.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Contact => "contact",
            Self::File => "file",
        }
    }
}

/// The stream that a handshake is bound to.
#[derive(Clone, Copy, Debug)]
pub struct Channel<'a> {
    /// What for.
    pub purpose: Purpose,
    /// The node that opened the stream.
    pub initiator: &'a PeerId,
    /// The node that was asked.
    pub responder: &'a PeerId,
}

/// What a node says about itself.
#[derive(Clone, Copy)]
pub struct Local<'a> {
    /// Its device key.
    pub device: &'a DeviceKey,
    /// The certificate of that key.
    pub certificate: &'a Certificate,
    /// Number of this start of the node: greater than that of every start before.
    pub boot: u64,
}

/// What both sides know after a handshake.
#[derive(Debug)]
pub struct Established {
    /// Who it is, verified.
    pub remote: Certificate,
    /// The other node's boot id.
    pub remote_boot: u64,
    /// Version of the link protocol to speak: the lower of the two sides' highest.
    pub version: u16,
    /// Hash of the whole handshake, the same on both sides and on no other stream.
    pub hash: [u8; 32],
    /// Keys for what follows.
    pub transport: Transport,
}

/// Why a handshake failed. Every one ends the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// Longer than [`HANDSHAKE_MESSAGE_MAX`].
    #[error("handshake message of {0} bytes is too long")]
    Length(usize),
    /// A key, a node, a purpose or a byte is not what it should be: Noise does not tell which.
    #[error("handshake does not fit: another key, another node, or changed on the way")]
    Refused,
    /// The payload cannot be read.
    #[error("handshake payload is malformed")]
    Payload,
    /// The other side speaks no version of the link protocol that we do.
    #[error("the other node speaks link protocol version {0} only")]
    Version(u16),
    /// The certificate does not count.
    #[error("handshake: {0}")]
    Certificate(#[from] CertificateError),
    /// The certificate is about another device key than the one that was proved.
    #[error("handshake with a certificate for another device")]
    Device,
    /// It is somebody else.
    #[error("handshake with another person than expected")]
    Root,
}

/// The side that opened the stream and knows whom it wants.
pub struct Initiator {
    state: HandshakeState,
    own: Payload,
    expected: RootPublic,
    device: DevicePublic,
    unix_s: u64,
}

/// The side that was asked.
pub struct Responder {
    state: HandshakeState,
    expected: Option<RootPublic>,
    unix_s: u64,
}

impl Initiator {
    /// Begins: the first message goes to whoever holds `device`, who must turn out to be `root`.
    pub fn start(
        local: Local<'_>,
        channel: Channel<'_>,
        root: RootPublic,
        device: DevicePublic,
        unix_s: u64,
        rng: &mut impl CryptoRng,
    ) -> Result<(Self, Vec<u8>), HandshakeError> {
        let mut state = noise::initiator(local.device, &device, channel, rng)?;
        let first = noise::write(&mut state, &[])?;
        Ok((Self { state, own: Payload::of(local), expected: root, device, unix_s }, first))
    }

    /// Takes the second message; gives the third and the result.
    pub fn finish(mut self, second: &[u8]) -> Result<(Vec<u8>, Established), HandshakeError> {
        let payload = Payload::decode(&noise::read(&mut self.state, second)?)?;
        // Noise has proved the key that we expected: the certificate must be about that very key.
        if payload.certificate.device != self.device {
            return Err(HandshakeError::Device);
        }
        payload.certificate.verify(self.unix_s)?;
        if payload.certificate.root != self.expected {
            return Err(HandshakeError::Root);
        }
        let third = noise::write(&mut self.state, &self.own.encode())?;
        Ok((third, established(self.state, &payload)?))
    }
}

impl Responder {
    /// Takes the first message, answers with the second. With `expected` (the friend whose gate tag came), nobody else
    /// gets through.
    pub fn start(
        local: Local<'_>,
        channel: Channel<'_>,
        expected: Option<RootPublic>,
        first: &[u8],
        unix_s: u64,
        rng: &mut impl CryptoRng,
    ) -> Result<(Self, Vec<u8>), HandshakeError> {
        let mut state = noise::responder(local.device, channel, rng)?;
        // Bytes in the first message's payload are neither secret nor proved; there are none in this version.
        noise::read(&mut state, first)?;
        let second = noise::write(&mut state, &Payload::of(local).encode())?;
        Ok((Self { state, expected, unix_s }, second))
    }

    /// Takes the third message.
    pub fn finish(mut self, third: &[u8]) -> Result<Established, HandshakeError> {
        let payload = Payload::decode(&noise::read(&mut self.state, third)?)?;
        if self.state.get_remote_static() != Some(&payload.certificate.device.montgomery()) {
            return Err(HandshakeError::Device);
        }
        payload.certificate.verify(self.unix_s)?;
        if self.expected.is_some_and(|expected| expected != payload.certificate.root) {
            return Err(HandshakeError::Root);
        }
        established(self.state, &payload)
    }
}

impl std::fmt::Debug for Initiator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Initiator({:?})", self.expected)
    }
}

impl std::fmt::Debug for Responder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Responder({:?})", self.expected)
    }
}

fn established(state: HandshakeState, remote: &Payload) -> Result<Established, HandshakeError> {
    let mut hash = [0; 32];
    let full = state.get_handshake_hash();
    if full.len() != hash.len() {
        return Err(HandshakeError::Refused);
    }
    hash.copy_from_slice(full);
    Ok(Established {
        remote: remote.certificate,
        remote_boot: remote.boot,
        version: remote.version.min(PROTOCOL_VERSION),
        hash,
        transport: Transport::new(state)?,
    })
}

#[cfg(test)]
mod tests;
