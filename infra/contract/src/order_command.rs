//! Commands on orders that arrive by Kafka, and what is told of those that were refused.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    Attributes, PublicMessage, PublicType, Topic,
    catalogue::{events_of, tell},
    value::{Count, Int64, Time},
};

events_of! { "reservation.order.v1" on OrderCommand {
    PlaceOrderCommand "1.0",
    ConfirmOrderCommand "1.0",
    CancelOrderCommand "1.0",
}}

/// The commands that may be sent.
pub const COMMANDS: &[&PublicType] = EVENTS;

/// Asks for an order, as `OrderService.PlaceOrder` does. It names no persons: a contact or names of guests go by `OrderService` only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlaceOrderCommand {
    /// The new order's id, and the record's key.
    #[schemars(extend("pattern" = ID, "maxLength" = 64))]
    pub order_id: String,
    /// For whom: an opaque reference, as an id; no personal data.
    #[schemars(extend("pattern" = ID, "maxLength" = 64))]
    pub customer: String,
    /// What is asked for: 1 to 100 lines, all priced in one currency.
    #[schemars(length(min = 1, max = 100))]
    pub lines: Vec<LineRequest>,
}

/// One line that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LineRequest {
    /// A product on sale.
    pub product_id: String,
    /// One of its options.
    pub option_id: String,
    /// The start of the slot, to the second: there for a product sold by reservation, absent for stock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Time")]
    pub starts_at: Option<Time>,
    /// How many of what: 1 to 20; a unit that stands here more than once is summed.
    #[schemars(length(min = 1, max = 20))]
    pub units: Vec<UnitQuantity>,
}

/// So many of one unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UnitQuantity {
    /// A unit of the option.
    pub unit_id: String,
    /// 1 to 10,000, also in sum.
    pub quantity: Count,
}

/// Asks to buy what a held order holds, as `OrderService.ConfirmOrder` does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfirmOrderCommand {
    /// A held order; the record's key.
    #[schemars(extend("pattern" = ID, "maxLength" = 64))]
    pub order_id: String,
}

/// Asks to give an order back, as `OrderService.CancelOrder` does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CancelOrderCommand {
    /// An order that is accepted, held or confirmed; the record's key.
    #[schemars(extend("pattern" = ID, "maxLength" = 64))]
    pub order_id: String,
    /// The sender's words: at most 500 characters, no personal data.
    #[serde(default)]
    #[schemars(length(max = 500))]
    pub reason: String,
}

const ID: &str = "^[A-Za-z0-9][A-Za-z0-9_.-]*$";

/// What is told of a command that was refused: a table of its own, since it stands on a topic of its own.
mod refused {
    use super::OrderCommandRefused;
    crate::catalogue::events_of! { "reservation.order.v1" on RefusedOrderCommand {
        OrderCommandRefused "1.0",
    }}
}

/// The one type of the topic of refused commands.
pub const REFUSED: &PublicType = refused::EVENTS[0];

/// A command was refused, and nothing came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderCommandRefused {
    /// The order that the record's key named; empty when it named none.
    pub order_id: String,
    /// Why: the stable code that `OrderService` would have answered with, or one of the topic's own. New codes may come.
    pub code: String,
    /// English, one sentence, for developers. Quotes nothing of a command that could not be read.
    pub message: String,
    /// Facts by name: counts, ids, times; of bad input each field with what is wrong.
    pub details: BTreeMap<String, String>,
    /// Whether the same command may succeed later, under another id.
    pub retryable: bool,
    /// The record's `ce_id`; empty when it had none that could be used.
    pub command_id: String,
    /// The record's `ce_source`; empty when it had none.
    pub command_source: String,
    /// The record's `ce_type`; empty when it had none.
    pub command_type: String,
    /// The record's value, JSON; empty when it could not be read as what its type names, since nobody knows what may stand in it, and when it is longer than
    /// 524,288 bytes as a string here.
    /// A customer or an order's id that cannot be one is blank in it: a person may stand there.
    pub command: String,
    /// The partition of the topic of commands that the record stands in.
    pub partition: Count,
    /// Its offset there.
    pub offset: Int64,
    /// When it was refused.
    pub refused_at: Time,
}

impl OrderCommandRefused {
    /// As a record of its topic; `log` is the log's id, `id` names this refusal for ever.
    #[must_use]
    pub fn publish(&self, id: Uuid, log: Uuid) -> PublicMessage {
        let source: Arc<str> = log.urn().to_string().into();
        PublicMessage {
            topic: Topic::RefusedOrderCommand,
            key: self.order_id.as_str().into(),
            attributes: Attributes::of_refused_command(id.to_string(), &source, &self.order_id, &self.command_id, self.refused_at.get()),
            data: tell(self).data,
        }
    }
}

/// A command as a record of its topic: `id` is the sender's for it, `source` names the sender.
#[cfg(test)]
pub(crate) fn send<C: crate::catalogue::PublicEvent>(command: &C, order_id: &str, id: Uuid, source: &str, at: Timestamp) -> PublicMessage {
    PublicMessage {
        topic: Topic::OrderCommand,
        key: order_id.into(),
        attributes: Attributes::of_command(id.to_string(), source.into(), C::TYPE, order_id, at),
        data: tell(command).data,
    }
}

/// A record that sends a command again: the same type, order and value under another id.
///
/// `None` when the type is none of [`COMMANDS`].
#[must_use]
pub fn send_again(command_type: &str, order_id: &str, data: &str, id: Uuid, source: &str, at: Timestamp) -> Option<PublicMessage> {
    let of = COMMANDS.iter().find(|of| of.event_type == command_type)?;
    Some(PublicMessage {
        topic: Topic::OrderCommand,
        key: order_id.into(),
        attributes: Attributes::of_command(id.to_string(), source.into(), of, order_id, at),
        data: data.as_bytes().to_vec(),
    })
}
