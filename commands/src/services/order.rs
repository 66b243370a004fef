//! `OrderService`: place, confirm, cancel.

use std::{sync::Arc, time::Duration};

use jari_domain::{
    AnyEvent, Decider, Position, Quantity, StreamId, Timestamp,
    ids::{CustomerRef, OptionId, OrderId, ProductId, UnitId},
    order::{MAX_LINES, Order, OrderEvent, OrderStatus},
    product::{LineRequest, MAX_UNITS, UnitRequest},
};
use jari_event_store::{RecordedEvent, StreamWatch};
use jari_proto::order::v1::{self as pb, order_service_server::OrderService};
use jari_wire::{order::OrderTimes, personal::open};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{
    WriteContext, personal,
    wire::{self, Violations},
};
use crate::{
    booking::{CancelOrder, ConfirmOrder, PlaceLine, PlaceOrder},
    engine::ExecuteError,
};

/// More events than any order has: placed, settled, confirmed or expired, cancelled.
const MOST_EVENTS: usize = 16;

/// Before an order is read again whose watcher lost its place; while the process ends, places are lost at once.
const NEW_PLACE: Duration = Duration::from_millis(100);

/// How long a repeat's order may take to be read: without that its caller would wait for as long as the database stands still.
const READ_WITHIN: Duration = Duration::from_secs(5);
/// After what time that caller may ask again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// The service.
#[derive(Debug)]
pub struct OrderCommands(pub(super) Arc<WriteContext>);

#[async_trait::async_trait]
impl OrderService for OrderCommands {
    async fn place_order(&self, request: Request<pb::PlaceOrderRequest>) -> Result<Response<pb::PlaceOrderResponse>, Status> {
        let (metadata, _, mut request) = request.into_parts();
        let mut violations = Violations::default();
        let id = violations.request_id(&mut request.request_id);
        let wait = self.wait(request.wait.take(), &mut violations);
        if id.is_some_and(|id| request.order_id == id.to_string()) {
            // it would be the order's id without being said
            request.order_id.clear();
        }
        let personal = personal::take(&mut request);
        let (id, mut work) = parse(&request, personal.as_ref(), id, violations)?;
        let place = wait.and_then(|_| self.0.waiters.try_acquire().ok());
        let wait = wait.filter(|_| place.is_some());
        let mut mark = None;
        if let Some(data) = &personal {
            let sealed = personal::seal(&self.0.sealer, &work.customer, &work.order_id, data).await?;
            (work.personal, mark) = (Some(sealed.0), Some(sealed.1));
        }
        let order_id = work.order_id.clone();
        // the place at the stream comes before the order: its settlement cannot be missed
        let mut watch = wait.map(|_| self.0.watchers.watch(StreamId::from(&order_id)));
        let outcome = self.0.execute(&metadata, id, &request, mark, work).await?;
        if let Some(refusal) = &outcome.refusal {
            return Err(self.0.refused(refusal));
        }
        let mut answer = Answer::of(order_id.clone(), outcome.position);
        outcome.events.iter().for_each(|event| _ = answer.fold(event));
        // nothing was recorded for a repeat, whose order may have gone on long ago
        let settled = outcome.events.is_empty() && tokio::time::timeout(READ_WITHIN, self.read(&mut answer)).await.unwrap_or(false);
        if let (Some(wait), Some(watch), false) = (wait, &mut watch, settled) {
            // when the bound comes first, the order stays accepted: that is an answer too
            let _ = tokio::time::timeout(wait, self.settled(&mut answer, watch, outcome.position)).await;
        }
        if answer.seen == 0 {
            // a repeat whose order could not be read: how it stands is not known, and "accepted" would be a guess
            return Err(ExecuteError::OutcomePending { retry_after: ASK_AGAIN }.into());
        }
        let personal = match answer.order.personal() {
            Some(sealed) => Some(open(&self.0.sealer, order_id.as_str(), sealed).await),
            None => None,
        };
        Ok(Response::new(answer.told(self.0.engine.clock().now(), personal)))
    }

