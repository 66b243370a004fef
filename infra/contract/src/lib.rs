//! What integrators and analysts see of the log: public events as CloudEvents, the topics that they stand on, and their JSON Schemas.
//!
//! Private events, as they are stored, may change with the program; public ones are a promise. Between the two stands a mapping by hand, one
//! module an aggregate, so that whoever changes a private event decides what integrators get to see of it. The data of a public event is the
//! canonical proto3 JSON of the message in `proto/` that bears its name.
//!
//! Must never know: Kafka clients, SQL, gRPC servers.

mod attributes;
pub mod availability;
mod catalogue;
mod error;
pub mod log_head;
pub mod order;
pub mod order_command;
pub mod product;
#[cfg(test)]
mod published;
mod publisher;
mod schema;
pub mod slot;
#[cfg(test)]
mod tests;
mod topic;
pub mod value;

pub use attributes::Attributes;
pub use catalogue::{PublicType, public_events};
pub use error::ContractError;
pub use log_head::LogHeadSigned;
pub use order_command::OrderCommandRefused;
pub use publisher::{PublicMessage, Publisher};
pub use topic::{Settings, Topic};
