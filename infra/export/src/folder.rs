//! The folder of an export: who may write there, what stands there for ever, and what a killed run left.
//!
//! - `_lock`: held by whoever writes.
//! - `_format`: how its events are written, from the first run on, however that ended.
//! - `_unfinished/`: files on their way; emptied at each start.
//! - `_manifest/`: one file a step; a step exists when its manifest does.
//! - `day=YYYY-MM-DD/`: the events that were recorded on that day in UTC.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use jari_event_store::Position;
use rustix::fs::{FlockOperation, flock};

use crate::{
    error::ExportError,
    manifest::{Format, StepManifest, parse_span},
};

const LOCK: &str = "_lock";
const FORMAT: &str = "_format";
const UNFINISHED: &str = "_unfinished";
const MANIFEST: &str = "_manifest";
/// Before the day, as analysts' tools know the parts of a table.
const DAY: &str = "day=";

/// A folder that this process alone writes to, while it has this.
#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    _lock: File,
}

/// The last step that is there, and the digest of its manifest.
pub(crate) type Last = Option<(StepManifest, String)>;

impl Folder {
    /// Takes the folder, makes it where it is missing, and removes what a run that was killed had not finished. Says how it is written: as it was
    /// asked for, else as it has been, else as most want it.
    pub fn take(root: &Path, asked: Option<Format>) -> Result<(Self, Format, Last), ExportError> {
        let invalid = |what: &str| ExportError::Folder { folder: root.to_owned(), what: what.to_owned() };
        fs::create_dir_all(root).map_err(ExportError::file("make", root))?;
        let manifest = root.join(MANIFEST);
        if !manifest.is_dir() && entries(root)?.iter().any(|name| ![LOCK, FORMAT, UNFINISHED].contains(&name.as_str())) {
            return Err(invalid("holds something that is no export; name an empty folder"));
        }
        let lock = lock(root)?;
        for folder in [root.join(UNFINISHED), manifest] {
            fs::create_dir_all(&folder).map_err(ExportError::file("make", &folder))?;
        }
        let folder = Self { root: root.to_owned(), _lock: lock };
        let last = folder.steps()?.last().map(|path| StepManifest::read(path)).transpose()?;
        let noted = root.join(FORMAT);
        let known = last.as_ref().map(|(step, _)| step.format).or_else(|| Format::parse(fs::read_to_string(&noted).ok()?.trim()));
        let format = known.or(asked).unwrap_or(Format::Parquet);
        if asked.is_some_and(|asked| asked != format) {
            return Err(invalid(&format!("was exported to as {}; go on so, or name another folder", format.name())));
        }
        if known.is_none() {
            fs::write(&noted, format.name()).map_err(ExportError::file("write", &noted))?;
        }
        folder.remove_unfinished(last.as_ref().map_or(Position::START, |(step, _)| step.position))?;
        Ok((folder, format, last))
    }

    /// Where a file is while it is written.
    pub fn unfinished(&self, name: &str) -> PathBuf {
        self.root.join(UNFINISHED).join(name)
    }

    /// Paths of the manifests of all steps, in order.
    pub fn steps(&self) -> Result<Vec<PathBuf>, ExportError> {
        steps(&self.root)
    }

    /// Puts the files of a step in their places, and then its manifest: from that moment on the step is there.
    pub fn keep(&self, files: &[(PathBuf, String)], step: &StepManifest) -> Result<(), ExportError> {
        let mut touched: Vec<PathBuf> = vec![self.root.clone()];
        for (from, to) in files {
            let to = self.root.join(to);
            let parents: Vec<PathBuf> = to.ancestors().skip(1).take_while(|parent| *parent != self.root).map(Path::to_owned).collect();
            if let Some(parent) = parents.first() {
                fs::create_dir_all(parent).map_err(ExportError::file("make", parent))?;
            }
            fs::rename(from, &to).map_err(ExportError::file("move", from))?;
            touched.extend(parents);
        }
        touched.sort_unstable();
        touched.dedup();
        touched.iter().try_for_each(|folder| sync(folder))?;
        let whole = self.unfinished("manifest.json");
        let mut file = File::create(&whole).map_err(ExportError::file("create", &whole))?;
        file.write_all(&step.to_bytes()).and_then(|()| file.sync_all()).map_err(ExportError::file("write", &whole))?;
        let kept = self.root.join(MANIFEST);
        fs::rename(&whole, kept.join(step.name())).map_err(ExportError::file("move", &whole))?;
        sync(&kept)
    }

