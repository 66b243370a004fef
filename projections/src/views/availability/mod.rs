//! Slots with their counts and open holds, and which pools a product draws on: what can be booked, by product and day.

use std::collections::BTreeSet;

use jari_domain::{
    AnyEvent, Decider, Quantity,
    ids::{HoldId, OptionId, PoolId},
    product::{Product, ProductEvent, ProductOption, SaleMode},
    slot::{Counts, InventorySlot, SlotEvent, SlotStatus, Window},
};
use jari_event_store::RecordedEvent;
use jiff::Timestamp;

use crate::{
    projection::{Projection, Write},
    rows::{Rows, instant},
};

pub(crate) const GET_SLOT: &str = include_str!("get_slot.sql");
pub(crate) const FIND_PRODUCT: &str = include_str!("find_product.sql");
pub(crate) const LIST_SLOTS: &str = include_str!("list_slots.sql");
pub(crate) const LIST_STOCK: &str = include_str!("list_stock.sql");

/// The view.
pub(crate) struct Availability;

impl Projection for Availability {
    fn name(&self) -> &'static str {
        "availability"
    }
    fn version(&self) -> i32 {
        1
    }
    fn lease(&self) -> &'static str {
        "view/availability/1"
    }
    fn schema(&self) -> &'static str {
        include_str!("schema.sql")
    }
    fn reads(&self) -> &'static [&'static str] {
        &[InventorySlot::TYPE, Product::TYPE]
    }
    fn fold<'a>(&self, events: &[&'a RecordedEvent]) -> Vec<Write<'a>> {
        let mut slots = Slots { slots: Rows::new(), holds: Rows::new() };
        let mut products = Products { drafts: Rows::new(), options: Rows::new() };
        for event in events {
            match event.event() {
                Some(AnyEvent::InventorySlot(said)) => slots.take(&event.aggregate_id, said),
                Some(AnyEvent::Product(said)) => products.take(&event.aggregate_id, said),
                Some(AnyEvent::Order(_)) | None => {}
            }
        }
        let mut writes = products.writes();
        slots.write_slots(&mut writes);
        slots.write_holds(&mut writes);
        writes
    }
}

#[derive(Default)]
struct SlotChange<'a> {
    opened: Option<(&'a PoolId, Option<Window>)>,
    counts: Option<Counts>,
    status: Option<SlotStatus>,
}

/// What became of a hold in the run.
#[derive(Clone, Copy)]
enum HoldChange {
    /// Nothing yet.
    Untouched,
    /// It is open; `fresh` when it began in the run, so that it has no row yet.
    Held { quantity: Quantity, expires_at: Timestamp, fresh: bool },
    /// Only its end moved.
    Extended(Timestamp),
    /// It is over, and may have a row.
    Over,
    /// It began and ended within the run: it never has a row.
    Passed,
}

struct Slots<'a> {
    slots: Rows<&'a str, SlotChange<'a>>,
    holds: Rows<(&'a str, &'a HoldId), HoldChange>,
}

impl<'a> Slots<'a> {
    fn take(&mut self, id: &'a str, said: &'a SlotEvent) {
        match said {
            SlotEvent::HoldExtended { hold_id, expires_at } => return self.extend(id, hold_id, *expires_at),
            SlotEvent::UnitsHeld { hold_id, quantity, expires_at, .. } => self.hold(id, hold_id, *quantity, *expires_at),
            SlotEvent::HoldConfirmed { hold_id, .. } | SlotEvent::HoldReleased { hold_id, .. } | SlotEvent::HoldExpired { hold_id, .. } => {
                self.end(id, hold_id);
            }
            SlotEvent::SlotOpened { .. }
            | SlotEvent::UnitsCancelled { .. }
            | SlotEvent::CapacityAdjusted { .. }
            | SlotEvent::SlotSuspended { .. }
            | SlotEvent::SlotResumed { .. }
            | SlotEvent::SlotClosed { .. } => {}
        }
        let slot = self.slots.row(id, SlotChange::default);
        slot.counts = said.counts().or(slot.counts);
        match said {
            SlotEvent::SlotOpened { pool_id, window, .. } => {
                slot.opened = Some((pool_id, *window));
                slot.status = Some(SlotStatus::Open);
            }
            SlotEvent::UnitsHeld { .. }
            | SlotEvent::HoldExtended { .. }
            | SlotEvent::HoldConfirmed { .. }
            | SlotEvent::HoldReleased { .. }
            | SlotEvent::HoldExpired { .. }
            | SlotEvent::UnitsCancelled { .. }
            | SlotEvent::CapacityAdjusted { .. } => {}
            SlotEvent::SlotSuspended { .. } => slot.status = Some(SlotStatus::Suspended),
            SlotEvent::SlotResumed { .. } => slot.status = Some(SlotStatus::Open),
            SlotEvent::SlotClosed { .. } => slot.status = Some(SlotStatus::Closed),
        }
    }

