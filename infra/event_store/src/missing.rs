//! Positions of the log and sequences of a stream are dense. Whoever can write to the database can take an event away all the same, and what is left would be
//! told as if it were all: so readers look whether what they read is whole.

use jari_domain::Position;

use crate::{LogError, Reader, RecordedEvent};

const COUNT_UNBROKEN: &str = include_str!("sql/count_unbroken.sql");

impl RecordedEvent {
    /// Makes sure that no event of the log is missing between `position`, up to which all were read, and this one.
    ///
    /// # Errors
    /// [`LogError::Missing`], of the position right behind `position`.
    pub fn stands_behind(&self, position: Position) -> Result<(), LogError> {
        let next = position.next();
        if self.position == next { Ok(()) } else { Err(LogError::Missing { position: next }) }
    }

    /// Makes sure that no event of its stream is missing between `version`, up to which all were read, and this one.
    ///
    /// # Errors
    /// [`LogError::Gap`], with the position of this event: where the missing one stood, nobody knows.
    pub fn continues(&self, version: u64) -> Result<(), LogError> {
        let expected = version + 1;
        if self.sequence == expected {
            return Ok(());
        }
        let stream = format!("{}/{}", self.aggregate_type, self.aggregate_id);
        Err(LogError::Gap { stream, expected, found: self.sequence, position: self.position })
    }
}

impl Reader {
    /// The first position after `after` and up to `to` where no event stands, though positions are dense: whoever can write to the database took it
    /// away. `to` is not above the head. Reads the index of so many positions, and no event.
    ///
    /// # Errors
    /// [`LogError::Database`].
    pub async fn first_missing(&self, after: Position, to: Position) -> Result<Option<Position>, LogError> {
        let client = self.database().connection().await?;
        let statement = client.prepare_cached(COUNT_UNBROKEN).await?;
        let unbroken: i64 = client.query_one(&statement, &[&after.to_i64(), &to.to_i64()]).await?.try_get(0)?;
        let last = after + u64::try_from(unbroken).unwrap_or(0);
        Ok(if last < to { Some(last.next()) } else { None })
    }
}