    /// Whatever a run that was killed left behind: what it was writing, and files of a step without a manifest. Those hold positions after the last
    /// step; all others stay.
    fn remove_unfinished(&self, kept: Position) -> Result<(), ExportError> {
        let writing = self.root.join(UNFINISHED);
        for name in entries(&writing)? {
            remove(&writing.join(name))?;
        }
        for day in entries(&self.root)?.iter().filter(|name| name.starts_with(DAY)) {
            remove_after(&self.root.join(day), kept)?;
        }
        Ok(())
    }
}

/// Below a day: files, or folders of files.
fn remove_after(folder: &Path, kept: Position) -> Result<(), ExportError> {
    for name in entries(folder)? {
        let path = folder.join(&name);
        if path.is_dir() {
            remove_after(&path, kept)?;
        } else if parse_span(&name).is_some_and(|(first, _)| first > kept) {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Every file below the days, by its path from `root`.
pub(crate) fn data_files(root: &Path) -> Result<Vec<String>, ExportError> {
    fn walk(folder: &Path, prefix: &str, into: &mut Vec<String>) -> Result<(), ExportError> {
        for name in entries(folder)? {
            let (path, at) = (folder.join(&name), format!("{prefix}{name}"));
            if path.is_dir() { walk(&path, &format!("{at}/"), into)? } else { into.push(at) }
        }
        Ok(())
    }
    let mut files = Vec::new();
    for day in entries(root)?.iter().filter(|name| name.starts_with(DAY)) {
        walk(&root.join(day), &format!("{day}/"), &mut files)?;
    }
    files.sort_unstable();
    Ok(files)
}

/// The manifests below `root`, in order; they tell of each position once.
pub(crate) fn steps(root: &Path) -> Result<Vec<PathBuf>, ExportError> {
    let folder = root.join(MANIFEST);
    let mut names = entries(&folder)?;
    names.sort_unstable();
    let mut after = Position::START;
    for name in &names {
        let wrong = |what: &str| ExportError::Manifest { path: folder.join(name), what: what.to_owned() };
        let (first, last) = parse_span(name).ok_or_else(|| wrong("is no manifest"))?;
        if first != after.next() || last < first {
            return Err(wrong(&format!("does not follow on position {after}: a manifest is missing, or one is too many")));
        }
        after = last;
    }
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

fn lock(root: &Path) -> Result<File, ExportError> {
    let path = root.join(LOCK);
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = opened.map_err(ExportError::file("open", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            return Err(ExportError::Busy { folder: root.to_owned(), holder: holder.trim().to_owned() });
        }
        Err(error) => return Err(ExportError::file("lock", &path)(error.into())),
    }
    // who it is, for whoever comes second; the lock itself ends with this process, however it ends
    let said = file.set_len(0).and_then(|()| writeln!(file, "process {}", std::process::id()));
    said.map_err(ExportError::file("write", &path))?;
    Ok(file)
}

fn entries(folder: &Path) -> Result<Vec<String>, ExportError> {
    let read = || -> io::Result<Vec<String>> { fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect() };
    read().map_err(ExportError::file("read", folder))
}

fn remove(path: &Path) -> Result<(), ExportError> {
    fs::remove_file(path).map_err(ExportError::file("remove", path))
}

/// What was moved into a folder is there after a crash only when the folder itself was written.
fn sync(folder: &Path) -> Result<(), ExportError> {
    File::open(folder).and_then(|opened| opened.sync_all()).map_err(ExportError::file("sync", folder))
}
