//! The event stream: one JSON object a line, each line bounded.

use bytes::{Buf, Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt};
use reqwest::Response;

use super::http::Wire;
use crate::error::Result;
use crate::event::Event;
use crate::limits::MAX_EVENT_LINE;

/// Follows the node's events. The stream ends when the connection does, or when the node sends what is no event.
pub(super) async fn open(wire: &Wire) -> Result<BoxStream<'static, Event>> {
    let response = wire.follow("/v1/events").await?;
    let reader = Reader { response, lines: Lines::default() };
    Ok(stream::unfold(reader, |mut reader| async move { reader.next().await.map(|event| (event, reader)) }).boxed())
}

struct Reader {
    response: Response,
    lines: Lines,
}

impl Reader {
    async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(line) = self.lines.take() {
                // Empty lines only keep the connection alive.
                if !line.trim_ascii().is_empty() {
                    return serde_json::from_slice(&line).ok();
                }
            }
            if self.lines.is_too_long() {
                return None;
            }
            let chunk = self.response.chunk().await.ok()??;
            self.lines.push(&chunk);
        }
    }
}

/// Cuts bytes into lines.
#[derive(Default)]
struct Lines {
    buffer: BytesMut,
    /// How far the buffer was searched for a line break.
    searched: usize,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    fn take(&mut self) -> Option<Bytes> {
        let Some(offset) = self.buffer.iter().skip(self.searched).position(|byte| *byte == b'\n') else {
            self.searched = self.buffer.len();
            return None;
        };
        let line = self.buffer.split_to(self.searched + offset).freeze();
        self.buffer.advance(1);
        self.searched = 0;
        Some(line)
    }

    /// Whether what is left is already longer than any line may be.
    fn is_too_long(&self) -> bool {
        self.buffer.len() > MAX_EVENT_LINE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_survive_any_cut() {
        let text = b"{\"a\":1}\n\n{\"b\":2}\nrest";
        for cut in 0..text.len() {
            let mut lines = Lines::default();
            let mut out = Vec::new();
            for part in [&text[..cut], &text[cut..]] {
                lines.push(part);
                while let Some(line) = lines.take() {
                    out.push(line);
                }
            }
            assert_eq!(out, [&b"{\"a\":1}"[..], b"", b"{\"b\":2}"]);
            assert_eq!(&lines.buffer[..], b"rest");
        }
    }

    #[test]
    fn a_line_without_an_end_is_noticed() {
        let mut lines = Lines::default();
        lines.push(&vec![b'x'; MAX_EVENT_LINE + 1]);
        assert_eq!(lines.take(), None);
        assert!(lines.is_too_long());
    }
}
