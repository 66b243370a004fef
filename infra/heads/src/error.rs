//! What stands in the way of signed heads.

use std::{io, path::PathBuf};

use jari_event_store::LogError;

/// An error of signing, keeping or checking heads.
#[derive(Debug, thiserror::Error)]
pub enum HeadsError {
    /// A file cannot be read or written.
    #[error("{path}: {error}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file or text that should hold a key holds none.
    #[error("{from} holds no Ed25519 key: {reason}")]
    Key {
        /// The file, or the text.
        from: String,
        /// What is wrong.
        reason: String,
    },
    /// Another process keeps heads in the same file.
    #[error("{path}: another process writes here", path = path.display())]
    Taken {
        /// The file.
        path: PathBuf,
    },
    /// The log does not answer.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl HeadsError {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |error| Self::File { path, error }
    }

    pub(crate) fn key(from: impl ToString, reason: impl ToString) -> Self {
        Self::Key { from: from.to_string(), reason: reason.to_string() }
    }
}
