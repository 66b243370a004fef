//! The list of erasures: in the database of the keys, and in a file that outlives every backup of it.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{ErrorKind, Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Mutex,
    time::SystemTime,
};

use jiff::Timestamp;
use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{KeyStore, SealingError, store::Subject};

/// Erasures of one statement, and of one read.
pub(crate) const PIECE: usize = 1_000;

/// One key that was destroyed, or one request that found none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    /// Which key; none when the person had none.
    pub key_id: Option<Uuid>,
    /// Whose.
    pub subject: Subject,
    /// When.
    pub erased_at: Timestamp,
    /// By whose call.
    pub requested_by: String,
    /// The call's id.
    pub request_id: Uuid,
}

/// A file of erasures, a line of JSON each. Only ever added to.
#[derive(Debug)]
pub struct ErasureList {
    path: PathBuf,
    /// Held while a line is written, so that two are not mixed.
    writing: Mutex<()>,
}

impl ErasureList {
    /// The list in this file, which need not be there yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), writing: Mutex::new(()) }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What stands in it. A last line that was cut off by a crash is left out: its erasure had not been answered.
    ///
    /// # Errors
    /// [`SealingError::ListUnreadable`] for any other line that is none; [`SealingError::File`].
    pub fn read(&self) -> Result<Vec<Erasure>, SealingError> {
        Ok(self.read_whole()?.0)
    }

    /// The same, and how far that is.
    fn read_whole(&self) -> Result<(Vec<Erasure>, ReadUpTo), SealingError> {
        self.opened()?.map_or_else(|| Ok(Default::default()), |mut file| self.read_on(&mut file, ReadUpTo::default()))
    }

    /// What was added after `from`, by whichever process, and how far the list is read then. Nothing while somebody writes: what is taken back when
    /// the disk is full was never there. Blocks on the disk.
    ///
    /// # Errors
    /// As [`ErasureList::read`].
    pub(crate) fn news(&self, from: ReadUpTo) -> Result<(Vec<Erasure>, ReadUpTo), SealingError> {
        let Some(mut file) = self.opened()? else { return Ok(Default::default()) };
        let found = file.metadata().map_err(SealingError::file(&self.path))?;
        if (from.file, from.bytes) == ((found.dev(), found.ino()), found.len()) {
            return Ok((Vec::new(), from));
        }
        match file.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok((Vec::new(), from)),
            Err(TryLockError::Error(error)) => return Err(SealingError::file(&self.path)(error)),
        }
        let read = self.read_on(&mut file, from)?;
        if !read.0.is_empty() {
            // whoever wrote it may have been killed before it was on the disk, and no key goes before its line is
            file.sync_all().map_err(SealingError::file(&self.path))?;
        }
        Ok(read)
    }

    fn opened(&self) -> Result<Option<File>, SealingError> {
        match File::open(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some).map_err(SealingError::file(&self.path)),
        }
    }

    fn read_on(&self, file: &mut File, from: ReadUpTo) -> Result<(Vec<Erasure>, ReadUpTo), SealingError> {
        let mut read = || {
            let found = file.metadata()?;
            // another list in its place, or one that was cut: from its beginning
            let is_same = from.file == (found.dev(), found.ino()) && from.bytes <= found.len();
            let from = if is_same { from } else { ReadUpTo { file: (found.dev(), found.ino()), ..ReadUpTo::default() } };
            let mut text = String::new();
            file.seek(SeekFrom::Start(from.bytes))?;
            file.read_to_string(&mut text)?;
            Ok((text, from))
        };
        let (text, mut up_to) = read().map_err(SealingError::file(&self.path))?;
        let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        let mut erasures = Vec::new();
        for line in whole.lines() {
            up_to.lines += 1;
            if !line.is_empty() {
                let unreadable = |_| SealingError::ListUnreadable { path: self.path.clone(), line: up_to.lines };
                erasures.push(serde_json::from_str(line).map_err(unreadable)?);
            }
        }
        up_to.bytes += whole.len() as u64;
        Ok((erasures, up_to))
    }

    /// Adds these, durably. Blocks on the disk.
    ///
    /// # Errors
    /// [`SealingError::File`].
    pub fn add(&self, erasures: &[Erasure]) -> Result<(), SealingError> {
        let mut lines = String::new();
        for erasure in erasures {
            lines.push_str(&serde_json::to_string(erasure).expect("ids, a time and texts can always be written as JSON"));
            lines.push('\n');
        }
        let _one_at_a_time = self.writing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.write(&lines).map_err(SealingError::file(&self.path))
    }

    fn write(&self, lines: &str) -> std::io::Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let is_new = !self.path.exists();
        if is_new {
            fs::create_dir_all(folder)?;
        }
        let mut file = OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(&self.path)?;
        // Nodes may share the list: what one cuts off as a rest could be the line that another is writing. Given back with the file.
        file.lock()?;
        cut_to_whole_lines(&mut file)?;
        let before = file.metadata()?.len();
        let written = file.write_all(lines.as_bytes()).and_then(|()| file.sync_all());
        let written = written.and_then(|()| if is_new { File::open(folder)?.sync_all() } else { Ok(()) });
        if written.is_err() {
            // its caller hears that nothing was done, and what stands here is done sooner or later. What cannot be taken back either stays a line
            let _ = file.set_len(before);
        }
        written
    }
}

