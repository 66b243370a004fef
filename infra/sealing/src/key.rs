//! The key of one person, and what is done with it.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305,
    aead::{Aead, Payload},
};
use jari_domain::{Sealed, sealed::SEALED_PREFIX};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::SealingError;

/// Most bytes that are sealed as one value.
pub const MAX_CLEAR_BYTES: usize = 64 * 1024;
/// The clear is padded to a multiple of so many bytes: the size of what is sealed tells little of a name's length, also after an erasure.
const PADDING: usize = 64;
const NONCE: usize = 24;

/// What stands for personal data in a command's digest: 3 bytes that stand for the key, 5 that only the key makes of the data.
pub type Mark = [u8; 8];

/// Where a sealed value belongs; it opens nowhere else.
#[derive(Debug, Clone, Copy)]
pub struct SealContext<'a> {
    /// The aggregate's type: `Order`.
    pub aggregate_type: &'a str,
    /// Its id.
    pub aggregate_id: &'a str,
    /// Which of its values.
    pub field: &'a str,
}

impl SealContext<'_> {
    /// The associated data: the form of the value, its key and its place, each with its length before it.
    fn bound_to(&self, key_id: Uuid) -> Vec<u8> {
        let mut bound = Vec::with_capacity(128);
        let id = key_id.into_bytes();
        for part in [SEALED_PREFIX.as_bytes(), &id, self.aggregate_type.as_bytes(), self.aggregate_id.as_bytes(), self.field.as_bytes()] {
            bound.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bound.extend_from_slice(part);
        }
        bound
    }
}

/// The key of one person. Its bytes are wiped when it is dropped.
pub struct SubjectKey {
    id: Uuid,
    bytes: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubjectKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl SubjectKey {
    pub(crate) fn new(id: Uuid, bytes: Zeroizing<[u8; 32]>) -> Self {
        Self { id, bytes }
    }

    /// A new one, of the system's randomness; its id says nothing of the person either.
    pub(crate) fn make() -> Result<Self, SealingError> {
        let mut bytes = Zeroizing::new([0; 32]);
        fill(&mut *bytes)?;
        Ok(Self { id: Uuid::new_v4(), bytes })
    }

    /// Its id: in every value that it sealed.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.id
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// Seals a value for its place.
    ///
    /// # Errors
    /// [`SealingError::TooLarge`] above [`MAX_CLEAR_BYTES`]; [`SealingError::NoRandomness`].
    pub fn seal(&self, context: &SealContext<'_>, clear: &[u8]) -> Result<Sealed, SealingError> {
        let mut nonce = [0; NONCE];
        fill(&mut nonce)?;
        self.seal_with(nonce, context, clear)
    }

    pub(crate) fn seal_with(&self, nonce: [u8; NONCE], context: &SealContext<'_>, clear: &[u8]) -> Result<Sealed, SealingError> {
        if clear.len() > MAX_CLEAR_BYTES {
            return Err(SealingError::TooLarge { bytes: clear.len() });
        }
        let mut padded = Zeroizing::new(Vec::with_capacity(clear.len() + PADDING));
        padded.extend_from_slice(clear);
        padded.push(0x80);
        let padded_len = padded.len().next_multiple_of(PADDING);
        padded.resize(padded_len, 0);
        let sealed = seal_bytes(&self.bytes, nonce, &context.bound_to(self.id), &padded);
        let text = format!("{SEALED_PREFIX}{}:{}", self.id.simple(), URL_SAFE_NO_PAD.encode(sealed));
        Ok(Sealed::parse(&text).expect("prefix, hexadecimal digits and base64url are the form of a sealed value, and its size is bounded above"))
    }

    /// Opens a value that stands at this place.
    ///
    /// # Errors
    /// [`SealingError::NotOpened`] when it was sealed under another key, for another place, or was changed.
    pub fn open(&self, context: &SealContext<'_>, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, SealingError> {
        let (id, bytes) = parts(sealed).ok_or(SealingError::NotOpened)?;
        if id != self.id {
            return Err(SealingError::NotOpened);
        }
        let mut clear = open_bytes(&self.bytes, &context.bound_to(id), &bytes).ok_or(SealingError::NotOpened)?;
        let end = clear.iter().rposition(|byte| *byte != 0).filter(|end| clear[*end] == 0x80).ok_or(SealingError::NotOpened)?;
        clear.truncate(end);
        Ok(clear)
    }

    /// What stands for this value in a digest. Without the key it can be neither made nor tried.
    #[must_use]
    pub fn mark(&self, context: &SealContext<'_>, clear: &[u8]) -> Mark {
        let key = Zeroizing::new(blake3::derive_key("jari 2026 mark of personal data in a command's digest", &*self.bytes));
        let mut hasher = blake3::Hasher::new_keyed(&key);
        hasher.update(&context.bound_to(self.id)).update(clear);
        let mut mark = [0; 8];
        mark[..3].copy_from_slice(&blake3::hash(self.id.as_bytes()).as_bytes()[..3]);
        mark[3..].copy_from_slice(&hasher.finalize().as_bytes()[..5]);
        mark
    }
}

/// The id of the key that a value was sealed under.
pub(crate) fn key_id(sealed: &Sealed) -> Option<Uuid> {
    sealed.as_str().strip_prefix(SEALED_PREFIX)?.split_once(':').and_then(|(id, _)| Uuid::try_parse(id).ok())
}

fn parts(sealed: &Sealed) -> Option<(Uuid, Vec<u8>)> {
    let (_, value) = sealed.as_str().strip_prefix(SEALED_PREFIX)?.split_once(':')?;
    Some((key_id(sealed)?, URL_SAFE_NO_PAD.decode(value).ok()?))
}

/// Nonce, then what was sealed with its tag.
pub(crate) fn seal_bytes(key: &[u8; 32], nonce: [u8; NONCE], bound_to: &[u8], clear: &[u8]) -> Vec<u8> {
    let cipher = XChaCha20Poly1305::new(&(*key).into());
    let sealed = cipher.encrypt(&nonce.into(), Payload { msg: clear, aad: bound_to }).expect("the cipher takes far more bytes than are ever sealed");
    [&nonce[..], &sealed].concat()
}

pub(crate) fn open_bytes(key: &[u8; 32], bound_to: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, rest) = sealed.split_first_chunk::<NONCE>()?;
    let cipher = XChaCha20Poly1305::new(&(*key).into());
    cipher.decrypt(&(*nonce).into(), Payload { msg: rest, aad: bound_to }).ok().map(Zeroizing::new)
}

