//! The real engine on a real PostgreSQL: one server for all tests, a database for each.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed, and says where")]

mod agreement;
mod bad_input;
mod booking;
mod crowd;
mod endpoints;
mod engine;
mod harness;
mod holds;
mod log;
mod log_append;
mod races;
mod raw;
mod serving;
mod settlement;
mod two_nodes;
mod waiting;
