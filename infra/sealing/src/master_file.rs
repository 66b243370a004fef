//! The file of master keys: private, written whole, changed by one process at a time, and without copies that nobody knows of.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use crate::SealingError;

/// What stands there. A file that others of the machine may read is refused.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<String>, SealingError> {
    let found = fs::metadata(path).map_err(SealingError::file(path))?;
    if found.mode() & 0o077 != 0 {
        let reason = "others may read this file of master keys: chmod 600 it".to_owned();
        return Err(SealingError::File { path: path.to_owned(), reason });
    }
    fs::read_to_string(path).map(Zeroizing::new).map_err(SealingError::file(path))
}

/// Who changes the file, while it has this. Whatever it decides by must be read after this was taken: of two who add a key, the second would else
/// take the first one's away, with all that it has wrapped by then.
pub(crate) struct Alone {
    path: PathBuf,
    /// Given back when it is closed, also by a kill. A file of its own, which stays: the one with the keys is another after each change.
    _lock: File,
}

impl Alone {
    /// Waits for whoever has it, which is for as long as a few lines take to be written, and removes what a killed one left. The folder is there.
    pub fn with(path: &Path) -> io::Result<Self> {
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(beside(path, ".lock"))?;
        lock.lock()?;
        remove_leftovers(path)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Writes the file, whole or not at all: in the place of the one that is there, or where there is none.
    pub fn write(&self, text: &str, replace: bool) -> io::Result<()> {
        let aside = beside(&self.path, ASIDE);
        let written = write_aside(&aside, text).and_then(|()| match replace {
            true => fs::rename(&aside, &self.path),
            // never over one that was put there by hand meanwhile: what it wrapped would be lost
            false => fs::hard_link(&aside, &self.path),
        });
        // also when the disk was full: the copy has keys in it
        let removed = remove_leftovers(&self.path);
        written.and(removed)?;
        File::open(folder(&self.path))?.sync_all()
    }
}

/// How the name goes on of what is written before it takes the file's place.
const ASIDE: &str = ".new";

/// The same name, and more.
fn beside(path: &Path, more: &str) -> PathBuf {
    let mut name = path.file_name().map_or_else(OsString::new, ToOwned::to_owned);
    name.push(more);
    path.with_file_name(name)
}

/// Where the file stands.
pub(crate) fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn write_aside(aside: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(aside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Copies of the file that a killed process left, unless one is just being written.
pub(crate) fn leftovers(path: &Path) -> io::Result<Vec<PathBuf>> {
    let aside = beside(path, ASIDE);
    // a version before this one wrote STEM.PID.new
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let is_one = |found: &Path| {
        let name = found.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let pid = name.strip_prefix(&stem).and_then(|rest| rest.strip_prefix('.')?.strip_suffix(ASIDE));
        found.file_name() == aside.file_name() || pid.is_some_and(|pid| !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let found: Vec<PathBuf> = fs::read_dir(folder(path))?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    Ok(found.into_iter().filter(|found| is_one(found)).collect())
}

/// Else a copy would keep a master key that `--forget` is to destroy.
fn remove_leftovers(path: &Path) -> io::Result<()> {
    let left = leftovers(path)?;
    left.iter().try_for_each(fs::remove_file)?;
    if left.is_empty() { Ok(()) } else { File::open(folder(path))?.sync_all() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MasterSource;

    /// What stands in the folder but for the lock.
    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != "master.key.lock");
        names.sort();
        names
    }

    #[test]
    fn a_copy_of_the_master_keys_that_a_kill_left_goes_at_the_next_start_rotation_or_forgetting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        let source = MasterSource::File(path.clone());
        source.provide().unwrap();
        let changes: [fn(&MasterSource); 3] = [
            |source| assert!(!source.provide().unwrap()),
            |source| source.add_new().unwrap(),
            |source| assert_eq!(source.drop_retired(&[]).unwrap(), 0, "none to drop"),
        ];
        for change in changes {
            // of this version, of the one before, and as killed between the two names of one file
            for left in ["master.key.new", "master.4711.new"] {
                fs::copy(&path, folder.path().join(left)).unwrap();
                change(&source);
                assert_eq!(names(folder.path()), ["master.key"]);
            }
            fs::hard_link(&path, folder.path().join("master.key.new")).unwrap();
            let before = source.read().unwrap().ids().len();
            change(&source);
            assert_eq!(names(folder.path()), ["master.key"]);
            assert!(source.read().unwrap().ids().len() >= before, "the file itself stays");
        }
        for mine in ["master.old.new", "master.key.2025", "other.4711.new", "master..new"] {
            fs::write(folder.path().join(mine), "kept by hand").unwrap();
            source.add_new().unwrap();
            assert!(folder.path().join(mine).exists(), "{mine} is no copy that a kill left");
        }
    }

    #[test]
    fn of_master_keys_that_are_added_at_once_none_takes_another_away() {
        let folder = tempfile::tempdir().unwrap();
        let source = MasterSource::File(folder.path().join("keys/master.key"));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    source.provide().unwrap();
                    source.add_new().unwrap();
                });
            }
        });
        assert_eq!(source.read().unwrap().ids().len(), 9);
        assert_eq!(names(&folder.path().join("keys")), ["master.key"]);
    }
}
