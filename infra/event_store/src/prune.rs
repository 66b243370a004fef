//! Forgetting old command ids.

use crate::{Database, LogError};

const PRUNE_COMMANDS: &str = include_str!("sql/prune_commands.sql");

/// Rows a statement: short enough that nobody waits for it.
const ROWS: i64 = 2_000;

/// Deletes what is older than `retention_days`, in small pieces, and says how many rows went. Stops after `most` rows.
///
/// # Errors
/// [`LogError::Database`].
pub async fn prune_commands(database: &Database, retention_days: u32, most: u64) -> Result<u64, LogError> {
    let client = database.connection().await?;
    let days = i32::try_from(retention_days).unwrap_or(i32::MAX);
    let mut gone = 0;
    while gone < most {
        let deleted = client.execute(PRUNE_COMMANDS, &[&days, &ROWS]).await?;
        gone += deleted;
        if deleted < ROWS as u64 {
            break;
        }
    }
    Ok(gone)
}
