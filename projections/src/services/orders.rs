//! `OrderQueryService`.

use std::pin::Pin;

use futures::Stream;
use jari_domain::{
    Currency, Decider, Money, Position, Sealed,
    ids::{CustomerRef, OrderId},
    order::{LineFailure, Order, OrderError, OrderLine, OrderStatus},
};
use jari_event_store::StreamWatchers;
use jari_proto::order::v1::{
    self as wire, GetOrderRequest, GetOrderResponse, GetPersonalDataRequest, GetPersonalDataResponse, ListOrdersRequest, ListOrdersResponse,
    OrderState, WatchOrderRequest, WatchOrderResponse, WatchUntil, order_query_service_server::OrderQueryService,
};
use jari_sealing::Sealer;
use jari_wire::{
    money,
    order::{failure, line, state},
    personal, timestamp,
};
use tonic::{Request, Response, Status};

use super::{USUAL_ROWS, known, watch};
use crate::{
    paging,
    reading::{Fields, Wanted},
    refusal::QueryError,
    runner::Views,
    views::orders::{GET_ORDER, LIST_ORDERS, Orders},
};

/// Answers from the view `orders`.
#[derive(Debug, Clone)]
pub struct OrderQueries {
    pub(super) views: Views,
    pub(super) watchers: StreamWatchers,
    pub(super) sealer: Sealer,
}

impl OrderQueries {
    /// Answers from `views`; `watchers` wake those who follow an order; `sealer` opens what is personal in it.
    #[must_use]
    pub fn new(views: Views, watchers: StreamWatchers, sealer: Sealer) -> Self {
        Self { views, watchers, sealer }
    }
}

#[tonic::async_trait]
impl OrderQueryService for OrderQueries {
    type WatchOrderStream = Pin<Box<dyn Stream<Item = Result<WatchOrderResponse, Status>> + Send>>;

    async fn get_order(&self, request: Request<GetOrderRequest>) -> Result<Response<GetOrderResponse>, Status> {
        let wanted = self.views.wanted(request.get_ref().min_position, request.metadata())?;
        let id = OrderId::parse(&request.get_ref().order_id).map_err(|e| QueryError::id("order_id", &e))?;
        let (order, position) = find(&self.views, &self.sealer, &id, wanted).await?;
        Ok(Response::new(GetOrderResponse { order: Some(order), position: position.to_i64() }))
    }

    async fn list_orders(&self, request: Request<ListOrdersRequest>) -> Result<Response<ListOrdersResponse>, Status> {
        let asked = request.get_ref();
        let wanted = self.views.wanted(asked.min_position, request.metadata())?;
        let size = paging::size(asked.page_size, USUAL_ROWS)?;
        let customer = CustomerRef::parse(&asked.customer).map_err(|e| QueryError::id("customer", &e))?;
        let query = ("orders".to_owned(), asked.customer.clone());
        let before: i64 = paging::after(&query, &asked.page_token)?.unwrap_or(i64::MAX);
        let answer = self.views.read(&Orders, wanted, LIST_ORDERS, &[&customer.as_str(), &before, &(i64::from(size) + 1)]).await?;
        answer.must_be_whole(Order::TYPE)?;
        let mut rows = answer.rows()?;
        let size = usize::try_from(size).unwrap_or(0);
        let more = rows.len() > size;
        rows.truncate(size);
        let now = self.views.now();
        let mut orders = Vec::with_capacity(rows.len());
        for row in rows {
            orders.push(opened(&self.sealer, order(row, now)?).await);
        }
        let next_page_token = orders.last().filter(|_| more).map(|last| paging::token(&query, &last.accepted_position)).unwrap_or_default();
        Ok(Response::new(ListOrdersResponse { orders, next_page_token, position: answer.position.to_i64() }))
    }

