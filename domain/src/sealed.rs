//! A sealed value: personal data that nobody reads without the person's key. To the domain it is a text that it carries and never looks into.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// What a sealed value begins with; a key's id and the sealed bytes follow, each after a colon.
pub const SEALED_PREFIX: &str = "sealed:v1:";
/// The longest sealed value, in bytes.
pub const MAX_SEALED_BYTES: usize = 128 * 1024;

/// A sealed value in its text form: `sealed:v1:<key id>:<base64url>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(Arc<str>);

impl Sealed {
    /// Takes a sealed value's text. `None` when it has not the form of one, or is longer than [`MAX_SEALED_BYTES`]: what is in the clear by
    /// mistake goes no further.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (key_id, value) = text.strip_prefix(SEALED_PREFIX)?.split_once(':')?;
        let is_word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        (text.len() <= MAX_SEALED_BYTES && is_word(key_id) && is_word(value)).then(|| Self(text.into()))
    }

    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_sealed_is_not_taken_for_it() {
        assert_eq!(Sealed::parse("sealed:v1:0f:AbC-_9").unwrap().as_str(), "sealed:v1:0f:AbC-_9");
        let long = format!("sealed:v1:0f:{}", "A".repeat(MAX_SEALED_BYTES));
        for text in
            ["", "Kim Minji", "sealed:v1:", "sealed:v1:0f", "sealed:v1:0f:", "sealed:v1::AA", "sealed:v2:0f:AA", "sealed:v1:0f:Kim Minji", &long]
        {
            assert_eq!(Sealed::parse(text), None, "{text:.40}");
        }
    }
}
