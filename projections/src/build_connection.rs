//! The one connection through which a build is written.

use std::collections::{HashMap, HashSet};

use futures::future::join_all;
use jari_domain::Position;
use jari_event_store::{Database, LogError};
use tokio_postgres::{Client, Statement, Transaction, error::SqlState, types::ToSql};

use crate::{
    builds::{Build, signed},
    projection::Write,
    quarantine::HeldBack,
};

const ADVANCE: &str = include_str!("sql/advance.sql");
const HOLD_BACK: &str = include_str!("sql/hold_back.sql");
const CHECKPOINT: &str = "SELECT position, quarantine_changes, state FROM views.builds WHERE build = $1";
const QUARANTINED: &str = "SELECT aggregate_type, aggregate_id FROM views.quarantine WHERE build = $1";

/// What a server session that writes views needs.
///
/// `synchronous_commit`: rows and checkpoint move together, so a crash that loses the last transactions only makes the view read the same
/// events again. The plan settings: a plan that is made while a table is empty would scan it for ever; joining arrays to a table by its key is
/// always right here.
const SESSION: &str = "SET synchronous_commit = off; SET plan_cache_mode = force_generic_plan; SET enable_hashjoin = off; \
     SET enable_mergejoin = off; SET enable_seqscan = off; SET idle_in_transaction_session_timeout = '30s'";

/// Why a build was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The database is away, or out of order: the same again later.
    #[error("{0}")]
    Away(#[from] LogError),
    /// The database refuses a row.
    #[error("{0}")]
    Refused(String),
    /// The build does not stand where this writer believes: another one has it, it was switched, or its quarantine has changed.
    #[error("the view is written elsewhere, or was switched")]
    Moved,
    /// Somebody has to look: too many streams are held back for this to be about streams, or the log cannot be read.
    #[error("{0}")]
    Halted(String),
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        let error = LogError::from(error);
        let LogError::Database(inner) = &error else { return Self::Away(error) };
        match inner.code() {
            // Dropped under our feet: the build was switched.
            Some(code) if *code == SqlState::UNDEFINED_TABLE => Self::Moved,
            // Data exception, constraint violation, cardinality violation, a row too large for its index, raised by a function.
            Some(code) if ["22", "23", "21", "54", "P0"].iter().any(|class| code.code().starts_with(class)) => Self::Refused(error.to_string()),
            _ => Self::Away(error),
        }
    }
}

/// Where a build stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub position: Position,
    /// How often the quarantine of the build has changed: a writer that has not seen the last change may not write.
    pub quarantine_changes: i64,
}

/// How to insert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// What is inserted is not there.
    First,
    /// It may be: replace it.
    Again,
}

/// A step of a build.
pub(crate) struct Step<'a> {
    pub from: &'a Checkpoint,
    pub to: Position,
    /// Of the writer's lease; 0 for a build that is not live.
    pub epoch: u64,
    /// What the build must be: `live` or `building`.
    pub state: &'static str,
    pub writes: &'a [Write<'a>],
    pub held_back: &'a [HeldBack],
    pub form: Form,
}

/// A connection, and its prepared statements.
pub(crate) struct BuildConnection {
    client: Client,
    build: Build,
    statements: HashMap<&'static str, Statement>,
}

impl BuildConnection {
    pub async fn connect(database: &Database, build: Build) -> Result<Self, LogError> {
        let client = database.dedicated().await?;
        client.batch_execute(SESSION).await?;
        Ok(Self { client, build, statements: HashMap::new() })
    }

    pub fn build(&self) -> &Build {
        &self.build
    }

    /// Where the build stands while it is `state`; `None` when it is not that any more.
    pub async fn checkpoint(&self, state: &str) -> Result<Option<Checkpoint>, LogError> {
        let Some(row) = self.client.query_opt(CHECKPOINT, &[&self.build.number]).await? else { return Ok(None) };
        let is: &str = row.try_get(2)?;
        let here = Checkpoint { position: Position::from_i64(row.try_get(0)?), quarantine_changes: row.try_get(1)? };
        Ok((is == state).then_some(here))
    }

    /// The streams whose events wait: type and id.
    pub async fn quarantined(&self) -> Result<HashSet<(String, String)>, LogError> {
        let rows = self.client.query(QUARANTINED, &[&self.build.number]).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }

