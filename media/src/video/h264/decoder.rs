//! The H.264 decoder for what others send: `rusty_h264`, which has no unsafe code, behind the checks of [`super::syntax`].

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::NAME;
use super::syntax::Inspector;
use crate::video::codec::{CodecError, VideoDecoder};
use crate::video::picture::Picture;

/// Longest access unit that is looked at, in bytes: as long as the longest frame of the media socket.
pub const MAX_ACCESS_UNIT: usize = 1 << 20;

/// Decodes constrained baseline, from anyone. See [`VideoDecoder::decode`] for what happens after an error.
pub struct H264Decoder {
    inner: rusty_h264::Decoder,
    inspector: Inspector,
    waiting: bool,
}

impl std::fmt::Debug for H264Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("H264Decoder").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

impl Default for H264Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl H264Decoder {
    /// A decoder that waits for its first key frame.
    #[must_use]
    pub fn new() -> Self {
        Self { inner: rusty_h264::Decoder::new(), inspector: Inspector::default(), waiting: true }
    }

    /// Throws the stream away that was decoded so far.
    fn start_over(&mut self, why: String) -> CodecError {
        self.inner = rusty_h264::Decoder::new();
        self.inspector.reset();
        self.waiting = true;
        CodecError::Damaged(why)
    }
}

impl VideoDecoder for H264Decoder {
    fn codec(&self) -> &'static str {
        NAME
    }

    fn decode(&mut self, access_unit: &[u8]) -> Result<Option<Picture>, CodecError> {
        if access_unit.len() > MAX_ACCESS_UNIT {
            self.waiting = true;
            return Err(CodecError::Damaged("an access unit of more than a mebibyte".into()));
        }
        let unit = self.inspector.inspect(access_unit).map_err(|refusal| {
            self.waiting = true;
            CodecError::Damaged(refusal.to_string())
        })?;
        if let Some(unit) = unit {
            if unit.gap {
                self.waiting = true;
            }
            if self.waiting && !unit.key {
                return Err(CodecError::NeedKey);
            }
        }
        // A panic in the decoder would be its bug; it must not become our crash.
        let decoded = catch_unwind(AssertUnwindSafe(|| self.inner.decode(access_unit)));
        let frame = match decoded {
            Ok(Ok(frame)) => frame,
            Ok(Err(error)) => return Err(self.start_over(error.to_string())),
            Err(_) => return Err(self.start_over("the decoder gave up on it".into())),
        };
        match (unit, frame) {
            (Some(unit), Some(frame)) if (frame.width, frame.height) == (unit.width as usize, unit.height as usize) => {
                let picture = Picture::from_planes(unit.width, unit.height, frame.y, frame.u, frame.v);
                let picture = picture.map_err(|error| self.start_over(error.to_string()))?;
                self.waiting = false;
                Ok(Some(picture))
            }
            (None, None) => Ok(None),
            _ => Err(self.start_over("an incomplete picture".into())),
        }
    }
}