    async fn confirm_order(&self, request: Request<pb::ConfirmOrderRequest>) -> Result<Response<pb::ConfirmOrderResponse>, Status> {
        let (metadata, _, mut request) = request.into_parts();
        let mut violations = Violations::default();
        let id = violations.request_id(&mut request.request_id);
        let order_id = violations.id("order_id", &request.order_id, OrderId::parse);
        let (id, order_id) = violations.finish(id, order_id)?;
        let work = ConfirmOrder { order_id };
        let position = self.0.position(&metadata, id, &request, work).await?;
        Ok(Response::new(pb::ConfirmOrderResponse { position }))
    }

    async fn cancel_order(&self, request: Request<pb::CancelOrderRequest>) -> Result<Response<pb::CancelOrderResponse>, Status> {
        let (metadata, _, mut request) = request.into_parts();
        let mut violations = Violations::default();
        let id = violations.request_id(&mut request.request_id);
        let order_id = violations.id("order_id", &request.order_id, OrderId::parse);
        let (id, order_id) = violations.finish(id, order_id)?;
        let work = CancelOrder { order_id, reason: request.reason.clone() };
        let position = self.0.position(&metadata, id, &request, work).await?;
        Ok(Response::new(pb::CancelOrderResponse { position }))
    }
}

impl OrderCommands {
    fn wait(&self, wait: Option<prost_types::Duration>, violations: &mut Violations) -> Option<Duration> {
        let wait = Duration::try_from(wait?).map_err(|_| violations.add("wait", "must not be negative")).ok()?;
        Some(wait.min(self.0.longest_wait)).filter(|wait| !wait.is_zero())
    }

    /// Waits until the order is settled. When its placing lies further back than the watch, its stream has the answer already.
    async fn settled(&self, answer: &mut Answer, watch: &mut StreamWatch, placed_at: Position) {
        let mut placed_seen = false;
        // Ends with the settlement; the caller's wait bounds it.
        loop {
            let patience = if placed_seen { Duration::from_secs(5) } else { Duration::from_millis(250) };
            match tokio::time::timeout(patience, watch.next()).await {
                Ok(Some(event)) => {
                    placed_seen |= event.position == placed_at || event.sequence == 1;
                    // what comes before it was missed: the order of a repeat may have gone on long ago
                    let settled = if event.sequence > answer.seen + 1 { self.read(answer).await } else { answer.fold(&event) };
                    if settled {
                        return;
                    }
                }
                quiet_or_lost => {
                    placed_seen = true;
                    if quiet_or_lost.is_ok() {
                        // the place is lost, and would say so for ever: a new one, and the order is read again
                        *watch = self.0.watchers.watch(StreamId::from(&answer.order_id));
                        tokio::time::sleep(NEW_PLACE).await;
                    }
                    if self.read(answer).await {
                        return;
                    }
                }
            }
        }
    }

    /// Reads the order's stream, which is a handful of events; says whether it is settled. A repeat hears how the order stands now.
    async fn read(&self, answer: &mut Answer) -> bool {
        let Ok(events) = self.0.reader.stream_after(&StreamId::from(&answer.order_id), 0, MOST_EVENTS).await else { return false };
        (answer.order, answer.times, answer.seen) = (Order::default(), OrderTimes::default(), 0);
        let mut settled = false;
        for event in &events {
            settled |= answer.fold(event);
        }
        settled
    }
}

/// What the caller will hear.
struct Answer {
    order_id: OrderId,
    position: Position,
    /// The last event of the order's stream that is in here.
    seen: u64,
    order: Order,
    times: OrderTimes,
}

impl Answer {
    fn of(order_id: OrderId, position: Position) -> Self {
        Self { order_id, position, seen: 0, order: Order::default(), times: OrderTimes::default() }
    }

