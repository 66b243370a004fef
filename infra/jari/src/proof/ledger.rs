//! One slot, counted from the quantities of its events and from nothing that they state of it.

use jari_domain::{
    Quantity, Timestamp,
    ids::HoldId,
    slot::{Counts, Hold, Holder, MAX_CAPACITY, MAX_OPEN_HOLDS, Sale, SlotEvent},
};

use super::{decided::Decided, holds::Holds};

/// What a slot has taken. Holds that ended are dropped: it grows with open holds, not with units sold.
#[derive(Debug, Default)]
pub(super) struct SlotLedger {
    capacity: Quantity,
    held: u64,
    sold: u64,
    pub(super) is_opened: bool,
    pub(super) starts_at: Option<Timestamp>,
    pub(super) sale: Sale,
    /// The event that made the sale what it is said so in its counts. Slots from before events did went on to say that they sell.
    sale_is_stated: bool,
    holds: Holds,
    /// How far the counts that were stated last lay beside these. Who is wrong once goes on from there: that is not said of each event after it.
    beside: Beside,
    is_unreadable: bool,
}

/// Stated less counted.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Beside {
    capacity: i64,
    held: i64,
    sold: i64,
    /// Another one than the slot's.
    sale: Option<Sale>,
}

impl SlotLedger {
    /// Of a slot with an event that cannot be read: nobody knows what it has taken.
    pub fn unreadable() -> Self {
        Self { is_unreadable: true, ..Self::default() }
    }

    /// Whether the slot has an event that cannot be read.
    pub fn is_unreadable(&self) -> bool {
        self.is_unreadable
    }

    /// Units that are sold.
    pub fn sold(&self) -> u64 {
        self.sold
    }

    /// A hold whose end is not recorded.
    pub fn hold(&self, id: &HoldId) -> Option<Hold> {
        self.holds.get(id)
    }

