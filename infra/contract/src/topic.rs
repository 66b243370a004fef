//! The topics, and how they are made: one table.

/// What stands on Kafka. What happened is published, keyed by the id of what it is about and in the order of the log for each key; commands on orders
/// arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// What happened to products.
    Product,
    /// What happened to slots.
    Slot,
    /// What happened to orders.
    Order,
    /// The latest counts and sale state of each slot.
    Availability,
    /// Signed heads of the log.
    LogHead,
    /// Commands on orders, from integrators.
    OrderCommand,
    /// Those that were refused.
    RefusedOrderCommand,
}

/// How a topic is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Fixed for the life of a topic: with another number, keys would move to other partitions and lose their order.
    pub partitions: i32,
    /// How long records are kept, in milliseconds; -1, as Kafka writes it, for as long as they are the latest of their key.
    pub retention_ms: i64,
    /// Whether only the latest record of each key is kept.
    pub compacted: bool,
}

const DAY_MS: i64 = 86_400_000;

impl Topic {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Product, Self::Slot, Self::Order, Self::Availability, Self::LogHead, Self::OrderCommand, Self::RefusedOrderCommand];
    /// Those that tell of events.
    pub const OF_EVENTS: [Self; 4] = [Self::Product, Self::Slot, Self::Order, Self::Availability];

    /// As Kafka knows it. What comes after the dot is the version of the contract: a change that breaks consumers makes a new topic.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Product => "reservation.product.v1",
            Self::Slot => "reservation.slot.v1",
            Self::Order => "reservation.order.v1",
            Self::Availability => "reservation.availability.v1",
            Self::LogHead => "reservation.log-heads.v1",
            Self::OrderCommand => "reservation.order-commands.v1",
            Self::RefusedOrderCommand => "reservation.order-commands-refused.v1",
        }
    }

    /// How it is made. Products change seldom; slots and orders are what all the load is about. Events stay for 30 days: what is older is read
    /// from the history, at any position.
    #[must_use]
    pub fn settings(self) -> Settings {
        match self {
            Self::Product => Settings { partitions: 3, retention_ms: 30 * DAY_MS, compacted: false },
            Self::Slot | Self::Order => Settings { partitions: 12, retention_ms: 30 * DAY_MS, compacted: false },
            Self::Availability => Settings { partitions: 12, retention_ms: -1, compacted: true },
            // one a minute at most, and each is worth more the older it is
            Self::LogHead => Settings { partitions: 1, retention_ms: -1, compacted: false },
            // shorter than the ids of commands are remembered: what is read again must be known again
            Self::OrderCommand => Settings { partitions: 12, retention_ms: 7 * DAY_MS, compacted: false },
            // few, and whoever repairs wants them in one order
            Self::RefusedOrderCommand => Settings { partitions: 1, retention_ms: 14 * DAY_MS, compacted: false },
        }
    }

    /// Whether integrators send to it, rather than read it.
    #[must_use]
    pub fn is_inbound(self) -> bool {
        matches!(self, Self::OrderCommand)
    }

    /// What it carries, and what its key is, for the published document.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::Product => "What happened to products; the key is the product's id.",
            Self::Slot => "What happened to slots of capacity; the key is the slot's id.",
            Self::Order => "What happened to orders; the key is the order's id.",
            Self::Availability => {
                "The latest counts and sale state of each slot; the key is the slot's id. Compacted: read it from its beginning to know them all."
            }
            Self::LogHead => {
                "Signed heads of the log, each behind the events that it stands for; the key is the log's id. Kept for ever: they prove that nothing was changed since."
            }
            Self::OrderCommand => {
                "Commands on orders: send them here instead of calling OrderService. The key is the order's id, and commands of one order are executed in \
                 their order. `ce_id` is a UUID of the sender's: the same from the same source is executed once. Answered by events on reservation.order.v1 \
                 that bear it as `ce_correlationid`, or by a record on reservation.order-commands-refused.v1."
            }
            Self::RefusedOrderCommand => "Commands that were refused, with the reason; the key is the order's id.",
        }
    }
}
