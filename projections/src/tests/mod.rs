//! The views on a real PostgreSQL: one server for all tests of the run, a database for each test.

pub mod given;
pub mod history;
mod nodes;
mod odd;
mod pages;
pub mod place;
mod quarantine;
mod queries;
mod rebuild;
mod replay;
mod speed;
