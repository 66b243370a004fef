//! What one may ask of an order.

use jiff::Timestamp;

use super::{LineFailure, OrderLine};
use crate::{Sealed, ids::CustomerRef};

/// Imperative; the order's id is the stream's.
#[derive(Debug, Clone, PartialEq)]
pub enum OrderCommand {
    /// Takes a place in line.
    PlaceOrder {
        /// For whom.
        customer: CustomerRef,
        /// 1 to [`super::MAX_LINES`], priced already.
        lines: Vec<OrderLine>,
        /// How long its holds last once it is settled, in seconds.
        hold_seconds: u32,
        /// Contact and names of guests, when any were given.
        personal: Option<Sealed>,
    },
    /// Records that every line is held.
    RecordHold {
        /// The end of all its holds.
        expires_at: Timestamp,
    },
    /// Records that it cannot be served; every failing line is named.
    RejectOrder {
        /// At least one.
        failures: Vec<LineFailure>,
    },
    /// Buys what is held.
    ConfirmOrder,
    /// Gives back what is held or bought, or leaves the line.
    CancelOrder {
        /// At most 500 characters ([`crate::text::is_plain`]); may be empty.
        reason: String,
    },
    /// Records that its holds lapsed; nothing happens when it is settled otherwise, or when they have not lapsed at `now`.
    ExpireOrder,
}
