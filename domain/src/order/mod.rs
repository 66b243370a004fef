//! Order: what one customer asked for, at which prices, and how it was settled.
//!
//! Invariants:
//! - `PLACED -> (HELD | REJECTED)`, `HELD -> (CONFIRMED | EXPIRED)`, `PLACED | HELD | CONFIRMED -> CANCELLED`. Nothing leaves
//!   `REJECTED`, `EXPIRED`, `CANCELLED`.
//! - A held order whose `expires_at` has come is lapsed, whether or not that is recorded yet: it can be neither confirmed nor cancelled.
//! - The lines never change; one currency.

mod command;
mod decide;
mod error;
mod event;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use command::OrderCommand;
pub use error::{LineFault, OrderError};
pub use event::OrderEvent;
use serde::{Deserialize, Serialize};
pub use state::{Order, OrderStatus};

use crate::{
    Currency, Money, Quantity,
    ids::{self, OptionId, ProductId, SlotId, UnitId},
};

/// Most lines of an order.
pub const MAX_LINES: usize = 100;
/// Most units of one kind in a line.
pub const MAX_QUANTITY: Quantity = Quantity::new(10_000);

/// The field under which contact and names of guests are sealed: a sealed value opens only where it was sealed for.
pub const PERSONAL: &str = "personal";

/// Most failures that a rejection names: every draw of every line.
pub const MAX_FAILURES: usize = MAX_LINES * crate::product::MAX_DRAWS;

/// One line: an option of a product, at the price of the moment of ordering.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderLine {
    /// What.
    pub product_id: ProductId,
    /// Which option.
    pub option_id: OptionId,
    /// When; none for stock.
    pub starts_at: Option<jiff::Timestamp>,
    /// How many of what, each at least 1.
    pub units: Vec<LineUnit>,
    /// What it takes of which slots, slots unique.
    pub draws: Vec<SlotDraw>,
    /// The sum of the units.
    pub total: Money,
}

impl OrderLine {
    /// See [`crate::Decider::bytes`].
    pub(super) fn bytes(&self) -> usize {
        let each = |size: usize| size + ids::HEAP_BYTES;
        size_of::<Self>() + 2 * ids::HEAP_BYTES + self.units.len() * each(size_of::<LineUnit>()) + self.draws.len() * each(size_of::<SlotDraw>())
    }
}

/// What these lines take of which slots: the same slot in two lines is summed. Saturates: `PlaceOrder` refuses sums that no slot could hold.
#[must_use]
pub fn draws_of(lines: &[OrderLine]) -> BTreeMap<SlotId, Quantity> {
    let mut sums = BTreeMap::<SlotId, Quantity>::new();
    for SlotDraw { slot_id, quantity } in lines.iter().flat_map(|line| &line.draws) {
        let sum = sums.entry(slot_id.clone()).or_default();
        *sum = sum.saturating_add(*quantity);
    }
    sums
}

/// So many of one unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineUnit {
    /// Which.
    pub unit_id: UnitId,
    /// At least 1.
    pub quantity: Quantity,
    /// Of one.
    pub price: Money,
}

impl LineUnit {
    /// What these cost together; `None` above [`Money::MAX_MINOR`], or when one is priced in another currency.
    #[must_use]
    pub fn sum(units: &[Self], currency: Currency) -> Option<Money> {
        let nothing = Money { minor: 0, currency };
        units.iter().try_fold(nothing, |sum, unit| sum.plus(unit.price.times(unit.quantity)?))
    }
}

/// So much of one slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotDraw {
    /// Which.
    pub slot_id: SlotId,
    /// Units of capacity, at least 1.
    pub quantity: Quantity,
}

/// About what a [`LineFailure`] takes in memory: its texts, and the facts of a slot that has no room.
const FAILURE_BYTES: usize = 1_024;

/// Why a line could not be served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineFailure {
    /// Counted from 0.
    pub line: u32,
    /// The slot that refused.
    pub slot_id: SlotId,
    /// The slot's refusal: `SLOT_SOLD_OUT`, `SLOT_HELD_BY_OTHERS`, ...
    pub code: String,
    /// For people.
    pub message: String,
    /// Facts by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
    /// Whether units may come back.
    pub retryable: bool,
}
