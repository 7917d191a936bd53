//! Pictures of people: small, made by the client, carried by the node as they are.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::{Code, Error, Result};
use crate::limits::MAX_PICTURE;

/// A picture: JPEG or PNG, at most 32 KiB; clients make it 256 × 256. The node looks at its first bytes only: whoever
/// decodes one that a friend sent does so with limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Picture {
    /// SHA-256 of the bytes, 64 hex digits; empty in a request, and where there is no picture.
    #[serde(default)]
    pub hash: String,
    /// The bytes in hexadecimal; an empty text stands for no picture.
    pub image_hex: String,
}

impl Picture {
    /// A picture to be set; no bytes take it away.
    ///
    /// # Errors
    /// [`Code::Invalid`] for what is too large, or neither JPEG nor PNG.
    pub fn of(bytes: &[u8]) -> Result<Self> {
        check(bytes)?;
        let mut image_hex = String::with_capacity(bytes.len() * 2);
        for byte in bytes {
            for digit in [byte >> 4, byte & 15] {
                image_hex.extend(char::from_digit(u32::from(digit), 16));
            }
        }
        Ok(Self { hash: String::new(), image_hex })
    }

    /// The bytes of the picture; empty if there is none.
    ///
    /// # Errors
    /// [`Code::Invalid`] for what is no hexadecimal, too large, or neither JPEG nor PNG.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        let digits = self.image_hex.as_bytes();
        let wrong = || Error::new(Code::Invalid, "the picture is not written in hexadecimal");
        if !digits.len().is_multiple_of(2) {
            return Err(wrong());
        }
        if digits.len() > 2 * MAX_PICTURE {
            return Err(too_large());
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let bytes: Option<Vec<u8>> =
            digits.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect();
        let bytes = bytes.ok_or_else(wrong)?;
        check(&bytes)?;
        Ok(bytes)
    }
}

/// Whether these bytes may be a picture of a person, by size and first bytes; none at all may.
///
/// # Errors
/// [`Code::Invalid`]
pub fn check(bytes: &[u8]) -> Result<()> {
    if bytes.len() > MAX_PICTURE {
        return Err(too_large());
    }
    let jpeg = bytes.starts_with(&[0xff, 0xd8, 0xff]);
    let png = bytes.starts_with(b"\x89PNG\r\n\x1a\n");
    if bytes.is_empty() || jpeg || png {
        return Ok(());
    }
    Err(Error::new(Code::Invalid, "the picture is neither JPEG nor PNG"))
}

fn too_large() -> Error {
    Error::new(Code::Invalid, format!("a picture has at most {MAX_PICTURE} bytes")).hint("make it 256 × 256")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_keeps_its_bytes_and_nothing_else_is_one() {
        let png = [b"\x89PNG\r\n\x1a\n".as_slice(), &[0, 255, 16]].concat();
        let picture = Picture::of(&png).unwrap();
        assert_eq!(picture.bytes().unwrap(), png);
        assert!(Picture::of(&[]).unwrap().image_hex.is_empty());
        assert_eq!(Picture::of(b"GIF89a").unwrap_err().code, Code::Invalid);
        assert!(Picture::of(&[&[0xff, 0xd8, 0xff][..], &vec![0; MAX_PICTURE]].concat()).is_err());
        for bad in ["f", "zz", "0011"] {
            assert!(Picture { hash: String::new(), image_hex: bad.to_owned() }.bytes().is_err(), "{bad}");
        }
    }
}
