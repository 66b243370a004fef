//! `TraceCauses`: from a customer's call to its last consequence.
//!
//! No index on events leads from a correlation id to its events: each append would have to write one. None is needed. What one command did was
//! recorded together, so that the events of a command stand side by side around any one of them; each names the event that caused its command; and
//! whatever becomes of an order later is in the order's own history, which is short and read by its key. So a chain is read backwards by the causes
//! that are named, forwards by the histories of its orders, and sidewards at each. A hold of no order ends by itself, when its time comes: that is found in
//! its slot's history, of which only so much is read (`lapse.rs`). A request id leads to its first event by the record of its command.
//!
//! Whatever stands behind a bound is not passed over in silence: the answer says that the chain may go on.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Bound,
};

use jari_domain::{AnyEvent, Decider, Position, ids::OrderId, order::Order, slot::SlotEvent};
use jari_event_store::{LogError, Metadata, RecordedEvent};
use jari_proto::history::v1::{Event, TraceCausesRequest, TraceCausesResponse, trace_causes_request::Origin};
use uuid::Uuid;

use crate::{
    chunk::told,
    context::HistoryContext,
    filter::Types,
    lapse::{Held, Next},
    refusal::{CAUSES_UNKNOWN, HistoryError, MOMENT_INVALID, PAGE_SIZE_INVALID, PAGE_TOKEN_INVALID},
    state::Subject,
};

/// Rows of a page, at most and when the caller does not say.
const MOST_ROWS: i32 = 1_000;
const USUAL_ROWS: i32 = 200;
/// Steps from cause to cause. A call, its settling and its end are three.
const MOST_CAUSES: usize = 64;
/// Orders whose histories are followed. A command touches one.
const MOST_ORDERS: usize = 100;
/// Holds of no order whose ends are looked for. A command makes one.
const MOST_HOLDS: usize = 16;
/// Neighbours read at once, at most.
const NEIGHBOURS: usize = 256;

/// The chain, by position.
struct Chain<'a> {
    context: &'a HistoryContext,
    events: BTreeMap<Position, RecordedEvent>,
    /// A bound was reached, behind which there may be more of it.
    may_go_on: bool,
}

/// The page of the chain that was asked for.
///
/// # Errors
/// [`HistoryError`].
pub(crate) async fn trace(context: &HistoryContext, asked: &TraceCausesRequest) -> Result<TraceCausesResponse, HistoryError> {
    let size = match asked.page_size {
        0 => USUAL_ROWS,
        1..=MOST_ROWS => asked.page_size,
        _ => {
            let what = format!("must be 0 (for {USUAL_ROWS}) or 1 to {MOST_ROWS}");
            return Err(HistoryError::Field { field: "page_size", code: PAGE_SIZE_INVALID, what });
        }
    };
    let after = match asked.page_token.as_str() {
        "" => Position::START,
        token => token.strip_prefix("after.").and_then(|position| position.parse().ok()).ok_or_else(|| HistoryError::Field {
            field: "page_token",
            code: PAGE_TOKEN_INVALID,
            what: "is not a token that a page of this list gave".into(),
        })?,
    };
    let head = context.head().await?;
    let mut chain = Chain { context, events: BTreeMap::new(), may_go_on: false };
    match &asked.origin {
        None => return Err(HistoryError::moment("origin", "must be a position, a correlation id or an order")),
        Some(Origin::Position(position)) => chain.by_position(*position, head).await?,
        Some(Origin::CorrelationId(id)) => chain.by_command(id).await?,
        Some(Origin::OrderId(id)) => chain.by_order(&OrderId::parse(id).map_err(|e| HistoryError::id("order_id", &e))?).await?,
    }
    let rest: Vec<&RecordedEvent> = chain.events.range((Bound::Excluded(after), Bound::Unbounded)).map(|(_, event)| event).collect();
    let size = usize::try_from(size).unwrap_or(0);
    let types = Types::usual();
    let mut events: Vec<Event> = Vec::with_capacity(rest.len().min(size));
    for event in rest.iter().take(size) {
        events.extend(told(&context.publisher, event, &types)?);
    }
    let last = rest.get(size.saturating_sub(1)).filter(|_| rest.len() > size);
    let next_page_token = last.map(|last| format!("after.{}", last.position)).unwrap_or_default();
    Ok(TraceCausesResponse { events, next_page_token, position: head.to_i64(), may_go_on: chain.may_go_on })
}

