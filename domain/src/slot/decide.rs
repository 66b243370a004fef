//! What follows from a command to a slot.
//!
//! Which refusal wins when several apply, by command:
//!
//! | | `OpenSlot` | `HoldUnits` | `ExtendHold` | `ConfirmHold`, `ReleaseHold` | `CancelUnits` | `AdjustCapacity` | `SuspendSlot` | `ResumeSlot` | `CloseSlot` |
//! |-|-|-|-|-|-|-|-|-|-|
//! | 1 | `SLOT_EXISTS` | `SLOT_NOT_FOUND` | `SLOT_NOT_FOUND` | `SLOT_NOT_FOUND` | `SLOT_NOT_FOUND` | `SLOT_NOT_FOUND` | `SLOT_NOT_FOUND` | `SLOT_NOT_FOUND` | `SLOT_NOT_FOUND` |
//! | 2 | `SLOT_WINDOW_INVALID` | `SLOT_CLOSED` | `SLOT_CLOSED` | `HOLD_NOT_FOUND` | `SLOT_QUANTITY_INVALID` | `SLOT_CLOSED` | `SLOT_CLOSED` | `SLOT_CLOSED` | |
//! | 3 | `SLOT_CAPACITY_INVALID` | `SLOT_SUSPENDED` | `HOLD_NOT_FOUND` | `HOLD_OF_ORDER` | `SLOT_CANCEL_EXCEEDS_SOLD` | `SLOT_CAPACITY_INVALID` | `SLOT_REASON_INVALID` | | |
//! | 4 | | `SLOT_STARTED` | `HOLD_OF_ORDER` | `HOLD_EXPIRED` (confirm only) | | | | | |
//! | 5 | | `SLOT_QUANTITY_INVALID` | `HOLD_EXPIRED` | | | | | | |
//! | 6 | | `HOLD_EXPIRY_INVALID` | `HOLD_EXPIRY_INVALID` | | | | | | |
//! | 7 | | `HOLD_EXISTS`, or `HOLD_OF_ORDER` when it is one's | | | | | | | |
//! | 8 | | `SLOT_HOLDS_EXHAUSTED` | | | | | | | |
//! | 9 | | `SLOT_SOLD_OUT` | | | | | | | |
//! | 10 | | `SLOT_INSUFFICIENT_UNITS` | | | | | | | |
//! | 11 | | `SLOT_HELD_BY_OTHERS` | | | | | | | |
//!
//! What is asked for an order (`HoldForOrder`, `ConfirmForOrder`, `ReleaseForOrder`, `CancelForOrder`) is refused as what callers ask is, but never with `HOLD_OF_ORDER`.
//! `ExpireHold` refuses nothing: a timer that comes too early or too late finds nothing to do. What is so already is not recorded
//! again and not refused: suspending a suspended slot, resuming an open one, closing a closed one, a capacity or an expiry that stands.

use jiff::Timestamp;

use super::{
    Counts, InventorySlot, MAX_CAPACITY, MAX_OPEN_HOLDS, MAX_WINDOW_DAYS, Sale, SlotCommand, SlotError, SlotEvent, SlotStatus, Window,
    error::{Room, WindowFault},
    holds::{HOLD_BYTES, Hold, Holder},
    may_hold_until,
};
use crate::{
    Decider, Few, Quantity,
    ids::{HoldId, PoolId},
    text,
};

/// How many lapsed holds a new hold clears away beyond those whose units it needs: without it they would pile up where no sweeper runs;
/// with no bound one unlucky booking would carry thousands of events. An order does so in each of its slots, of which it may have 800.
pub(super) const CLEARED_AT_ONCE: usize = 8;

impl Decider for InventorySlot {
    const TYPE: &'static str = "InventorySlot";
    const SNAPSHOT_VERSION: u32 = 4;
    type Command = SlotCommand;
    type Event = SlotEvent;
    type Error = SlotError;