/// How far a list was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ReadUpTo {
    /// Which file it was: its device, and its number there.
    file: (u64, u64),
    bytes: u64,
    lines: usize,
}

/// What a crash left of a last line goes: it would stand in the way of the next one.
fn cut_to_whole_lines(file: &mut File) -> std::io::Result<()> {
    let size = file.metadata()?.len();
    let mut last = [0; 1];
    if size == 0 || (file.read_exact_at(&mut last, size - 1).is_ok() && last == *b"\n") {
        return Ok(());
    }
    let mut text = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut text)?;
    file.set_len(text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end as u64 + 1))
}

impl KeyStore {
    /// Destroys every key on the list that is there, and notes what was not noted. Says how many keys were there: after a restore, those that the
    /// backup had brought back.
    ///
    /// # Errors
    /// [`SealingError::Database`].
    pub async fn apply(&self, erasures: &[Erasure]) -> Result<u64, SealingError> {
        let client = self.database.connection().await?;
        let statement = client.prepare_cached(include_str!("sql/apply_erasures.sql")).await?;
        let mut gone = 0;
        for piece in erasures.chunks(PIECE) {
            let ids: Vec<Option<Uuid>> = piece.iter().map(|e| e.key_id).collect();
            let subjects: Vec<&[u8]> = piece.iter().map(|e| e.subject.bytes().as_slice()).collect();
            let times: Vec<SystemTime> = piece.iter().map(|e| instant(e.erased_at)).collect();
            let callers: Vec<&str> = piece.iter().map(|e| e.requested_by.as_str()).collect();
            let requests: Vec<Uuid> = piece.iter().map(|e| e.request_id).collect();
            let row = client.query_one(&statement, &[&ids, &subjects, &times, &callers, &requests]).await?;
            gone += u64::try_from(row.try_get::<_, i64>(0)?).unwrap_or(0);
        }
        Ok(gone)
    }

    /// Every erasure that is noted, oldest first.
    ///
    /// # Errors
    /// [`SealingError::Database`].
    pub async fn erasures(&self) -> Result<Vec<Erasure>, SealingError> {
        let client = self.database.connection().await?;
        let statement = client.prepare_cached(include_str!("sql/list_erasures.sql")).await?;
        let (mut all, mut after) = (Vec::new(), 0_i64);
        // ends with a piece that is not full; each round moves `after` forward
        loop {
            let rows = client.query(&statement, &[&after, &(PIECE as i64)]).await?;
            for row in &rows {
                after = row.try_get(0)?;
                let Some(subject) = Subject::from_bytes(row.try_get(2)?) else { continue };
                all.push(Erasure {
                    key_id: row.try_get(1)?,
                    subject,
                    erased_at: timestamp(row.try_get(3)?),
                    requested_by: row.try_get(4)?,
                    request_id: row.try_get(5)?,
                });
            }
            if rows.len() < PIECE {
                return Ok(all);
            }
        }
    }

