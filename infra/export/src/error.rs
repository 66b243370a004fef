//! Why an export ends early. What was finished before stays, and the next run goes on after it.

use std::{io, path::PathBuf};

use jari_contract::ContractError;
use jari_event_store::{LogError, Position};
use uuid::Uuid;

/// An error of an export. Those that time does not mend say what to do.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The log did not answer.
    #[error(transparent)]
    Log(LogError),
    /// Somebody else writes there now.
    #[error("{} is being exported to by {holder} already; let it end, or take another folder", folder.display())]
    Busy {
        /// Where.
        folder: PathBuf,
        /// As its lock says.
        holder: String,
    },
    /// The folder is not one of ours, or of the other format.
    #[error("{}: {what}", folder.display())]
    Folder {
        /// Where.
        folder: PathBuf,
        /// What is wrong, and what to do.
        what: String,
    },
    /// A manifest that says what cannot be.
    #[error("{}: {what}; restore the file, or export into an empty folder", path.display())]
    Manifest {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The folder holds another log.
    #[error("the folder holds the history of log {theirs}, and this is log {ours}: name the right database, or export into an empty folder")]
    OtherLog {
        /// This log.
        ours: Uuid,
        /// The manifest's.
        theirs: Uuid,
    },
    /// The log ends before what was exported.
    #[error(
        "events up to position {exported} were exported, and the log ends at {head}: the database was probably restored from a backup. Restore one that reaches \
         position {exported}, or export into an empty folder"
    )]
    LogBehind {
        /// The manifest's.
        exported: Position,
        /// The log's last position.
        head: Position,
    },
    /// The log holds another event where the export ends.
    #[error(
        "the event at position {position} is another one than the one that was exported: the database was restored from a backup and went on differently. Restore \
         the history that was exported, or export into an empty folder"
    )]
    LogDiffers {
        /// Where the export ends.
        position: Position,
    },
    /// An event that cannot be told.
    #[error("the event at position {position} cannot be exported: {fault}. It is not skipped; a newer version of this program may know it")]
    Event {
        /// Where.
        position: Position,
        /// Why.
        fault: Fault,
    },
    /// An event that is not there.
    #[error(
        "the log holds no event at position {position}, though it has been that far: somebody took it away. `jari verify` says what else is missing; restore a backup \
         that has it"
    )]
    Missing {
        /// Where it should stand.
        position: Position,
    },
    /// The disk.
    #[error("{doing} {}: {source}", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// As the system says.
        source: io::Error,
    },
    /// A mistake in this program.
    #[error("the export ended by itself: {0}")]
    Broken(String),
}

/// What is wrong with an event.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It has no public form.
    #[error(transparent)]
    Untellable(ContractError),
    /// Its public form is not as its schema says.
    #[error("{0}")]
    Unfit(String),
}

impl From<LogError> for ExportError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Missing { position } => Self::Missing { position },
            other => Self::Log(other), // an export asks for no streams, of which something could be missing
        }
    }
}

impl ExportError {
    pub(crate) fn file(doing: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { doing, path, source }
    }

    /// Every code that [`ExportError::code`] can give.
    pub const CODES: &'static [&'static str] = &[
        "LOG_UNAVAILABLE",
        "EXPORT_BUSY",
        "EXPORT_FOLDER_INVALID",
        "EXPORT_MANIFEST_INVALID",
        "EXPORT_OTHER_LOG",
        "EXPORT_LOG_BEHIND",
        "EXPORT_LOG_DIFFERS",
        "EXPORT_EVENT_UNREADABLE",
        "EXPORT_WRITE_FAILED",
    ];

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Log(_) => "LOG_UNAVAILABLE",
            Self::Busy { .. } => "EXPORT_BUSY",
            Self::Folder { .. } => "EXPORT_FOLDER_INVALID",
            Self::Manifest { .. } => "EXPORT_MANIFEST_INVALID",
            Self::OtherLog { .. } => "EXPORT_OTHER_LOG",
            Self::LogBehind { .. } => "EXPORT_LOG_BEHIND",
            Self::LogDiffers { .. } => "EXPORT_LOG_DIFFERS",
            Self::Event { .. } | Self::Missing { .. } => "EXPORT_EVENT_UNREADABLE",
            Self::File { .. } | Self::Broken(_) => "EXPORT_WRITE_FAILED",
        }
    }
}
