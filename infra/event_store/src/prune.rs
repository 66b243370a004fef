//! Forgetting old command ids.

use jiff::{SignedDuration, Timestamp};
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::{Database, LogError};

/// By the ids themselves, where they bear their time.
const PRUNE_TIMED: &str = include_str!("sql/prune_timed_commands.sql");
/// By an index of their own, where they do not.
const PRUNE_OTHER: &str = include_str!("sql/prune_other_commands.sql");

/// Rows a statement: short enough that nobody waits for it.
const ROWS: i64 = 2_000;

/// Deletes what is older than `retention_days`, in small pieces, and says how many rows went. Stops after `most` rows. Reads what goes, and what bears an
/// id as old as that and was recorded later; nothing else, however large the table is.
///
/// # Errors
/// [`LogError::Database`].
pub async fn prune_commands(database: &Database, retention_days: u32, most: u64) -> Result<u64, LogError> {
    let client = database.connection().await?;
    let (days, bound) = (i32::try_from(retention_days).unwrap_or(i32::MAX), id_of(Timestamp::now(), retention_days));
    let timed: [&(dyn ToSql + Sync); 3] = [&days, &ROWS, &bound];
    let mut gone = 0;
    for (prune, parameters) in [(PRUNE_TIMED, &timed[..]), (PRUNE_OTHER, &timed[..2])] {
        while gone < most {
            let deleted = client.execute(prune, parameters).await?;
            gone += deleted;
            if deleted < ROWS as u64 {
                break;
            }
        }
    }
    Ok(gone)
}

/// The least id of version 7 that was made so many days before `now`. By this machine's clock: one that is wrong finds less, or looks at more.
fn id_of(now: Timestamp, days_ago: u32) -> Uuid {
    let at = now.saturating_sub(SignedDuration::from_hours(24 * i64::from(days_ago))).unwrap_or(Timestamp::MIN);
    let millis = u128::try_from(at.as_millisecond()).unwrap_or(0);
    Uuid::from_u128(millis << 80)
}
