//! The key that signs, in a file of its own, and the keys that are trusted.

use std::{
    fs,
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use jari_contract::{LogHeadSigned, value::Int64};
use jari_event_store::HeadAt;
use jiff::Timestamp;
use ring::{
    rand::SystemRandom,
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use uuid::Uuid;

use crate::HeadsError;

/// Bytes of a public key.
const PUBLIC_BYTES: usize = 32;
/// Characters of a line of PEM.
const PEM_LINE: usize = 64;

/// The text that is signed for a head: the one that `proto/reservation/log/v1/log_events.proto` states.
#[must_use]
pub fn signed_text(head: &LogHeadSigned) -> String {
    format!("jari log head v1\n{}\n{}\n{}\n{}\n", head.log_id, head.position.get(), head.head, head.signed_at)
}

/// Signs heads: an Ed25519 key, as PKCS #8 in PEM, as `openssl genpkey -algorithm ed25519` makes it.
pub struct SigningKey(Ed25519KeyPair);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SigningKey").field(&self.public_text()).finish()
    }
}

impl SigningKey {
    /// The key in this file. One that is not there is made, readable by this account alone.
    ///
    /// # Errors
    /// [`HeadsError::File`], [`HeadsError::Key`].
    pub fn open(path: &Path) -> Result<Self, HeadsError> {
        match Self::read(path) {
            Err(HeadsError::File { error, .. }) if error.kind() == ErrorKind::NotFound => Self::make(path),
            read => read,
        }
    }

    /// The key in this file.
    ///
    /// # Errors
    /// As [`SigningKey::open`]; also when there is no file.
    pub fn read(path: &Path) -> Result<Self, HeadsError> {
        let pem = fs::read(path).map_err(HeadsError::file(path))?;
        let der = PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|error| HeadsError::key(path.display(), error))?;
        // the form without the public key is what OpenSSL writes
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der());
        pair.map(Self).map_err(|error| HeadsError::key(path.display(), error))
    }

    /// Written under another name and linked into place: a key is there whole or not at all, and the first of two makers wins.
    fn make(path: &Path) -> Result<Self, HeadsError> {
        let made =
            Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| HeadsError::key(path.display(), "the system gives no randomness"))?;
        let text = STANDARD.encode(&made);
        let lines: Vec<&str> = (0..text.len()).step_by(PEM_LINE).map(|at| &text[at..text.len().min(at + PEM_LINE)]).collect();
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(HeadsError::file(folder))?;
        }
        let aside = path.with_extension(format!("{}.new", Uuid::now_v7()));
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside).map_err(HeadsError::file(&aside))?;
        let linked = file.write_all(pem.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| fs::hard_link(&aside, path));
        fs::remove_file(&aside).map_err(HeadsError::file(&aside))?;
        match linked {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(HeadsError::file(path)(error)),
            _ => Self::read(path),
        }
    }

    /// The public key in base64.
    #[must_use]
    pub fn public_text(&self) -> String {
        STANDARD.encode(self.0.public_key())
    }

    /// Signs what a log's head is now.
    #[must_use]
    pub fn sign(&self, log_id: Uuid, at: HeadAt, now: Timestamp) -> LogHeadSigned {
        let mut head = LogHeadSigned {
            log_id: log_id.to_string(),
            position: Int64::position(at.position),
            head: hex(&at.head),
            signed_at: format!("{now:.6}"),
            public_key: self.public_text(),
            signature: String::new(),
        };
        head.signature = STANDARD.encode(self.0.sign(signed_text(&head).as_bytes()));
        head
    }
}

/// Public keys whose signatures are believed.
#[derive(Debug, Clone, Default)]
pub struct Trusted(Vec<[u8; PUBLIC_BYTES]>);

impl Trusted {
    /// Believes a key: base64, as [`SigningKey::public_text`] tells it.
    ///
    /// # Errors
    /// [`HeadsError::Key`].
    pub fn add(&mut self, text: &str) -> Result<(), HeadsError> {
        let bytes = STANDARD.decode(text.trim()).map_err(|error| HeadsError::key(text, error))?;
        let bytes = bytes.try_into().map_err(|_| HeadsError::key(text, format!("a public key has {PUBLIC_BYTES} bytes")))?;
        self.0.push(bytes);
        Ok(())
    }

    /// Whether a head was signed with a key that is believed.
    #[must_use]
    pub fn signed(&self, head: &LogHeadSigned) -> bool {
        let (Ok(key), Ok(signature)) = (STANDARD.decode(&head.public_key), STANDARD.decode(&head.signature)) else { return false };
        self.0.iter().any(|trusted| trusted[..] == key[..])
            && UnparsedPublicKey::new(&ED25519, &key).verify(signed_text(head).as_bytes(), &signature).is_ok()
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
