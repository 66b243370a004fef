//! Moments of the log: a position, or the last one that was recorded at or before a time.

use jari_proto::history::v1::{Moment, moment};
use jiff::Timestamp;

use crate::{desk::HistoryDesk, refusal::HistoryError};

/// A moment that has been found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// Just after the event here; 0: before the first.
    pub position: u64,
    /// The time that was asked for; `None` when it was a position.
    pub time: Option<Timestamp>,
}

/// Finds a moment; now, at the head of the log, when none is named.
pub(crate) async fn find(desk: &HistoryDesk, field: &'static str, asked: Option<&Moment>) -> Result<Found, HistoryError> {
    let head = desk.head().await?;
    let Some(asked) = asked else { return Ok(Found { position: head, time: Some(Timestamp::now()) }) };
    match asked.moment.as_ref().ok_or_else(|| HistoryError::moment(field, "names neither a position nor a time"))? {
        moment::Moment::Position(position) => {
            let position = u64::try_from(*position).map_err(|_| HistoryError::moment(field, "a position is not negative"))?;
            if position > head {
                return Err(HistoryError::PositionAhead { field, position, head });
            }
            Ok(Found { position, time: None })
        }
        moment::Moment::Time(time) => {
            let time = Timestamp::new(time.seconds, time.nanos).ok().filter(|_| (0..1_000_000_000).contains(&time.nanos));
            let time = time.ok_or_else(|| HistoryError::moment(field, "is beyond the calendar"))?;
            if time > Timestamp::now() {
                return Err(HistoryError::TimeAhead { field, time });
            }
            Ok(Found { position: last_by(desk, time, head).await?, time: Some(time) })
        }
    }
}

/// The last position that was recorded at or before `time`. Times of recording never fall from one position to the next, so that halving finds it:
/// at most one read by position for each bit of `head`, and no index on times, which every append would have to write.
async fn last_by(desk: &HistoryDesk, time: Timestamp, head: u64) -> Result<u64, HistoryError> {
    // everything up to `by` was recorded by then, everything after `head` was not
    let (mut by, mut later) = (0, head + 1);
    // Ends when the two meet: each round halves what is between them.
    while later - by > 1 {
        let middle = by + (later - by) / 2;
        match desk.log(middle - 1, 1).await?.first() {
            Some(event) if event.recorded_at <= time => by = event.position.max(middle).min(later - 1),
            _ => later = middle,
        }
    }
    Ok(by)
}

/// When the event at `position` was recorded; `None` at 0.
pub(crate) async fn recorded_at(desk: &HistoryDesk, position: u64) -> Result<Option<Timestamp>, HistoryError> {
    let Some(before) = position.checked_sub(1) else { return Ok(None) };
    Ok(desk.log(before, 1).await?.first().map(|event| event.recorded_at))
}