    fn hold(&mut self, slot: &'a str, hold: &'a HoldId, quantity: Quantity, expires_at: Timestamp) {
        let change = self.holds.row((slot, hold), || HoldChange::Untouched);
        let fresh = match *change {
            HoldChange::Untouched | HoldChange::Passed => true,
            HoldChange::Held { fresh, .. } => fresh,
            HoldChange::Extended(_) | HoldChange::Over => false,
        };
        *change = HoldChange::Held { quantity, expires_at, fresh };
    }

    fn extend(&mut self, slot: &'a str, hold: &'a HoldId, to: Timestamp) {
        let change = self.holds.row((slot, hold), || HoldChange::Untouched);
        *change = match *change {
            HoldChange::Untouched | HoldChange::Extended(_) => HoldChange::Extended(to),
            HoldChange::Held { quantity, fresh, .. } => HoldChange::Held { quantity, expires_at: to, fresh },
            over @ (HoldChange::Over | HoldChange::Passed) => over,
        };
    }

    fn end(&mut self, slot: &'a str, hold: &'a HoldId) {
        let change = self.holds.row((slot, hold), || HoldChange::Untouched);
        *change = match *change {
            HoldChange::Held { fresh: true, .. } | HoldChange::Passed => HoldChange::Passed,
            HoldChange::Held { fresh: false, .. } | HoldChange::Untouched | HoldChange::Extended(_) | HoldChange::Over => HoldChange::Over,
        };
    }

    fn write_slots(&self, writes: &mut Vec<Write<'a>>) {
        let opened = self.slots.pick(|id, slot| {
            let (pool_id, window) = slot.opened?;
            Some((*id, pool_id, window, slot.counts?, slot.status?))
        });
        let changed = self.slots.pick(|id, slot| slot.opened.is_none().then_some((*id, slot.counts, slot.status)));
        if !opened.is_empty() {
            let write = Write::new(include_str!("open_slots.sql"))
                .column(opened.iter().map(|(id, ..)| *id))
                .column(opened.iter().map(|(_, pool_id, ..)| pool_id.as_str()))
                .column(opened.iter().map(|(_, _, window, ..)| window.map(|w| instant(w.starts_at))))
                .column(opened.iter().map(|(_, _, window, ..)| window.map(|w| instant(w.ends_at))))
                .column(opened.iter().map(|(.., counts, _)| counts.capacity.get().cast_signed()))
                .column(opened.iter().map(|(.., counts, _)| counts.held.get().cast_signed()))
                .column(opened.iter().map(|(.., counts, _)| counts.confirmed.get().cast_signed()))
                .column(opened.iter().map(|(.., status)| status.as_str()));
            writes.push(write);
        }
        if !changed.is_empty() {
            let write = Write::new(include_str!("change_slots.sql"))
                .column(changed.iter().map(|(id, ..)| *id))
                .column(changed.iter().map(|(_, counts, _)| counts.map(|c| c.capacity.get().cast_signed())))
                .column(changed.iter().map(|(_, counts, _)| counts.map(|c| c.held.get().cast_signed())))
                .column(changed.iter().map(|(_, counts, _)| counts.map(|c| c.confirmed.get().cast_signed())))
                .column(changed.iter().map(|(.., status)| status.map(SlotStatus::as_str)));
            writes.push(write);
        }
    }

