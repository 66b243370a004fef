//! What can go wrong with sealing and keys.

use std::path::PathBuf;

use jari_event_store::LogError;

/// An error of sealing. None shows a key or what was sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealingError {
    /// No keys are configured.
    #[error("this server keeps no personal data: {reason}")]
    Off {
        /// Why, and how to turn it on.
        reason: String,
    },
    /// The database of the keys did not answer in time, or at all.
    #[error("the keys of persons cannot be reached")]
    Unavailable {
        /// When to come back.
        retry_after: std::time::Duration,
    },
    /// The database of the keys said no.
    #[error("database of the keys: {0}")]
    Database(#[from] LogError),
    /// Keys were wrapped by a master key that is not at hand.
    #[error(
        "keys of persons are wrapped by master key {wanted}, and the master keys at hand are: {at_hand}. Put the one that is missing into keys.master_file or keys.former_masters"
    )]
    MasterKeyMissing {
        /// Its fingerprint.
        wanted: String,
        /// Fingerprints.
        at_hand: String,
    },
    /// Not a master key.
    #[error("{place} is not a master key: it must be 32 bytes in base64")]
    MasterKeyMalformed {
        /// The configuration's key, or the file's line.
        place: String,
    },
    /// The file of master keys holds as many as may be; nothing was written.
    #[error("{} holds {there} master keys, as many as it may: run `jari keys rotate --no-new --forget` first, which removes those that wrap nothing any more", path.display())]
    TooManyMasterKeys {
        /// Which.
        path: PathBuf,
        /// How many.
        there: usize,
    },
    /// A file that cannot be used.
    #[error("{}: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The list of erasures has a line that is none.
    #[error("the list of erasures {} cannot be read at line {line}. Mend it: without it, keys that were destroyed may come back", path.display())]
    ListUnreadable {
        /// Which.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// The request id erased somebody else.
    #[error("this request id was used to erase another subject")]
    RequestReused,
    /// Too much for one value.
    #[error("{bytes} bytes are too many for one sealed value")]
    TooLarge {
        /// As given.
        bytes: usize,
    },
    /// Sealed under another key, for another place, or changed.
    #[error("a sealed value does not open here")]
    NotOpened,
    /// The system gives none.
    #[error("the system gives no randomness")]
    NoRandomness,
}

impl SealingError {
    /// Every code that [`SealingError::code`] can give; each has its page in `docs/errors/`.
    pub const CODES: &'static [&'static str] = &[
        "PERSONAL_DATA_OFF",
        "KEYS_UNAVAILABLE",
        "MASTER_KEY_MISSING",
        "MASTER_KEY_MALFORMED",
        "MASTER_KEYS_TOO_MANY",
        "KEYS_FILE_UNUSABLE",
        "ERASURE_LIST_UNREADABLE",
        "ERASURE_ID_REUSED",
        "SEALING_FAILED",
    ];

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Off { .. } => "PERSONAL_DATA_OFF",
            Self::Unavailable { .. } | Self::Database(_) => "KEYS_UNAVAILABLE",
            Self::MasterKeyMissing { .. } => "MASTER_KEY_MISSING",
            Self::MasterKeyMalformed { .. } => "MASTER_KEY_MALFORMED",
            Self::TooManyMasterKeys { .. } => "MASTER_KEYS_TOO_MANY",
            Self::File { .. } => "KEYS_FILE_UNUSABLE",
            Self::ListUnreadable { .. } => "ERASURE_LIST_UNREADABLE",
            Self::RequestReused => "ERASURE_ID_REUSED",
            Self::TooLarge { .. } | Self::NotOpened | Self::NoRandomness => "SEALING_FAILED",
        }
    }

    pub(crate) fn file(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::File { path, reason: error.to_string() }
    }
}

impl From<tokio_postgres::Error> for SealingError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error.into())
    }
}
