//! The aggregates: pure decisions about products, inventory slots and orders.
//!
//! Must never know: I/O, clocks, randomness, the wire, SQL. Time and ids are arguments.

pub mod aggregate;
pub mod cqrs;
#[cfg(test)]
mod given;
#[cfg(test)]
mod golden;
pub mod ids;
pub mod money;
pub mod order;
pub mod position;
pub mod product;
pub mod quantity;
pub mod refusal;
pub mod registry;
pub mod sealed;
pub mod slot;
pub mod stream;
pub mod text;
mod words;

pub use aggregate::{Decider, EventFormat, Few};
pub use jiff::Timestamp;
pub use money::{Currency, Money};
pub use position::Position;
pub use quantity::Quantity;
pub use refusal::{Refusal, RefusalKind, Refuse};
pub use registry::{AnyEvent, AnyState, DecodeError};
pub use sealed::Sealed;
pub use stream::StreamId;
