//! Any view as it was at a moment of the log: built beside the live one, digested, shown, and dropped unless somebody wants to keep it.
//!
//! | Step | A kill here leaves | The next call for the same view and position |
//! |---|---|---|
//! | 1 begin: a build `replaying`, its tables | the build, at 0 | goes on with it |
//! | 2 see that no position up to there is without its event, and read the log up to the position, range by range | the build, at its checkpoint | goes on from there |
//! | 3 try the streams again that it holds back | the build, at the position | tries those again that are left |
//! | 4 digest its rows, write them to files | the whole build; files under other names | digests it again, writes the files again |
//! | 5 keep it as `replayed`, or drop it | the whole build | as 4, and drops or keeps it |
//!
//! Nothing here touches the live build: it has other tables, and nobody switches to a replay.

mod error;
mod kept;
mod rows;

use std::{path::PathBuf, time::Duration};

use jari_domain::Position;
use jari_event_store::{Database, LogError, Reader};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

pub use error::{REPLAY_CODES, ReplayError};
pub use kept::{KeptReplay, drop_replay, replays};
pub use rows::{Digested, LiveView, ReplayTable, digest_live};

use crate::{
    build_connection::Fault,
    builds::{self, Build},
    catch_up::{RANGE, Until, complete},
    projection::Projection,
    rebuild::{Pace, RebuildProgress},
    views::VIEWS,
};

/// Replays that are kept, or were begun and not finished, at once: each has a view's size.
pub(crate) const MOST_REPLAYS: usize = 16;
/// Replays that nobody keeps, beside them.
const PASSING_REPLAYS: usize = 4;
/// Positions that are looked at once for whether one is missing.
const STRETCH: u64 = 100_000;
/// Pauses after a failure of the database.
const PAUSE: Duration = Duration::from_millis(500);

/// Which moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    /// Just after the event here.
    Position(Position),
    /// After the last event that was recorded at or before this time.
    Time(Timestamp),
    /// At the head of the log, as it is when the replay begins.
    Head,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Replay {
    /// Which view.
    pub view: String,
    /// As of when.
    pub as_of: AsOf,
    /// Leave the tables there, for SQL.
    pub keep: bool,
    /// Write all rows here, a line of JSON each: the very bytes that the digest is of. `-` is standard output.
    pub lines: Option<PathBuf>,
    /// Write a CSV file a table into this folder, which is made when it is missing.
    pub csv: Option<PathBuf>,
    /// Positions of the log read at once; 0 chooses. It changes nothing of what comes out.
    pub range: u64,
}

/// What a replay came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    /// Its number, by which a kept one is dropped.
    pub number: i64,
    /// [`Projection::version`] of the program that made it.
    pub version: i32,
    /// The position that the moment was: the view has seen this event and none after it.
    pub position: Position,
    /// Of all rows.
    pub digested: Digested,
    /// Streams that could not be read: what they say is missing.
    pub quarantined: u64,
    /// Positions of the log that this call read; fewer than `position` when it went on with one that was begun before.
    pub events: u64,
}

impl Replay {
    /// A view at a moment: no files, and nothing stays.
    #[must_use]
    pub fn of(view: &str, as_of: AsOf) -> Self {
        Self { view: view.to_owned(), as_of, keep: false, lines: None, csv: None, range: 0 }
    }