    /// Takes one event of the order; says whether it is settled.
    fn fold(&mut self, event: &RecordedEvent) -> bool {
        let Some(AnyEvent::Order(change)) = event.event().filter(|_| event.sequence > self.seen) else { return false };
        if self.seen == 0 && !matches!(change, OrderEvent::OrderPlaced { .. }) {
            // what placed it cannot be read here: an answer without it would leave out half
            return false;
        }
        self.order.apply(change);
        self.times.apply(change, event.position, event.decided_at());
        self.seen = event.sequence;
        self.position = self.position.max(event.position);
        self.order.status() != OrderStatus::Placed
    }

    fn told(&self, now: Timestamp, personal_data: Option<pb::PersonalData>) -> pb::PlaceOrderResponse {
        let order = jari_wire::order::order(&self.order_id, &self.order, &self.times, now);
        pb::PlaceOrderResponse { order: order.map(|order| pb::Order { personal_data, ..order }), position: self.position.to_i64() }
    }
}

/// The command's id and what is to be done. An order without an id of its own takes that of its command, in one spelling: a repeat may spell it
/// otherwise.
fn parse(
    request: &pb::PlaceOrderRequest,
    personal: Option<&pb::PersonalData>,
    id: Option<Uuid>,
    mut violations: Violations,
) -> Result<(Uuid, PlaceOrder), Status> {
    let order_id = match (&*request.order_id, id) {
        ("", id) => id.and_then(|id| OrderId::parse(&id.to_string()).ok()),
        (order_id, _) => violations.id("order_id", order_id, OrderId::parse),
    };
    let customer = violations.id("customer", &request.customer, CustomerRef::parse);
    if request.lines.is_empty() || request.lines.len() > MAX_LINES {
        violations.add("lines", format!("an order has 1 to {MAX_LINES} lines, not {}", request.lines.len()));
        violations.check()?;
    }
    let lines: Vec<Option<PlaceLine>> = request.lines.iter().enumerate().map(|(n, line)| parse_line(n, line, &mut violations)).collect();
    let lines: Option<Vec<PlaceLine>> = lines.into_iter().collect();
    if let Some(data) = personal {
        personal::check(data, &request.lines, &mut violations);
    }
    let taken = order_id.zip(customer).zip(lines);
    violations.finish(id, taken.map(|((order_id, customer), lines)| PlaceOrder { order_id, customer, lines, personal: None }))
}

fn parse_line(n: usize, line: &pb::LineRequest, violations: &mut Violations) -> Option<PlaceLine> {
    let product_id = violations.id(format!("lines[{n}].product_id"), &line.product_id, ProductId::parse);
    let option_id = violations.id(format!("lines[{n}].option_id"), &line.option_id, OptionId::parse);
    let starts_at = violations.time(format!("lines[{n}].starts_at"), line.starts_at.as_ref());
    if line.units.is_empty() || line.units.len() > MAX_UNITS {
        violations.add(format!("lines[{n}].units"), format!("a line has 1 to {MAX_UNITS} units, not {}", line.units.len()));
        return None;
    }
    let unit = |(u, unit): (usize, &pb::UnitQuantity)| {
        let unit_id = violations.id(format!("lines[{n}].units[{u}].unit_id"), &unit.unit_id, UnitId::parse);
        let quantity = violations.quantity(format!("lines[{n}].units[{u}].quantity"), unit.quantity, Quantity::ONE);
        Some(UnitRequest { unit_id: unit_id?, quantity: quantity? })
    };
    let units: Vec<Option<UnitRequest>> = line.units.iter().enumerate().map(unit).collect();
    let units = units.into_iter().collect::<Option<Vec<_>>>()?;
    Some(PlaceLine { product_id: product_id?, request: LineRequest { option_id: option_id?, starts_at: starts_at?, units } })
}

impl From<ExecuteError> for Status {
    fn from(error: ExecuteError) -> Self {
        wire::failed(&error)
    }
}
