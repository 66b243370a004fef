//! InventorySlot: the capacity of one pool in one window, or its stock.
//!
//! Invariants:
//! - Never above capacity: `held + confirmed <= capacity`, but for a reduction of capacity below what was taken; while that lasts nothing new is held, and
//!   what is held may still be confirmed.
//! - An order's hold bears the order's id, and only commands of orders act on it; a caller's hold with that id is none of the order's.
//! - A hold is live, and good, while `now < expires_at`; then it has lapsed. It is open until its end is recorded, live or lapsed. A lapsed hold's end is
//!   recorded before its units are used again.
//! - A caller cancels no more than was sold to callers: what was sold to orders comes back with them alone.
//! - The state is counters and open holds: it does not grow with units sold. Who owns a sold unit stands in the order.

mod command;
mod decide;
mod error;
mod event;
mod holds;
mod state;
#[cfg(test)]
mod tests;

pub use command::SlotCommand;
pub use error::{Room, SlotError, WindowFault};
pub use event::SlotEvent;
pub use holds::{Hold, Holder};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
pub use state::{InventorySlot, SlotStatus};

use crate::Quantity;

/// When a slot is: whole seconds, `starts_at < ends_at`, at most [`MAX_WINDOW_DAYS`] long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Its first instant.
    pub starts_at: Timestamp,
    /// The first instant after it.
    pub ends_at: Timestamp,
}

/// Whether a slot takes new holds, as far as its operators say: [`SlotStatus`] but for `Absent`, since events are of slots that are there. Once its window has begun it takes none either way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Sale {
    /// It does.
    #[default]
    Open,
    /// Not for a while.
    Suspended,
    /// Never again.
    Closed,
}

impl Sale {
    /// Whether new holds are taken.
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self == Self::Open
    }
}

/// What a slot has, what is taken of it, and whether it sells: each event says so of the slot after it, so that one event tells all that a
/// buyer's program needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Units in all.
    pub capacity: Quantity,
    /// Units under open holds: those that have lapsed count until their end is recorded.
    pub held: Quantity,
    /// Units sold.
    pub confirmed: Quantity,
    /// Whether it sells; not stored while it does. Events from before this was carried say that it does.
    #[serde(default, skip_serializing_if = "Sale::is_open")]
    pub sale: Sale,
}

impl Counts {
    /// What is neither held nor sold; 0 while overcommitted.
    #[must_use]
    pub fn available(&self) -> Quantity {
        self.capacity.saturating_sub(self.held).saturating_sub(self.confirmed)
    }

    /// What is not sold, held or not; 0 while oversold.
    #[must_use]
    pub fn unsold(&self) -> Quantity {
        self.capacity.saturating_sub(self.confirmed)
    }
}

/// Most units of a slot.
pub const MAX_CAPACITY: Quantity = Quantity::new(100_000_000);
/// The longest window, in days.
pub const MAX_WINDOW_DAYS: i64 = 31;
/// The longest hold, whoever takes it: a day.
pub const MAX_HOLD_SECONDS: u32 = 86_400;
/// Most open holds of a slot: past it new ones are refused, so that the state stays bounded.
pub const MAX_OPEN_HOLDS: usize = 1_000_000;

/// Whether a hold that is taken or extended at `now` may last until then: an end to come, within [`MAX_HOLD_SECONDS`].
#[must_use]
pub fn may_hold_until(expires_at: Timestamp, now: Timestamp) -> bool {
    let ahead = expires_at.duration_since(now);
    ahead > SignedDuration::ZERO && ahead <= SignedDuration::from_secs(MAX_HOLD_SECONDS.into())
}
