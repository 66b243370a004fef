//! The real engine on a real PostgreSQL: one server for all tests, a database for each.

mod booking;
mod endpoints;
mod engine;
mod harness;
mod log;
mod log_append;
mod raw;
mod serving;
