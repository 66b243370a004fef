//! The connection to the log, made anew.

use std::time::Duration;

use jari_event_store::{Appender, Database, LogError, LogTail, Reader};

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
        known: u64,
    },
}

/// Connects anew. Tries for as long as the loop lives. `failures` counts the connections that ended without an append, the last one included.
pub(super) async fn make(old: Appender, database: Database, tail: LogTail, failures: u32) -> Link {
    if failures > 1 {
        tokio::time::sleep(RETRY.saturating_mul(1 << failures.min(8)).min(LONGEST)).await;
    }
    // Ends when the database is back.
    loop {
        match tokio::time::timeout(PATIENCE, connect(&old, &database)).await {
            // No bound of our own on the wait for a standby: a try that was given up would leave its backend waiting, and the next one another.
            Ok(Ok(new)) => match new.wait_until_safe().await {
                Ok(()) => match holds_what_was_heard(&tail, &Reader::new(database.clone())).await {
                    Ok(None) => return Link::Made(Box::new(new)),
                    Ok(Some(known)) => return Link::OtherHistory { known },
                    Err(error) => tracing::debug!(%error, "the log is still away"),
                },
                Err(error) => tracing::debug!(%error, "the log takes nothing yet"),
            },
            Ok(Err(error)) => tracing::debug!(%error, "the log is still away"),
            Err(_) => tracing::debug!("the log is still away: no answer"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn connect(old: &Appender, database: &Database) -> Result<Appender, LogError> {
    let new = Appender::connect(database).await?;
    old.end(database).await?;
    Ok(new)
}

/// `None` when the newest event that was heard of stands where it stood; else its position.
async fn holds_what_was_heard(tail: &LogTail, reader: &Reader) -> Result<Option<u64>, LogError> {
    let (known, newest) = tail.newest();
    if known == 0 {
        return Ok(None);
    }
    let there = reader.log_after(known - 1, 1).await?;
    let place = |event: &jari_event_store::RecordedEvent| {
        (event.position, event.aggregate_type.to_string(), event.aggregate_id.clone(), event.sequence, event.recorded_at)
    };
    let is_there = there.first().is_some_and(|event| event.position == known && newest.is_none_or(|newest| place(&newest) == place(event)));
    Ok((!is_there).then_some(known))
}
