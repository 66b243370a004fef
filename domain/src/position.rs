//! A place in the log.

use std::{
    fmt,
    num::{ParseIntError, TryFromIntError},
    ops::Add,
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// A place in the log: 1 for the first event, dense. Below 2^63, since the database numbers them so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(u64);

impl Position {
    /// Before the first event: the head of an empty log, and where whoever reads all of it begins.
    pub const START: Self = Self(0);
    /// Behind everything that a log can hold.
    pub const MAX: Self = Self(u64::MAX);

    /// The place of the event with this number, from 1.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number; also how many events stand up to here.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The place behind this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The place before this one; [`Position::START`] has none before it, and stays.
    #[must_use]
    pub const fn previous(self) -> Self {
        self.back(1)
    }

    /// So many events back; [`Position::START`] at most.
    #[must_use]
    pub const fn back(self, events: u64) -> Self {
        Self(self.0.saturating_sub(events))
    }

    /// How many events stand behind `earlier`, up to here; none when it is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// From a signed number, as the database has it: never negative there (checked by the schema), so that one is as good as [`Position::START`].
    #[must_use]
    pub fn from_i64(number: i64) -> Self {
        Self(u64::try_from(number).unwrap_or(0))
    }

    /// As a signed number, which is what the database and the wire have; the greatest one for what is beyond it, and is behind every event as well.
    #[must_use]
    pub fn to_i64(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }
}

impl TryFrom<i64> for Position {
    type Error = TryFromIntError;
    /// From a number that anybody may have sent: a negative one is no position.
    fn try_from(number: i64) -> Result<Self, TryFromIntError> {
        number.try_into().map(Self)
    }
}

impl Add<u64> for Position {
    type Output = Self;
    /// So many events further on.
    fn add(self, events: u64) -> Self {
        Self(self.0 + events)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Position {
    type Err = ParseIntError;
    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_stored_and_told_as_a_bare_number() {
        let position = Position::new(4_711);
        assert_eq!(serde_json::to_string(&position).unwrap(), "4711");
        assert_eq!(serde_json::from_str::<Position>("4711").unwrap(), position);
        assert_eq!((position.to_string(), format!("{position:020}")), ("4711".into(), "00000000000000004711".into()));
        assert_eq!("4711".parse(), Ok(position));
    }

    #[test]
    fn a_signed_number_that_is_no_position_is_taken_for_the_nearest_one_or_refused() {
        assert!(Position::try_from(-1).is_err());
        assert_eq!(Position::from_i64(-1), Position::START);
        assert_eq!(Position::from_i64(i64::MAX).to_i64(), i64::MAX);
        assert_eq!(Position::MAX.to_i64(), i64::MAX);
    }
}
