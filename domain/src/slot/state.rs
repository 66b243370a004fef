//! What a slot knows.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Counts, Sale, SlotEvent, Window,
    holds::{Hold, Holder, Holds},
};
use crate::{
    Quantity,
    ids::{HoldId, PoolId},
    words::words,
};

/// Where a slot stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SlotStatus {
    /// Never opened.
    #[default]
    Absent,
    /// Takes holds, until it starts.
    Open,
    /// Takes no new holds for a while.
    Suspended,
    /// Takes no new holds ever; live ones may still be confirmed.
    Closed,
}

words! { SlotStatus { Absent => "ABSENT", Open => "OPEN", Suspended => "SUSPENDED", Closed => "CLOSED" } }

impl SlotStatus {
    /// What its events say of it. An absent slot has none.
    fn sale(self) -> Sale {
        match self {
            Self::Absent | Self::Open => Sale::Open,
            Self::Suspended => Sale::Suspended,
            Self::Closed => Sale::Closed,
        }
    }
}

/// The state: counters and open holds. Nothing in it grows with units sold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct InventorySlot {
    pub(super) status: SlotStatus,
    pub(super) pool_id: Option<PoolId>,
    pub(super) window: Option<Window>,
    pub(super) counts: Counts,
    pub(super) holds: Holds,
    /// Of the units sold, those sold to orders. A hold from before events said whose it is ([`super::Holder`]) reads as a caller's: what an order bought
    /// by such a one is missing here.
    pub(super) sold_to_orders: Quantity,
}

impl InventorySlot {
    /// Where it stands. Whether it has started is a matter of time: see [`InventorySlot::window`].
    #[must_use]
    pub fn status(&self) -> SlotStatus {
        self.status
    }

    /// Whose capacity it is; `None` while absent.
    #[must_use]
    pub fn pool_id(&self) -> Option<&PoolId> {
        self.pool_id.as_ref()
    }

    /// When it is; `None` for stock, and while absent.
    #[must_use]
    pub fn window(&self) -> Option<Window> {
        self.window
    }

    /// The counts as recorded: holds that lapsed count as held until their end is recorded.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Of the units sold, those that orders bought: they come back with their orders alone.
    #[must_use]
    pub fn sold_to_orders(&self) -> Quantity {
        self.sold_to_orders
    }

    /// The counts as they are at `now`: lapsed holds count as free. O(holds that lapsed).
    #[must_use]
    pub fn counts_at(&self, now: Timestamp) -> Counts {
        let lapsed = self.holds.lapsed(now).fold(Quantity::ZERO, |sum, (_, hold)| sum.saturating_add(hold.quantity));
        Counts { held: self.counts.held.saturating_sub(lapsed), ..self.counts }
    }

    /// What may be held at `now`. O(holds that lapsed).
    #[must_use]
    pub fn available_at(&self, now: Timestamp) -> Quantity {
        self.counts_at(now).available()
    }

    /// An open hold; it may have lapsed.
    #[must_use]
    pub fn hold(&self, id: &HoldId) -> Option<Hold> {
        self.holds.get(id)
    }

    /// How many holds are open: their end is not recorded yet, whether or not they have lapsed. At most [`super::MAX_OPEN_HOLDS`].
    #[must_use]
    pub fn open_holds(&self) -> usize {
        self.holds.len()
    }

    /// When the next hold lapses, or has lapsed without a record of it.
    #[must_use]
    pub fn earliest_expiry(&self) -> Option<Timestamp> {
        self.holds.earliest_expiry()
    }

    /// When the first of the holds that are good at `now` lapses. O(holds that lapsed).
    #[must_use]
    pub fn earliest_live_expiry(&self, now: Timestamp) -> Option<Timestamp> {
        self.holds.iter().find(|(_, hold)| hold.is_live(now)).map(|(_, hold)| hold.expires_at)
    }

    /// Takes an event as true. Counts come from the event: whoever reads the log needs no arithmetic, and neither does this.
    pub(super) fn fold(&mut self, event: &SlotEvent) {
        match event {
            SlotEvent::SlotOpened { pool_id, window, .. } => {
                self.status = SlotStatus::Open;
                self.pool_id = Some(pool_id.clone());
                self.window = *window;
            }
            SlotEvent::UnitsHeld { hold_id, quantity, expires_at, holder, .. } => {
                self.holds.insert(hold_id.clone(), Hold { quantity: *quantity, expires_at: *expires_at, holder: *holder });
            }
            SlotEvent::HoldExtended { hold_id, expires_at } => self.holds.extend(hold_id, *expires_at),
            SlotEvent::HoldConfirmed { hold_id, quantity, .. } => {
                if self.holds.remove(hold_id).is_some_and(|hold| hold.holder == Holder::Order) {
                    self.sold_to_orders = self.sold_to_orders.saturating_add(*quantity);
                }
            }
            SlotEvent::HoldReleased { hold_id, .. } | SlotEvent::HoldExpired { hold_id, .. } => {
                self.holds.remove(hold_id);
            }
            SlotEvent::UnitsCancelled { quantity, holder: Holder::Order, .. } => {
                self.sold_to_orders = self.sold_to_orders.saturating_sub(*quantity);
            }
            SlotEvent::UnitsCancelled { holder: Holder::Caller, .. } | SlotEvent::CapacityAdjusted { .. } => {}
            SlotEvent::SlotSuspended { .. } => self.status = SlotStatus::Suspended,
            SlotEvent::SlotResumed { .. } => self.status = SlotStatus::Open,
            SlotEvent::SlotClosed { .. } => self.status = SlotStatus::Closed,
        }
        // an event from before it carried counts left them as they were, and never said whether the slot sells
        self.counts = Counts { sale: self.status.sale(), ..event.counts().unwrap_or(self.counts) };
    }
}
