//! Digests of typed commands: what makes a reused id with another command visible, and says nothing about the command to a reader.

use jari_event_store::LogIdentity;

/// The canonical form's version: raised when the same command would be written differently, so that old digests are not compared with new.
const FORM: &[u8] = b"1";

/// Keyed by the log's own secret.
#[derive(Clone)]
pub struct Digester {
    key: [u8; 32],
}

impl std::fmt::Debug for Digester {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digester")
    }
}

impl Digester {
    /// With the log's key.
    #[must_use]
    pub fn new(identity: &LogIdentity) -> Self {
        Self { key: identity.digest_key }
    }

    /// The digest of the command `name` in its canonical bytes: without id, time, deadline, trace and wait.
    #[must_use]
    pub fn digest(&self, name: &str, canonical: &[u8]) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(FORM).update(name.as_bytes()).update(&[0]).update(canonical);
        let mut digest = [0; 16];
        digest.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        digest
    }
}
