//! The log as files for analysts: Parquet with typed columns, a table for each type of event, or JSON Lines. A folder is written step by step, each
//! event of the log once; the next run goes on where the last one ended, however that ended.
//!
//! Must never know: Kafka, gRPC, how events are stored or decided. It writes what the public contract tells, and nothing else.

mod check;
mod columns;
mod error;
mod export;
mod file;
mod folder;
mod line;
mod manifest;
mod remake;
mod rows;
mod step;
mod table;
#[cfg(test)]
mod tests;

pub use check::{Checked, check, check_chain};
pub use error::ExportError;
pub use export::{Exported, Progress, Settings, export};
pub use manifest::{FileEntry, Format, StepManifest};
pub use remake::check_rows;