pub(crate) fn fill(bytes: &mut [u8]) -> Result<(), SealingError> {
    getrandom::fill(bytes).map_err(|_| SealingError::NoRandomness)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HERE: SealContext<'_> = SealContext { aggregate_type: "Order", aggregate_id: "o-1", field: "personal" };

    fn moved() -> [SealContext<'static>; 4] {
        [
            SealContext { aggregate_type: "Session", ..HERE },
            SealContext { aggregate_id: "o-2", ..HERE },
            SealContext { field: "notes", ..HERE },
            // the same letters, cut elsewhere
            SealContext { aggregate_id: "o-1p", field: "ersonal", ..HERE },
        ]
    }

    #[test]
    fn a_value_that_was_moved_to_another_place_does_not_open() {
        let key = SubjectKey::make().unwrap();
        let sealed = key.seal(&HERE, b"Kim Minji").unwrap();
        assert_eq!(*key.open(&HERE, &sealed).unwrap(), b"Kim Minji");
        for context in moved() {
            assert!(key.open(&context, &sealed).is_err(), "{context:?}");
            assert_ne!(key.mark(&context, b"Kim Minji"), key.mark(&HERE, b"Kim Minji"), "{context:?}");
        }
    }

    #[test]
    fn a_value_under_another_persons_key_does_not_open() {
        let (one, other) = (SubjectKey::make().unwrap(), SubjectKey::make().unwrap());
        let sealed = one.seal(&HERE, b"Kim Minji").unwrap();
        assert!(other.open(&HERE, &sealed).is_err());
        // the other's bytes under the one's id: the tag still tells
        assert!(SubjectKey::new(one.id, other.bytes.clone()).open(&HERE, &sealed).is_err());
        assert_ne!(one.mark(&HERE, b"x")[..3], other.mark(&HERE, b"x")[..3], "a mark says which key made it");
    }

    #[test]
    fn a_key_is_shown_by_its_id_and_nothing_else() {
        let key = SubjectKey::new(Uuid::nil(), Zeroizing::new(*b"0123456789abcdef0123456789abcdef"));
        let shown = format!("{key:?}");
        assert!(shown.contains(&Uuid::nil().to_string()) && !shown.contains("0123456789abcdef") && !shown.contains("48, 49"), "{shown}");
    }

    #[test]
    fn what_is_sealed_tells_its_size_in_steps_only() {
        let key = SubjectKey::make().unwrap();
        let size = |clear: &[u8]| key.seal(&HERE, clear).unwrap().as_str().len();
        assert_eq!(size(b"Li"), size(b"Hubert Blaine Wolfeschlegelsteinhausenbergerdorff"));
        assert!(key.seal(&HERE, &[0; MAX_CLEAR_BYTES]).is_ok());
        assert!(matches!(key.seal(&HERE, &[0; MAX_CLEAR_BYTES + 1]), Err(SealingError::TooLarge { .. })));
    }

    proptest! {
        #[test]
        fn whatever_is_sealed_comes_back_and_never_looks_the_same_twice(clear in proptest::collection::vec(any::<u8>(), 0..300)) {
            let key = SubjectKey::make().unwrap();
            let (one, two) = (key.seal(&HERE, &clear).unwrap(), key.seal(&HERE, &clear).unwrap());
            prop_assert_ne!(&one, &two);
            prop_assert_eq!(&*key.open(&HERE, &one).unwrap(), &clear);
            prop_assert_eq!(key.mark(&HERE, &clear), key.mark(&HERE, &clear), "a repeat is known all the same");
        }

        #[test]
        fn a_value_with_any_bit_changed_does_not_open(clear in proptest::collection::vec(any::<u8>(), 0..100), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
            let key = SubjectKey::make().unwrap();
            let (_, mut bytes) = parts(&key.seal(&HERE, &clear).unwrap()).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let text = format!("{SEALED_PREFIX}{}:{}", key.id.simple(), URL_SAFE_NO_PAD.encode(bytes));
            prop_assert!(key.open(&HERE, &Sealed::parse(&text).unwrap()).is_err());
        }
    }
}
