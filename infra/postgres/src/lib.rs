//! A private PostgreSQL that a program fetches, starts and stops itself.
//!
//! Must never know: what is kept in it.

mod account;
mod archive;
mod error;
mod place;
mod server;

pub use archive::VERSION;
pub use error::PostgresError;
pub use place::{Access, Place};
pub use server::{Lifetime, PrivatePostgres, Settings};
