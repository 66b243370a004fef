//! The read side: projections fold the log into views, and query services answer from them.
//!
//! Must never know: how a command is decided or appended, what is sent to the outside. It reads the log and owns everything in the schema
//! `views`, all of which can be deleted and made again from the log.
//!
//! An event reaches a view like this: the tail of the log, [`runner`](crate::Views::start), the view's `fold` (`views/<view>/mod.rs`), its
//! `.sql` files, and one transaction that moves the rows and the checkpoint together. To add a view, add its folder and a line in
//! `views/mod.rs`.

mod build_connection;
mod builds;
mod catch_up;
mod paging;
mod projection;
mod quarantine;
mod reading;
mod rebuild;
mod refusal;
mod replay;
mod rows;
mod runner;
mod services;
mod standing;
mod status;
#[cfg(test)]
mod tests;
mod views;
mod writer;

pub use quarantine::{QuarantinePage, QuarantinedStream, RetryError};
pub use rebuild::{RebuildError, RebuildProgress, Rebuilt, rebuild, view_names};
pub use refusal::{CODES, QueryError};
pub use replay::{AsOf, Digested, KeptReplay, LiveView, REPLAY_CODES, Replay, ReplayError, ReplayTable, Replayed, digest_live, drop_replay, replays};
pub use runner::{ViewSettings, Views};
pub use services::{AvailabilityQueries, OrderQueries, ProductQueries};
pub use status::{ProjectionState, ProjectionStatus, RebuildStanding, ViewHealth};