    fn write_holds(&self, writes: &mut Vec<Write<'a>>) {
        let held = |wanted: bool| {
            self.holds.pick(move |key, change| match *change {
                HoldChange::Held { quantity, expires_at, fresh } if fresh == wanted => Some((*key, quantity, expires_at)),
                _ => None,
            })
        };
        let extended = self.holds.pick(|key, change| if let HoldChange::Extended(to) = *change { Some((*key, to)) } else { None });
        let over = self.holds.pick(|key, change| matches!(change, HoldChange::Over).then_some(*key));
        let again = include_str!("hold_again.sql");
        for (fresh, sql) in [(true, include_str!("hold.sql")), (false, again)] {
            let held = held(fresh);
            if !held.is_empty() {
                let write = Write::insert(sql, again)
                    .column(held.iter().map(|((slot, _), ..)| *slot))
                    .column(held.iter().map(|((_, hold), ..)| hold.as_str()))
                    .column(held.iter().map(|(_, quantity, _)| quantity.get().cast_signed()))
                    .column(held.iter().map(|(.., expires_at)| instant(*expires_at)));
                writes.push(write);
            }
        }
        if !extended.is_empty() {
            let write = Write::new(include_str!("extend_holds.sql"))
                .column(extended.iter().map(|((slot, _), _)| *slot))
                .column(extended.iter().map(|((_, hold), _)| hold.as_str()))
                .column(extended.iter().map(|(_, to)| instant(*to)));
            writes.push(write);
        }
        if !over.is_empty() {
            let write = Write::new(include_str!("end_holds.sql"));
            writes.push(write.column(over.iter().map(|(slot, _)| *slot)).column(over.iter().map(|(_, hold)| hold.as_str())));
        }
    }
}

struct Products<'a> {
    drafts: Rows<&'a str, (SaleMode, &'a str)>,
    /// `None`: withdrawn.
    options: Rows<(&'a str, &'a OptionId), Option<&'a ProductOption>>,
}

impl<'a> Products<'a> {
    fn take(&mut self, id: &'a str, said: &'a ProductEvent) {
        match said {
            ProductEvent::ProductDrafted { sale_mode, time_zone, .. } => *self.drafts.row(id, || (*sale_mode, time_zone)) = (*sale_mode, time_zone),
            ProductEvent::OptionDefined { option } => *self.options.row((id, &option.option_id), || None) = Some(option),
            ProductEvent::OptionWithdrawn { option_id } => *self.options.row((id, option_id), || None) = None,
            ProductEvent::ProductLaunched {}
            | ProductEvent::ProductSuspended { .. }
            | ProductEvent::ProductResumed {}
            | ProductEvent::ProductEnded {} => {}
        }
    }

    fn writes(&self) -> Vec<Write<'a>> {
        let mut writes = Vec::new();
        let drafts = self.drafts.pick(|id, (mode, zone)| Some((*id, *mode, *zone)));
        if !drafts.is_empty() {
            let write = Write::new(include_str!("draft.sql"))
                .column(drafts.iter().map(|(id, ..)| *id))
                .column(drafts.iter().map(|(_, mode, _)| mode.as_str()))
                .column(drafts.iter().map(|(.., zone)| *zone));
            writes.push(write);
        }
        let touched = self.options.pick(|key, _| Some(*key));
        if !touched.is_empty() {
            let write = Write::new(include_str!("forget_draws.sql"));
            writes.push(write.column(touched.iter().map(|(id, _)| *id)).column(touched.iter().map(|(_, option)| option.as_str())));
        }
        let mut draws = BTreeSet::new();
        for ((id, option_id), option) in self.options.pick(|key, option| option.map(|option| (*key, option))) {
            draws.extend(option.draws.iter().map(|draw| (id, option_id.as_str(), draw.pool_id.as_str())));
        }
        if !draws.is_empty() {
            let write = Write::new(include_str!("draw.sql"))
                .column(draws.iter().map(|(id, ..)| *id))
                .column(draws.iter().map(|(_, option, _)| *option))
                .column(draws.iter().map(|(.., pool)| *pool));
            writes.push(write);
        }
        writes
    }
}

#[cfg(test)]
mod tests;
