//! Something as it stood at a moment: its events up to there, folded by the domain, told as the queries tell it.

mod product;
mod slot;

use jari_domain::{
    AnyEvent, AnyState, StreamId,
    ids::{OrderId, ProductId, SlotId},
    order::OrderError,
    product::ProductError,
    slot::SlotError,
};
use jari_event_store::{Body, RecordedEvent};
use jari_proto::history::v1::{Aggregate, State, aggregate, state};
use jari_wire::{order::OrderTimes, signed, timestamp};
use jiff::Timestamp;

use crate::{
    context::HistoryContext,
    moment::{self, Found},
    refusal::{AGGREGATE_REQUIRED, HistoryError},
};

/// What is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    Product(ProductId),
    Slot(SlotId),
    Order(OrderId),
}

impl Subject {
    pub fn parse(asked: Option<&Aggregate>) -> Result<Self, HistoryError> {
        let none = || HistoryError::Field { field: "aggregate", code: AGGREGATE_REQUIRED, what: "must name a product, a slot or an order".into() };
        match asked.and_then(|asked| asked.aggregate.as_ref()).ok_or_else(none)? {
            aggregate::Aggregate::ProductId(id) => ProductId::parse(id).map(Self::Product).map_err(|e| HistoryError::id("aggregate.product_id", &e)),
            aggregate::Aggregate::SlotId(id) => SlotId::parse(id).map(Self::Slot).map_err(|e| HistoryError::id("aggregate.slot_id", &e)),
            aggregate::Aggregate::OrderId(id) => OrderId::parse(id).map(Self::Order).map_err(|e| HistoryError::id("aggregate.order_id", &e)),
        }
    }

    pub fn stream(&self) -> StreamId {
        match self {
            Self::Product(id) => StreamId::from(id),
            Self::Slot(id) => StreamId::from(id),
            Self::Order(id) => StreamId::from(id),
        }
    }

    pub fn not_found(&self) -> HistoryError {
        match self {
            Self::Product(_) => HistoryError::domain(&ProductError::NotFound),
            Self::Slot(_) => HistoryError::domain(&SlotError::NotFound),
            Self::Order(_) => HistoryError::domain(&OrderError::NotFound),
        }
    }
}

/// The state so far, and what the domain's states do not keep because no decision needs it.
struct Fold {
    state: AnyState,
    product: product::Beside,
    order: OrderTimes,
}

impl Fold {
    fn take(&mut self, event: &RecordedEvent, said: &AnyEvent) {
        match said {
            AnyEvent::Product(known) => self.product.take(event, known),
            AnyEvent::Order(known) => self.order.apply(known, event.position, event.decided_at()),
            AnyEvent::InventorySlot(_) => {}
        }
        self.state.apply(said);
    }
}

/// How `subject` stood. Reads its whole history up to there, in pages, each a read of its own: as long as the history is, and no longer than the
/// caller waits.
///
/// # Errors
/// [`HistoryError`]; not found when it had not begun.
pub(crate) async fn as_of(context: &HistoryContext, subject: &Subject, found: Found) -> Result<State, HistoryError> {
    let stream = subject.stream();
    let empty = AnyState::new(stream.aggregate_type).expect("the stream was named by an id of the domain");
    let mut fold = Fold { state: empty, product: product::Beside::default(), order: OrderTimes::default() };
    let mut version = 0;
    // Ends at the end of the stream, or at the moment: each round takes a page of it.
    loop {
        let page = context.stream_as_it_is(&stream, version).await?;
        let is_last = page.len() < context.settings.page || page.last().is_some_and(|last| last.position > found.position);
        for event in &page {
            // also the first one behind the moment: what is missing before it may have been there at the moment
            event.continues(version)?;
            if event.position > found.position {
                break;
            }
            match &event.body {
                Body::Known(said) => fold.take(event, said),
                Body::Unreadable { .. } => {
                    return Err(HistoryError::Unreadable { stream: stream.to_string(), version: event.sequence, position: event.position });
                }
            }
            version = event.sequence;
        }
        if is_last {
            break;
        }
    }
    let at = match found.time {
        Some(time) => time,
        None => moment::recorded_at(context, found.position).await?.unwrap_or(Timestamp::UNIX_EPOCH),
    };
    let told = match (&fold.state, subject) {
        (AnyState::Product(known), Subject::Product(id)) => product::told(id, known, &fold.product).map(state::State::Product),
        (AnyState::InventorySlot(known), Subject::Slot(id)) => slot::told(id, known, at).map(state::State::Slot),
        (AnyState::Order(known), Subject::Order(id)) => jari_wire::order::order(id, known, &fold.order, at).map(state::State::Order),
        (AnyState::Product(_) | AnyState::InventorySlot(_) | AnyState::Order(_), _) => None,
    };
    let told = told.ok_or_else(|| subject.not_found())?;
    Ok(State { state: Some(told), position: found.position.to_i64(), time: Some(timestamp(at)), version: signed(version) })
}
