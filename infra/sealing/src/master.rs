//! Master keys: what wraps the keys of persons, and is in no database.

use std::{fmt, fs, io::ErrorKind, path::PathBuf};

use base64::{Engine, engine::general_purpose::STANDARD};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::{
    SealingError,
    key::{self, SubjectKey},
    master_file::{self, Alone},
};

/// Most master keys of a file that one is added to: the present one, and former ones that nobody has told to forget. Each that stays is one more
/// that opens old backups of the keys.
const MOST: usize = 16;
/// Most that are read. A file may hold more than [`MOST`]: a version before this one added without counting, and whoever is to forget some must read all.
const MOST_READ: usize = 256;

/// Where master keys come from.
#[derive(Clone)]
pub enum MasterSource {
    /// From the configuration: the present one first, then former ones.
    Given(Vec<Zeroizing<String>>),
    /// From a file that only this account reads: a line each, the present one first. It is read again when a key turns up that none of them wrapped.
    File(PathBuf),
}

impl fmt::Debug for MasterSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(keys) => write!(f, "Given({} keys)", keys.len()),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

impl MasterSource {
    /// Makes the file with one new key in it when there is none; says whether it did.
    ///
    /// # Errors
    /// [`SealingError::File`].
    pub fn provide(&self) -> Result<bool, SealingError> {
        let Self::File(path) = self else { return Ok(false) };
        if path.exists() {
            // a copy that cannot be removed is told, and keeps nobody from starting: the keys themselves are there
            if let Err(error) = master_file::leftovers(path).and_then(|left| if left.is_empty() { Ok(()) } else { Alone::with(path).map(drop) }) {
                tracing::warn!(file = %path.display(), %error, "copies of the master keys that a killed process left beside this file could not be removed");
            }
            return Ok(false);
        }
        fs::create_dir_all(master_file::folder(path)).map_err(SealingError::file(path))?;
        let alone = Alone::with(path).map_err(SealingError::file(path))?;
        match alone.write(&line(&*new_key()?), false) {
            // another node of this machine was first
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            done => done.map(|()| true).map_err(SealingError::file(path)),
        }
    }

    /// Puts a new key before the others of the file.
    ///
    /// # Errors
    /// [`SealingError::TooManyMasterKeys`], [`SealingError::MasterKeyMalformed`], and then nothing was written; [`SealingError::File`], also when
    /// the keys come from the configuration, which only its owner changes.
    pub fn add_new(&self) -> Result<(), SealingError> {
        let Self::File(path) = self else {
            let reason = "the master keys come from keys.master: put the new one there, and the old one into keys.former_masters".to_owned();
            return Err(SealingError::File { path: "keys.master".into(), reason });
        };
        let alone = Alone::with(path).map_err(SealingError::file(path))?;
        let there = self.read()?.keys.len();
        if there >= MOST {
            return Err(SealingError::TooManyMasterKeys { path: path.clone(), there });
        }
        let before = master_file::read(path)?;
        alone.write(&Zeroizing::new(format!("{}{}", &*line(&*new_key()?), &*before)), true).map_err(SealingError::file(path))
    }

    /// Keeps the present key of the file and drops those whose fingerprint is among `retired`; says how many went.
    ///
    /// # Errors
    /// As [`MasterSource::read`].
    pub fn drop_retired(&self, retired: &[String]) -> Result<usize, SealingError> {
        let Self::File(path) = self else { return Ok(0) };
        let alone = Alone::with(path).map_err(SealingError::file(path))?;
        let keys = self.read()?;
        let kept: Vec<&MasterKey> =
            keys.keys.iter().enumerate().filter(|(n, key)| *n == 0 || !retired.contains(&key.id)).map(|(_, key)| key).collect();
        let gone = keys.keys.len() - kept.len();
        if gone > 0 {
            let text: Zeroizing<String> = Zeroizing::new(kept.iter().map(|key| line(&key.bytes).to_string()).collect());
            alone.write(&text, true).map_err(SealingError::file(path))?;
        }
        Ok(gone)
    }