    /// Makes it. The same log and version always give the same digest, however often, from wherever, and in ranges of whatever size.
    ///
    /// # Errors
    /// [`ReplayError`]. What was made so far is kept, and the next call for the same view and position goes on with it.
    pub async fn run(
        &self,
        database: &Database,
        mut progress: impl FnMut(&RebuildProgress),
        stop: &CancellationToken,
    ) -> Result<Replayed, ReplayError> {
        let view = find(&self.view)?;
        let reader = Reader::new(database.clone());
        let position = self.position(&reader).await?;
        builds::prepare(database).await?;
        let under_way = || ReplayError::UnderWay { view: self.view.clone(), position };
        let lock = builds::try_lock(database, &lock_of(view.name(), position)).await?.ok_or_else(under_way)?;
        // what is gone when it is done finds a place beside those that stay: the proof of a view is never refused for them
        let most = if self.keep { MOST_REPLAYS } else { MOST_REPLAYS + PASSING_REPLAYS };
        let build = builds::begin_replay(database, view, position, most).await?.ok_or(ReplayError::Exhausted)?;
        let mut pace = Pace::begin();
        let mut looked_at = Position::START;
        // Ends with the position, with `stop`, or with an error that waiting does not mend.
        loop {
            match self.attempt(&reader, view, &build, position, &mut looked_at, &mut pace, &mut progress, stop).await {
                Ok(()) => break,
                Err(Fault::Away(error)) if error.is_away() && !lock.is_closed() => {
                    tokio::select! { () = stop.cancelled() => return Err(ReplayError::Stopped), () = tokio::time::sleep(PAUSE) => {} }
                }
                Err(Fault::Away(error)) => return Err(error.into()),
                Err(Fault::Moved) if stop.is_cancelled() => return Err(ReplayError::Stopped),
                // it was dropped under our feet, which the lock forbids
                Err(fault) => return Err(ReplayError::Halted(fault.to_string())),
            }
        }
        let (digested, quarantined) = rows::digest(database, &build, self.lines.as_deref(), self.csv.as_deref()).await?;
        if self.keep {
            builds::keep_replay(database, &build).await?;
        } else {
            let mut client = database.connection().await?;
            builds::drop_build(&mut client, &build).await?;
        }
        builds::unlock(lock).await;
        Ok(Replayed { number: build.number, version: build.version, position, digested, quarantined, events: pace.events })
    }

    async fn position(&self, reader: &Reader) -> Result<Position, ReplayError> {
        match self.as_of {
            AsOf::Head => Ok(reader.head().await?),
            AsOf::Position(position) => {
                let head = reader.head().await?;
                if position > head { Err(ReplayError::PositionAhead { position, head }) } else { Ok(position) }
            }
            AsOf::Time(time) if has_come(reader, time).await? => Ok(reader.last_recorded_by(time).await?),
            AsOf::Time(time) => Err(ReplayError::TimeAhead { time }),
        }
    }

    #[allow(clippy::too_many_arguments, reason = "one step of `run`, which has all of these at hand")]
    async fn attempt(
        &self,
        reader: &Reader,
        view: &'static dyn Projection,
        build: &Build,
        position: Position,
        looked_at: &mut Position,
        pace: &mut Pace,
        progress: &mut impl FnMut(&RebuildProgress),
        stop: &CancellationToken,
    ) -> Result<(), Fault> {
        builds::take_up(reader.database(), build).await?;
        // Ends at the position, or with `stop`: each round looks at a stretch, and none is looked at again after an outage. Once is enough: the log only
        // grows, unless somebody damages it.
        while *looked_at < position && !stop.is_cancelled() {
            let to = *looked_at + STRETCH.min(position.since(*looked_at));
            if let Some(missing) = reader.first_missing(*looked_at, to).await? {
                return Err(LogError::Missing { position: missing }.into());
            }
            *looked_at = to;
        }
        let told = |at, end, events| {
            pace.events += events;
            progress(&pace.progress(at, end));
        };
        let range = if self.range == 0 { RANGE } else { self.range };
        complete(reader, view, (build.clone(), "replaying"), (Until::Position(position), range), told, stop).await.map(|_| ())
    }
}

/// The view of this name.
fn find(name: &str) -> Result<&'static dyn Projection, ReplayError> {
    VIEWS.iter().copied().find(|view| view.name() == name).ok_or_else(|| ReplayError::ViewUnknown { name: name.to_owned() })
}

/// By the database's clock, which stamps what is recorded; or the log says so, when that clock was set back since.
async fn has_come(reader: &Reader, time: Timestamp) -> Result<bool, ReplayError> {
    if time <= reader.clock().await? {
        return Ok(true);
    }
    let head = reader.head().await?;
    if head == Position::START {
        return Ok(false);
    }
    Ok(reader.log_after(head.previous(), 1).await?.first().is_some_and(|newest| time <= newest.recorded_at))
}

/// Two calls for one view and position would write the same build.
fn lock_of(view: &str, position: Position) -> String {
    format!("replay.{view}.{position}")
}