    fn decide(&self, command: &SlotCommand, now: Timestamp) -> Result<Vec<SlotEvent>, SlotError> {
        match command {
            SlotCommand::OpenSlot { pool_id, window, capacity } => self.open(pool_id, *window, *capacity, now),
            SlotCommand::HoldUnits { hold_id, quantity, expires_at } => self.hold_units(Holder::Caller, hold_id, *quantity, *expires_at, now),
            SlotCommand::ExtendHold { hold_id, expires_at } => self.extend_hold(hold_id, *expires_at, now),
            SlotCommand::ConfirmHold { hold_id } => self.confirm_hold(Holder::Caller, hold_id, now),
            SlotCommand::ReleaseHold { hold_id } => self.release_hold(Holder::Caller, hold_id, now),
            SlotCommand::HoldForOrder { order_id, quantity, expires_at } => {
                self.hold_units(Holder::Order, &order_id.into(), *quantity, *expires_at, now)
            }
            SlotCommand::ConfirmForOrder { order_id } => self.confirm_hold(Holder::Order, &order_id.into(), now),
            SlotCommand::ReleaseForOrder { order_id } => self.release_hold(Holder::Order, &order_id.into(), now),
            SlotCommand::ExpireHold { hold_id } => Ok(self.expire_hold(hold_id, now)),
            SlotCommand::CancelUnits { hold_id, quantity } => self.cancel_units(Holder::Caller, hold_id, *quantity),
            SlotCommand::CancelForOrder { order_id, quantity } => self.cancel_units(Holder::Order, &order_id.into(), *quantity),
            SlotCommand::AdjustCapacity { capacity } => self.adjust_capacity(*capacity),
            SlotCommand::SuspendSlot { reason } => self.suspend(reason),
            SlotCommand::ResumeSlot => self.resume(),
            SlotCommand::CloseSlot => self.close(),
        }
    }

    fn beforehand(&self, command: &SlotCommand, few: Few, now: Timestamp) -> Vec<SlotEvent> {
        let (SlotCommand::HoldUnits { quantity, expires_at, .. } | SlotCommand::HoldForOrder { quantity, expires_at, .. }) = command else {
            return Vec::new();
        };
        self.clear_room(*quantity, *expires_at, few, now)
    }

    fn apply(&mut self, event: &SlotEvent) {
        self.fold(event);
    }

    fn weight(&self) -> usize {
        self.open_holds()
    }

    fn bytes(&self) -> usize {
        self.holds.len() * HOLD_BYTES
    }
}

impl InventorySlot {
    fn open(&self, pool_id: &PoolId, window: Option<Window>, capacity: Quantity, now: Timestamp) -> Result<Vec<SlotEvent>, SlotError> {
        if self.status != SlotStatus::Absent {
            return Err(SlotError::Exists);
        }
        if let Some(window) = window {
            check_window(window, now)?;
        }
        check_capacity(capacity)?;
        Ok(vec![SlotEvent::SlotOpened { pool_id: pool_id.clone(), window, counts: Counts { capacity, ..Counts::default() } }])
    }

