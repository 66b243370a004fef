//! Money in minor units: never a float.

use serde::{Deserialize, Serialize};

use crate::Quantity;

/// An ISO 4217 code, three capital letters: `KRW`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

/// Not a currency code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a currency is three capital letters (ISO 4217), as in KRW")]
pub struct CurrencyError;

crate::refusal::refusals! { CurrencyError, details: crate::refusal::no_facts, "CURRENCY_INVALID", InvalidArgument, false }

impl Currency {
    /// Checks and takes a code.
    ///
    /// # Errors
    /// [`CurrencyError`] when it is not three capital letters.
    pub fn parse(text: &str) -> Result<Self, CurrencyError> {
        match text.as_bytes() {
            [a, b, c] if [a, b, c].iter().all(|l| l.is_ascii_uppercase()) => Ok(Self([*a, *b, *c])),
            _ => Err(CurrencyError),
        }
    }
    /// The three letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a currency holds ASCII letters only: parse admits nothing else")
    }
}

impl std::fmt::Display for Currency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TryFrom<String> for Currency {
    type Error = CurrencyError;
    fn try_from(text: String) -> Result<Self, CurrencyError> {
        Self::parse(&text)
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.as_str().to_owned()
    }
}

/// An amount in minor units of its currency (won, cents). Never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Money {
    /// Minor units, at most [`Money::MAX_MINOR`].
    pub minor: u64,
    /// Whose.
    pub currency: Currency,
}

impl Money {
    /// The largest amount: a million lines of it still fit into 64 bits.
    pub const MAX_MINOR: u64 = 1_000_000_000_000;

    /// `self` times `quantity`; `None` above [`Money::MAX_MINOR`].
    #[must_use]
    pub fn times(self, quantity: Quantity) -> Option<Self> {
        let minor = self.minor.checked_mul(u64::from(quantity)).filter(|m| *m <= Self::MAX_MINOR)?;
        Some(Self { minor, ..self })
    }

    /// The sum; `None` above [`Money::MAX_MINOR`] or between two currencies.
    #[must_use]
    pub fn plus(self, other: Self) -> Option<Self> {
        let minor = self.minor.checked_add(other.minor).filter(|m| *m <= Self::MAX_MINOR)?;
        (self.currency == other.currency).then_some(Self { minor, ..self })
    }
}
