//! The real engine on a real PostgreSQL: one server for all tests, a database for each.

mod engine;
mod harness;