    /// The keys as they stand there now.
    ///
    /// # Errors
    /// [`SealingError::MasterKeyMalformed`], [`SealingError::File`].
    pub fn read(&self) -> Result<MasterKeys, SealingError> {
        let keys: Vec<MasterKey> = match self {
            Self::Given(keys) => {
                let named = |(n, text): (usize, &Zeroizing<String>)| {
                    MasterKey::parse(text, || if n == 0 { "keys.master".into() } else { format!("keys.former_masters, number {n}") })
                };
                keys.iter().enumerate().map(named).collect::<Result<_, _>>()?
            }
            Self::File(path) => {
                let text = master_file::read(path)?;
                let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
                lines.map(|(n, line)| MasterKey::parse(line, || format!("{}, line {}", path.display(), n + 1))).collect::<Result<_, _>>()?
            }
        };
        if keys.is_empty() || keys.len() > MOST_READ {
            let place = if keys.is_empty() { "nothing".to_owned() } else { format!("a list of more than {MOST_READ}") };
            return Err(SealingError::MasterKeyMalformed { place });
        }
        Ok(MasterKeys { keys, present: 0 })
    }
}

fn new_key() -> Result<Zeroizing<[u8; 32]>, SealingError> {
    let mut bytes = Zeroizing::new([0; 32]);
    key::fill(&mut *bytes)?;
    Ok(bytes)
}

fn line(bytes: &[u8; 32]) -> Zeroizing<String> {
    Zeroizing::new(format!("{}\n", STANDARD.encode(bytes)))
}

/// One master key, known by its fingerprint.
struct MasterKey {
    id: String,
    bytes: Zeroizing<[u8; 32]>,
}

impl MasterKey {
    fn parse(text: &str, place: impl Fn() -> String) -> Result<Self, SealingError> {
        let malformed = || SealingError::MasterKeyMalformed { place: place() };
        let decoded = Zeroizing::new(STANDARD.decode(text.trim()).map_err(|_| malformed())?);
        let bytes: Zeroizing<[u8; 32]> = Zeroizing::new(decoded.as_slice().try_into().map_err(|_| malformed())?);
        let fingerprint = blake3::derive_key("jari 2026 fingerprint of a master key", &*bytes);
        let id = fingerprint[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { id, bytes })
    }
}

/// The master keys at hand: the present one, and former ones.
pub struct MasterKeys {
    keys: Vec<MasterKey>,
    present: usize,
}

impl fmt::Debug for MasterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKeys({})", self.ids().join(", "))
    }
}

impl MasterKeys {
    /// The fingerprint of the present one, which wraps new keys.
    #[must_use]
    pub fn present(&self) -> &str {
        &self.keys[self.present].id
    }

    /// Takes the first one for the present one that is not closed in the store, when there is one.
    pub(crate) fn prefer_open(&mut self, closed: &[String]) {
        self.present = self.keys.iter().position(|key| !closed.contains(&key.id)).unwrap_or(0);
    }

    /// All fingerprints, the present one first.
    #[must_use]
    pub fn ids(&self) -> Vec<&str> {
        self.keys.iter().map(|key| key.id.as_str()).collect()
    }

    pub(crate) fn has(&self, id: &str) -> bool {
        self.keys.iter().any(|key| key.id == id)
    }

    pub(crate) fn missing(&self, wanted: &str) -> SealingError {
        SealingError::MasterKeyMissing { wanted: wanted.to_owned(), at_hand: self.ids().join(", ") }
    }

    /// The key under the present master key, bound to its own id and its person.
    pub(crate) fn wrap(&self, key: &SubjectKey, subject: &[u8; 32]) -> Result<Vec<u8>, SealingError> {
        let mut nonce = [0; 24];
        key::fill(&mut nonce)?;
        Ok(key::seal_bytes(&self.keys[self.present].bytes, nonce, &bound_to(key.id(), subject), key.bytes()))
    }

    /// The key that master key `by` wrapped.
    pub(crate) fn open(&self, by: &str, id: Uuid, subject: &[u8], wrapped: &[u8]) -> Result<SubjectKey, SealingError> {
        let master = self.keys.iter().find(|key| key.id == by).ok_or_else(|| self.missing(by))?;
        let clear = key::open_bytes(&master.bytes, &bound_to(id, subject), wrapped).ok_or(SealingError::NotOpened)?;
        let bytes = Zeroizing::new(clear.as_slice().try_into().map_err(|_| SealingError::NotOpened)?);
        Ok(SubjectKey::new(id, bytes))
    }
}

