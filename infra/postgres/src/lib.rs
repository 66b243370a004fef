//! A private PostgreSQL that a program fetches, starts and stops itself.
//!
//! Must never know: what is kept in it.

mod account;
mod archive;
mod cluster;
mod data_folder;
mod error;
mod process;
mod server;

pub use archive::VERSION;
pub use data_folder::{Access, DataFolder, Standing};
pub use error::PostgresError;
pub use server::{Lifetime, PrivatePostgres, Settings};
