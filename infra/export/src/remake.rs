//! Whether the rows of an export are what the log holds: every step is made once more, and must come out the same.

use std::{
    collections::VecDeque,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use jari_event_store::{Reader, head_at};
use uuid::Uuid;

use crate::{
    check::Checked,
    error::ExportError,
    export::{blocking, take},
    file::hex,
    folder::{Folder, Last, steps},
    manifest::StepManifest,
    step::Step,
};

/// Events a read.
const PAGE: usize = 2_000;

/// A folder of its own, gone with its owner.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // what cannot be removed lies where the system clears up by itself
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Makes every step that `root` holds anew from the log, in a folder of its own below that for temporary files (it takes the space of one step), and
/// compares what comes out with the manifests, digest by digest. With [`crate::check`] and the walk of the log's chain this proves every row against the
/// chain's head. A version of this program that writes the same rows into other bytes says of each file that it differs.
///
/// # Errors
/// [`ExportError`].
pub async fn check_rows(reader: &Reader, root: &Path, checked: &mut Checked) -> Result<(), ExportError> {
    let log_id = reader.identity().await?.log_id;
    let mut last: Last = None;
    for path in steps(root)? {
        let read = StepManifest::read(&path)?;
        checked.findings.extend(differences(&read.0, remake(reader, log_id, &read.0, last).await?.as_ref()));
        last = Some(read);
    }
    Ok(())
}

async fn remake(reader: &Reader, log_id: Uuid, step: &StepManifest, last: Last) -> Result<Option<StepManifest>, ExportError> {
    let scratch = Scratch(std::env::temp_dir().join(format!("jari-export-{}", Uuid::now_v7())));
    let (root, format) = (scratch.0.clone(), step.format);
    let (folder, ..) = blocking(move || Folder::take(&root, Some(format))).await?;
    let mut made = Step::after(Arc::new(folder), log_id, format, last);
    // Ends with the step, or with the log: each round takes a page.
    while made.position() < step.position {
        let mut page = VecDeque::from(reader.log_after(made.position(), PAGE).await?);
        page.retain(|event| event.position <= step.position);
        if page.is_empty() {
            break;
        }
        let (taken, _, failed) = blocking(move || Ok(take(made, page, u64::MAX))).await?;
        made = taken;
        match failed {
            None => {}
            Some(ExportError::Missing { .. }) => return Ok(None),
            Some(error) => return Err(error),
        }
    }
    if made.len() == 0 {
        return Ok(None);
    }
    let head = head_at(reader.database(), made.position()).await?.map(|head| hex(&head));
    let made = blocking(move || made.keep(head)).await?.map(|(made, _)| made);
    // here, where it may take its time
    blocking(move || fs::remove_dir_all(&scratch.0).map_err(ExportError::file("remove", &scratch.0))).await?;
    Ok(made)
}

fn differences(step: &StepManifest, made: Option<&StepManifest>) -> Vec<String> {
    let positions = format!("positions {} to {}", step.after.next(), step.position);
    let Some(made) = made else { return vec![format!("{positions}: the log does not hold them")] };
    let files = step.files.iter().filter(|file| !made.files.contains(file));
    let mut found: Vec<String> = files.map(|file| format!("{}: the log makes another file of these events", file.path)).collect();
    let missing = made.files.iter().filter(|made| step.files.iter().all(|file| file.path != made.path));
    found.extend(missing.map(|made| format!("{}: the log makes this file, and the manifest does not name it", made.path)));
    if found.is_empty() && made != step {
        found.push(format!("{positions}: the log makes another manifest of them"));
    }
    found
}
