//! The query services: a request is checked, a view is read, a row becomes a message.

mod availability;
mod orders;
mod products;
mod watch;

pub use availability::AvailabilityQueries;
pub use orders::OrderQueries;
pub use products::ProductQueries;

use crate::refusal::{ENUM_INVALID, QueryError};

/// Rows of a page when the caller does not say.
const USUAL_ROWS: i32 = 50;

/// An enum's value on the wire that this program knows.
fn known<E: TryFrom<i32>>(field: &'static str, value: i32) -> Result<E, QueryError> {
    E::try_from(value).map_err(|_| QueryError::Field { field, code: ENUM_INVALID, what: format!("{value} is not a value of this enum") })
}