    /// Adds to a list what the database has and it has not; changes nothing in the database. Gives how many erasures the list has that the database does
    /// not know: then it is another database's list, or a restored database.
    ///
    /// # Errors
    /// As [`ErasureList::read`], [`ErasureList::add`].
    pub async fn copy_to(&self, list: &ErasureList) -> Result<usize, SealingError> {
        let (listed, here) = (list.read()?, self.erasures().await?);
        let known: FxHashSet<(&str, Uuid)> = here.iter().map(|e| (e.requested_by.as_str(), e.request_id)).collect();
        let unknown = listed.iter().filter(|e| !known.contains(&(e.requested_by.as_str(), e.request_id))).count();
        let there: FxHashSet<(&str, Uuid)> = listed.iter().map(|e| (e.requested_by.as_str(), e.request_id)).collect();
        let missing: Vec<Erasure> = here.iter().filter(|e| !there.contains(&(e.requested_by.as_str(), e.request_id))).cloned().collect();
        if !missing.is_empty() {
            list.add(&missing)?;
        }
        Ok(unknown)
    }

    /// Brings list and database together: what stands in one stands in both afterwards. Says how many keys the list destroyed.
    ///
    /// # Errors
    /// As [`ErasureList::read`], [`KeyStore::apply`].
    pub async fn agree_with(&self, list: &ErasureList) -> Result<u64, SealingError> {
        Ok(self.agree(list).await?.0)
    }

    /// The same; and up to where the list is known to be carried out.
    pub(crate) async fn agree(&self, list: &ErasureList) -> Result<(u64, ReadUpTo), SealingError> {
        let (listed, up_to) = list.read_whole()?;
        let gone = self.apply(&listed).await?;
        let known: FxHashSet<(&str, Uuid)> = listed.iter().map(|e| (e.requested_by.as_str(), e.request_id)).collect();
        let mut missing = self.erasures().await?;
        missing.retain(|e| !known.contains(&(e.requested_by.as_str(), e.request_id)));
        if !missing.is_empty() {
            list.add(&missing)?;
        }
        Ok((gone, up_to))
    }
}

pub(crate) fn instant(at: Timestamp) -> SystemTime {
    SystemTime::try_from(at).unwrap_or(SystemTime::UNIX_EPOCH)
}

