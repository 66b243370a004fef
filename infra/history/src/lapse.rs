//! What becomes of a hold that belongs to no order: its slot's history, from the event that set its end to the one that tells of it next.
//!
//! A slot's history may have millions of events. Read are those right behind the hold, where most are bought or given back, and those from the instant of
//! its end on, where its lapse is recorded as soon as settlement comes to it: that place is found by halving, since time in a stream never runs back.

use jari_domain::{
    AnyEvent, StreamId,
    ids::{HoldId, SlotId},
    slot::{Holder, SlotEvent},
};
use jari_event_store::RecordedEvent;
use jiff::Timestamp;

use crate::{context::HistoryContext, refusal::HistoryError};

/// Pages that are read behind a hold's end: with pages of 2,000 events, 40,000. Settlement is a moment behind, or a backlog; it is not a day.
const MOST_PAGES: usize = 20;

/// A hold, by the event that set its end.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    stream: StreamId,
    pub hold_id: HoldId,
    version: u64,
    expires_at: Timestamp,
}

/// What tells of a hold next.
#[derive(Debug)]
pub(crate) enum Next {
    /// This.
    Is(Box<RecordedEvent>),
    /// Nothing yet.
    IsToCome,
    /// Nobody has looked at all of the history.
    IsUnknown,
}

impl Held {
    /// If the event sets the end of a hold that is no order's: those end with the order.
    pub fn by(event: &RecordedEvent) -> Option<Self> {
        let Some(AnyEvent::InventorySlot(change)) = event.event() else { return None };
        let (hold_id, expires_at) = match change {
            SlotEvent::UnitsHeld { hold_id, expires_at, holder: Holder::Caller, .. } | SlotEvent::HoldExtended { hold_id, expires_at } => {
                (hold_id.clone(), *expires_at)
            }
            _ => return None,
        };
        let stream = StreamId::from(&SlotId::parse(&event.aggregate_id).ok()?);
        Some(Self { stream, hold_id, version: event.sequence, expires_at })
    }

    /// What tells of the hold behind the event that set its end.
    pub async fn next(&self, context: &HistoryContext) -> Result<Next, HistoryError> {
        let page = context.stream(&self.stream, self.version).await?;
        let mut version = page.last().map_or(self.version, |last| last.sequence);
        let mut is_whole = page.len() < context.settings.page;
        if let Some(next) = self.find(page) {
            return Ok(Next::Is(Box::new(next)));
        }
        if !is_whole {
            version = self.version_at_its_end(context, version).await?;
        }
        for _ in 0..MOST_PAGES {
            if is_whole {
                return Ok(Next::IsToCome);
            }
            let page = context.stream(&self.stream, version).await?;
            version = page.last().map_or(version, |last| last.sequence);
            is_whole = page.len() < context.settings.page;
            if let Some(next) = self.find(page) {
                return Ok(Next::Is(Box::new(next)));
            }
        }
        Ok(if is_whole { Next::IsToCome } else { Next::IsUnknown })
    }

    fn find(&self, page: Vec<RecordedEvent>) -> Option<RecordedEvent> {
        page.into_iter().find(|event| {
            let Some(AnyEvent::InventorySlot(change)) = event.event() else { return false };
            // units that are given back may be given back in the name of any hold, and end none
            change.hold_id() == Some(&self.hold_id) && !matches!(change, SlotEvent::UnitsCancelled { .. })
        })
    }

    /// The version of the slot, from `version` on, behind which everything was decided at the hold's end or later: a read by key for each bit of the
    /// history's length, twice.
    async fn version_at_its_end(&self, context: &HistoryContext, version: u64) -> Result<u64, HistoryError> {
        let (mut before, mut step) = (version, context.settings.page as u64);
        // Ends with the history: each round reaches twice as far.
        while self.was_before(context, before.saturating_add(step)).await? {
            before = before.saturating_add(step);
            step = step.saturating_mul(2);
        }
        let mut later = before.saturating_add(step);
        // Ends when the two meet: each round halves what is between them.
        while later - before > 1 {
            let middle = before + (later - before) / 2;
            match self.was_before(context, middle).await? {
                true => before = middle,
                false => later = middle,
            }
        }
        Ok(before)
    }

    /// Whether the event that made this version was decided before the hold's end; one that is not there was not.
    async fn was_before(&self, context: &HistoryContext, version: u64) -> Result<bool, HistoryError> {
        let event = context.event_of(&self.stream, version).await?;
        Ok(event.is_some_and(|event| event.decided_at() < self.expires_at))
    }
}
