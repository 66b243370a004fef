//! The PostgreSQL log: group-commit append, read, tail, snapshots, leases, migrations.
//!
//! Must never know: what a product or an order is; gRPC; who decides. It carries typed events ([`jari_domain::AnyEvent`]) but never looks inside.

mod address;
mod append;
mod archive;
mod batch;
mod clock;
mod connect;
mod cqrs;
mod error;
mod lease;
mod load;
mod migrate;
mod missing;
mod patience;
mod pieces;
mod process;
mod prune;
mod read;
mod record;
mod seal;
mod snapshot;
mod tail;
mod tls;
mod watch;

pub use address::{Address, AddressError};
pub use append::{Appended, Appender};
pub use archive::{ArchiveHorizon, Archived, Archiver, archive_horizon};
pub use batch::{Batch, BatchLimits, CommandRow, Group, LeaseStamp, StreamUse};
pub use clock::Clock;
pub use connect::{Database, PoolSettings, PoolUse};
pub use cqrs::{LogContext, LogStore};
pub use error::LogError;
/// For whoever reads the log and must not know the domain.
pub use jari_domain::Position;
pub use lease::{Lease, LeaseKeeper, LeaseRow, read_lease};
pub use load::{LoadRequest, LoadedStream};
pub use migrate::migrate;
pub use patience::within;
pub use process::{ParkedWork, ProcessMemory, ProcessStore};
pub use prune::prune_commands;
pub use read::{CODES, CommandKey, LogIdentity, Reader, RecordedCommand};
pub use record::{Body, Metadata, RecordedEvent, recordable};
pub use seal::{Broken, ChainWalk, Head, HeadAt, Seal, head_at, newest_head, stray_events};
pub use snapshot::{SnapshotWriter, StateSnapshot};
pub use tail::{LogTail, TailSettings};
pub use watch::{StreamWatch, StreamWatchers};