impl Chain<'_> {
    async fn by_position(&mut self, position: i64, head: Position) -> Result<(), HistoryError> {
        let position = Position::try_from(position).ok().filter(|position| *position > Position::START);
        let position =
            position.ok_or_else(|| HistoryError::Field { field: "position", code: MOMENT_INVALID, what: "positions begin at 1".into() })?;
        let Some(event) = self.context.event_at(position).await? else {
            return Err(HistoryError::PositionAhead { field: "position", position, head });
        };
        self.through(event).await
    }

    async fn by_command(&mut self, id: &str) -> Result<(), HistoryError> {
        let refused = || HistoryError::Field { field: "correlation_id", code: CAUSES_UNKNOWN, what: "is not a UUID".into() };
        let request_id = Uuid::parse_str(id).map_err(|_| refused())?;
        // the outcome of a command names the last event of what it did
        let mut missing = None;
        for position in self.context.settled_at(request_id).await? {
            match self.context.event_at(position).await {
                // its caller may have given the chain another id
                Ok(Some(event)) if uuid(event.metadata.command_id.as_deref()) == Some(request_id) => return self.through(event).await,
                Ok(_) => {}
                // that of another caller's command may be there
                Err(error @ HistoryError::Missing { .. }) => missing = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(missing.unwrap_or(HistoryError::CausesUnknown { correlation_id: request_id }))
    }

    /// Everything that an order had part in, whoever called.
    async fn by_order(&mut self, id: &OrderId) -> Result<(), HistoryError> {
        let subject = Subject::Order(id.clone());
        let history = self.history(&subject).await?;
        if history.is_empty() {
            return Err(subject.not_found());
        }
        for event in history {
            self.beside(event).await?;
        }
        Ok(())
    }

    /// The chain that `event` belongs to: back to its first cause, and on from everything that is met.
    async fn through(&mut self, event: RecordedEvent) -> Result<(), HistoryError> {
        let mut correlation_id = correlation(&event);
        let mut cause = event.metadata.causation_position();
        self.beside(event).await?;
        for n in 0..=MOST_CAUSES {
            let Some(position) = cause.filter(|position| !self.events.contains_key(position)) else { break };
            if n == MOST_CAUSES {
                self.may_go_on = true;
                break;
            }
            let Some(event) = self.context.event_at(position).await? else { break };
            correlation_id = correlation_id.or(correlation(&event));
            cause = event.metadata.causation_position();
            self.beside(event).await?;
        }
        self.follow_orders(correlation_id).await?;
        self.follow_holds(correlation_id).await
    }

    /// On through the histories of its orders.
    async fn follow_orders(&mut self, correlation_id: Option<Uuid>) -> Result<(), HistoryError> {
        let mut followed = BTreeSet::new();
        // Ends when no order is left that was not followed, or at the bound.
        loop {
            let orders =
                self.events.values().filter(|event| event.aggregate_type == Order::TYPE).filter_map(|event| OrderId::parse(&event.aggregate_id).ok());
            let Some(order) = orders.into_iter().find(|order| !followed.contains(order.as_str())) else { return Ok(()) };
            if followed.len() == MOST_ORDERS {
                self.may_go_on = true;
                return Ok(());
            }
            followed.insert(order.to_string());
            for event in self.history(&Subject::Order(order)).await? {
                if !self.events.contains_key(&event.position) && self.belongs(&event, correlation_id) {
                    self.beside(event).await?;
                }
            }
        }
    }

    /// To the ends of its holds that are no order's.
    async fn follow_holds(&mut self, correlation_id: Option<Uuid>) -> Result<(), HistoryError> {
        let is_of_order = |held: &Held| {
            let mut orders = self.events.values().filter(|event| event.aggregate_type == Order::TYPE);
            // from before holds said whose they are
            orders.any(|event| *event.aggregate_id == *held.hold_id.as_str())
        };
        let mut due: VecDeque<Held> = self.events.values().filter_map(Held::by).filter(|held| !is_of_order(held)).collect();
        let mut followed = 0;
        // Ends with the holds, or at the bound: each round looks for the end of one, and finds at most another end for it.
        while let Some(held) = due.pop_front() {
            if followed == MOST_HOLDS {
                self.may_go_on = true;
                return Ok(());
            }
            followed += 1;
            match held.next(self.context).await? {
                Next::Is(event) if self.follows(&event, correlation_id) => {
                    due.extend(Held::by(&event));
                    self.beside(*event).await?;
                }
                Next::Is(_) | Next::IsToCome => {}
                Next::IsUnknown => self.may_go_on = true,
            }
        }
        Ok(())
    }

    /// Whether what became of a hold belongs to the chain: its lapse does, unless another booking needed the units and recorded it; what a call did
    /// belongs to that call.
    fn follows(&self, event: &RecordedEvent, correlation_id: Option<Uuid>) -> bool {
        match (correlation(event), event.metadata.causation_position()) {
            (Some(id), _) => Some(id) == correlation_id,
            (None, Some(cause)) => self.events.contains_key(&cause),
            (None, None) => {
                let is_lapse = matches!(event.event(), Some(AnyEvent::InventorySlot(SlotEvent::HoldExpired { .. })));
                is_lapse && event.metadata.command_id.is_none()
            }
        }
    }

    /// Whether an event of an order's history belongs to the chain: by its correlation id, or by its cause. What time alone brought about (a hold
    /// lapsed) has neither; it follows from what came before it in the history.
    fn belongs(&self, event: &RecordedEvent, correlation_id: Option<Uuid>) -> bool {
        match (correlation(event), event.metadata.causation_position()) {
            (Some(id), _) => Some(id) == correlation_id,
            (None, Some(cause)) => self.events.contains_key(&cause),
            (None, None) => {
                let before = event.sequence - 1;
                self.events
                    .values()
                    .any(|known| known.aggregate_type == event.aggregate_type && known.aggregate_id == event.aggregate_id && known.sequence == before)
            }
        }
    }

    /// Takes the event and all that was recorded by the same command. A group of events bears the same metadata, the time of the decision included.
    async fn beside(&mut self, event: RecordedEvent) -> Result<(), HistoryError> {
        let (position, metadata, at) = (event.position, event.metadata.clone(), event.recorded_at);
        if self.events.insert(position, event).is_some() || *metadata == Metadata::default() || metadata.decided_at.is_none() {
            return Ok(());
        }
        let is_same = |other: &RecordedEvent| other.recorded_at == at && *other.metadata == *metadata;
        let neighbours = NEIGHBOURS.min(self.context.settings.page);
        let mut last = position;
        // Ends behind the group, which an append bounds, or with the log: each round takes neighbours.
        'behind: loop {
            let page = self.context.log(last, neighbours).await?;
            let is_last = page.len() < neighbours;
            for event in page {
                // what is missing right behind the group may have been of it
                event.stands_behind(last)?;
                if !is_same(&event) {
                    break 'behind;
                }
                last = event.position;
                self.events.insert(last, event);
            }
            if is_last {
                break;
            }
        }
        let mut first = position;
        // As above, towards the beginning.
        while first > Position::START.next() {
            let before = first.previous();
            let from = before.back(neighbours as u64);
            let page = self.context.log(from, usize::try_from(before.since(from)).unwrap_or(0)).await?;
            // where some are missing, as many events reach further
            let mut page = page.into_iter().rev().skip_while(|event| event.position > before);
            while first > from.next() {
                let position = first.previous();
                let event = page.next().filter(|event| event.position == position).ok_or(LogError::Missing { position })?;
                if !is_same(&event) {
                    return Ok(());
                }
                first = position;
                self.events.insert(first, event);
            }
        }
        Ok(())
    }

    /// The whole history of an order: its states allow some ten events.
    async fn history(&self, order: &Subject) -> Result<Vec<RecordedEvent>, HistoryError> {
        let mut history: Vec<RecordedEvent> = Vec::new();
        // Ends with the history: each round reads a page of it.
        loop {
            let page = self.context.stream(&order.stream(), history.last().map_or(0, |last| last.sequence)).await?;
            let is_last = page.len() < self.context.settings.page;
            history.extend(page);
            if is_last {
                return Ok(history);
            }
        }
    }
}

/// Callers write ids as they like: in capitals, in braces.
fn correlation(event: &RecordedEvent) -> Option<Uuid> {
    uuid(event.metadata.correlation_id.as_deref())
}

fn uuid(text: Option<&str>) -> Option<Uuid> {
    Uuid::parse_str(text?).ok()
}