    async fn get_personal_data(&self, request: Request<GetPersonalDataRequest>) -> Result<Response<GetPersonalDataResponse>, Status> {
        let wanted = self.views.wanted(request.get_ref().min_position, request.metadata())?;
        let id = OrderId::parse(&request.get_ref().order_id).map_err(|e| QueryError::id("order_id", &e))?;
        let (order, position) = find(&self.views, &self.sealer, &id, wanted).await?;
        Ok(Response::new(GetPersonalDataResponse { personal_data: order.personal_data, position: position.to_i64() }))
    }

    async fn watch_order(&self, request: Request<WatchOrderRequest>) -> Result<Response<Self::WatchOrderStream>, Status> {
        let wanted = self.views.wanted(request.get_ref().min_position, request.metadata())?;
        let id = OrderId::parse(&request.get_ref().order_id).map_err(|e| QueryError::id("order_id", &e))?;
        let until: WatchUntil = known("until", request.get_ref().until)?;
        let stream = watch::follow(self.clone(), id, until, wanted).await?;
        Ok(Response::new(Box::pin(stream)))
    }
}

/// One order as it stands now, and the view's position.
pub(super) async fn find(views: &Views, sealer: &Sealer, id: &OrderId, wanted: Wanted) -> Result<(wire::Order, Position), QueryError> {
    let answer = views.read_one(&Orders, wanted, GET_ORDER, &[&id.as_str()]).await?;
    answer.must_be_whole(Order::TYPE)?;
    let rows = answer.rows()?;
    let row = rows.first().ok_or_else(|| QueryError::domain(&OrderError::NotFound))?;
    Ok((opened(sealer, order(*row, views.now())?).await, answer.position))
}

/// Columns in the order of `get_order.sql`. A held order whose time has come is expired, whether or not that is recorded yet.
fn order(row: Fields<'_>, now: jiff::Timestamp) -> Result<(wire::Order, Option<Sealed>), QueryError> {
    let hold_expires_at = row.time(9)?;
    let (mut state, mut expired_at) = (row.word(7, |word| OrderStatus::parse(word).and_then(state))?, row.time(11)?);
    if state == OrderState::Held && hold_expires_at.is_some_and(|at| is_past(&at, now)) {
        (state, expired_at) = (OrderState::Expired, hold_expires_at);
    }
    let currency = Currency::parse(row.get(6)?).map_err(|error| row.unreadable(error.to_string()))?;
    let total = Money { minor: u64::try_from(row.get::<i64>(5)?).unwrap_or(0), currency };
    let lines: Vec<OrderLine> = row.json(row.get(4)?)?;
    let failures: Vec<LineFailure> = row.get::<Option<&str>>(14)?.map(|text| row.json(text)).transpose()?.unwrap_or_default();
    let personal = row.get::<Option<&str>>(15)?.map(|text| Sealed::parse(text).ok_or_else(|| row.unreadable("a sealed value that is none".into())));
    let order = wire::Order {
        order_id: row.get(0)?,
        customer: row.get(1)?,
        state: state.into(),
        lines: lines.iter().map(line).collect(),
        total: Some(money(total)),
        accepted_position: row.get(2)?,
        placed_at: row.time(3)?,
        settled_at: row.time(8)?,
        hold_expires_at,
        confirmed_at: row.time(10)?,
        expired_at,
        cancelled_at: row.time(12)?,
        cancel_reason: row.get::<Option<String>>(13)?.unwrap_or_default(),
        failures: failures.iter().map(failure).collect(),
        personal_data: None,
    };
    Ok((order, personal.transpose()?))
}

/// The order with what is personal in it, as far as that can be read.
async fn opened(sealer: &Sealer, (mut order, personal): (wire::Order, Option<Sealed>)) -> wire::Order {
    if let Some(sealed) = personal {
        order.personal_data = Some(personal::open(sealer, &order.order_id, &sealed).await);
    }
    order
}

fn is_past(at: &prost_types::Timestamp, now: jiff::Timestamp) -> bool {
    let now = timestamp(now);
    (at.seconds, at.nanos) <= (now.seconds, now.nanos)
}
