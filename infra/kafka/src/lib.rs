//! A private Apache Kafka (one node, KRaft) that a program fetches, starts and stops itself.
//!
//! Must never know: what is kept in it, and who speaks to it.

mod archive;
mod data_folder;
mod error;
mod java;
mod server;

pub use archive::VERSION;
pub use data_folder::{DataFolder, Standing};
pub use error::KafkaError;
pub use server::{PrivateKafka, Settings};
