//! The `twocan:` URI: the address without its first six letters, and up to three hints, network addresses of public
//! nodes from which a newcomer can start. `twocan:1q…?hint=/ip4/…&hint=…`

use std::{fmt, str::FromStr};

use super::{Address, AddressError};
use crate::limits::{ADDRESS_TEXT_MAX, HINTS_MAX, MULTIADDR_MAX};

/// The scheme, without its colon; also what the URI leaves out of the address.
const SCHEME: &str = "twocan";

/// An address with hints. A bare address reads as one without hints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressUri {
    /// Whom it names.
    pub address: Address,
    /// Multiaddr texts of public nodes to start from; advice, never trusted.
    pub hints: Vec<String>,
}

/// Why a text is neither an address nor a `twocan:` URI.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UriError {
    /// Longer than [`ADDRESS_TEXT_MAX`].
    #[error("this is far too long for a twocan address")]
    TooLong,
    /// A hint that is no multiaddr or badly escaped.
    #[error("hint {0} in the link is damaged: copy the link again, or use the address alone")]
    Hint(usize),
    /// The address in it.
    #[error(transparent)]
    Address(#[from] AddressError),
}

impl fmt::Display for AddressUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address.to_string();
        write!(f, "{SCHEME}:{}", address.strip_prefix(SCHEME).unwrap_or(&address))?;
        for (index, hint) in self.hints.iter().take(HINTS_MAX).enumerate() {
            f.write_str(if index == 0 { "?hint=" } else { "&hint=" })?;
            for byte in hint.bytes() {
                if byte.is_ascii_alphanumeric() || b"-._~/:".contains(&byte) {
                    write!(f, "{}", char::from(byte))?;
                } else {
                    write!(f, "%{byte:02X}")?;
                }
            }
        }
        Ok(())
    }
}

impl FromStr for AddressUri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        if text.len() > ADDRESS_TEXT_MAX {
            return Err(UriError::TooLong);
        }
        let trimmed = text.trim();
        let Some((scheme, rest)) = trimmed.split_once(':').filter(|(s, _)| s.eq_ignore_ascii_case(SCHEME)) else {
            return Ok(Self { address: text.parse()?, hints: Vec::new() });
        };
        let (body, query) = rest.split_once('?').unwrap_or((rest, ""));
        // Some systems hand a link over with slashes after the scheme.
        let spelled = body.trim_start_matches('/').trim_end_matches('/');
        let before = trimmed.len() - rest.len() + (body.len() - body.trim_start_matches('/').len());
        let (written, shift) = if spelled.to_ascii_lowercase().starts_with(SCHEME) {
            (spelled.to_owned(), before)
        } else {
            (format!("{scheme}{spelled}"), before - SCHEME.len())
        };
        let leading = text.chars().take_while(|character| character.is_whitespace()).count();
        let address = written
            .parse::<Address>()
            .map_err(|error| error.shifted(shift.saturating_add(leading).try_into().unwrap_or(0)))?;
        let mut hints = Vec::new();
        for (number, value) in query.split('&').filter_map(|pair| pair.strip_prefix("hint=")).enumerate() {
            if hints.len() < HINTS_MAX {
                hints.push(unescape(value).ok_or(UriError::Hint(number + 1))?);
            }
        }
        Ok(Self { address, hints })
    }
}

/// Percent-decodes a hint; it must look like a multiaddr: a slash, then visible ASCII, not too long.
fn unescape(value: &str) -> Option<String> {
    let mut out = String::new();
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        let byte = if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            digit()? << 4 | digit()?
        } else {
            byte
        };
        if !byte.is_ascii_graphic() || out.len() >= MULTIADDR_MAX {
            return None;
        }
        out.push(char::from(byte));
    }
    out.starts_with('/').then_some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        address::{ContactToken, Typo},
        identity::RootKey,
    };

    fn example() -> AddressUri {
        let root = RootKey::from_secret(&[1; 32]);
        let address = Address { root: root.public(), token: ContactToken::derived(&root) };
        let hints = vec![
            "/ip4/203.0.113.7/udp/4001/quic-v1/p2p/12D3KooWQYzB8u3bHWYzF5Jz1q2kUXv".to_owned(),
            "/dns4/a%b&c=d?e/tcp/1".to_owned(),
        ];
        AddressUri { address, hints }
    }

    #[test]
    fn a_uri_reads_back_with_its_hints() {
        let text = example().to_string();
        assert!(text.starts_with("twocan:1"), "{text}");
        assert_eq!(text.parse::<AddressUri>().unwrap(), example());
        assert_eq!(text.replacen("twocan:", "twocan://", 1).parse::<AddressUri>().unwrap(), example());
        assert_eq!(format!("{text}&hint=/a&hint=/b").parse::<AddressUri>().unwrap().hints.len(), HINTS_MAX);
        assert_eq!(format!("{text}&other=1").parse::<AddressUri>().unwrap(), example());
    }

    #[test]
    fn a_bare_address_in_any_dress_is_a_uri_without_hints() {
        let address = example().address.to_string();
        let bare = AddressUri { hints: Vec::new(), ..example() };
        let short = &address[6..];
        for text in [
            address.clone(),
            format!(" {address} "),
            format!("twocan:{address}"),
            format!("TWOCAN:{}", short.to_uppercase()),
        ] {
            assert_eq!(text.parse::<AddressUri>().unwrap(), bare, "{text}");
        }
    }

    #[test]
    fn positions_count_in_the_text_that_was_given() {
        let text = example().to_string();
        let right = text.as_bytes()[30];
        let mut changed = text.clone();
        changed.replace_range(30..=30, if right == b'q' { "p" } else { "q" });
        let expected = |position| UriError::Address(AddressError::Mistyped(Typo::Wrong { position }));
        assert_eq!(changed.parse::<AddressUri>().unwrap_err(), expected(31));
        assert_eq!(format!("  {changed}").parse::<AddressUri>().unwrap_err(), expected(33));
        let slashes = changed.replacen("twocan:", "twocan://", 1);
        assert_eq!(slashes.parse::<AddressUri>().unwrap_err(), expected(33));
    }

    #[test]
    fn damaged_hints_are_named() {
        let text = AddressUri { hints: Vec::new(), ..example() }.to_string();
        for query in ["hint=x", "hint=/a%2", "hint=/a%zz", "hint=/%00", "hint=/a%C3%A9"] {
            assert_eq!(format!("{text}?{query}").parse::<AddressUri>().unwrap_err(), UriError::Hint(1), "{query}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_without_a_panic(text in "(twocan:)?(//)?1?.{0,100}(\\?hint=.{0,20})?") {
            prop_assert!(text.parse::<AddressUri>().is_err());
        }
    }
}
