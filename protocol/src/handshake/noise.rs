//! What of `snow` is used, and how: one pattern, ephemeral keys from the caller's randomness, bounded messages.

use rand::CryptoRng;
use snow::{
    Builder, Error, HandshakeState,
    params::{CipherChoice, DHChoice, HashChoice},
    resolvers::{CryptoResolver, DefaultResolver},
    types::{Cipher, Dh, Hash, Random},
};
use zeroize::Zeroizing;

use super::{Channel, HANDSHAKE_MESSAGE_MAX, HandshakeError};
use crate::{
    domain,
    identity::{DeviceKey, DevicePublic},
};

/// Noise protocol name; also the initial hash.
const PATTERN: &str = "Noise_XK_25519_ChaChaPoly_SHA256";

pub(super) fn initiator(
    own: &DeviceKey,
    remote: &DevicePublic,
    channel: Channel<'_>,
    rng: &mut impl CryptoRng,
) -> Result<HandshakeState, HandshakeError> {
    builder(rng)?
        .local_private_key(own.noise_secret().as_slice())
        .and_then(|builder| {
            builder.remote_public_key(&remote.montgomery())?.prologue(&prologue(channel))?.build_initiator()
        })
        .map_err(|_| HandshakeError::Refused)
}

pub(super) fn responder(
    own: &DeviceKey,
    channel: Channel<'_>,
    rng: &mut impl CryptoRng,
) -> Result<HandshakeState, HandshakeError> {
    builder(rng)?
        .local_private_key(own.noise_secret().as_slice())
        .and_then(|builder| builder.prologue(&prologue(channel))?.build_responder())
        .map_err(|_| HandshakeError::Refused)
}

/// The next message of this side.
pub(super) fn write(state: &mut HandshakeState, payload: &[u8]) -> Result<Vec<u8>, HandshakeError> {
    let mut message = vec![0; HANDSHAKE_MESSAGE_MAX];
    let length = state.write_message(payload, &mut message).map_err(|_| HandshakeError::Refused)?;
    message.truncate(length);
    Ok(message)
}

/// The payload of the other side's next message.
pub(super) fn read(state: &mut HandshakeState, message: &[u8]) -> Result<Vec<u8>, HandshakeError> {
    if message.len() > HANDSHAKE_MESSAGE_MAX {
        return Err(HandshakeError::Length(message.len()));
    }
    let mut payload = vec![0; HANDSHAKE_MESSAGE_MAX];
    let length = state.read_message(message, &mut payload).map_err(|_| HandshakeError::Refused)?;
    payload.truncate(length);
    Ok(payload)
}

fn prologue(channel: Channel<'_>) -> Zeroizing<Vec<u8>> {
    let purpose = channel.purpose.as_str().as_bytes();
    domain::tuple(domain::HANDSHAKE, &[purpose, channel.initiator.as_bytes(), channel.responder.as_bytes()])
}

fn builder<'a>(rng: &mut impl CryptoRng) -> Result<Builder<'a>, HandshakeError> {
    let mut ephemeral = Zeroizing::new([0; 32]);
    rng.fill_bytes(ephemeral.as_mut_slice());
    let params = PATTERN.parse().map_err(|_| HandshakeError::Refused)?;
    Ok(Builder::with_resolver(params, Box::new(Resolver(ephemeral))))
}

/// snow's own primitives, with 32 bytes that the caller drew as the only randomness: a handshake makes exactly one
/// ephemeral key, and with given bytes it is reproducible, which the test vectors need.
struct Resolver(Zeroizing<[u8; 32]>);

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Once(Some(self.0.clone()))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

/// Gives its bytes once and then refuses: no key is ever made twice from them.
struct Once(Option<Zeroizing<[u8; 32]>>);

impl Random for Once {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), Error> {
        let bytes = self.0.take().filter(|bytes| bytes.len() == dest.len()).ok_or(Error::Rng)?;
        dest.copy_from_slice(bytes.as_slice());
        Ok(())
    }
}
