//! Product: what is sold, in which options and units, at what price, and out of which pools.
//!
//! Invariants:
//! - `DRAFT -> ON_SALE <-> SUSPENDED -> ENDED`; `ON_SALE -> ENDED`. Nothing comes back from `ENDED`.
//! - Options change in `DRAFT` only: what is on sale is what was launched. At least one option when launched.
//! - All prices are in the product's currency.

mod command;
mod decide;
mod error;
mod event;
mod quote;
mod state;
#[cfg(test)]
mod tests;

pub use command::ProductCommand;
pub use error::ProductError;
pub use event::ProductEvent;
pub use quote::{LineRequest, UnitRequest};
use serde::{Deserialize, Serialize};
pub use state::{Product, ProductStatus, Terms};

use crate::{
    Money,
    ids::{self, OptionId, PoolId, UnitId},
    slot::MAX_HOLD_SECONDS,
    words::words,
};

/// How a product is sold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SaleMode {
    /// For a time slot: every line names the slot's start.
    Reservation,
    /// From stock, at once: no line names a start.
    Realtime,
}

words! { SaleMode { Reservation => "RESERVATION", Realtime => "REALTIME" } }

/// One way to buy the product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductOption {
    /// Unique within the product.
    pub option_id: OptionId,
    /// 1 to 200 characters ([`crate::text::is_plain`]).
    pub title: String,
    /// 1 to [`MAX_UNITS`], ids unique.
    pub units: Vec<Unit>,
    /// The pools that every head of it draws on, 1 to [`MAX_DRAWS`], pools unique.
    pub draws: Vec<Draw>,
}

impl ProductOption {
    /// See [`crate::Decider::bytes`].
    fn bytes(&self) -> usize {
        let units = self.units.iter().map(|unit| size_of::<Unit>() + unit.title.len() + ids::HEAP_BYTES).sum::<usize>();
        size_of::<Self>() + self.title.len() + ids::HEAP_BYTES + units + self.draws.len() * (size_of::<Draw>() + ids::HEAP_BYTES)
    }
}

/// What a customer counts: adult, child, family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Unique within the option.
    pub unit_id: UnitId,
    /// 1 to 200 characters ([`crate::text::is_plain`]).
    pub title: String,
    /// Of one.
    pub price: Money,
    /// How many heads one of it is: a family of four is 4. 1 to [`MAX_HEADS`].
    pub heads: u32,
}

/// How much one head takes of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draw {
    /// Two options may share one pool; one option may need two.
    pub pool_id: PoolId,
    /// Units of capacity a head: 1 to [`MAX_PER_HEAD`].
    pub per_head: u32,
}

/// Most options of a product.
pub const MAX_OPTIONS: usize = 100;
/// Most units of an option.
pub const MAX_UNITS: usize = 20;
/// Most pools that an option draws on.
pub const MAX_DRAWS: usize = 8;
/// Most heads of one unit.
pub const MAX_HEADS: u32 = 100;
/// Most units of capacity that a head takes of a pool.
pub const MAX_PER_HEAD: u32 = 100;
/// How long a hold may last, in seconds: half a minute to as long as any hold may.
pub const HOLD_SECONDS: std::ops::RangeInclusive<u32> = 30..=MAX_HOLD_SECONDS;
/// The longest name of a time zone, in bytes; all of its letters are ASCII.
pub const MAX_ZONE_BYTES: usize = 64;
/// The longest cut-off, in seconds: 30 days.
pub const MAX_CUT_OFF_SECONDS: u32 = 30 * 86_400;
