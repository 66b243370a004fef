//! Side-by-side benchmarks: ours, what users would pick instead, and the limit.
//!
//! Must never know: how anything inside is done. It measures what users can reach, all in one run on one PostgreSQL.

pub mod callers;
pub mod comparison;
pub mod deep;
pub mod drive;
pub mod faults;
pub mod limit;
pub mod ours;
pub mod place;
pub mod report;
pub mod sql;
pub mod sqlbooking;
pub mod stock;
