//! Whether a folder holds what its manifests say.

use std::{collections::BTreeSet, path::Path};

use jari_event_store::{LogError, Position, Reader, head_at};
use uuid::Uuid;

use crate::{
    error::ExportError,
    file::{digest, hex},
    folder::{data_files, steps},
    manifest::{FileEntry, StepManifest, parse_span},
};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    /// Of the log; `None` while nothing is exported.
    pub log_id: Option<Uuid>,
    /// The export ends here.
    pub position: Position,
    /// Steps in it.
    pub steps: u64,
    /// Events in it.
    pub rows: u64,
    /// Files in it.
    pub files: u64,
    /// Heads of the log's chain that its manifests name: position, and the head in hexadecimal.
    pub heads: Vec<(Position, String)>,
    /// What is not as it should be, in words; empty when all is well.
    pub findings: Vec<String>,
}

/// Reads every manifest and every file below `root`, and compares lengths and digests. Takes no lock: what another process adds meanwhile is left out.
///
/// # Errors
/// [`ExportError::Manifest`] for manifests that are none or do not follow on each other, [`ExportError::File`] for what cannot be read.
pub fn check(root: &Path) -> Result<Checked, ExportError> {
    let mut checked = Checked::default();
    let mut before: Option<String> = None;
    let mut named = BTreeSet::new();
    for path in steps(root)? {
        let (step, digest) = StepManifest::read(&path)?;
        if step.previous != before {
            let what = "names another manifest as the one before it: one of the two was changed".to_owned();
            return Err(ExportError::Manifest { path, what });
        }
        if checked.log_id.is_some_and(|log_id| log_id != step.log_id) {
            return Err(ExportError::Manifest { path, what: "is of another log than the one before it".to_owned() });
        }
        checked.log_id = Some(step.log_id);
        checked.position = step.position;
        checked.steps += 1;
        checked.rows += step.rows;
        if step.files.iter().map(|file| file.rows).sum::<u64>() != step.rows {
            checked.findings.push(format!("{}: its files have other numbers of events than it says", path.display()));
        }
        for file in &step.files {
            checked.files += 1;
            named.insert(file.path.clone());
            checked.findings.extend(differs(root, file));
        }
        checked.heads.extend(step.head.map(|head| (step.position, head)));
        before = Some(digest);
    }
    // whoever reads all files of a day reads these, too
    for stranger in data_files(root)?.into_iter().filter(|path| !named.contains(path)) {
        let span = stranger.rsplit('/').next().and_then(parse_span);
        match span {
            // of a step that is being written, or was when its run was killed: the next run makes it anew
            Some((first, _)) if first > checked.position => {}
            _ => checked.findings.push(format!("{stranger}: no manifest names it, and whoever reads the folder reads it")),
        }
    }
    Ok(checked)
}

fn differs(root: &Path, file: &FileEntry) -> Option<String> {
    match digest(&root.join(&file.path)) {
        Err(error) => Some(format!("{}: {error}", file.path)),
        Ok((bytes, _)) if bytes != file.bytes => Some(format!("{}: has {bytes} bytes, not {}", file.path, file.bytes)),
        Ok((_, sha256)) if sha256 != file.sha256 => Some(format!("{}: holds other bytes than were written", file.path)),
        Ok(_) => None,
    }
}

/// Puts the heads that the manifests name beside those of the log: whether this is still the log that was exported.
///
/// # Errors
/// [`LogError`].
pub async fn check_chain(reader: &Reader, checked: &mut Checked) -> Result<(), LogError> {
    let log_id = reader.identity().await?.log_id;
    if let Some(theirs) = checked.log_id.filter(|theirs| *theirs != log_id) {
        checked.findings.push(format!("holds the history of log {theirs}, and this is log {log_id}"));
        return Ok(());
    }
    for (position, head) in &checked.heads {
        match head_at(reader.database(), *position).await? {
            Some(here) if hex(&here) == *head => {}
            _ => checked.findings.push(format!("position {position}: the log has another head than when it was exported")),
        }
    }
    Ok(())
}
