//! The connection to the log, made anew.

use std::time::Duration;

use jari_domain::Position;
use jari_event_store::{Appender, Database, LogError, LogTail, Reader, RecordedEvent, within};

/// Between two tries to reach the database, and before the first one after a connection that did nothing.
const RETRY: Duration = Duration::from_millis(200);
/// The longest pause before a connection is made after several that did nothing: a disk that is full stays so for a while.
const LONGEST: Duration = Duration::from_secs(5);
/// How long one try may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How it ended.
pub(super) enum Link {
    /// What the old connection had under way is over, and everything that was heard of the log is there and safe.
    Made(Box<Appender>),
    /// The log does not hold what it held: the database was restored, or another one answers that had not got everything. What is in memory here was decided
    /// on a history that is no more.
    OtherHistory {
        /// The position that was heard of.
        known: Position,
    },
}

/// Connects anew. Tries for as long as the loop lives. `failures` counts the connections that ended without an append, the last one included.
pub(super) async fn make(old: Appender, database: Database, tail: LogTail, failures: u32) -> Link {
    if failures > 1 {
        tokio::time::sleep(RETRY.saturating_mul(1 << failures.min(8)).min(LONGEST)).await;
    }
    let mut said = String::new();
    // Ends when the database is back.
    loop {
        match attempt(&old, &database, &tail).await {
            Ok(link) => return link,
            // said once: whoever has to mend something must know what
            Err(error) if error.to_string() != said => {
                tracing::warn!(%error, "the log is still away");
                said = error.to_string();
            }
            Err(_) => {}
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn attempt(old: &Appender, database: &Database, tail: &LogTail) -> Result<Link, LogError> {
    let connect = async {
        let new = Appender::connect(database).await?;
        old.end(database).await?;
        Ok::<_, LogError>(new)
    };
    let new = within(PATIENCE, connect).await?;
    // No bound of our own on this wait: a try that was given up would leave its backend waiting for a standby, and the next one another.
    new.wait_until_safe().await?;
    let (known, newest) = tail.newest();
    let there = new.event_at(known).await?;
    let place = |event: &RecordedEvent| (event.aggregate_type.clone(), event.aggregate_id.clone(), event.sequence, event.recorded_at);
    // A machine that slept has lost its connections by that: nothing is decided before it knows for how long.
    within(PATIENCE, tail.clock().ask(&Reader::new(database.clone()))).await?;
    let holds = known == Position::START || there.is_some_and(|there| newest.is_none_or(|newest| place(&newest) == place(&there)));
    Ok(if holds { Link::Made(Box::new(new)) } else { Link::OtherHistory { known } })
}