    fn hold_units(
        &self,
        holder: Holder,
        hold_id: &HoldId,
        quantity: Quantity,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<SlotEvent>, SlotError> {
        self.must_take_such(quantity, expires_at, now)?;
        let same = self.holds.get(hold_id);
        if let Some(live) = same.filter(|hold| hold.is_live(now)) {
            must_reach(holder, hold_id, live)?;
            return Err(SlotError::HoldExists { hold_id: hold_id.clone(), expires_at: live.expires_at });
        }
        // At least one lapsed hold is cleared away below when there is one, so only a slot full of live ones is full.
        if self.holds.len() >= MAX_OPEN_HOLDS && self.holds.lapsed(now).next().is_none() {
            return Err(SlotError::HoldsExhausted { retry_at: self.holds.earliest_expiry() });
        }
        let cleared = self.room_for(quantity, now)?.max(CLEARED_AT_ONCE);

        let mut counts = self.counts;
        let mut events = Vec::new();
        let same_first = same.map(|hold| (hold_id, hold));
        let others = self.holds.lapsed(now).take(cleared).filter(|(id, _)| *id != hold_id);
        for (id, hold) in same_first.into_iter().chain(others) {
            events.push(expired(id, hold, &mut counts));
        }
        counts.held = counts.held.saturating_add(quantity);
        events.push(SlotEvent::UnitsHeld { hold_id: hold_id.clone(), quantity, expires_at, holder, counts });
        Ok(events)
    }

    /// The ends of the oldest lapsed holds, when a hold needs the room of more than a few of them. O(few), however many have lapsed. A hold that is refused
    /// in the end may have had some recorded: they have ended all the same.
    fn clear_room(&self, quantity: Quantity, expires_at: Timestamp, few: Few, now: Timestamp) -> Vec<SlotEvent> {
        let mut counts = self.counts;
        if quantity <= counts.available() || quantity > counts.unsold() || self.must_take_such(quantity, expires_at, now).is_err() {
            return Vec::new();
        }
        let within = self.holds.lapsed(now).take(few.within).fold(Quantity::ZERO, |sum, (_, hold)| sum.saturating_add(hold.quantity));
        let is_enough = quantity <= Counts { held: counts.held.saturating_sub(within), ..counts }.available();
        if is_enough || self.holds.lapsed(now).nth(few.within).is_none() {
            return Vec::new();
        }
        let mut events = Vec::new();
        for (id, hold) in self.holds.lapsed(now).take(few.before) {
            if quantity <= counts.available() {
                break;
            }
            events.push(expired(id, hold, &mut counts));
        }
        events
    }

    /// How many of the oldest lapsed holds must be cleared away to make room for `quantity`.
    fn room_for(&self, quantity: Quantity, now: Timestamp) -> Result<usize, SlotError> {
        let room = || Room { requested: quantity, counts: self.counts_at(now) };
        let unsold = self.counts.unsold();
        if unsold == Quantity::ZERO {
            return Err(SlotError::SoldOut { room: room() });
        }
        if quantity > unsold {
            return Err(SlotError::InsufficientUnits { room: room() });
        }
        let mut counts = self.counts;
        let mut lapsed = self.holds.lapsed(now);
        for cleared in 0.. {
            if quantity <= counts.available() {
                return Ok(cleared);
            }
            let Some((_, hold)) = lapsed.next() else { break };
            counts.held = counts.held.saturating_sub(hold.quantity);
        }
        Err(SlotError::HeldByOthers { room: room(), retry_at: self.earliest_live_expiry(now) })
    }

    fn extend_hold(&self, hold_id: &HoldId, expires_at: Timestamp, now: Timestamp) -> Result<Vec<SlotEvent>, SlotError> {
        self.must_not_be_closed()?;
        let hold = self.live_hold(Holder::Caller, hold_id, now)?;
        check_expiry(expires_at, now)?;
        if hold.expires_at == expires_at {
            return Ok(vec![]);
        }
        Ok(vec![SlotEvent::HoldExtended { hold_id: hold_id.clone(), expires_at }])
    }

    /// Allowed whatever became of the slot since: what is held may be bought, also while suspended, closed, started or overcommitted.
    fn confirm_hold(&self, holder: Holder, hold_id: &HoldId, now: Timestamp) -> Result<Vec<SlotEvent>, SlotError> {
        self.must_exist()?;
        let Hold { quantity, .. } = self.live_hold(holder, hold_id, now)?;
        let counts =
            Counts { held: self.counts.held.saturating_sub(quantity), confirmed: self.counts.confirmed.saturating_add(quantity), ..self.counts };
        Ok(vec![SlotEvent::HoldConfirmed { hold_id: hold_id.clone(), quantity, counts }])
    }

    /// Giving back what has lapsed is no mistake: the caller wants the units free, and they are. It is recorded as what it was, an expiry.
    fn release_hold(&self, holder: Holder, hold_id: &HoldId, now: Timestamp) -> Result<Vec<SlotEvent>, SlotError> {
        self.must_exist()?;
        let hold = self.hold_of(holder, hold_id)?;
        let mut counts = self.counts;
        if !hold.is_live(now) {
            return Ok(vec![expired(hold_id, hold, &mut counts)]);
        }
        counts.held = counts.held.saturating_sub(hold.quantity);
        Ok(vec![SlotEvent::HoldReleased { hold_id: hold_id.clone(), quantity: hold.quantity, counts }])
    }

    fn expire_hold(&self, hold_id: &HoldId, now: Timestamp) -> Vec<SlotEvent> {
        let mut counts = self.counts;
        let lapsed = self.holds.get(hold_id).filter(|hold| !hold.is_live(now));
        lapsed.map(|hold| expired(hold_id, hold, &mut counts)).into_iter().collect()
    }

    /// A slot does not know who bought which unit, but how many orders did: a caller who gives back more than callers bought would take them from one.
    fn cancel_units(&self, holder: Holder, hold_id: &HoldId, quantity: Quantity) -> Result<Vec<SlotEvent>, SlotError> {
        self.must_exist()?;
        check_quantity(quantity)?;
        let (confirmed, sold_to_orders) = (self.counts.confirmed, self.sold_to_orders);
        let theirs = match holder {
            Holder::Caller => confirmed.saturating_sub(sold_to_orders),
            Holder::Order => confirmed,
        };
        if quantity > theirs {
            return Err(SlotError::CancelExceedsSold { requested: quantity, confirmed, sold_to_orders });
        }
        let counts = Counts { confirmed: confirmed.saturating_sub(quantity), ..self.counts };
        Ok(vec![SlotEvent::UnitsCancelled { hold_id: hold_id.clone(), quantity, holder, counts }])
    }

    fn adjust_capacity(&self, capacity: Quantity) -> Result<Vec<SlotEvent>, SlotError> {
        self.must_not_be_closed()?;
        check_capacity(capacity)?;
        if capacity == self.counts.capacity {
            return Ok(vec![]);
        }
        Ok(vec![SlotEvent::CapacityAdjusted { counts: Counts { capacity, ..self.counts } }])
    }

    fn suspend(&self, reason: &str) -> Result<Vec<SlotEvent>, SlotError> {
        self.must_not_be_closed()?;
        if !text::is_plain(reason, 1, text::MAX_REASON) {
            return Err(SlotError::ReasonInvalid);
        }
        if self.status == SlotStatus::Suspended {
            return Ok(vec![]);
        }
        Ok(vec![SlotEvent::SlotSuspended { reason: reason.to_owned(), counts: self.counts_while(Sale::Suspended) }])
    }

    fn resume(&self) -> Result<Vec<SlotEvent>, SlotError> {
        self.must_not_be_closed()?;
        Ok(if self.status == SlotStatus::Suspended { vec![SlotEvent::SlotResumed { counts: self.counts_while(Sale::Open) }] } else { vec![] })
    }

    fn close(&self) -> Result<Vec<SlotEvent>, SlotError> {
        self.must_exist()?;
        Ok(if self.status == SlotStatus::Closed { vec![] } else { vec![SlotEvent::SlotClosed { counts: self.counts_while(Sale::Closed) }] })
    }

    fn counts_while(&self, sale: Sale) -> Option<Counts> {
        Some(Counts { sale, ..self.counts })
    }

    fn must_exist(&self) -> Result<(), SlotError> {
        if self.status == SlotStatus::Absent { Err(SlotError::NotFound) } else { Ok(()) }
    }

    fn must_not_be_closed(&self) -> Result<(), SlotError> {
        match self.status {
            SlotStatus::Absent => Err(SlotError::NotFound),
            SlotStatus::Closed => Err(SlotError::Closed),
            SlotStatus::Open | SlotStatus::Suspended => Ok(()),
        }
    }

    fn must_take_holds(&self, now: Timestamp) -> Result<(), SlotError> {
        self.must_not_be_closed()?;
        if self.status == SlotStatus::Suspended {
            return Err(SlotError::Suspended);
        }
        match self.window {
            Some(Window { starts_at, .. }) if starts_at <= now => Err(SlotError::Started { starts_at }),
            Some(_) | None => Ok(()),
        }
    }

    fn must_take_such(&self, quantity: Quantity, expires_at: Timestamp, now: Timestamp) -> Result<(), SlotError> {
        self.must_take_holds(now)?;
        check_quantity(quantity)?;
        check_expiry(expires_at, now)
    }

    fn hold_of(&self, holder: Holder, hold_id: &HoldId) -> Result<Hold, SlotError> {
        let hold = self.holds.get(hold_id).ok_or_else(|| SlotError::HoldNotFound { hold_id: hold_id.clone() })?;
        must_reach(holder, hold_id, hold)?;
        Ok(hold)
    }

    fn live_hold(&self, holder: Holder, hold_id: &HoldId, now: Timestamp) -> Result<Hold, SlotError> {
        let hold = self.hold_of(holder, hold_id)?;
        if hold.is_live(now) { Ok(hold) } else { Err(SlotError::HoldExpired { hold_id: hold_id.clone(), expired_at: hold.expires_at }) }
    }
}

/// The record of a lapsed hold's end; `counts` become those after it.
fn expired(hold_id: &HoldId, hold: Hold, counts: &mut Counts) -> SlotEvent {
    counts.held = counts.held.saturating_sub(hold.quantity);
    SlotEvent::HoldExpired { hold_id: hold_id.clone(), quantity: hold.quantity, expired_at: hold.expires_at, counts: *counts }
}

/// A caller's command does not reach an order's hold. An order's reaches both: one that was taken for it before events said so looks like a
/// caller's, and while an order holds, no caller can have a hold of that id in its slots.
fn must_reach(holder: Holder, hold_id: &HoldId, hold: Hold) -> Result<(), SlotError> {
    match (holder, hold.holder) {
        (Holder::Caller, Holder::Order) => Err(SlotError::HoldOfOrder { order_id: hold_id.into() }),
        (Holder::Caller, Holder::Caller) | (Holder::Order, Holder::Caller | Holder::Order) => Ok(()),
    }
}

fn check_window(Window { starts_at, ends_at }: Window, now: Timestamp) -> Result<(), SlotError> {
    let fault = if starts_at.subsec_nanosecond() != 0 || ends_at.subsec_nanosecond() != 0 {
        WindowFault::NotWholeSeconds
    } else if starts_at <= now {
        WindowFault::StartsInThePast
    } else if ends_at <= starts_at {
        WindowFault::EndsBeforeItStarts
    } else if ends_at.duration_since(starts_at).as_secs() > MAX_WINDOW_DAYS * 86_400 {
        WindowFault::TooLong
    } else {
        return Ok(());
    };
    Err(SlotError::WindowInvalid(fault))
}

fn check_capacity(capacity: Quantity) -> Result<(), SlotError> {
    if capacity <= MAX_CAPACITY { Ok(()) } else { Err(SlotError::CapacityInvalid { capacity }) }
}

fn check_quantity(quantity: Quantity) -> Result<(), SlotError> {
    if (Quantity::ONE..=MAX_CAPACITY).contains(&quantity) { Ok(()) } else { Err(SlotError::QuantityInvalid { quantity }) }
}

fn check_expiry(expires_at: Timestamp, now: Timestamp) -> Result<(), SlotError> {
    if may_hold_until(expires_at, now) { Ok(()) } else { Err(SlotError::ExpiryInvalid { expires_at, now }) }
}
