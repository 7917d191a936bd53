//! The little of Protocol Buffers that hole punching, reachability tests and the DHT need: flat messages of numbers and
//! bytes, each with its length in front, as all of libp2p's protocols frame them.

use std::io;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes of the longest length prefix that we read: messages here are far below 2 MB.
const MAX_PREFIX: usize = 3;

/// A message that is being written.
#[derive(Clone, Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    /// A number (varint) in field `field`.
    pub(super) fn number(mut self, field: u32, value: u64) -> Self {
        self.varint(u64::from(field) << 3);
        self.varint(value);
        self
    }

    /// A number in eight bytes.
    pub(super) fn fixed64(mut self, field: u32, value: u64) -> Self {
        self.varint(u64::from(field) << 3 | 1);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// Bytes, or a message in a message.
    pub(super) fn bytes(mut self, field: u32, value: &[u8]) -> Self {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// The message without a length in front.
    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }
}

/// One field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// Varint.
    Number(u64),
    /// Eight bytes.
    Fixed64(u64),
    /// Bytes, text, or a message.
    Bytes(&'a [u8]),
}

/// A message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed message")]
pub(super) struct Malformed;

impl From<Malformed> for io::Error {
    fn from(error: Malformed) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// All fields of a message in their order; fields of four bytes are left out.
pub(super) fn fields(mut bytes: &[u8]) -> Result<Vec<(u32, Value<'_>)>, Malformed> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let field = u32::try_from(tag >> 3).map_err(|_| Malformed)?;
        let value = match tag & 7 {
            0 => Value::Number(varint(&mut bytes)?),
            1 => Value::Fixed64(u64::from_le_bytes(take(&mut bytes, 8)?.try_into().map_err(|_| Malformed)?)),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).map_err(|_| Malformed)?;
                Value::Bytes(take(&mut bytes, length)?)
            }
            5 => {
                take(&mut bytes, 4)?;
                continue;
            }
            _ => return Err(Malformed),
        };
        fields.push((field, value));
    }
    Ok(fields)
}

fn varint(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0u64;
    for index in 0..10 {
        let byte = take(bytes, 1)?[0];
        value |= u64::from(byte & 0x7f) << (7 * index).min(63);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Malformed)
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], Malformed> {
    let (head, tail) = bytes.split_at_checked(count).ok_or(Malformed)?;
    *bytes = tail;
    Ok(head)
}

/// Sends a message with its length in front.
pub(super) async fn send<S: AsyncWrite + Unpin>(stream: &mut S, message: &Writer) -> io::Result<()> {
    let mut framed = Writer::default();
    framed.varint(message.0.len() as u64);
    framed.0.extend_from_slice(&message.0);
    stream.write_all(&framed.0).await?;
    stream.flush().await
}

/// Receives a message of at most `most` bytes.
pub(super) async fn receive<S: AsyncRead + Unpin>(stream: &mut S, most: usize) -> io::Result<Vec<u8>> {
    let mut length = 0usize;
    for index in 0..=MAX_PREFIX {
        if index == MAX_PREFIX {
            return Err(Malformed.into());
        }
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
        length |= usize::from(byte[0] & 0x7f) << (7 * index);
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    if length > most {
        return Err(Malformed.into());
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_reads_back() {
        let inner = Writer::default().number(1, 300).finish();
        let message = Writer::default().number(1, 0).fixed64(2, u64::MAX).bytes(3, &inner).bytes(400, b"");
        let bytes = message.finish();
        let read = fields(&bytes).unwrap();
        let expected =
            [(1, Value::Number(0)), (2, Value::Fixed64(u64::MAX)), (3, Value::Bytes(&inner)), (400, Value::Bytes(b""))];
        assert_eq!(read, expected);
        assert_eq!(fields(&inner).unwrap(), [(1, Value::Number(300))]);
    }

    #[tokio::test]
    async fn a_length_beyond_the_bound_is_refused_before_anything_is_kept() {
        let mut stream = futures::io::Cursor::new(vec![0xff, 0xff, 0x7f]);
        assert!(receive(&mut stream, 4096).await.is_err());
        let mut endless = futures::io::Cursor::new(vec![0xff; 20]);
        assert!(receive(&mut endless, 4096).await.is_err());
        let mut sent = Vec::new();
        send(&mut sent, &Writer::default().bytes(1, &[7; 200])).await.unwrap();
        let read = receive(&mut futures::io::Cursor::new(sent), 4096).await.unwrap();
        assert_eq!(fields(&read).unwrap(), [(1, Value::Bytes(&[7; 200][..]))]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = fields(&bytes);
        }
    }
}
