//! What speaks against an event of a slot as the slot stood: that its command would have been refused.
//!
//! By where the slot and its holds stand at that time. Bounds of input (the longest hold, the largest capacity) are not looked at: they are the matter
//! of whoever takes commands, and need not have been the same in every version. What is so already is no objection either: this program does not record it
//! again, and nothing is wrong where somebody else did.

use jari_domain::{
    EventFormat,
    ids::HoldId,
    slot::{Hold, Holder, Sale, SlotEvent},
};

use super::{decided::Decided, ledger::SlotLedger};

impl SlotLedger {
    /// As what follows on the slot's name.
    pub(super) fn objection(&self, event: &SlotEvent, decided: Decided) -> Option<String> {
        if !self.is_opened {
            return (!matches!(event, SlotEvent::SlotOpened { .. })).then(|| format!("was never opened: {}", event.event_type()));
        }
        let while_closed = || (self.sale == Sale::Closed).then(|| format!("is closed: {}", event.event_type()));
        match event {
            SlotEvent::SlotOpened { .. } => Some("is opened a second time".into()),
            SlotEvent::UnitsHeld { hold_id, .. } => self.objection_to_hold(hold_id, decided),
            SlotEvent::HoldExtended { hold_id, .. } => while_closed()
                .or_else(|| lapsed("extends", hold_id, self.hold(hold_id)?, decided))
                .or_else(|| (self.hold(hold_id)?.holder == Holder::Order).then(|| format!("extends hold {hold_id}, which is an order's"))),
            // also while suspended, closed, started or overcommitted: what is held may be bought
            SlotEvent::HoldConfirmed { hold_id, .. } => lapsed("sells", hold_id, self.hold(hold_id)?, decided),
            SlotEvent::HoldReleased { hold_id, .. } => lapsed("releases", hold_id, self.hold(hold_id)?, decided),
            SlotEvent::HoldExpired { hold_id, expired_at, .. } => {
                let expires_at = self.hold(hold_id)?.expires_at;
                let is_early = decided.is_before(expires_at) || *expired_at != expires_at;
                is_early.then(|| format!("ends hold {hold_id} as lapsed at {expired_at}, and it lasts until {expires_at}"))
            }
            SlotEvent::CapacityAdjusted { .. } | SlotEvent::SlotSuspended { .. } | SlotEvent::SlotResumed { .. } => while_closed(),
            SlotEvent::UnitsCancelled { .. } | SlotEvent::SlotClosed { .. } => None,
        }
    }

    fn objection_to_hold(&self, hold_id: &HoldId, decided: Decided) -> Option<String> {
        match (self.sale, self.starts_at) {
            (Sale::Closed, _) => Some(format!("takes hold {hold_id} while it is closed")),
            (Sale::Suspended, _) => Some(format!("takes hold {hold_id} while it is suspended")),
            (Sale::Open, Some(starts_at)) if decided.is_at_or_after(starts_at) => Some(format!("takes hold {hold_id}, and started at {starts_at}")),
            (Sale::Open, _) => None,
        }
    }
}

fn lapsed(verb: &str, hold_id: &HoldId, hold: Hold, decided: Decided) -> Option<String> {
    let Hold { expires_at, .. } = hold;
    decided.is_at_or_after(expires_at).then(|| format!("{verb} hold {hold_id}, which had lapsed at {expires_at}"))
}
