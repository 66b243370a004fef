//! One connection that appends batches, at most a few under way at once, in the order in which they were sent.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use jari_domain::Position;
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::{AsyncMessage, Client, Connection, Statement, types::ToSql};

use crate::{
    Batch, Body, Database, Group, LogError, RecordedEvent,
    read::READ_LOG,
    record::{signed, timestamp},
};

const APPEND: &str = "SELECT base, stamped_at, fallen, repeated, lease_lost, stale FROM append_batch($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,$21,$22,$23,$24,$25,$26,$27,$28,$29,$30)";
/// The plan of `append_batch` is made once, for any batch, by way of the indexes: one that was made while a table was empty would scan it for ever.
const PLANNER: &str = "SET plan_cache_mode = force_generic_plan; SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_seqscan = off";
/// Whatever the operator wishes to hear: that a commit was not waited for is told as a warning, and by nothing else.
const TELL: &str = "SET client_min_messages = warning";
/// The function of the server in which a commit waits for its standbys. Its notices are known by this: their words are translated, and their code is
/// that of any warning. A trigger's must not end the connection at each batch.
const WAITS_FOR_STANDBYS: &str = "SyncRepWaitForLSN";
const WHOAMI: &str = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()";
const BACKEND: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2";

/// What became of a batch.
#[derive(Debug, Clone)]
pub struct Appended {
    /// The head before the batch: its first event stands right behind it.
    pub base: Position,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// Groups that did not land, counted from 0, ascending.
    pub fallen: Vec<usize>,
    /// Groups among them whose command id was recorded before, counted from 0.
    pub repeated: Vec<usize>,
    /// The lease is another's now: every group under it fell.
    pub lease_lost: bool,
    /// Nothing was done: the batch before this one in the pipeline did not land whole.
    pub stale: bool,
}

/// Who a connection is to the server, to be able to end it from another one.
#[derive(Debug, Clone, Copy)]
struct Backend {
    pid: i32,
    started_at: std::time::SystemTime,
}

/// A connection for appends.
///
/// Its own, pipelined: a second batch travels while the first is being written. The server executes them one after the other.
#[derive(Clone)]
pub struct Appender {
    client: Arc<Client>,
    statement: Statement,
    backend: Backend,
}

impl Appender {
    /// Connects and prepares.
    ///
    /// # Errors
    /// [`LogError::Database`].
    pub async fn connect(database: &Database) -> Result<Self, LogError> {
        let (client, connection) = database.connect().await?;
        // Joined by nobody: the task ends when the client is dropped or the server hangs up, and either is seen at the client.
        tokio::spawn(drive(connection));
        client.batch_execute(PLANNER).await?;
        client.batch_execute(TELL).await?;
        let statement = client.prepare(APPEND).await?;
        let row = client.query_one(WHOAMI, &[]).await?;
        let backend = Backend { pid: row.try_get(0)?, started_at: row.try_get(1)? };
        Ok(Self { client: Arc::new(client), statement, backend })
    }

    /// Sends one batch and waits for what became of it. Sent when first polled: poll two of these in the order of their numbers.
    ///
    /// `number` rises with each batch of this connection; `after` names the batch before it, while that one is still under way.
    /// `careful` is for the second try of a batch that hit a unique key.
    ///
    /// # Errors
    /// [`LogError::Database`]. When [`LogError::is_away`], the batch may have landed: nobody knows yet. So it is, too, when the server was told to wait no
    /// longer for its standbys.
    pub async fn append(&self, batch: &Batch, number: u64, after: Option<u64>, careful: bool) -> Result<Appended, LogError> {
        let c = batch.columns();
        let number = signed(number);
        let after = after.map_or(-1, signed);
        let parameters: [&(dyn ToSql + Sync); 30] = [
            &number,
            &after,
            &careful,
            &c.lease,
            &c.lease_epoch,
            &c.s_type,
            &c.s_id,
            &c.s_expected,
            &c.s_check,
            &c.u_group,
            &c.u_stream,
            &c.u_writes,
            &c.g_events,
            &c.g_leased,
            &c.c_group,
            &c.c_id,
            &c.c_caller,
            &c.c_digest,
            &c.c_offset,
            &c.c_refusal,
            &c.e_group,
            &c.e_aggregate_type,
            &c.e_aggregate_id,
            &c.e_sequence,
            &c.e_event_type,
            &c.e_event_version,
            &c.e_payload,
            &c.e_metadata,
            &c.e_digest,
            &c.known,
        ];
        let row = self.client.query_one(&self.statement, &parameters).await?;
        let stale: bool = row.try_get(5)?;
        if stale {
            let base = Position::START;
            return Ok(Appended { base, recorded_at: Timestamp::UNIX_EPOCH, fallen: Vec::new(), repeated: Vec::new(), lease_lost: false, stale });
        }
        let indexes = |column: usize| -> Result<Vec<usize>, LogError> {
            let ordinals: Option<Vec<i32>> = row.try_get(column)?;
            Ok(ordinals.unwrap_or_default().into_iter().filter_map(|o| usize::try_from(o - 1).ok()).collect())
        };
        Ok(Appended {
            base: Position::from_i64(row.try_get(0)?),
            recorded_at: timestamp(row.try_get(1)?),
            fallen: indexes(2)?,
            repeated: indexes(3)?,
            lease_lost: row.try_get(4)?,
            stale,
        })
    }

