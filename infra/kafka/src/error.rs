//! What can go wrong with a private Kafka.

use std::path::PathBuf;

/// An error of the private Kafka.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    /// No Java was found.
    #[error("Kafka needs Java 17 or newer, and none was found: install it (`apt-get install default-jre-headless`), or name it with JARI_JAVA")]
    NoJava,
    /// A Java that cannot run it.
    #[error("Kafka needs Java 17 or newer, and {} is {found}: install a newer one, or name it with JARI_JAVA", java.display())]
    JavaTooOld {
        /// The program that was found.
        java: PathBuf,
        /// What it says of its version.
        found: String,
    },
    /// No Maven was found, and Kafka is not there yet.
    #[error(
        "Kafka is fetched by Maven, and there is no `mvn`: install it (`apt-get install maven`), or name a folder with Kafka's jars with JARI_KAFKA_JARS"
    )]
    NoMaven,
    /// Kafka could not be fetched.
    #[error("Kafka {version} could not be fetched: {reason}")]
    Fetch {
        /// Which.
        version: &'static str,
        /// Why not.
        reason: String,
    },
    /// A jar is not what was pinned.
    #[error("{jar} {fault}; nothing of what was fetched was used")]
    Jar {
        /// Its file name.
        jar: String,
        /// What is wrong with it.
        fault: &'static str,
    },
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
    /// Another process owns the server of this folder.
    #[error("the private Kafka in {} belongs to another process", folder.display())]
    Owned {
        /// The folder.
        folder: PathBuf,
    },
    /// A program of Kafka failed.
    #[error("{program} failed: {output}")]
    Program {
        /// Which.
        program: &'static str,
        /// How it ended, and the end of what it said.
        output: String,
    },
}

impl KafkaError {
    pub(crate) fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { what, path, source }
    }

    /// Whether this machine lacks what Kafka needs, so that somebody has to install something.
    #[must_use]
    pub fn is_missing_program(&self) -> bool {
        matches!(self, Self::NoJava | Self::JavaTooOld { .. } | Self::NoMaven)
    }

    /// Whether all that it needs was there, and its process ended or was not ready in time: the next start may well succeed.
    #[must_use]
    pub fn is_failed_start(&self) -> bool {
        matches!(self, Self::Program { .. })
    }
}