    /// The hold that the event moves, if it is an order's, so that only a command of that order can have brought the event about. That a hold lapsed,
    /// whoever needs its units may record.
    pub fn order_moved_by<'e>(&self, event: &'e SlotEvent) -> Option<&'e HoldId> {
        let (hold_id, holder) = match event {
            SlotEvent::UnitsHeld { hold_id, holder, .. } | SlotEvent::UnitsCancelled { hold_id, holder, .. } => (hold_id, *holder),
            SlotEvent::HoldConfirmed { hold_id, .. } | SlotEvent::HoldReleased { hold_id, .. } => (hold_id, self.hold(hold_id)?.holder),
            SlotEvent::SlotOpened { .. }
            | SlotEvent::HoldExtended { .. }
            | SlotEvent::HoldExpired { .. }
            | SlotEvent::CapacityAdjusted { .. }
            | SlotEvent::SlotSuspended { .. }
            | SlotEvent::SlotResumed { .. }
            | SlotEvent::SlotClosed { .. } => return None,
        };
        (holder == Holder::Order).then_some(hold_id)
    }

    /// Whether the slot refuses to hold so many units under that id at `now`. It goes by the counts that its events state, since whoever decides does.
    pub fn refuses(&self, hold_id: &HoldId, quantity: Quantity, now: Timestamp) -> bool {
        let takes_holds = self.is_opened && self.sale.is_open() && self.starts_at.is_none_or(|starts_at| starts_at > now);
        let is_there = self.hold(hold_id).is_some_and(|hold| hold.is_live(now));
        let lapsed = self.holds.lapsed(now);
        let is_full = self.holds.count() >= MAX_OPEN_HOLDS && lapsed == 0;
        let Beside { capacity, held, sold, .. } = self.beside;
        let held = (count(self.held) + held - count(lapsed)).max(0);
        let available = i64::from(self.capacity) + capacity - held - count(self.sold) - sold;
        !takes_holds || !(Quantity::ONE..=MAX_CAPACITY).contains(&quantity) || is_there || is_full || available < i64::from(quantity)
    }

    /// Takes the slot's next event; `fault` hears what is wrong with it, as what follows on the slot's name.
    pub fn note(&mut self, event: &SlotEvent, decided: Decided, mut fault: impl FnMut(String)) {
        if let Some(objection) = self.objection(event, decided) {
            fault(objection);
            // said once of a slot that never was
            self.is_opened = true;
        }
        let before = self.taken();
        if let Some(wrong) = self.count(event) {
            fault(wrong);
        }
        if let Some(stated) = event.counts() {
            let beside = self.beside(stated);
            if beside != self.beside && beside != Beside::default() {
                let Self { capacity, held, sold, sale, .. } = self;
                let said = format!("{} held and {} sold of {}, {:?}", stated.held, stated.confirmed, stated.capacity, stated.sale);
                fault(format!("states {said}, and its events come to {held} held and {sold} sold of {capacity}, {sale:?}"));
            }
            self.beside = beside;
        }
        let taken = self.taken();
        if taken > u64::from(self.capacity) && taken > before {
            fault(format!("is oversold: {taken} taken of {}", self.capacity));
        }
    }

    fn taken(&self) -> u64 {
        self.held + self.sold
    }

    /// Moves what the event moves. Says what cannot be: an end of a hold that is not there, a hold that is there twice, more given back than sold.
    fn count(&mut self, event: &SlotEvent) -> Option<String> {
        match event {
            SlotEvent::SlotOpened { counts, window, .. } => {
                self.is_opened = true;
                self.starts_at = window.map(|window| window.starts_at);
                self.capacity = counts.capacity;
                self.sells(Sale::Open, Some(*counts));
                None
            }
            SlotEvent::CapacityAdjusted { counts } => {
                self.capacity = counts.capacity;
                None
            }
            SlotEvent::UnitsHeld { hold_id, quantity, expires_at, holder, .. } => {
                self.held += u64::from(*quantity);
                let before = self.holds.insert(hold_id.clone(), Hold { quantity: *quantity, expires_at: *expires_at, holder: *holder })?;
                self.held -= u64::from(before.quantity);
                Some(format!("takes hold {hold_id}, which it has already"))
            }
            SlotEvent::HoldExtended { hold_id, expires_at } => match self.hold(hold_id) {
                Some(hold) => {
                    self.holds.insert(hold_id.clone(), Hold { expires_at: *expires_at, ..hold });
                    None
                }
                None => Some(format!("extends hold {hold_id}, which it does not have")),
            },
            SlotEvent::HoldConfirmed { hold_id, quantity, .. } => {
                self.sold += u64::from(*quantity);
                self.end(hold_id, *quantity)
            }
            SlotEvent::HoldReleased { hold_id, quantity, .. } | SlotEvent::HoldExpired { hold_id, quantity, .. } => self.end(hold_id, *quantity),
            SlotEvent::UnitsCancelled { quantity, .. } => {
                let sold = self.sold;
                self.sold = sold.saturating_sub(u64::from(*quantity));
                (u64::from(*quantity) > sold).then(|| format!("takes back {quantity} of {sold} sold"))
            }
            SlotEvent::SlotSuspended { counts, .. } => {
                self.sells(Sale::Suspended, *counts);
                None
            }
            SlotEvent::SlotResumed { counts } => {
                self.sells(Sale::Open, *counts);
                None
            }
            SlotEvent::SlotClosed { counts } => {
                self.sells(Sale::Closed, *counts);
                None
            }
        }
    }

    fn end(&mut self, hold_id: &HoldId, quantity: Quantity) -> Option<String> {
        let Some(hold) = self.holds.remove(hold_id) else { return Some(format!("ends hold {hold_id}, which it does not have")) };
        self.held -= u64::from(hold.quantity);
        (hold.quantity != quantity).then(|| format!("ends hold {hold_id} of {} as one of {quantity}", hold.quantity))
    }

    fn sells(&mut self, sale: Sale, counts: Option<Counts>) {
        self.sale = sale;
        self.sale_is_stated = counts.is_some();
    }

    fn beside(&self, stated: Counts) -> Beside {
        let sale_is_right = stated.sale == self.sale || (stated.sale.is_open() && !self.sale_is_stated);
        Beside {
            capacity: i64::from(stated.capacity) - i64::from(self.capacity),
            held: i64::from(stated.held) - count(self.held),
            sold: i64::from(stated.confirmed) - count(self.sold),
            sale: (!sale_is_right).then_some(stated.sale),
        }
    }
}

/// Units of a slot are far below what does not fit.
fn count(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(i64::MAX)
}