    /// Makes sure that what this connection had under way is over, whichever way it ended: after this, what is not in the log will never be.
    ///
    /// Without it a batch of a broken connection could still commit after its commands had been looked up and found absent.
    ///
    /// # Errors
    /// [`LogError::Database`] when the server cannot be asked; try again.
    pub async fn end(&self, database: &Database) -> Result<(), LogError> {
        let client = database.connection().await?;
        // Ends when the old backend is gone. The server ends a backend within a statement; should it not, appends stay stopped, which is
        // the safe side, and every round tries again.
        while client.query_opt(BACKEND, &[&self.backend.pid, &self.backend.started_at]).await?.is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Commits something of no meaning, and waits for it as for an append: a database that only reads says no, and one that waits for its standbys before
    /// it says yes has by then told them everything that was committed before. What an ended connection had committed is read only after this: a
    /// standby that takes over without it would take back what was answered.
    ///
    /// # Errors
    /// [`LogError::Database`].
    pub async fn wait_until_safe(&self) -> Result<(), LogError> {
        self.client.execute("SELECT pg_logical_emit_message(true, 'jari', '')", &[]).await?;
        Ok(())
    }

    /// The event at `position`, as the server that this connection appends to has it: another one that answers to the same address may be behind.
    ///
    /// # Errors
    /// [`LogError::Database`].
    pub async fn event_at(&self, position: Position) -> Result<Option<RecordedEvent>, LogError> {
        let row = self.client.query_opt(READ_LOG, &[&position.previous().to_i64(), &1_i64]).await?;
        let event = row.as_ref().map(RecordedEvent::from_row).transpose()?;
        Ok(event.filter(|event| event.position == position))
    }

    /// Whether the connection is gone. Nobody is told of that who sends nothing.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// The server's process behind the connection, as its notices name it.
    #[must_use]
    pub fn process_id(&self) -> i32 {
        self.backend.pid
    }
}

/// Drives a connection until either end is done with it, or until a commit on it was not waited for (`pg_cancel_backend`, a time limit). The server
/// answers such a commit as any other, and a standby that takes over may not have it. The notice comes before the end of the answer: with the
/// connection gone, nobody gets that, and whoever connects anew waits for the standbys first.
async fn drive<S, T>(mut connection: Connection<S, T>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut messages = futures::stream::poll_fn(move |cx| connection.poll_message(cx));
    // Ends with the connection, or ends it.
    while let Some(message) = messages.next().await {
        match message {
            Ok(AsyncMessage::Notice(notice)) if notice.routine() == Some(WAITS_FOR_STANDBYS) => {
                tracing::warn!(
                    notice = notice.message(),
                    "a commit was not waited for: its connection is ended, and what it did is looked up when it is safe"
                );
                return;
            }
            Ok(AsyncMessage::Notice(notice)) => tracing::info!(severity = notice.severity(), notice = notice.message(), "the database says"),
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "a database connection ended");
                return;
            }
        }
    }
}

impl Appended {
    /// Which groups landed, each with the log's head at its end. Only for a batch that is not stale.
    #[must_use]
    pub fn heads(&self, batch: &Batch) -> Vec<Option<Position>> {
        let mut fallen = self.fallen.iter().copied().peekable();
        let mut head = self.base;
        batch
            .groups
            .iter()
            .enumerate()
            .map(|(g, group)| {
                if fallen.next_if_eq(&g).is_some() {
                    return None;
                }
                head = head + group.event_count() as u64;
                Some(head)
            })
            .collect()
    }

    /// The events of a landed group as they now stand in the log. `head` is the group's from [`Appended::heads`].
    pub fn recorded(&self, group: Group, head: Position) -> impl Iterator<Item = RecordedEvent> + use<> {
        let before = head.back(group.event_count() as u64);
        let (metadata, recorded_at) = (group.metadata, self.recorded_at);
        let numbered = group.uses.into_iter().flat_map(|used| {
            let stream = used.stream;
            used.events.into_iter().zip(used.expected + 1..).map(move |(event, sequence)| (stream.clone(), event, sequence))
        });
        numbered.zip(1..).map(move |((stream, event, sequence), nth)| RecordedEvent {
            position: before + nth,
            aggregate_type: stream.aggregate_type.into(),
            aggregate_id: stream.aggregate_id,
            sequence,
            event_type: event.event_type().into(),
            event_version: event.event_version().into(),
            body: Body::Known(event),
            metadata: metadata.clone(),
            recorded_at,
        })
    }
}
