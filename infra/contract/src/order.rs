//! What happened to orders, as integrators see it.

use std::{collections::BTreeMap, sync::Arc};

use jari_domain::{
    Quantity,
    order::{OrderEvent, OrderStatus},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    catalogue::{Told, events_of, tell},
    error::Unfit,
    value::{Count, Money, Time},
};

events_of! { "reservation.order.v1" on Order {
    OrderPlaced "1.1",
    OrderHeld "1.0",
    OrderRejected "1.0",
    OrderConfirmed "1.0",
    OrderExpired "1.0",
    OrderCancelled "1.0",
}}

/// The order was accepted: it has its place in line, which is the position of this event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderPlaced {
    /// The order.
    pub order_id: Arc<str>,
    /// For whom: an opaque reference, no personal data.
    pub customer: Arc<str>,
    /// What was asked for, at the prices of that moment.
    pub lines: Vec<OrderLine>,
    /// The sum of the lines.
    pub total: Money,
    /// How long its holds are to last once it is settled, in seconds.
    pub hold_seconds: Count,
    /// Whether a contact or names of guests were given. They are in no event: `OrderQueryService.GetPersonalData` tells them, until they are
    /// erased. Left out when there are none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_personal_data: bool,
}

/// One line of an order: an option of a product at its price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderLine {
    /// The product.
    pub product_id: Arc<str>,
    /// Its option.
    pub option_id: Arc<str>,
    /// The start of the slot; absent for stock.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Time")]
    pub starts_at: Option<Time>,
    /// How many of what.
    pub units: Vec<PricedUnit>,
    /// What the line takes of which slots, each slot once.
    pub draws: Vec<SlotDraw>,
    /// The sum of the units.
    pub total: Money,
}

/// So many of one unit, at its price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PricedUnit {
    /// The unit.
    pub unit_id: Arc<str>,
    /// How many.
    pub quantity: Count,
    /// Of one.
    pub price: Money,
}

/// So much of one slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SlotDraw {
    /// The slot.
    pub slot_id: Arc<str>,
    /// Units of capacity.
    pub quantity: Count,
}

/// Every line is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderHeld {
    /// The order.
    pub order_id: Arc<str>,
    /// The holds are good before this instant.
    pub hold_expires_at: Time,
}

/// The order could not be served; nothing is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderRejected {
    /// The order.
    pub order_id: Arc<str>,
    /// Every line that failed, and why.
    pub failures: Vec<LineFailure>,
}

/// Why a line could not be served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LineFailure {
    /// Which line, counted from 0.
    pub line: Count,
    /// The slot that refused.
    pub slot_id: Arc<str>,
    /// Stable code: SLOT_SOLD_OUT, SLOT_HELD_BY_OTHERS and so on. New codes may come.
    pub code: String,
    /// English, one sentence, for developers.
    pub message: String,
    /// Facts by name: counts, ids, times.
    pub details: BTreeMap<String, String>,
    /// Whether units may come back, so that a new order can succeed later.
    pub retryable: bool,
}

/// The order was bought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderConfirmed {
    /// The order.
    pub order_id: Arc<str>,
}

/// Its holds lapsed before it was confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderExpired {
    /// The order.
    pub order_id: Arc<str>,
    /// When they lapsed, which may be before the event was recorded.
    pub expired_at: Time,
}

/// The order was given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderCancelled {
    /// The order.
    pub order_id: Arc<str>,
    /// The caller's words.
    pub reason: String,
    /// Where it stood before.
    pub previous_state: PreviousState,
}

/// Where an order can stand before it is given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PreviousState {
    /// It had its place in line.
    #[serde(rename = "ORDER_STATE_ACCEPTED")]
    Accepted,
    /// Every line was held.
    #[serde(rename = "ORDER_STATE_HELD")]
    Held,
    /// It was bought.
    #[serde(rename = "ORDER_STATE_CONFIRMED")]
    Confirmed,
}

impl TryFrom<OrderStatus> for PreviousState {
    type Error = Unfit;
    fn try_from(was: OrderStatus) -> Result<Self, Unfit> {
        match was {
            OrderStatus::Placed => Ok(Self::Accepted),
            OrderStatus::Held => Ok(Self::Held),
            OrderStatus::Confirmed => Ok(Self::Confirmed),
            OrderStatus::Absent | OrderStatus::Rejected | OrderStatus::Expired | OrderStatus::Cancelled => {
                Err(Unfit("an order is cancelled when it is placed, held or confirmed"))
            }
        }
    }
}

/// What integrators are told of an event of the order `id`.
pub(crate) fn told(id: &Arc<str>, event: &OrderEvent) -> Result<Told, Unfit> {
    let order_id = id.clone();
    Ok(match event {
        OrderEvent::OrderPlaced { customer, lines, total, hold_seconds, personal } => tell(&OrderPlaced {
            order_id,
            customer: customer.shared(),
            lines: lines.iter().map(OrderLine::try_from).collect::<Result<_, _>>()?,
            total: (*total).try_into()?,
            hold_seconds: Count::new(*hold_seconds, "hold_seconds has at most 31 bits")?,
            // the sealed value itself is told to nobody: it would stay in copies that no erasure reaches
            has_personal_data: personal.is_some(),
        }),
        OrderEvent::OrderHeld { expires_at } => tell(&OrderHeld { order_id, hold_expires_at: (*expires_at).into() }),
        OrderEvent::OrderRejected { failures } => {
            tell(&OrderRejected { order_id, failures: failures.iter().map(LineFailure::try_from).collect::<Result<_, _>>()? })
        }
        OrderEvent::OrderConfirmed {} => tell(&OrderConfirmed { order_id }),
        OrderEvent::OrderExpired { expired_at } => tell(&OrderExpired { order_id, expired_at: (*expired_at).into() }),
        OrderEvent::OrderCancelled { reason, was } => tell(&OrderCancelled { order_id, reason: reason.clone(), previous_state: (*was).try_into()? }),
    })
}

impl TryFrom<&jari_domain::order::OrderLine> for OrderLine {
    type Error = Unfit;
    fn try_from(line: &jari_domain::order::OrderLine) -> Result<Self, Unfit> {
        let quantity = |units: Quantity| Count::new(units.get(), "quantities have at most 31 bits");
        let unit = |unit: &jari_domain::order::LineUnit| -> Result<_, Unfit> {
            Ok(PricedUnit { unit_id: unit.unit_id.shared(), quantity: quantity(unit.quantity)?, price: unit.price.try_into()? })
        };
        let draw = |draw: &jari_domain::order::SlotDraw| -> Result<_, Unfit> {
            Ok(SlotDraw { slot_id: draw.slot_id.shared(), quantity: quantity(draw.quantity)? })
        };
        Ok(Self {
            product_id: line.product_id.shared(),
            option_id: line.option_id.shared(),
            starts_at: line.starts_at.map(Time::from),
            units: line.units.iter().map(unit).collect::<Result<_, _>>()?,
            draws: line.draws.iter().map(draw).collect::<Result<_, _>>()?,
            total: line.total.try_into()?,
        })
    }
}

impl TryFrom<&jari_domain::order::LineFailure> for LineFailure {
    type Error = Unfit;
    fn try_from(failure: &jari_domain::order::LineFailure) -> Result<Self, Unfit> {
        Ok(Self {
            line: Count::new(failure.line, "a line's number has at most 31 bits")?,
            slot_id: failure.slot_id.shared(),
            code: failure.code.clone(),
            message: failure.message.clone(),
            details: failure.details.clone(),
            retryable: failure.retryable,
        })
    }
}
