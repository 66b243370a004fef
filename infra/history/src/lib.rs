//! The log as analysts read it: its events, the state of anything as of a moment, the difference between two moments, the chain of causes.
//!
//! Must never know: Kafka, how commands are decided, the views. It reads the log in short reads, each of its own, and needs no transaction around
//! them: what stands at a position never changes.

mod causes;
mod chunk;
mod compare;
mod context;
mod filter;
mod json;
mod lapse;
mod log;
mod moment;
mod refusal;
mod service;
mod state;
mod stream;

pub use context::{HistoryContext, HistorySettings};
pub use json::json;
pub use refusal::{CODES, HistoryError};
pub use service::History;
