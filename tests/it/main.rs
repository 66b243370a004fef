//! The real engine on a real PostgreSQL: one server for all tests, a database for each.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed, and says where")]

mod agreement;
mod analysts;
mod archive;
mod bad_input;
mod booking;
mod callers;
mod clock;
mod crowd;
mod door;
mod endpoints;
mod engine;
mod exactly_once;
mod export;
mod export_killed;
mod foreign;
mod harness;
mod heads;
mod history;
mod history_log;
mod holds;
mod intake;
mod integrators;
mod keys;
mod ledger;
mod log;
mod log_append;
mod metrics;
mod outage;
mod personal;
mod processes;
mod races;
mod raw;
mod rebuilding;
mod relay;
mod seal;
mod serving;
mod settlement;
mod snapshots;
mod stock;
mod tail;
mod two_nodes;
mod two_processes;
mod waiting;
mod wire;
