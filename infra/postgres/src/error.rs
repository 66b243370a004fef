//! What can go wrong with a private server.

use std::path::PathBuf;

/// An error of the private PostgreSQL.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// A file or folder could not be used.
    #[error("{what} {}: {source}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// PostgreSQL could not be fetched.
    #[error("PostgreSQL {version} could not be fetched: {reason}")]
    Fetch {
        /// Which.
        version: &'static str,
        /// Why not.
        reason: String,
    },
    /// What was fetched is not what was pinned.
    #[error("the PostgreSQL archive has SHA-256 {found}, not the pinned {pinned}; it was not used")]
    Checksum {
        /// Of what was fetched.
        found: String,
        /// In this program.
        pinned: &'static str,
    },
    /// No archive is pinned for this machine.
    #[error("no PostgreSQL is pinned for {0}; set database.url to a server of your own")]
    Platform(&'static str),
    /// Another process owns the server of this folder.
    #[error("the private PostgreSQL in {} belongs to {owner}", folder.display())]
    Owned {
        /// The folder.
        folder: PathBuf,
        /// Who, as the lock file says.
        owner: String,
    },
    /// A program of PostgreSQL failed.
    #[error("{program} failed: {output}")]
    Program {
        /// `initdb` or `postgres`.
        program: &'static str,
        /// The end of what it said.
        output: String,
    },
    /// It runs as root, and no account is there that the server could run as.
    #[error("PostgreSQL does not run as root, and there is neither a user postgres nor nobody to run it as")]
    NoAccount,
    /// The account of the server cannot come to its folder.
    #[error("PostgreSQL runs as another account than root, and {} lets only its owner through to {}; choose another folder", closed.display(), folder.display())]
    Unreachable {
        /// Of the server.
        folder: PathBuf,
        /// On the way to it.
        closed: PathBuf,
    },
    /// The passwords are gone, and the cluster knows no others.
    #[error("{} is gone or broken, and the server in the same folder cannot be entered without it; bring it back, or move the folder away", path.display())]
    SecretsLost {
        /// Where they were.
        path: PathBuf,
    },
    /// The folder for the socket belongs to somebody else, where others may write.
    #[error("{} is no folder of ours; remove it, or choose a data folder with a shorter path", path.display())]
    ForeignFolder {
        /// Which.
        path: PathBuf,
    },
    /// A server that should stop did not.
    #[error("the server with process id {pid} does not stop")]
    Stuck {
        /// Its process.
        pid: i32,
    },
    /// The server does not answer.
    #[error("the private PostgreSQL does not answer: {0}")]
    Connect(#[from] tokio_postgres::Error),
}

impl PostgresError {
    pub(crate) fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { what, path, source }
    }
}
