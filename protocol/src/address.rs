//! What a person hands out: `twocan1…`, bech32m text over version, root key and contact token; and the `twocan:` URI
//! that carries hints besides (`specs/01-identity.md`). One typing error is always noticed; where it is, is named.

mod typo;
mod uri;

use std::{fmt, str::FromStr};

use bech32::{Bech32m, Hrp, primitives::decode::CheckedHrpstring};
use rand::CryptoRng;

pub use typo::Typo;
pub use uri::{AddressUri, UriError};

use crate::{
    domain,
    identity::{KeyError, RootKey, RootPublic, fixed_bytes_serde},
};

/// Human-readable part.
const HRP: Hrp = Hrp::parse_unchecked("twocan");
/// What every address begins with.
const PREFIX: &str = "twocan1";
/// Address version, the first byte of the payload.
const VERSION: u8 = 1;
/// `version u8 | root 32 | token 8`.
const PAYLOAD: usize = 41;
/// Characters of a version 1 address: prefix, 66 for the payload, 6 for the checksum.
pub const ADDRESS_LEN: usize = 79;
/// The characters after the prefix (BIP-173).
const CHARSET: &str = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";

/// Eight bytes that are in the address and nowhere else in public; without them no stranger finds or reaches a person.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ContactToken([u8; 8]);

impl ContactToken {
    /// The first token of an identity, derived from the phrase, so that a restored phrase restores the address.
    pub fn derived(root: &RootKey) -> Self {
        let full = domain::kdf(domain::FIRST_TOKEN, root.secret().as_slice(), &[]);
        let mut token = [0; 8];
        token.copy_from_slice(&full[..8]);
        Self(token)
    }

    /// A new token, after which old copies of the address lead nowhere.
    pub fn random(rng: &mut impl CryptoRng) -> Self {
        let mut token = [0; 8];
        rng.fill_bytes(&mut token);
        Self(token)
    }

    /// Any eight bytes are a token.
    pub const fn from_bytes(bytes: &[u8; 8]) -> Result<Self, std::convert::Infallible> {
        Ok(Self(*bytes))
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }

    /// The bytes, copied.
    pub const fn to_bytes(&self) -> [u8; 8] {
        self.0
    }
}

impl fmt::Debug for ContactToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContactToken(..)")
    }
}

fixed_bytes_serde!(ContactToken, 8);

/// Where a person can be asked for contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Who it is.
    pub root: RootPublic,
    /// The token valid when the address was handed out.
    pub token: ContactToken,
}

/// Why a text is no address. Positions count characters of the text given, from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Nothing there.
    #[error("the address is empty")]
    Empty,
    /// It begins otherwise.
    #[error("an address begins with \"twocan1\"")]
    Prefix,
    /// Far too long to be one.
    #[error("this is far too long for an address")]
    TooLong,
    /// A character that no address contains.
    #[error("character {position} ({character:?}) does not occur in addresses: check it")]
    Character {
        /// Where.
        position: usize,
        /// Which.
        character: char,
    },
    /// Upper and lower case mixed.
    #[error("the address mixes small and capital letters (first at character {position})")]
    MixedCase {
        /// The first character of the other case.
        position: usize,
    },
    /// The checksum does not fit, and one typing error explains it.
    #[error("the address is mistyped: {0}")]
    Mistyped(Typo),
    /// The checksum does not fit for more than one reason.
    #[error("the address is mistyped in more than one place, or cut short: copy it again")]
    Checksum,
    /// Of a later version.
    #[error("the address is of version {0}, which is newer than this program: update twocan")]
    NewerVersion(u8),
    /// The checksum fits, the content does not.
    #[error("the address is well spelled but means nothing")]
    Malformed,
    /// The key in it is none.
    #[error("the address contains no valid identity: {0}")]
    Key(#[from] KeyError),
}

