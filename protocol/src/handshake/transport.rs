//! After the handshake: frames in, Noise messages out, in order and each once.

use std::{fmt, sync::Arc};

use snow::{HandshakeState, StatelessTransportState};

use super::HandshakeError;
use crate::limits::LINK_FRAME_MAX;

/// Bytes that encryption adds.
pub const TAG_LEN: usize = 16;

/// Why a message was not encrypted or decrypted. The stream is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// Longer than a link frame may be.
    #[error("link frame of {0} bytes is too long")]
    Length(usize),
    /// Changed, repeated, left out or out of order.
    #[error("link message does not decrypt: changed or out of order")]
    Refused,
    /// 2^64 messages were sent.
    #[error("link has used up its message numbers")]
    Exhausted,
}

/// Both directions of an established stream.
pub struct Transport {
    encryptor: Encryptor,
    decryptor: Decryptor,
}

/// The sending direction.
pub struct Encryptor {
    state: Arc<StatelessTransportState>,
    next: u64,
}

/// The receiving direction.
pub struct Decryptor {
    state: Arc<StatelessTransportState>,
    next: u64,
}

impl Transport {
    pub(super) fn new(state: HandshakeState) -> Result<Self, HandshakeError> {
        let state = Arc::new(state.into_stateless_transport_mode().map_err(|_| HandshakeError::Refused)?);
        Ok(Self {
            encryptor: Encryptor { state: Arc::clone(&state), next: 0 },
            decryptor: Decryptor { state, next: 0 },
        })
    }

    /// [`Encryptor::encrypt`].
    pub fn encrypt(&mut self, frame: &[u8]) -> Result<Vec<u8>, TransportError> {
        self.encryptor.encrypt(frame)
    }

    /// [`Decryptor::decrypt`].
    pub fn decrypt(&mut self, message: &[u8]) -> Result<Vec<u8>, TransportError> {
        self.decryptor.decrypt(message)
    }

    /// The two directions, for two tasks.
    pub fn split(self) -> (Encryptor, Decryptor) {
        (self.encryptor, self.decryptor)
    }
}

impl Encryptor {
    /// The next message: a frame of at most [`LINK_FRAME_MAX`] bytes, 16 bytes longer.
    pub fn encrypt(&mut self, frame: &[u8]) -> Result<Vec<u8>, TransportError> {
        if frame.len() > LINK_FRAME_MAX {
            return Err(TransportError::Length(frame.len()));
        }
        let following = self.next.checked_add(1).ok_or(TransportError::Exhausted)?;
        let mut message = vec![0; frame.len() + TAG_LEN];
        let length = self.state.write_message(self.next, frame, &mut message).map_err(|_| TransportError::Refused)?;
        message.truncate(length);
        self.next = following;
        Ok(message)
    }
}

impl Decryptor {
    /// The frame in the next message. After an error nothing more decrypts: the order is lost.
    pub fn decrypt(&mut self, message: &[u8]) -> Result<Vec<u8>, TransportError> {
        if message.len() > LINK_FRAME_MAX + TAG_LEN {
            return Err(TransportError::Length(message.len()));
        }
        let following = self.next.checked_add(1).ok_or(TransportError::Exhausted)?;
        let mut frame = vec![0; message.len()];
        let length = self.state.read_message(self.next, message, &mut frame).map_err(|_| TransportError::Refused)?;
        frame.truncate(length);
        self.next = following;
        Ok(frame)
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transport(..)")
    }
}

impl fmt::Debug for Encryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encryptor({})", self.next)
    }
}

impl fmt::Debug for Decryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Decryptor({})", self.next)
    }
}
