//! Digests of typed commands: what makes a reused id with another command visible, and says nothing about the command to a reader.

use jari_event_store::LogIdentity;

use super::Origin;

/// The canonical form's version: raised when the same command would be written differently, so that old digests are not compared with new.
const FORM: &[u8] = b"1";

/// Of a digest with a mark: how many bytes are of what is not personal, and how many of the mark then say under which key it was made.
const IMPERSONAL: usize = 8;
const KEY_TAG: usize = 3;

/// What a person's key makes of personal data ([`Digester::with_mark`]): 3 bytes that stand for the key, and 5 that only it makes of this data.
pub type Mark = [u8; 8];

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
        let mut digest = [0; 16];
        digest.copy_from_slice(&self.hash(name, canonical, &[])[..16]);
        digest
    }

    /// The digest of a command with personal data: `canonical` is without it, `mark` is what the person's key makes of it. When the key is
    /// destroyed, nobody can try any more whether a guess of the data fits.
    #[must_use]
    pub fn with_mark(&self, name: &str, canonical: &[u8], mark: Mark) -> [u8; 16] {
        let mut digest = [0; 16];
        digest[..IMPERSONAL].copy_from_slice(&self.hash(name, canonical, b"marked")[..IMPERSONAL]);
        digest[IMPERSONAL..].copy_from_slice(&mark);
        digest
    }

    fn hash(&self, name: &str, canonical: &[u8], kind: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(FORM).update(name.as_bytes()).update(&[0]).update(kind).update(canonical);
        *hasher.finalize().as_bytes()
    }
}

/// Whether a recorded command is the one that is asked for now. One with a mark whose key is another by now (it was destroyed) is known by
/// the rest of it: what was personal in it cannot be compared any more.
pub(super) fn is_same(recorded: &[u8; 16], origin: &Origin) -> bool {
    let asked = &origin.digest;
    let key_is_another = || recorded[IMPERSONAL..IMPERSONAL + KEY_TAG] != asked[IMPERSONAL..IMPERSONAL + KEY_TAG];
    recorded == asked || (origin.is_marked && recorded[..IMPERSONAL] == asked[..IMPERSONAL] && key_is_another())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_the_same_bytes_are_told_apart_by_their_names() {
        let digester = Digester { key: [7; 32] };
        assert_ne!(digester.digest("confirm_hold", b"seat 1"), digester.digest("release_hold", b"seat 1"));
        assert_ne!(digester.digest("hold", b"seat 1"), digester.digest("hold", b"seat 2"));
        let marked = |name| digester.with_mark(name, b"two seats", *b"keydata1");
        assert_ne!(marked("place_order"), marked("change_order"));
    }

    #[test]
    fn a_marked_command_is_known_by_all_of_it_until_its_key_is_gone() {
        let digester = Digester { key: [7; 32] };
        let marked =
            |canonical: &[u8], mark| Origin { digest: digester.with_mark("place_order", canonical, mark), is_marked: true, ..Origin::default() };
        let mark = *b"keydata1";
        let recorded = marked(b"two seats", mark).digest;
        assert!(is_same(&recorded, &marked(b"two seats", mark)));
        assert!(!is_same(&recorded, &marked(b"two seats", *b"keydata2")), "other personal data under the same key");
        assert!(is_same(&recorded, &marked(b"two seats", *b"otherkey")), "the key is gone: the rest decides");
        assert!(!is_same(&recorded, &marked(b"six seats", *b"otherkey")));
        let plain = Origin { digest: digester.digest("place_order", b"two seats"), ..Origin::default() };
        assert!(!is_same(&recorded, &plain) && !is_same(&plain.digest, &marked(b"two seats", mark)), "with personal data, or without");
        let unmarked = Origin { is_marked: false, ..marked(b"two seats", *b"otherkey") };
        assert!(!is_same(&recorded, &unmarked), "a digest without a mark is compared whole");
    }

    #[test]
    fn what_was_recorded_under_an_id_is_compared_with_the_same_bytes_for_as_long_as_ids_are_remembered() {
        let digester = Digester { key: std::array::from_fn(|n| u8::try_from(n).unwrap()) };
        let hex = |digest: [u8; 16]| digest.map(|byte| format!("{byte:02x}")).concat();
        let plain = hex(digester.digest("place_order", b"two seats"));
        let marked = hex(digester.with_mark("place_order", b"two seats", *b"keydata1"));
        let recorded = ("45584bf05e34000770253fa5c39ff1b0", "71fd7272ab1e72ac6b65796461746131");
        assert_eq!((&*plain, &*marked), recorded, "whoever repeats what an older program recorded would hear COMMAND_ID_REUSED");
    }
}
