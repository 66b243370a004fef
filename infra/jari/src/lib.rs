//! The program: configuration, telemetry, wiring, command line. It alone sees every part.
//!
//! Must never know: how anything is decided, stored or shown. It only puts the parts together.

pub mod catalogue;
pub mod cli;
pub mod client;
pub mod cmd;
pub mod config;
pub mod database;
mod desk;
mod health;
pub mod intaking;
pub mod kafka;
pub mod keys;
mod metrics;
pub mod node;
mod operations;
mod parts;
pub mod proof;
mod reach;
pub mod relaying;
pub mod story;
mod subjects;
pub mod telemetry;

pub use operations::CODES;
