//! The write side: the road of a command, its services, its processes.
//!
//! Must never know: SQL, how the log is stored, the views.

pub mod booking;
pub mod engine;
pub mod names;
pub mod services;
pub mod settlement;
