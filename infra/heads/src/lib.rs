//! Signed heads: what a log's chain of digests came to, at intervals, signed and written where whoever masters the database does not reach.
//!
//! The chain alone shows accidents: who may write everything can chain it anew. A head that was signed before, and lies elsewhere, no longer fits
//! then. What each part proves, and against whom, is in `docs/model/tamper-evidence.md`.
//!
//! Must never know: what an event says, Kafka, gRPC.

mod check;
mod error;
mod file;
mod key;
mod signer;
#[cfg(test)]
mod tests;

pub use check::{Checked, HeadsCheck};
pub use error::HeadsError;
pub use file::newest_in;
pub use key::{SigningKey, Trusted, signed_text};
pub use signer::{HeadSigner, SignerSettings};
