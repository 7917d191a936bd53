//! The 24 words: 256 bits of entropy and 8 bits of checksum as BIP-39 English words. Written here on the crate's word
//! list, because the phrase must be zeroized and an error must name the number of the wrong word and never the word.

use bip39::Language;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Words in a phrase.
pub const WORDS: usize = 24;

/// Why a text is no recovery phrase. The messages name positions only: the words are the person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PhraseError {
    /// Not 24 words.
    #[error("a recovery phrase has 24 words, this one has {0}")]
    WordCount(usize),
    /// A word that is not in the list, counted from 1.
    #[error("word {0} is not one of the words that phrases are made of: check its spelling")]
    UnknownWord(usize),
    /// All words are known, but the checksum in the last one does not fit.
    #[error("the words do not fit together: one of them is another word, or two changed places")]
    Checksum,
}

/// The words for 32 bytes of entropy, separated by single spaces.
pub(super) fn encode(entropy: &[u8; 32]) -> Zeroizing<String> {
    let list = Language::English.word_list();
    let bits = with_checksum(entropy);
    // The longest English word has 8 letters: the text never moves while it grows.
    let mut phrase = Zeroizing::new(String::with_capacity(WORDS * 9));
    for index in 0..WORDS {
        if index > 0 {
            phrase.push(' ');
        }
        phrase.push_str(list[eleven_bits(bits.as_slice(), index)]);
    }
    phrase
}

/// The entropy of 24 words in any case and with any white space between them.
pub(super) fn decode(phrase: &str) -> Result<Zeroizing<[u8; 32]>, PhraseError> {
    let count = phrase.split_whitespace().take(WORDS * 4).count();
    if count != WORDS {
        return Err(PhraseError::WordCount(count));
    }
    let mut bits = Zeroizing::new([0_u8; 33]);
    for (position, word) in phrase.split_whitespace().enumerate() {
        let word = Zeroizing::new(word.to_lowercase());
        let value = Language::English.find_word(&word).ok_or(PhraseError::UnknownWord(position + 1))?;
        for bit in 0..11 {
            if value & (1 << (10 - bit)) != 0 {
                let at = position * 11 + bit;
                bits[at / 8] |= 0x80 >> (at % 8);
            }
        }
    }
    let mut entropy = Zeroizing::new([0; 32]);
    entropy.copy_from_slice(&bits[..32]);
    if *with_checksum(&entropy) == *bits { Ok(entropy) } else { Err(PhraseError::Checksum) }
}

/// Entropy followed by the first byte of its SHA-256.
fn with_checksum(entropy: &[u8; 32]) -> Zeroizing<[u8; 33]> {
    let mut bits = Zeroizing::new([0; 33]);
    bits[..32].copy_from_slice(entropy);
    bits[32] = Sha256::digest(entropy)[0];
    bits
}

/// The `index`-th group of eleven bits, most significant first; at most 33 bytes are looked at.
pub(crate) fn eleven_bits(bytes: &[u8], index: usize) -> usize {
    (0..11).fold(0, |value, bit| {
        let at = index * 11 + bit;
        (value << 1) | usize::from(bytes[at / 8] >> (7 - at % 8) & 1)
    })
}

/// The word with that index (only the lowest eleven bits count).
pub(crate) fn word(index: usize) -> &'static str {
    Language::English.word_list()[index & 0x7ff]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn phrases_agree_with_the_reference_crate_and_come_back(entropy: [u8; 32]) {
            let words = encode(&entropy);
            prop_assert_eq!(words.as_str(), bip39::Mnemonic::from_entropy(&entropy).unwrap().to_string());
            prop_assert_eq!(*decode(&words).unwrap(), entropy);
            prop_assert_eq!(*decode(&words.to_uppercase().replace(' ', " \n\t")).unwrap(), entropy);
        }

        #[test]
        fn any_text_is_refused_without_a_panic(text in ".{0,400}") {
            let _ = decode(&text);
        }
    }

    #[test]
    fn errors_name_the_position_and_never_a_word() {
        let words = encode(&[7; 32]);
        let mut list: Vec<&str> = words.split(' ').collect();
        list[4] = "xyzzy";
        let error = decode(&list.join(" ")).unwrap_err();
        assert_eq!(error, PhraseError::UnknownWord(5));
        assert!(!error.to_string().contains("xyzzy"));
        assert_eq!(decode("one two").unwrap_err(), PhraseError::WordCount(2));
        let mut list: Vec<&str> = words.split(' ').collect();
        list.swap(0, 23);
        assert_eq!(decode(&list.join(" ")).unwrap_err(), PhraseError::Checksum);
    }
}