    /// Rows, quarantine and checkpoint in one transaction, in one flight: the statements are sent together, then the commit.
    ///
    /// # Errors
    /// [`Fault`]; then nothing has changed, unless the connection broke at the commit: read the checkpoint again.
    pub async fn advance(&mut self, step: &Step<'_>) -> Result<(), Fault> {
        self.prepare(step.writes, step.form).await?;
        let advance = self.statements[ADVANCE].clone();
        let number = self.build.number;
        let changes = i64::from(!step.held_back.is_empty());
        let transaction = self.client.transaction().await?;
        let (from, to, epoch) = (step.from.position.to_i64(), step.to.to_i64(), signed(step.epoch));
        let parameters: [&(dyn ToSql + Sync); 7] = [&number, &from, &to, &epoch, &step.state, &step.from.quarantine_changes, &changes];
        // In this order on the wire: the checkpoint's row is locked before any other.
        let (moved, written) =
            futures::join!(transaction.execute(&advance, &parameters), write_all(&transaction, &self.statements, step.writes, step.form));
        if moved? == 0 {
            return Err(Fault::Moved);
        }
        written?;
        hold_back(&transaction, number, step.held_back).await?;
        Ok(transaction.commit().await?)
    }

    /// Whether the database takes `writes`; nothing stays.
    pub async fn rehearse(&mut self, writes: &[Write<'_>]) -> Result<(), Fault> {
        self.prepare(writes, Form::Again).await?;
        let transaction = self.client.transaction().await?;
        let written = write_all(&transaction, &self.statements, writes, Form::Again).await;
        transaction.rollback().await?;
        written
    }

    /// A transaction of the caller's own on this connection.
    pub async fn begin(&mut self) -> Result<Transaction<'_>, LogError> {
        Ok(self.client.transaction().await?)
    }

    async fn prepare(&mut self, writes: &[Write<'_>], form: Form) -> Result<(), Fault> {
        for text in writes.iter().map(|write| text(write, form)).chain([ADVANCE]) {
            if !self.statements.contains_key(text) {
                let statement = self.client.prepare(&self.build.sql(text)).await?;
                self.statements.insert(text, statement);
            }
        }
        Ok(())
    }
}

fn text(write: &Write<'_>, form: Form) -> &'static str {
    match form {
        Form::First => write.sql,
        Form::Again => write.again.unwrap_or(write.sql),
    }
}

/// Writes within a transaction of the caller's own, one statement after the other.
pub(crate) async fn write_again(transaction: &Transaction<'_>, build: &Build, writes: &[Write<'_>]) -> Result<(), Fault> {
    for write in writes {
        transaction.execute(&build.sql(text(write, Form::Again)), &write.parameters()).await?;
    }
    Ok(())
}

/// Sends every statement at once. The first refusal is the one to tell: the others only say that the transaction has failed.
async fn write_all(
    transaction: &Transaction<'_>,
    statements: &HashMap<&'static str, Statement>,
    writes: &[Write<'_>],
    form: Form,
) -> Result<(), Fault> {
    let parameters: Vec<_> = writes.iter().map(Write::parameters).collect();
    let sent = writes.iter().zip(&parameters).map(|(write, parameters)| transaction.execute(&statements[text(write, form)], parameters));
    for result in join_all(sent).await {
        result?;
    }
    Ok(())
}

/// Records streams as held back.
pub(crate) async fn hold_back(transaction: &Transaction<'_>, build: i64, streams: &[HeldBack]) -> Result<(), Fault> {
    if streams.is_empty() {
        return Ok(());
    }
    let types: Vec<&str> = streams.iter().map(|s| &*s.aggregate_type).collect();
    let ids: Vec<&str> = streams.iter().map(|s| &*s.aggregate_id).collect();
    let positions: Vec<i64> = streams.iter().map(|s| s.position.to_i64()).collect();
    let sequences: Vec<i64> = streams.iter().map(|s| signed(s.sequence)).collect();
    let codes: Vec<&str> = streams.iter().map(|s| s.code).collect();
    let errors: Vec<&str> = streams.iter().map(|s| &*s.error).collect();
    transaction.execute(HOLD_BACK, &[&build, &types, &ids, &positions, &sequences, &codes, &errors]).await?;
    Ok(())
}
