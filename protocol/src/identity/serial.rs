//! Two macros for newtypes over bytes: serde as a byte string (as hex in formats for people), and a `Debug` that tells
//! nothing.

/// `Serialize` and `Deserialize` for a type with `to_bytes() -> [u8; N]` and `from_bytes(&[u8; N]) -> Result<Self, E>`.
macro_rules! fixed_bytes_serde {
    ($type:ty, $length:expr) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bytes(self.to_bytes().as_ref())
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let bytes = serde_bytes::ByteArray::<{ $length }>::deserialize(deserializer)?;
                Self::from_bytes(&bytes).map_err(serde::de::Error::custom)
            }
        }
    };
}

/// A `Debug` that prints the type's name and nothing of its content.
macro_rules! secret_debug {
    ($($type:ty),+) => {
        $(impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($type), "(..)"))
            }
        })+
    };
}

pub(crate) use {fixed_bytes_serde, secret_debug};
