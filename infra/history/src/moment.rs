//! Moments of the log: a position, or the last one that was recorded at or before a time.

use jari_domain::Position;
use jari_event_store::LogError;
use jari_proto::history::v1::{Moment, moment};
use jiff::Timestamp;

use crate::{context::HistoryContext, refusal::HistoryError};

/// A moment that has been found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// Just after the event here.
    pub position: Position,
    /// The time that was asked for; `None` when it was a position.
    pub time: Option<Timestamp>,
}

/// Finds a moment; now, at the head of the log, when none is named. A time has come when the clock says so, or the log: a machine that is behind its
/// database has told events whose time is still to come by its own clock.
pub(crate) async fn find(context: &HistoryContext, field: &'static str, asked: Option<&Moment>) -> Result<Found, HistoryError> {
    let head = context.head().await?;
    let Some(asked) = asked else { return Ok(Found { position: head, time: Some(context.clock.now()) }) };
    match asked.moment.as_ref().ok_or_else(|| HistoryError::moment(field, "names neither a position nor a time"))? {
        moment::Moment::Position(position) => {
            let position = Position::try_from(*position).map_err(|_| HistoryError::moment(field, "a position is not negative"))?;
            if position > head {
                return Err(HistoryError::PositionAhead { field, position, head });
            }
            Ok(Found { position, time: None })
        }
        moment::Moment::Time(time) => {
            let time = Timestamp::new(time.seconds, time.nanos).ok().filter(|_| (0..1_000_000_000).contains(&time.nanos));
            let time = time.ok_or_else(|| HistoryError::moment(field, "is beyond the calendar"))?;
            if time > context.clock.now() && recorded_at(context, head).await?.is_none_or(|newest| time > newest) {
                return Err(HistoryError::TimeAhead { field, time });
            }
            Ok(Found { position: context.last_recorded_by(time).await?, time: Some(time) })
        }
    }
}

/// When the event at `position` was recorded, which is not above the head; `None` at [`Position::START`].
pub(crate) async fn recorded_at(context: &HistoryContext, position: Position) -> Result<Option<Timestamp>, HistoryError> {
    if position == Position::START {
        return Ok(None);
    }
    let event = context.event_at(position).await?.ok_or(LogError::Missing { position })?;
    Ok(Some(event.recorded_at))
}
