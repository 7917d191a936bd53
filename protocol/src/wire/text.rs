//! Bounded building blocks of messages: texts that people wrote, texts of machines, lists and byte strings. The bound
//! is part of the type and is checked while decoding, so that no larger value ever exists.

use std::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A line of text that somebody else wrote, safe to show: no control characters, nothing that turns the direction of
/// writing or hides, spaces trimmed, at most `CHARS` characters. Longer text is cut when it is cleaned here; on the
/// wire, more than four bytes per allowed character is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Line<const CHARS: usize>(String);

/// The name that a person chose.
pub type Name = Line<64>;
/// What a person wrote: the line of a contact request, the text of a decline.
pub type Note = Line<280>;
/// Why something happened, written by a program.
pub type Reason = Line<140>;

impl<const CHARS: usize> Line<CHARS> {
    /// Makes a line of any text: strips what cannot be shown safely, trims, and cuts at `CHARS` characters.
    #[must_use]
    pub fn clean(text: &str) -> Self {
        let shown = text.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).filter(|c| !hidden(*c));
        let text: String = shown.skip_while(|c| *c == ' ').take(CHARS).collect();
        Self(text.trim_end().to_owned())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether nothing is left of it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Characters that are never shown: controls, direction marks and overrides, invisible fillers and tags.
/// The joiner U+200D stays, since emoji need it.
fn hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}' | '\u{fffc}')
        || matches!(c, '\u{200b}' | '\u{200c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

impl<const CHARS: usize> From<Line<CHARS>> for String {
    fn from(line: Line<CHARS>) -> Self {
        line.0
    }
}

impl<const CHARS: usize> fmt::Display for Line<CHARS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de, const CHARS: usize> Deserialize<'de> for Line<CHARS> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.len() > 4 * CHARS {
            return Err(D::Error::custom(format_args!("text of {} bytes, at most {} allowed", text.len(), 4 * CHARS)));
        }
        Ok(Self::clean(&text))
    }
}

/// Text of several lines that somebody wrote, safe to show: `\n` separates lines, no other control characters, nothing that
/// turns the direction of writing over its end, or hides; at most `BYTES` bytes. Joiners and marks that writing needs stay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Prose<const BYTES: usize>(String);

impl<const BYTES: usize> Prose<BYTES> {
    /// Makes it of any text; `None` if it is too long.
    #[must_use]
    pub fn clean(text: &str) -> Option<Self> {
        if text.len() > BYTES {
            return None;
        }
        let mut out = String::with_capacity(text.len());
        let mut characters = text.chars().peekable();
        while let Some(c) = characters.next() {
            match c {
                '\r' if characters.peek() == Some(&'\n') => {}
                '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => out.push('\n'),
                '\t' => out.push(' '),
                c if turns(c) => {}
                c => out.push(c),
            }
        }
        Some(Self(out.trim_matches('\n').trim_end().to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether nothing is left of it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.trim().is_empty()
    }
}

impl<const BYTES: usize> From<Prose<BYTES>> for String {
    fn from(prose: Prose<BYTES>) -> Self {
        prose.0
    }
}

impl<'de, const BYTES: usize> Deserialize<'de> for Prose<BYTES> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let length = text.len();
        Self::clean(&text)
            .ok_or_else(|| D::Error::custom(format_args!("text of {length} bytes, at most {BYTES} allowed")))
    }
}

/// What is not shown in a text of several lines: as [`hidden`], but for what writing needs (joiners, non-joiners, single
/// direction marks, soft hyphens).
fn turns(c: char) -> bool {
    hidden(c) && !matches!(c, '\u{ad}' | '\u{61c}' | '\u{200c}' | '\u{200e}' | '\u{200f}')
}

/// Text between machines, at most `BYTES` bytes, kept as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Bounded<const BYTES: usize>(String);

impl<const BYTES: usize> Bounded<BYTES> {
    /// Takes the text if it is short enough.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        (text.len() <= BYTES).then_some(Self(text))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether there is no text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text, taken out.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

impl<'de, const BYTES: usize> Deserialize<'de> for Bounded<BYTES> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let length = text.len();
        Self::new(text).ok_or_else(|| D::Error::custom(format_args!("text of {length} bytes, at most {BYTES} allowed")))
    }
}

/// A byte string of at most `BYTES` bytes.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Blob<const BYTES: usize>(Vec<u8>);

impl<const BYTES: usize> Blob<BYTES> {
    /// Takes the bytes if there are not too many.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        (bytes.len() <= BYTES).then_some(Self(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl<const BYTES: usize> fmt::Debug for Blob<BYTES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({} bytes)", self.0.len())
    }
}

impl<const BYTES: usize> Serialize for Blob<BYTES> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de, const BYTES: usize> Deserialize<'de> for Blob<BYTES> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = serde_bytes::ByteBuf::deserialize(deserializer)?.into_vec();
        let length = bytes.len();
        Self::new(bytes)
            .ok_or_else(|| D::Error::custom(format_args!("byte string of {length}, at most {BYTES} allowed")))
    }
}

/// A list of at most `MAX` items.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct List<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> List<T, MAX> {
    /// The first `MAX` of some items.
    #[must_use]
    pub fn first_of(items: impl IntoIterator<Item = T>) -> Self {
        Self(items.into_iter().take(MAX).collect())
    }

    /// The items.
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        &self.0
    }

    /// The items, taken out.
    #[must_use]
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T, const MAX: usize>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Items<T, MAX> {
            type Value = List<T, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MAX}")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = access.next_element()? {
                    if items.len() == MAX {
                        return Err(A::Error::custom(format_args!("a list of more than {MAX}")));
                    }
                    items.push(item);
                }
                Ok(List(items))
            }
        }

        deserializer.deserialize_seq(Items(std::marker::PhantomData))
    }
}

/// Defines an enum of words: text on the wire, with a last variant for words of a later version.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal),+ $(,)? } else $(#[$other_meta:meta])* $other:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)+
            $(#[$other_meta])*
            $other,
        }

        impl $name {
            /// The word on the wire.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                    Self::$other => "other",
                }
            }

            /// All that have a word of their own.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.word())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = $crate::wire::Bounded::<{ $crate::wire::MAX_KIND }>::deserialize(deserializer)?;
                Ok(match word.as_str() {
                    $($word => Self::$variant,)+
                    _ => Self::$other,
                })
            }
        }
    };
}
pub(crate) use words;
