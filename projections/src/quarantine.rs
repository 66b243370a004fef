//! Streams that a view could not read on: recorded, shown, and read again when somebody has repaired what stood in the way.

use jari_domain::{Position, StreamId};
use jari_event_store::{Body, Database, LogError, Reader, RecordedEvent, recordable};
use jiff::Timestamp;
use tokio_postgres::types::ToSql;
use tokio_util::sync::CancellationToken;

use crate::{
    build_connection::{BuildConnection, Fault, write_again},
    builds::{Build, unsigned},
    projection::Projection,
};

const LIST: &str = include_str!("sql/list_quarantined.sql");
const HELD: &str = "SELECT position, sequence FROM views.quarantine WHERE build = $1 AND aggregate_type = $2 AND aggregate_id = $3";
const ALL_HELD: &str = "SELECT aggregate_type, aggregate_id FROM views.quarantine WHERE build = $1 ORDER BY position";
const LOCK: &str = "SELECT position FROM views.builds WHERE build = $1 AND state = $2 FOR UPDATE";
const RELEASE: &str = "DELETE FROM views.quarantine WHERE build = $1 AND aggregate_type = $2 AND aggregate_id = $3";
const CHANGED: &str = "UPDATE views.builds SET quarantine_changes = quarantine_changes + 1 WHERE build = $1";
const STILL: &str = "UPDATE views.quarantine SET error = $4, at = clock_timestamp() WHERE build = $1 AND aggregate_type = $2 AND aggregate_id = $3";

/// The code of a stored event that this program cannot read.
pub(crate) const EVENT_UNREADABLE: &str = "EVENT_UNREADABLE";
/// The code of a row that the database refuses.
pub(crate) const VIEW_ROW_REFUSED: &str = "VIEW_ROW_REFUSED";

/// Streams that a view holds back at most. Past that the view halts: it is not about streams then, and each of them costs memory.
pub(crate) const MOST_STREAMS: usize = 10_000;
/// Most bytes of a recorded error.
const MOST_ERROR_BYTES: usize = 500;
/// Events of a stream that are folded in one statement when it is read again.
const PAGE: usize = 2_000;

/// A stream to be held back, from one event on.
#[derive(Debug)]
pub(crate) struct HeldBack {
    pub aggregate_type: String,
    pub aggregate_id: String,
    pub position: Position,
    pub sequence: u64,
    pub code: &'static str,
    pub error: String,
}

impl HeldBack {
    pub fn new(event: &RecordedEvent, code: &'static str, error: &str) -> Self {
        Self {
            aggregate_type: event.aggregate_type.to_string(),
            aggregate_id: event.aggregate_id.to_string(),
            position: event.position,
            sequence: event.sequence,
            code,
            error: recordable(error, MOST_ERROR_BYTES),
        }
    }

    pub fn is_of(&self, event: &RecordedEvent) -> bool {
        self.aggregate_type == event.aggregate_type && *self.aggregate_id == *event.aggregate_id
    }
}

/// A stream that a view has set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantinedStream {
    /// Which view.
    pub view: String,
    /// Of the stream.
    pub aggregate_type: String,
    /// Of the stream.
    pub aggregate_id: String,
    /// The event that could not be taken.
    pub failed_position: Position,
    /// `EVENT_UNREADABLE` or `VIEW_ROW_REFUSED`.
    pub code: String,
    /// For operators.
    pub error: String,
    /// When it was set aside, or tried last.
    pub at: Timestamp,
    /// Its events that wait, the failed one included, as far as the view has read the log.
    pub waiting_events: u64,
}

/// Where a list of quarantined streams goes on, and how long it is.
#[derive(Debug, Clone, Default)]
pub struct QuarantinePage {
    /// Only those of this view; `None`: of all.
    pub view: Option<String>,
    /// View, type and id of the last stream of the page before.
    pub after: Option<(String, String, String)>,
    /// Most streams.
    pub limit: u32,
}

/// Why a quarantined stream was not taken in again.
#[derive(Debug, thiserror::Error)]
pub enum RetryError {
    /// No view has that name.
    #[error("no view is called {0:?}")]
    ViewUnknown(String),
    /// It is not held back, or not any more.
    #[error("the view does not hold {0} back")]
    NotQuarantined(StreamId),
    /// It cannot be read yet.
    #[error("the stream still cannot be read: {0}")]
    Still(String),
    /// The live build changed meanwhile.
    #[error("the view was switched meanwhile")]
    Switched,
    /// The database.
    #[error("{0}")]
    Away(#[from] LogError),
}

impl From<tokio_postgres::Error> for RetryError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Away(error.into())
    }
}

/// Those of the live builds, by view, type and id.
pub(crate) async fn list(database: &Database, page: &QuarantinePage) -> Result<Vec<QuarantinedStream>, LogError> {
    let client = database.connection().await?;
    let (view, kind, id) = page.after.clone().unwrap_or_default();
    let limit = i64::from(page.limit);
    let rows = client.query(LIST, &[&page.view, &view, &kind, &id, &limit]).await?;
    rows.iter()
        .map(|row| {
            let at: std::time::SystemTime = row.try_get(6)?;
            Ok(QuarantinedStream {
                view: row.try_get(0)?,
                aggregate_type: row.try_get(1)?,
                aggregate_id: row.try_get(2)?,
                failed_position: Position::from_i64(row.try_get(3)?),
                code: row.try_get(4)?,
                error: row.try_get(5)?,
                at: Timestamp::try_from(at).unwrap_or(Timestamp::MAX),
                waiting_events: unsigned(row.try_get(7)?),
            })
        })
        .collect()
}

