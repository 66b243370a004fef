//! Personal data under a key per person: sealed at the edge, opened at the answer, unreadable everywhere once the key is destroyed.
//!
//! Must never know: what an order is, gRPC, who decides. It takes bytes and a place, and gives a text that says nothing.
//!
//! - A value is sealed by XChaCha20-Poly1305 under its person's key, bound to its place: moved elsewhere, it does not open.
//! - A person's key is random, stands in a database of its own, wrapped by a master key that is in no database, and is never derived from anything.
//! - To erase is to delete the key, after the deletion was written to a list that outlives every backup of the keys.

mod cache;
mod erasures;
mod error;
mod key;
mod master;
mod master_file;
mod rotate;
mod sealer;
mod store;
#[cfg(test)]
mod vectors;

pub use erasures::{Erasure, ErasureList};
pub use error::SealingError;
pub use key::{MAX_CLEAR_BYTES, Mark, SealContext, SubjectKey};
pub use master::{MasterKeys, MasterSource};
pub use rotate::Rotated;
pub use sealer::{Erased, Opened, Sealer, SealerSettings};
pub use store::{KeyStore, Subject};
