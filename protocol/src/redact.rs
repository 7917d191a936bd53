//! Keeps whereabouts and secrets out of logs: a value in [`Redact`] prints as `[redacted]`, whatever the format string.

use std::fmt;

/// Wraps a value that may pass through code that logs. Printing it never shows the value; [`Redact::reveal`] does, and
/// stands out in review.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Redact<T>(T);

impl<T> Redact<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself, for use and not for logs above debug level.
    pub const fn reveal(&self) -> &T {
        &self.0
    }

    /// Takes the value out.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> From<T> for Redact<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T> fmt::Debug for Redact<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<T> fmt::Display for Redact<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_format_shows_the_value() {
        let address = Redact::new("/ip4/203.0.113.9/udp/4001/quic-v1".to_owned());
        for text in [format!("{address}"), format!("{address:?}"), format!("{address:#?}"), format!("{:?}", [&address])]
        {
            assert!(!text.contains("203.0.113.9"), "{text}");
        }
        assert!(address.reveal().contains("203.0.113.9"));
    }
}
