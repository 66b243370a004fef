//! Units, counted.

use std::fmt;

use serde::{Deserialize, Serialize};

/// So many units: of a slot, or of one kind in an order's line. Stored and shown as the bare number. Bounds are where it is decided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Quantity(u32);

impl Quantity {
    /// None.
    pub const ZERO: Self = Self(0);
    /// The least that can be held, bought or given back.
    pub const ONE: Self = Self(1);

    /// So many.
    #[must_use]
    pub const fn new(units: u32) -> Self {
        Self(units)
    }

    /// The number of units.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Both together, or the most that there can be.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What is left, or none.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl From<Quantity> for i64 {
    fn from(quantity: Quantity) -> Self {
        quantity.0.into()
    }
}

impl From<Quantity> for u64 {
    fn from(quantity: Quantity) -> Self {
        quantity.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantity_is_stored_and_shown_as_its_bare_number() {
        let ten = Quantity::new(10);
        assert_eq!((serde_json::to_string(&ten).unwrap(), format!("{ten} {ten:>4}")), ("10".into(), "10   10".into()));
        assert_eq!(serde_json::from_str::<Quantity>("10").unwrap(), ten);
        for bad in ["-1", "4294967296", "1.5", "\"1\"", "[1]"] {
            assert!(serde_json::from_str::<Quantity>(bad).is_err(), "{bad}");
        }
    }
}
