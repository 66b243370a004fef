//! A private Apache Kafka (one node, KRaft) that a program fetches, starts and stops itself.
//!
//! Must never know: what is kept in it, and who speaks to it.

mod archive;
mod error;
mod java;
mod place;
mod server;

pub use archive::VERSION;
pub use error::KafkaError;
pub use place::{Place, Standing};
pub use server::{PrivateKafka, Settings};