impl AddressError {
    /// The same error with positions counted from another beginning.
    fn shifted(self, by: isize) -> Self {
        let shift = |position: usize| position.saturating_add_signed(by);
        match self {
            Self::Character { position, character } => Self::Character { position: shift(position), character },
            Self::MixedCase { position } => Self::MixedCase { position: shift(position) },
            Self::Mistyped(typo) => Self::Mistyped(typo.shifted(by)),
            other => other,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut payload = [0; PAYLOAD];
        payload[0] = VERSION;
        payload[1..33].copy_from_slice(self.root.as_bytes());
        payload[33..].copy_from_slice(self.token.as_bytes());
        let text = bech32::encode::<Bech32m>(HRP, &payload).map_err(|_| fmt::Error)?;
        f.write_str(&text)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    /// Reads an address, all small or all capital letters, white space around it ignored.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let skipped = text.chars().take_while(|character| character.is_whitespace()).count();
        parse(text.trim()).map_err(|error| error.shifted(skipped.try_into().unwrap_or(0)))
    }
}

fn parse(text: &str) -> Result<Address, AddressError> {
    if text.is_empty() {
        return Err(AddressError::Empty);
    }
    if text.len() > 4 * ADDRESS_LEN {
        return Err(AddressError::TooLong);
    }
    let lower = text.to_ascii_lowercase();
    let Some(data) = lower.strip_prefix(PREFIX) else {
        return Err(AddressError::Prefix);
    };
    let upper_first = text.starts_with(|first: char| first.is_ascii_uppercase());
    for (index, character) in text.chars().enumerate() {
        if character.is_ascii_alphabetic() && character.is_ascii_uppercase() != upper_first {
            return Err(AddressError::MixedCase { position: index + 1 });
        }
    }
    if let Some((index, character)) = data.chars().enumerate().find(|(_, character)| !CHARSET.contains(*character)) {
        return Err(AddressError::Character { position: PREFIX.len() + index + 1, character });
    }
    let Some(payload) = payload(&lower) else {
        return Err(typo::find(data).map_or(AddressError::Checksum, AddressError::Mistyped));
    };
    match payload.first() {
        Some(&VERSION) => {}
        Some(&version) if version > VERSION => return Err(AddressError::NewerVersion(version)),
        _ => return Err(AddressError::Malformed),
    }
    let payload: [u8; PAYLOAD] = payload.try_into().map_err(|_| AddressError::Malformed)?;
    let mut root = [0; 32];
    let mut token = [0; 8];
    root.copy_from_slice(&payload[1..33]);
    token.copy_from_slice(&payload[33..]);
    let address = Address { root: RootPublic::from_bytes(&root)?, token: ContactToken(token) };
    // The two bits of padding must be zero: one address has one spelling.
    if address.to_string() == lower { Ok(address) } else { Err(AddressError::Malformed) }
}

/// The payload of a text in small letters, if its checksum fits.
fn payload(lower: &str) -> Option<Vec<u8>> {
    let checked = CheckedHrpstring::new::<Bech32m>(lower).ok()?;
    (checked.hrp() == HRP).then(|| checked.byte_iter().collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example() -> Address {
        let root = RootKey::from_secret(&[1; 32]);
        Address { root: root.public(), token: ContactToken::derived(&root) }
    }

    #[test]
    fn an_address_reads_back_in_either_case_and_with_space_around_it() {
        let text = example().to_string();
        assert_eq!(text.len(), ADDRESS_LEN);
        assert!(text.starts_with("twocan1"));
        for variant in [text.clone(), text.to_uppercase(), format!("  {text}\n")] {
            assert_eq!(variant.parse::<Address>().unwrap(), example());
        }
    }

    #[test]
    fn every_single_wrong_character_is_named_by_its_position() {
        let text = example().to_string();
        for at in PREFIX.len()..text.len() {
            let right = text.as_bytes()[at];
            let wrong = if right == b'q' { 'p' } else { 'q' };
            let mut changed = text.clone();
            changed.replace_range(at..=at, &wrong.to_string());
            let error = changed.parse::<Address>().unwrap_err();
            assert_eq!(error, AddressError::Mistyped(Typo::Wrong { position: at + 1 }), "{changed}");
            assert!(error.to_string().contains(&format!("character {}", at + 1)));
        }
    }

    #[test]
    fn other_slips_are_named_too() {
        let text = example().to_string();
        let at = (PREFIX.len()..text.len() - 1).find(|&at| text.as_bytes()[at] != text.as_bytes()[at + 1]).unwrap();
        let mut swapped = text.clone().into_bytes();
        swapped.swap(at, at + 1);
        assert_eq!(
            String::from_utf8(swapped).unwrap().parse::<Address>().unwrap_err(),
            AddressError::Mistyped(Typo::Swapped { position: at + 1 })
        );
        let missing = format!("{}{}", &text[..20], &text[21..]);
        assert!(matches!(missing.parse::<Address>().unwrap_err(), AddressError::Mistyped(Typo::Missing { .. })));
        let extra = format!("{}q{}", &text[..20], &text[20..]);
        assert!(matches!(extra.parse::<Address>().unwrap_err(), AddressError::Mistyped(Typo::Extra { .. })));
        assert_eq!(text[..40].parse::<Address>().unwrap_err(), AddressError::Checksum);
        let letter = format!("{}b{}", &text[..20], &text[21..]);
        assert_eq!(letter.parse::<Address>().unwrap_err(), AddressError::Character { position: 21, character: 'b' });
        let mixed = format!("{}Q{}", &text[..20], &text[21..]);
        assert_eq!(mixed.parse::<Address>().unwrap_err(), AddressError::MixedCase { position: 21 });
        assert_eq!("".parse::<Address>().unwrap_err(), AddressError::Empty);
        assert_eq!("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7k".parse::<Address>().unwrap_err(), AddressError::Prefix);
    }

    #[test]
    fn a_later_version_is_told_from_a_mistake() {
        let text = bech32::encode::<Bech32m>(HRP, &[2; 50]).unwrap();
        assert_eq!(text.parse::<Address>().unwrap_err(), AddressError::NewerVersion(2));
        let text = bech32::encode::<Bech32m>(HRP, &[0; PAYLOAD]).unwrap();
        assert_eq!(text.parse::<Address>().unwrap_err(), AddressError::Malformed);
    }

    proptest! {
        #[test]
        fn any_text_is_refused_without_a_panic(text in "(twocan1)?.{0,120}") {
            prop_assert!(text.parse::<Address>().is_err());
        }

        #[test]
        fn any_data_characters_are_refused_without_a_panic(data in "[qpzry9x8gf2tvdw0s3jn54khce6mua7l]{0,80}") {
            let text = format!("twocan1{data}");
            prop_assert!(text.parse::<Address>().is_err());
        }

        #[test]
        fn every_address_comes_back(secret: [u8; 32], token: [u8; 8]) {
            let address = Address { root: RootKey::from_secret(&secret).public(), token: ContactToken(token) };
            prop_assert_eq!(address.to_string().parse::<Address>().unwrap(), address);
        }
    }
}
