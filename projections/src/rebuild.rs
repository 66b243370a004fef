//! Makes a view anew beside the live one, and switches in one step.
//!
//! | Step | A kill here leaves | The next call |
//! |---|---|---|
//! | 1 begin: a build `building`, its tables | the build, at 0 | goes on with it |
//! | 2 read the log, range by range | the build, at its checkpoint | goes on from there |
//! | 3 try the streams again that it holds back, and read on | the build, at its checkpoint | goes on from there |
//! | 4 switch: read the last events under the live build's lock, `live` becomes `retired`, `building` becomes `live` | either of the two | goes on, or begins anew |
//! | 5 drop what is retired | a retired build that nobody reads | drops it; so does whoever writes the view next |

use std::time::Duration;

use jari_domain::Position;
use jari_event_store::{Database, LogError, Reader};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    build_connection::Fault,
    builds,
    catch_up::{RANGE, Until, complete},
    projection::Projection,
    views::VIEWS,
};

/// Events that may be folded while the live view stands still for the switch.
const LAST_EVENTS: u64 = 10_000;
/// Pauses after a failure of the database.
const PAUSE: Duration = Duration::from_millis(500);

/// How far a rebuild, or a replay, is.
#[derive(Debug, Clone, PartialEq)]
pub struct RebuildProgress {
    /// Read up to here.
    pub position: Position,
    /// Of the log; of a replay: where it ends.
    pub head: Position,
    /// Since this call began.
    pub events_per_second: f64,
    /// At that speed; `None` before it is known.
    pub time_left: Option<Duration>,
}

/// What a rebuild came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// The build that is live now.
    pub build: i64,
    /// Its position at the switch.
    pub position: Position,
    /// Events of the log that this call passed, those of other aggregates included.
    pub events: u64,
}

/// Why a view was not rebuilt. Calling again goes on where it stopped.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// No view has that name.
    #[error("no view is called {name:?}; there are {}", view_names().join(", "))]
    ViewUnknown {
        /// As asked.
        name: String,
    },
    /// Somebody else is at it.
    #[error("view {0:?} is being rebuilt already")]
    UnderWay(&'static str),
    /// The caller stopped it.
    #[error("stopped; the next rebuild goes on from here")]
    Stopped,
    /// See the message.
    #[error("{0}")]
    Halted(String),
    /// The database.
    #[error("{0}")]
    Away(#[from] LogError),
}

/// The names of all views.
#[must_use]
pub fn view_names() -> Vec<&'static str> {
    VIEWS.iter().map(|view| view.name()).collect()
}

/// Makes `view` anew from the log, beside the live one, which goes on; then switches. Whoever serves the view finds the new one by itself.
///
/// # Errors
/// [`RebuildError`]. What was made so far is kept.
pub async fn rebuild(
    database: &Database,
    view: &str,
    mut progress: impl FnMut(&RebuildProgress),
    stop: &CancellationToken,
) -> Result<Rebuilt, RebuildError> {
    let view = VIEWS.iter().copied().find(|v| v.name() == view).ok_or_else(|| RebuildError::ViewUnknown { name: view.into() })?;
    // Held by a connection of its own: it goes when this process does, however it ends.
    let lock = builds::try_lock(database, &format!("rebuild.{}", view.name())).await?.ok_or(RebuildError::UnderWay(view.name()))?;
    builds::prepare(database).await?;
    builds::provide(database, view).await?;
    builds::drop_dead(database, view).await?;
    let reader = Reader::new(database.clone());
    let mut pace = Pace::begin();
    // Ends with the switch, with `stop`, or with an error that waiting does not mend.
    let rebuilt = loop {
        match attempt(database, &reader, view, &mut pace, &mut progress, stop).await {
            Ok(rebuilt) => break rebuilt,
            Err(Fault::Away(error)) if error.is_away() && !lock.is_closed() => {
                tokio::select! { () = stop.cancelled() => return Err(RebuildError::Stopped), () = tokio::time::sleep(PAUSE) => {} }
            }
            Err(Fault::Away(error)) => return Err(error.into()),
            // The build was taken from under us, which the lock forbids, or the switch found more to read than it may: again.
            Err(Fault::Moved) if !stop.is_cancelled() => {}
            Err(Fault::Moved) => return Err(RebuildError::Stopped),
            Err(fault @ (Fault::Halted(_) | Fault::Refused(_))) => return Err(RebuildError::Halted(fault.to_string())),
        }
    };
    if let Err(error) = builds::drop_dead(database, view).await {
        tracing::warn!(view = view.name(), %error, "the old build was not dropped; whoever writes the view next does it");
    }
    builds::unlock(lock).await;
    Ok(rebuilt)
}

/// How fast this call has been so far.
pub(crate) struct Pace {
    began: Instant,
    /// Positions read.
    pub events: u64,
}

impl Pace {
    pub fn begin() -> Self {
        Self { began: Instant::now(), events: 0 }
    }

    pub fn progress(&self, position: Position, head: Position) -> RebuildProgress {
        let seconds = self.began.elapsed().as_secs_f64();
        let events_per_second = if seconds > 0.0 { self.events as f64 / seconds } else { 0.0 };
        let left = head.since(position) as f64;
        let time_left = (events_per_second > 0.0).then(|| Duration::try_from_secs_f64(left / events_per_second).ok()).flatten();
        RebuildProgress { position, head: head.max(position), events_per_second, time_left }
    }
}

async fn attempt(
    database: &Database,
    reader: &Reader,
    view: &'static dyn Projection,
    pace: &mut Pace,
    progress: &mut impl FnMut(&RebuildProgress),
    stop: &CancellationToken,
) -> Result<Rebuilt, Fault> {
    let (build, _) = builds::begin(database, view).await?;
    builds::take_up(database, &build).await?;
    let told = |position, head, events| {
        pace.events += events;
        progress(&pace.progress(position, head));
    };
    let mut writer = complete(reader, view, (build, "building"), (Until::Head, RANGE), told, stop).await?;
    let position = writer.go_live(reader, LAST_EVENTS).await?;
    Ok(Rebuilt { build: writer.build().number, position, events: pace.events })
}