pub(crate) fn bound_to(id: Uuid, subject: &[u8]) -> Vec<u8> {
    [b"jari key v1".as_slice(), id.as_bytes(), subject].concat()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn given(keys: &[[u8; 32]]) -> MasterSource {
        MasterSource::Given(keys.iter().map(|key| Zeroizing::new(STANDARD.encode(key))).collect())
    }

    #[test]
    fn a_wrapped_key_opens_under_its_master_key_its_id_and_its_person_only() {
        let (masters, other) = (given(&[[1; 32], [2; 32]]).read().unwrap(), given(&[[2; 32]]).read().unwrap());
        let (key, subject) = (SubjectKey::make().unwrap(), [9; 32]);
        let wrapped = masters.wrap(&key, &subject).unwrap();
        let present = masters.present().to_owned();
        assert_eq!(masters.open(&present, key.id(), &subject, &wrapped).unwrap().bytes(), key.bytes());
        assert!(matches!(masters.open(&present, Uuid::nil(), &subject, &wrapped), Err(SealingError::NotOpened)));
        assert!(matches!(masters.open(&present, key.id(), &[8; 32], &wrapped), Err(SealingError::NotOpened)));
        assert!(matches!(other.open(&present, key.id(), &subject, &wrapped), Err(SealingError::MasterKeyMissing { .. })));
        assert!(matches!(masters.open(other.present(), key.id(), &subject, &wrapped), Err(SealingError::NotOpened)), "the other one did not wrap it");
    }

    #[test]
    fn what_is_no_master_key_is_named_by_its_place_and_not_shown() {
        for text in ["", "hunter2", "aHVudGVyMg=="] {
            let error = MasterSource::Given(vec![Zeroizing::new(text.into())]).read().unwrap_err().to_string();
            assert!(error.contains("keys.master") && (text.is_empty() || !error.contains(text)), "{error}");
        }
        let shown = format!("{:?} {:?}", given(&[[1; 32]]), given(&[[1; 32]]).read().unwrap());
        assert!(!shown.contains(&STANDARD.encode([1; 32])) && !shown.contains("1, 1, 1"), "{shown}");
    }

    #[test]
    fn a_file_of_master_keys_is_private_made_once_and_rotated_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys/master.key");
        let source = MasterSource::File(path.clone());
        assert!(source.provide().unwrap() && !source.provide().unwrap());
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let first = source.read().unwrap().present().to_owned();
        source.add_new().unwrap();
        let both = source.read().unwrap();
        assert_eq!(both.ids()[1], first);
        assert_ne!(both.present(), first);
        assert_eq!(source.drop_retired(&[first, both.present().to_owned()]).unwrap(), 1, "the present one stays whatever the list says");
        assert_eq!(source.read().unwrap().ids(), [both.present()]);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(source.read(), Err(SealingError::File { .. })), "others may read it");
    }

    #[test]
    fn a_rotation_too_many_is_refused_with_advice_and_leaves_a_file_that_everybody_reads() {
        let folder = tempfile::tempdir().unwrap();
        let source = MasterSource::File(folder.path().join("master.key"));
        source.provide().unwrap();
        for _ in 1..MOST {
            source.add_new().unwrap();
        }
        let full = source.read().unwrap();
        let refused = source.add_new().unwrap_err();
        assert_eq!(refused.code(), "MASTER_KEYS_TOO_MANY");
        assert!(refused.to_string().contains("jari keys rotate --no-new --forget"), "{refused}");
        assert_eq!(source.read().unwrap().ids(), full.ids(), "nothing was written");
        let retired: Vec<String> = full.ids()[1..].iter().map(|id| (*id).to_owned()).collect();
        assert_eq!(source.drop_retired(&retired).unwrap(), MOST - 1);
        source.add_new().unwrap();
        assert_eq!(source.read().unwrap().ids()[1], full.present());
    }

    #[test]
    fn a_file_with_more_master_keys_than_may_be_added_is_read_and_made_shorter() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        let text: String = (0..MOST as u8 + 4).map(|n| line(&[n; 32]).to_string()).collect();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let source = MasterSource::File(path);
        let all: Vec<String> = source.read().unwrap().ids().into_iter().map(ToOwned::to_owned).collect();
        assert_eq!(all.len(), MOST + 4);
        assert!(matches!(source.add_new(), Err(SealingError::TooManyMasterKeys { there: 20, .. })));
        assert_eq!(source.drop_retired(&all[1..]).unwrap(), MOST + 3);
        assert_eq!(source.read().unwrap().ids(), [&*all[0]]);
    }
}
