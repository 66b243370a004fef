//! Reads the log into a build that nobody waits for: whole ranges of positions, only the events that the view reads, one range ahead.

use jari_domain::Position;
use jari_event_store::{LogError, Reader, RecordedEvent};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{build_connection::Fault, builds::Build, projection::Projection, quarantine, writer::Writer};

/// Positions of a transaction: many more than a live view takes, since nobody waits for any of them, and the more events there are the more of them
/// fall together into one row. Two such ranges are in memory at once.
pub(crate) const RANGE: u64 = 10_000;

/// Positions of a pass that counts as near the head. While the log grows a build is never at the head for longer than a moment; what is missing then is
/// read at the switch, under the lock.
const NEAR: u64 = 2_000;

/// Where reading ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// Here, which is not above the log's head.
    Position(Position),
    /// Near the log's head, as far as it has grown by then; at it, when it has stopped growing.
    Head,
}

/// Events of a range that are the view's, and the range's last position.
struct Page {
    events: Vec<RecordedEvent>,
    to: Position,
}

/// Brings a build up to `until`, `range` positions a transaction, and gives its writer. `told` hears of each: the position, the head or end, and how many
/// positions it was.
///
/// A build may have been begun long ago, and hold streams back that were mended since, also by a retry that only the live one heard of. So each of them is
/// tried again behind the last range: what goes live, or is digested, is what a build says that was begun now.
///
/// # Errors
/// [`Fault`]; [`Fault::Moved`] when the build is not `state` any more, or `stop` was cancelled. What is written stays.
pub(crate) async fn complete(
    reader: &Reader,
    view: &'static dyn Projection,
    (build, state): (Build, &'static str),
    bounds: (Until, u64),
    mut told: impl FnMut(Position, Position, u64),
    stop: &CancellationToken,
) -> Result<Writer, Fault> {
    let open = async || Writer::open(reader.database(), view, build.clone(), 0, state).await?.ok_or(Fault::Moved);
    let mut writer = open().await?;
    catch_up(reader, view, &mut writer, bounds, &mut told, stop).await?;
    if !writer.holds_back() {
        return Ok(writer);
    }
    quarantine::retry_all(reader.database(), view, &build, state, stop).await?;
    // this one does not know which of them may go on; and the log has grown meanwhile
    writer = open().await?;
    catch_up(reader, view, &mut writer, bounds, &mut told, stop).await?;
    Ok(writer)
}

async fn catch_up(
    reader: &Reader,
    view: &'static dyn Projection,
    writer: &mut Writer,
    (until, range): (Until, u64),
    mut told: impl FnMut(Position, Position, u64),
    stop: &CancellationToken,
) -> Result<(), Fault> {
    let (mut begun, mut end) = (writer.position(), end_of(reader, until).await?);
    let mut next = read(reader, view, begun, end, range);
    // Ends at the position, or with a pass that was short: each is as long as the log has grown during the one before, and ranges are read faster than
    // the log grows, or the live view could not keep up either.
    loop {
        let Some(reading) = next else {
            if until != Until::Head || end.since(begun) <= NEAR {
                return Ok(());
            }
            (begun, end) = (writer.position(), end_of(reader, until).await?);
            next = read(reader, view, begun, end, range);
            continue;
        };
        if stop.is_cancelled() {
            return Err(Fault::Moved);
        }
        let page = joined(reading).await?;
        // the next range is read while this one is written
        next = read(reader, view, page.to, end, range);
        let before = writer.position();
        writer.take_to(&page.events, page.to).await?;
        told(page.to, end, page.to.since(before));
    }
}

async fn end_of(reader: &Reader, until: Until) -> Result<Position, LogError> {
    match until {
        Until::Position(position) => Ok(position),
        Until::Head => reader.head().await,
    }
}

type Reading = AbortOnDropHandle<Result<Page, LogError>>;

/// Begins to read what follows on `after`, in a task of its own: decoding takes as long as writing does, and neither should wait for the other.
fn read(reader: &Reader, view: &'static dyn Projection, after: Position, end: Position, range: u64) -> Option<Reading> {
    if after >= end {
        return None;
    }
    let (reader, to) = (reader.clone(), after + range.min(end.since(after)));
    // Joined by `catch_up`, or aborted with it.
    let reading = tokio::spawn(async move { Ok(Page { events: reader.log_between(after, to, view.reads()).await?, to }) });
    Some(AbortOnDropHandle::new(reading))
}

async fn joined(reading: Reading) -> Result<Page, Fault> {
    match reading.await {
        Ok(page) => Ok(page?),
        Err(broken) => Err(Fault::Refused(format!("reading the log broke: {broken}"))),
    }
}
