//! A private PostgreSQL that a program fetches, starts and stops itself.
//!
//! Must never know: what is kept in it.

mod account;
mod archive;
mod cluster;
mod error;
mod place;
mod process;
mod server;

pub use archive::VERSION;
pub use error::PostgresError;
pub use place::{Access, Place, Standing};
pub use server::{Lifetime, PrivatePostgres, Settings};