pub(crate) fn timestamp(at: SystemTime) -> Timestamp {
    Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn erasure(n: u128) -> Erasure {
        let subject = Subject::of(&n.to_string());
        Erasure {
            key_id: Some(Uuid::from_u128(n)),
            subject,
            erased_at: Timestamp::UNIX_EPOCH,
            requested_by: "privacy".into(),
            request_id: Uuid::from_u128(n),
        }
    }

    #[test]
    fn a_list_that_a_crash_cut_off_goes_on_after_its_last_whole_line() {
        let folder = tempfile::tempdir().unwrap();
        let list = ErasureList::new(folder.path().join("keys/erasures.jsonl"));
        assert_eq!(list.read().unwrap(), []);
        list.add(&[erasure(1), erasure(2)]).unwrap();
        assert_eq!(list.read().unwrap(), [erasure(1), erasure(2)]);
        let whole = fs::read_to_string(list.path()).unwrap();
        fs::write(list.path(), &whole[..whole.len() - 10]).unwrap();
        assert_eq!(list.read().unwrap(), [erasure(1)], "what was cut off had not been answered");
        list.add(&[erasure(3)]).unwrap();
        assert_eq!(list.read().unwrap(), [erasure(1), erasure(3)]);
    }

    #[test]
    fn a_line_that_is_no_erasure_is_named_and_never_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let list = ErasureList::new(folder.path().join("erasures.jsonl"));
        list.add(&[erasure(1)]).unwrap();
        let of_nobody = serde_json::to_string(&erasure(2)).unwrap().replace(&erasure(2).subject.to_hex(), "xyz") + "\n";
        for bad in ["nonsense\n", "{}\n", &of_nobody] {
            let before = fs::read_to_string(list.path()).unwrap();
            fs::write(list.path(), format!("{before}{bad}")).unwrap();
            assert!(matches!(list.read(), Err(SealingError::ListUnreadable { line: 2, .. })), "{bad}");
            fs::write(list.path(), before).unwrap();
        }
    }

    #[test]
    fn what_others_add_to_a_list_is_news_once_and_another_list_in_its_place_is_all_news() {
        let folder = tempfile::tempdir().unwrap();
        let list = ErasureList::new(folder.path().join("erasures.jsonl"));
        assert_eq!(list.news(ReadUpTo::default()).unwrap(), (Vec::new(), ReadUpTo::default()));
        list.add(&[erasure(1)]).unwrap();
        let (news, up_to) = list.news(ReadUpTo::default()).unwrap();
        assert_eq!(news, [erasure(1)]);
        assert_eq!(list.news(up_to).unwrap(), (Vec::new(), up_to));

        let elsewhere = ErasureList::new(list.path());
        elsewhere.add(&[erasure(2), erasure(3)]).unwrap();
        let whole = fs::read_to_string(list.path()).unwrap();
        fs::write(list.path(), format!("{whole}{{\"key_id")).unwrap();
        let (news, up_to) = list.news(up_to).unwrap();
        assert_eq!(news, [erasure(2), erasure(3)], "not what was cut off");
        elsewhere.add(&[erasure(4)]).unwrap();
        let (news, up_to) = list.news(up_to).unwrap();
        assert_eq!(news, [erasure(4)]);

        fs::write(list.path(), format!("{}nonsense\n", fs::read_to_string(list.path()).unwrap())).unwrap();
        assert!(matches!(list.news(up_to), Err(SealingError::ListUnreadable { line: 5, .. })), "counted from the list's beginning");

        let other = ErasureList::new(folder.path().join("other.jsonl"));
        let many: Vec<Erasure> = (10..30).map(erasure).collect();
        other.add(&many).unwrap();
        fs::rename(other.path(), list.path()).unwrap();
        assert_eq!(list.news(up_to).unwrap().0, many);
    }

    #[test]
    fn a_line_that_somebody_is_writing_is_no_news_yet() {
        let folder = tempfile::tempdir().unwrap();
        let list = ErasureList::new(folder.path().join("erasures.jsonl"));
        list.add(&[erasure(1)]).unwrap();
        let writing = OpenOptions::new().append(true).open(list.path()).unwrap();
        writing.lock().unwrap();
        assert_eq!(list.news(ReadUpTo::default()).unwrap(), (Vec::new(), ReadUpTo::default()));
        drop(writing);
        assert_eq!(list.news(ReadUpTo::default()).unwrap().0, [erasure(1)]);
    }

    /// Where a part of the test below writes.
    const SMALL_DISK: &str = "JARI_TEST_SMALL_DISK";

    #[test]
    #[ignore = "a part: adds to a list on a disk with little room"]
    fn part_that_adds_more_than_there_is_room_for() {
        let Ok(path) = std::env::var(SMALL_DISK) else { return };
        let many: Vec<Erasure> = (2..100).map(erasure).collect();
        assert!(matches!(ErasureList::new(path).add(&many), Err(SealingError::File { .. })));
    }

    #[test]
    fn erasures_for_which_there_is_no_room_are_on_the_list_neither_whole_nor_in_part() {
        let folder = tempfile::tempdir().unwrap();
        let list = ErasureList::new(folder.path().join("erasures.jsonl"));
        list.add(&[erasure(1)]).unwrap();
        let before = fs::read_to_string(list.path()).unwrap();
        // the shell's limit stands for the disk; ignored, its signal is an error of the write, as that of a full disk
        let ran = std::process::Command::new("sh")
            .args(["-c", r#"trap "" XFSZ; ulimit -f 4; exec "$0" "$@""#])
            .arg(std::env::current_exe().unwrap())
            .args(["erasures::tests::part_that_adds_more_than_there_is_room_for", "--exact", "--ignored"])
            .env(SMALL_DISK, list.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success() && said.contains("1 passed"), "{said}");
        assert_eq!(fs::read_to_string(list.path()).unwrap(), before, "they were told as not done");
    }
}
