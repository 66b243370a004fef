//! What one may ask of an inventory slot.

use jiff::Timestamp;

use super::Window;
use crate::{
    Quantity,
    ids::{HoldId, OrderId, PoolId},
};

/// Imperative; the slot's id is the stream's and names pool and start.
#[derive(Debug, Clone, PartialEq)]
pub enum SlotCommand {
    /// Opens the slot for sale.
    OpenSlot {
        /// Whose capacity it is.
        pool_id: PoolId,
        /// When; none for stock.
        window: Option<Window>,
        /// Units, at most [`super::MAX_CAPACITY`].
        capacity: Quantity,
    },
    /// Takes units until `expires_at`.
    HoldUnits {
        /// Must not be held already.
        hold_id: HoldId,
        /// At least 1.
        quantity: Quantity,
        /// After now, at most [`super::MAX_HOLD_SECONDS`] ahead.
        expires_at: Timestamp,
    },
    /// Moves a caller's live hold's end: later or sooner, never into the past.
    ExtendHold {
        /// Which.
        hold_id: HoldId,
        /// See `HoldUnits`.
        expires_at: Timestamp,
    },
    /// Sells what a caller's live hold holds.
    ConfirmHold {
        /// Which.
        hold_id: HoldId,
    },
    /// Gives a caller's live hold's units back.
    ReleaseHold {
        /// Which.
        hold_id: HoldId,
    },
    /// Takes units for an order, under its id. Callers' commands on holds do not reach them: a hold that ends without its order, or outlives
    /// it, would leave the order with less than it says.
    HoldForOrder {
        /// Has no live hold in this slot, and no caller has one under its id.
        order_id: OrderId,
        /// See `HoldUnits`.
        quantity: Quantity,
        /// See `HoldUnits`.
        expires_at: Timestamp,
    },
    /// Sells what is held for an order.
    ConfirmForOrder {
        /// Which.
        order_id: OrderId,
    },
    /// Gives back what is held for an order.
    ReleaseForOrder {
        /// Which.
        order_id: OrderId,
    },
    /// Records that a hold has lapsed; nothing happens when it is gone already or has not lapsed at `now`.
    ExpireHold {
        /// Which.
        hold_id: HoldId,
    },
    /// Gives back units that were sold to callers.
    CancelUnits {
        /// The hold under which they were sold; kept in the event for whoever reads it.
        hold_id: HoldId,
        /// At least 1, at most what is sold and not to orders.
        quantity: Quantity,
    },
    /// Gives back what was sold to an order.
    CancelForOrder {
        /// Which.
        order_id: OrderId,
        /// At least 1, at most what is sold.
        quantity: Quantity,
    },
    /// Sets the capacity; it may fall below what is taken.
    AdjustCapacity {
        /// Units, at most [`super::MAX_CAPACITY`].
        capacity: Quantity,
    },
    /// Stops new holds for a while; confirms go on.
    SuspendSlot {
        /// For operators, 1 to 500 characters ([`crate::text::is_plain`]).
        reason: String,
    },
    /// Ends a suspension.
    ResumeSlot,
    /// Ends the sale for good; live holds may still be confirmed.
    CloseSlot,
}
