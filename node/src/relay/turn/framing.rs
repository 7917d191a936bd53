//! TURN on a byte stream (RFC 8656, 12.5; RFC 8489, 6.2.2): STUN messages and padded ChannelData, one after the other.

use super::codec::{CHANNEL_HEADER, CHANNELS};

/// Longest frame taken: an Ethernet frame's payload with room; nobody we speak with sends more.
pub(crate) const MAX_FRAME: usize = 2048;
/// Length of the STUN header.
const STUN_HEADER: usize = 20;

/// Bytes that are no TURN: the connection has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream holds something else than TURN")]
pub(crate) struct NotTurn;

/// Cuts a stream into frames.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    buffer: Vec<u8>,
    start: usize,
}

impl Splitter {
    /// Takes bytes that were read (at most a few kB at a time).
    pub(crate) fn fill(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, without padding.
    pub(crate) fn next(&mut self) -> Result<Option<&[u8]>, NotTurn> {
        let rest = &self.buffer[self.start..];
        let &[b0, b1, b2, b3, ..] = rest else { return Ok(None) };
        let number = u16::from_be_bytes([b0, b1]);
        let length = usize::from(u16::from_be_bytes([b2, b3]));
        let (frame, on_stream) = if CHANNELS.contains(&number) {
            (CHANNEL_HEADER + length, (CHANNEL_HEADER + length).next_multiple_of(4))
        } else if b0 <= 3 && length.is_multiple_of(4) {
            (STUN_HEADER + length, STUN_HEADER + length)
        } else {
            return Err(NotTurn);
        };
        if on_stream > MAX_FRAME {
            return Err(NotTurn);
        }
        if rest.len() < on_stream {
            return Ok(None);
        }
        let at = self.start;
        self.start += on_stream;
        Ok(Some(&self.buffer[at..at + frame]))
    }
}

/// Pads a frame for a stream.
pub(crate) fn pad(frame: &mut Vec<u8>) {
    frame.resize(frame.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::super::codec::{Class, Writer, channel_header, method};
    use super::*;

    fn frames() -> Vec<Vec<u8>> {
        let stun = Writer::new(Class::Request, method::BINDING, &[7; 12]).finish(None, true);
        let odd = [&channel_header(0x4001, 5)[..], b"audio"].concat();
        let empty = channel_header(0x4fff, 0).to_vec();
        vec![stun.clone(), odd, empty, stun]
    }

    #[test]
    fn frames_come_out_as_they_went_in_however_the_stream_is_cut() {
        let stream: Vec<u8> = frames()
            .into_iter()
            .flat_map(|mut frame| {
                pad(&mut frame);
                frame
            })
            .collect();
        for step in [1, 2, 3, 7, 1000] {
            let (mut splitter, mut found) = (Splitter::default(), Vec::new());
            for piece in stream.chunks(step) {
                splitter.fill(piece);
                while let Some(frame) = splitter.next().unwrap() {
                    found.push(frame.to_vec());
                }
            }
            assert_eq!(found, frames(), "in steps of {step}");
        }
    }

    #[test]
    fn what_is_no_turn_and_what_is_too_long_ends_the_stream() {
        for bytes in [&b"GET / HTTP/1.1"[..], &[0x16, 3, 1, 0, 5], &[0x50, 0, 0, 0], &[0, 1, 0, 3], &[0x40, 0, 0x20, 0]]
        {
            let mut splitter = Splitter::default();
            splitter.fill(bytes);
            assert_eq!(splitter.next(), Err(NotTurn), "{bytes:?}");
        }
    }
}