/// Folds a stream's waiting events into the live build and lets it go on, in one transaction.
///
/// The checkpoint's row is locked first, as by every writer: nobody moves the view meanwhile, and whoever writes next finds that the
/// quarantine has changed. Events are read in pages; the transaction lasts as long as the stream is, and each step of it has a bound.
pub(crate) async fn retry(database: &Database, view: &'static dyn Projection, build: Build, stream: &StreamId) -> Result<Position, RetryError> {
    let mut connection = database.in_time(BuildConnection::connect(database, build)).await?;
    try_again(database, view, &mut connection, "live", stream).await
}

/// The same of all streams that a build which is not live holds back, one after the other; whoever writes it opens a new writer then. Those that still
/// cannot be read stay.
///
/// # Errors
/// [`Fault::Away`]; [`Fault::Moved`] when the build is not `state` any more, or `stop` was cancelled. What was taken in stays so.
pub(crate) async fn retry_all(
    database: &Database,
    view: &'static dyn Projection,
    build: &Build,
    state: &'static str,
    stop: &CancellationToken,
) -> Result<(), Fault> {
    let mut connection = BuildConnection::connect(database, build.clone()).await?;
    let held = database.connection().await?.query(ALL_HELD, &[&build.number]).await?;
    for row in held {
        if stop.is_cancelled() {
            return Err(Fault::Moved);
        }
        // what is held back is of an aggregate that the view reads, so this program knows it
        let Some(stream) = StreamId::parse(row.try_get(0)?, row.try_get(1)?) else { continue };
        match try_again(database, view, &mut connection, state, &stream).await {
            Ok(_) => tracing::info!(view = view.name(), %stream, "a stream that was held back is read again"),
            Err(RetryError::Still(_) | RetryError::NotQuarantined(_)) => {}
            Err(RetryError::Away(error)) => return Err(Fault::Away(error)),
            Err(RetryError::Switched | RetryError::ViewUnknown(_)) => return Err(Fault::Moved),
        }
    }
    Ok(())
}

async fn try_again(
    database: &Database,
    view: &'static dyn Projection,
    connection: &mut BuildConnection,
    state: &'static str,
    stream: &StreamId,
) -> Result<Position, RetryError> {
    match refold(database, view, connection, state, stream).await {
        Ok(position) => Ok(position),
        Err(Failed::With(error)) => Err(error),
        Err(Failed::On(error)) => {
            let (told, build) = (recordable(&error, MOST_ERROR_BYTES), connection.build());
            let parameters: [&(dyn ToSql + Sync); 4] = [&build.number, &stream.aggregate_type, &&*stream.aggregate_id, &told];
            let noted = async { Ok::<_, LogError>(database.connection().await?.execute(STILL, &parameters).await?) };
            database.in_time(noted).await?;
            Err(RetryError::Still(error))
        }
    }
}

enum Failed {
    /// Record it.
    On(String),
    With(RetryError),
}

impl<E: Into<RetryError>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self::With(error.into())
    }
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused(error) => Self::On(error),
            Fault::Away(error) => Self::With(error.into()),
            Fault::Moved | Fault::Halted(_) => Self::With(RetryError::Switched),
        }
    }
}

async fn refold(
    database: &Database,
    view: &'static dyn Projection,
    connection: &mut BuildConnection,
    state: &'static str,
    stream: &StreamId,
) -> Result<Position, Failed> {
    let build = connection.build().clone();
    let key: [&(dyn ToSql + Sync); 3] = [&build.number, &stream.aggregate_type, &&*stream.aggregate_id];
    let reader = Reader::new(database.clone());
    let transaction = database.in_time(connection.begin()).await?;
    let locked = database.in_time(async {
        let Some(row) = transaction.query_opt(LOCK, &[&build.number, &state]).await? else { return Err(RetryError::Switched) };
        let position = Position::from_i64(row.try_get(0)?);
        let Some(row) = transaction.query_opt(HELD, &key).await? else { return Err(RetryError::NotQuarantined(stream.clone())) };
        Ok((position, unsigned(row.try_get::<_, i64>(1)?.saturating_sub(1))))
    });
    let (position, mut read) = locked.await?;
    // Ends with the stream, or where the view stands.
    loop {
        let page = database.in_time(reader.stream_after(stream, read, PAGE)).await?;
        let events: Vec<&RecordedEvent> = page.iter().take_while(|event| event.position <= position).collect();
        for event in &events {
            if let Body::Unreadable { error, .. } = &event.body {
                return Err(Failed::On(error.to_string()));
            }
        }
        database.in_time(write_again(&transaction, &build, &view.fold(&events))).await?;
        let Some(last) = events.last().filter(|_| events.len() == PAGE) else { break };
        read = last.sequence;
    }
    let let_go = database.in_time(async {
        transaction.execute(RELEASE, &key).await?;
        transaction.execute(CHANGED, &[&build.number]).await?;
        Ok::<_, LogError>(transaction.commit().await?)
    });
    let_go.await?;
    Ok(position)
}
