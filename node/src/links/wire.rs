//! Length-prefixed messages on a stream: `u16 length (big-endian) | message`.

use std::io;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Why no message came.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The other side closed between two messages.
    Closed,
    /// The stream broke, or was closed within a message.
    Io(io::ErrorKind),
    /// The length is outside the bounds.
    Length(usize),
}

/// Writes one message and flushes.
pub(super) async fn write(stream: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // One write: header and message leave in one packet.
    let mut bytes = Vec::with_capacity(2 + message.len());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(message);
    stream.write_all(&bytes).await?;
    stream.flush().await
}

/// Waits for the next message to begin: gives its first byte.
pub(super) async fn begin(stream: &mut (impl AsyncRead + Unpin)) -> Result<u8, ReadError> {
    let mut first = [0];
    match stream.read(&mut first).await {
        Ok(0) => Err(ReadError::Closed),
        Ok(_) => Ok(first[0]),
        Err(error) => Err(ReadError::Io(error.kind())),
    }
}

/// Reads the rest of a message that has begun; its length is checked before any memory is taken.
pub(super) async fn finish(
    stream: &mut (impl AsyncRead + Unpin),
    first: u8,
    least: usize,
    most: usize,
) -> Result<Vec<u8>, ReadError> {
    let mut second = [0];
    stream.read_exact(&mut second).await.map_err(|error| ReadError::Io(error.kind()))?;
    let length = usize::from(u16::from_be_bytes([first, second[0]]));
    if !(least..=most).contains(&length) {
        return Err(ReadError::Length(length));
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await.map_err(|error| ReadError::Io(error.kind()))?;
    Ok(message)
}
