//! The export: reads the log page by page, each page a read of its own, and writes it step by step.

use std::{
    collections::VecDeque,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use jari_event_store::{Position, Reader, RecordedEvent, head_at};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    error::ExportError,
    file::hex,
    folder::{Folder, Last},
    manifest::{Format, name_of},
    step::Step,
};

/// Times as long as a page's read took that the database then rests: an export takes a tenth of one connection's time. With half of it, bookings on two
/// cores lost a fifth (`infra/bench export`).
const REST: u32 = 9;

/// Bounds of an export.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How events are written; `None`: as the folder is, or Parquet.
    pub format: Option<Format>,
    /// Positions of a step, about: what a run that is killed does again, at most.
    pub step_events: u64,
    /// Events a read.
    pub page: usize,
    /// Events a second, at most; `None`: as many as one connection gives in a tenth of its time.
    pub per_second: Option<u32>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { format: None, step_events: 500_000, page: 2_000, per_second: None }
    }
}

/// How far an export is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Everything up to here has been written, though not all of it is kept yet.
    pub position: Position,
    /// Where this run ends: the log's head when it began.
    pub head: Position,
    /// Since this run began.
    pub events_per_second: f64,
    /// Of the whole log, 0 to 100.
    pub percent: f64,
}

/// What a run came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Exported {
    /// Where it went on.
    pub after: Position,
    /// Everything up to here is exported, for ever.
    pub position: Position,
    /// The log's head when it began; greater than `position` when it was stopped.
    pub head: Position,
    /// Events written by this run.
    pub rows: u64,
    /// Files written by this run.
    pub files: u64,
    /// Their length.
    pub bytes: u64,
}

/// Exports what the log has and the folder has not, up to the head as it is now. Ends early, and with everything that it has written, once `stop` is
/// cancelled.
///
/// # Errors
/// [`ExportError`]. What was finished stays; the next run goes on after it.
pub async fn export(
    reader: &Reader,
    folder: &Path,
    settings: Settings,
    mut progress: impl FnMut(Progress),
    stop: &CancellationToken,
) -> Result<Exported, ExportError> {
    let root = folder.to_owned();
    let (folder, format, last) = blocking(move || Folder::take(&root, settings.format)).await?;
    let folder = Arc::new(folder);
    let log_id = reader.identity().await?.log_id;
    let head = reader.head().await?;
    must_go_on(reader, log_id, head, &last).await?;
    let after = last.as_ref().map_or(Position::START, |(step, _)| step.position);
    let mut exported = Exported { after, position: after, head, ..Exported::default() };
    let began = Instant::now();
    let mut step = Step::after(folder.clone(), log_id, format, last);
    // Ends at the head as it was, or when it is stopped: each round takes a page.
    while step.position() < head && !stop.is_cancelled() {
        let asked = Instant::now();
        let mut page = VecDeque::from(reader.log_after(step.position(), settings.page).await?);
        let read = asked.elapsed();
        while page.back().is_some_and(|event| event.position > head) {
            page.pop_back();
        }
        let count = page.len();
        if count == 0 {
            return Err(ExportError::Missing { position: step.position().next() });
        }
        while !page.is_empty() && !stop.is_cancelled() {
            let (taken, rest, failed) = blocking(move || Ok(take(step, page, settings.step_events))).await?;
            (step, page) = (taken, rest);
            if step.len() > 0 && (!page.is_empty() || step.position() >= head || failed.is_some()) {
                let kept = keep(reader, step, &mut exported).await?;
                step = Step::after(folder.clone(), log_id, format, kept);
            }
            if let Some(error) = failed {
                return Err(error);
            }
        }
        let position = step.position();
        let events_per_second = position.since(after) as f64 / began.elapsed().as_secs_f64().max(1e-9);
        progress(Progress { position, head, events_per_second, percent: position.get() as f64 * 100.0 / head.get().max(1) as f64 });
        // an interruption need not wait for the pause
        tokio::select! { () = tokio::time::sleep(pause(&settings, count, read, asked.elapsed())) => {}, () = stop.cancelled() => {} }
    }
    if step.len() > 0 {
        // it was stopped
        keep(reader, step, &mut exported).await?;
    }
    Ok(exported)
}

/// Whether this is the log that was exported before, and holds what was.
async fn must_go_on(reader: &Reader, log_id: Uuid, head: Position, last: &Last) -> Result<(), ExportError> {
    let Some((step, _)) = last else { return Ok(()) };
    if step.log_id != log_id {
        return Err(ExportError::OtherLog { ours: log_id, theirs: step.log_id });
    }
    let position = step.position;
    if head < position {
        return Err(ExportError::LogBehind { exported: position, head });
    }
    let there = reader.log_after(position.previous(), 1).await?;
    let is_there = there.first().is_some_and(|event| event.position == position && name_of(event) == step.event);
    let chained = head_at(reader.database(), position).await?.map(|head| hex(&head));
    if !is_there || (step.head.is_some() && step.head != chained) {
        return Err(ExportError::LogDiffers { position });
    }
    Ok(())
}

/// Takes a page, up to where the step ends or to an event that cannot be taken; gives back what is left. A step that has enough ends with a batch of
/// the log, so that the chain has a head for it: events of one batch were recorded at one time.
pub(crate) fn take(mut step: Step, mut page: VecDeque<RecordedEvent>, enough: u64) -> (Step, VecDeque<RecordedEvent>, Option<ExportError>) {
    let mut last = None;
    let mut failed = None;
    while let Some(event) = page.front() {
        if step.len() >= enough && step.time() != Some(event.recorded_at) {
            break;
        }
        let there = event.stands_behind(step.position()).map_err(ExportError::from);
        if let Err(error) = there.and_then(|()| step.take(event)) {
            failed = Some(error);
            break;
        }
        last = page.pop_front();
    }
    if let Some(last) = last {
        step.mark(&last);
    }
    (step, page, failed)
}

/// Keeps a step, in which something was taken.
async fn keep(reader: &Reader, step: Step, exported: &mut Exported) -> Result<Last, ExportError> {
    let head = head_at(reader.database(), step.position()).await?.map(|head| hex(&head));
    let kept = blocking(move || step.keep(head)).await?;
    if let Some((step, _)) = &kept {
        exported.position = step.position;
        exported.rows += step.rows;
        exported.files += step.files.len() as u64;
        exported.bytes += step.files.iter().map(|file| file.bytes).sum::<u64>();
    }
    Ok(kept)
}

/// How long to leave the database alone after a page: a multiple of what it worked for it, or until the next page is due.
fn pause(settings: &Settings, events: usize, read: Duration, since: Duration) -> Duration {
    match settings.per_second {
        Some(per_second) => Duration::from_secs_f64(events as f64 / f64::from(per_second.max(1))).saturating_sub(since),
        None => read * REST,
    }
}

pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, ExportError> + Send + 'static) -> Result<T, ExportError> {
    // an export that is dropped leaves one page's work behind, which ends by itself
    tokio::task::spawn_blocking(work).await.map_err(|e| ExportError::Broken(e.to_string()))?
}
