//! The program: configuration, telemetry, wiring, command line. It alone sees every part.
//!
//! Must never know: how anything is decided, stored or shown. It only puts the parts together.

pub mod catalogue;
pub mod cli;
pub mod client;
pub mod cmd;
pub mod config;
mod connect;
mod core_dumps;
pub mod database;
mod health;
pub mod intake_status;
pub mod kafka;
pub mod keys;
pub mod memory;
mod metrics;
pub mod node;
mod operations;
mod optional_part;
mod parts;
pub mod proof;
pub mod relay_status;
pub mod story;
mod subjects;
pub mod telemetry;

pub use operations::CODES;
