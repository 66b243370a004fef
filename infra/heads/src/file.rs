//! The file of heads: a line of JSON for each, the newest last.

use std::{
    fs::{self, File, TryLockError},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use jari_contract::LogHeadSigned;

use crate::HeadsError;

/// The end of the file that holds the last line for sure: a line has some 400 bytes.
const TAIL: u64 = 4_096;

/// Appends heads. Locked: one process writes.
#[derive(Debug)]
pub(crate) struct HeadsFile {
    path: PathBuf,
    file: File,
}

impl HeadsFile {
    /// Opens the file, or makes it. What a crash left of a line goes.
    pub(crate) fn open(path: &Path) -> Result<Self, HeadsError> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(HeadsError::file(folder))?;
        }
        let opened = File::options().read(true).append(true).create(true).open(path);
        let mut file = opened.map_err(HeadsError::file(path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(HeadsError::Taken { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(HeadsError::file(path)(error)),
        }
        mend(&mut file).map_err(HeadsError::file(path))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Adds a head. It is on the disk when this returns; when it cannot be, as on a full disk, no part of it stays.
    pub(crate) fn append(&mut self, head: &LogHeadSigned) -> Result<(), HeadsError> {
        let mut line = serde_json::to_vec(head).expect("a head is plain text and a number");
        line.push(b'\n');
        self.add(&line).map_err(HeadsError::file(&self.path))
    }

    fn add(&mut self, line: &[u8]) -> std::io::Result<()> {
        // What an earlier failure left, and could not take back: with a line after it, it would be no head in the middle of the file, for ever.
        mend(&mut self.file)?;
        let before = self.file.metadata()?.len();
        let written = self.file.write_all(line).and_then(|()| self.file.sync_data());
        if written.is_err() {
            // also a whole line whose sync failed: nobody knows what of it is on the disk. If this fails, too, see above
            let _ = self.file.set_len(before);
        }
        written
    }
}

fn tail(file: &mut File) -> std::io::Result<(u64, Vec<u8>)> {
    let length = file.seek(SeekFrom::End(0))?;
    let start = length.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    Ok((start, bytes))
}

fn mend(file: &mut File) -> std::io::Result<()> {
    let (start, bytes) = tail(file)?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    // more than a line's length without an end is no torn line of ours: it is left for `jari verify` to name
    if whole < bytes.len() && (whole > 0 || start == 0) {
        file.set_len(start + u64::try_from(whole).unwrap_or(u64::MAX))?;
        file.sync_data()?;
    }
    Ok(())
}

/// The newest head in a file; none when there is no file, or no head at its end.
///
/// # Errors
/// [`HeadsError::File`].
pub fn newest_in(path: &Path) -> Result<Option<LogHeadSigned>, HeadsError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(HeadsError::file(path)(error)),
    };
    let (_, bytes) = tail(&mut file).map_err(HeadsError::file(path))?;
    Ok(bytes.split(|byte| *byte == b'\n').rev().find_map(|line| serde_json::from_slice(line).ok()))
}
