//! Builds: the makings of a view, their tables and which of them is live.

use std::sync::Arc;

use jari_domain::Position;
use jari_event_store::{Database, LogError};
use tokio_postgres::{Client, GenericClient, types::ToSql};

use crate::projection::Projection;

const TABLES: &str = include_str!("sql/builds.sql");
const LIVE: &str = "SELECT build, version, position FROM views.builds WHERE view = $1 AND state = 'live'";
const UNFINISHED: &str = "SELECT build, version, position FROM views.builds WHERE view = $1 AND state = 'building' AND version = $2";
const CREATE: &str = "INSERT INTO views.builds (view, version, state) VALUES ($1, $2, $3) RETURNING build";
const DEAD: &str = "SELECT build, version FROM views.builds WHERE view = $1 AND (state = 'retired' OR state = 'building' AND version <> $2)";
const RETIRED: &str = "SELECT build, version FROM views.builds WHERE view = $1 AND state = 'retired'";
const TABLES_OF: &str = "SELECT format('DROP TABLE views.%I', relname) FROM pg_class \
     WHERE relnamespace = 'views'::regnamespace AND relkind = 'r' AND starts_with(relname, $1)";
const TAKEN_UP: &str = "UPDATE views.builds SET taken_up_at = clock_timestamp(), taken_up_from = position WHERE build = $1";
const UNFINISHED_REPLAY: &str = "SELECT build, version, position FROM views.builds WHERE view = $1 AND state = 'replaying' AND version = $2 AND as_of = $3 ORDER BY build LIMIT 1";
const CREATE_REPLAY: &str = "INSERT INTO views.builds (view, version, state, as_of) VALUES ($1, $2, 'replaying', $3) RETURNING build";
const REPLAYS: &str = "SELECT count(*) FROM views.builds WHERE state IN ('replaying', 'replayed')";
const KEEP: &str = "UPDATE views.builds SET state = 'replayed' WHERE build = $1 AND state = 'replaying'";
const FORGET: &str = "DELETE FROM views.builds WHERE build = $1";

const LOCK: &str = "SELECT pg_try_advisory_lock(hashtextextended('jari.' || $1, 0))";
const UNLOCK: &str = "SELECT pg_advisory_unlock_all()";

/// Makings of views are created and dropped by one transaction at a time.
const BUILDS_LOCK: i64 = 0x6a61_7269_0002;

/// One making of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Build {
    /// Its key in `views.builds`.
    pub number: i64,
    /// [`Projection::version`] of the program that makes it.
    pub version: i32,
    /// What its tables' names begin with.
    prefix: Arc<str>,
}

impl Build {
    pub fn new(view: &str, version: i32, number: i64) -> Self {
        debug_assert!(view.bytes().all(|b| b.is_ascii_lowercase()), "a view's name is part of tables' names");
        Self { number, version, prefix: format!("{view}_v{version}_{number}_").into() }
    }

    /// What its tables' names begin with, within the schema `views`.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The text of a view's statement with this build's tables in the place of `build.`: the one place where SQL is put together. The prefix
    /// is a view's name, which is ours, and two numbers.
    pub fn sql(&self, text: &str) -> String {
        text.replace("build.", &format!("views.{}", self.prefix))
    }
}

/// Takes the lock `what` for as long as the connection lives, which is given; `None` when somebody else has it. However the holder ends, it is free
/// again.
pub(crate) async fn try_lock(database: &Database, what: &str) -> Result<Option<Client>, LogError> {
    let client = database.dedicated().await?;
    let mine: bool = client.query_one(LOCK, &[&what]).await?.try_get(0)?;
    Ok(mine.then_some(client))
}

/// Gives a lock back before anything else happens. If this fails it goes with the connection.
pub(crate) async fn unlock(lock: Client) {
    let _ = lock.batch_execute(UNLOCK).await;
}

/// Creates the tables of this crate where they are missing. Safe when many nodes start at once.
pub(crate) async fn prepare(database: &Database) -> Result<(), LogError> {
    let mut client = database.connection().await?;
    let transaction = client.transaction().await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&BUILDS_LOCK]).await?;
    transaction.batch_execute(TABLES).await?;
    Ok(transaction.commit().await?)
}

/// The live build and its position, whatever its version.
pub(crate) async fn live(client: &impl GenericClient, view: &dyn Projection) -> Result<Option<(Build, Position)>, LogError> {
    read(view, client.query_opt(LIVE, &[&view.name()]).await?)
}

fn read(view: &dyn Projection, row: Option<tokio_postgres::Row>) -> Result<Option<(Build, Position)>, LogError> {
    let Some(row) = row else { return Ok(None) };
    Ok(Some((Build::new(view.name(), row.try_get(1)?, row.try_get(0)?), Position::from_i64(row.try_get(2)?))))
}

/// Makes the first live build, empty, when the view has none.
pub(crate) async fn provide(database: &Database, view: &dyn Projection) -> Result<(), LogError> {
    let mut client = database.connection().await?;
    if live(&**client, view).await?.is_some() {
        return Ok(());
    }
    let transaction = client.transaction().await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&BUILDS_LOCK]).await?;
    if live(&*transaction, view).await?.is_none() {
        create(&*transaction, view, "live").await?;
    }
    Ok(transaction.commit().await?)
}

/// The build that was begun before and not finished, or a new one, beside the live one.
pub(crate) async fn begin(database: &Database, view: &dyn Projection) -> Result<(Build, Position), LogError> {
    let mut client = database.connection().await?;
    if let Some(unfinished) = read(view, client.query_opt(UNFINISHED, &[&view.name(), &view.version()]).await?)? {
        return Ok(unfinished);
    }
    let transaction = client.transaction().await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&BUILDS_LOCK]).await?;
    let build = create(&*transaction, view, "building").await?;
    transaction.commit().await?;
    Ok((build, Position::START))
}

async fn create(client: &impl GenericClient, view: &dyn Projection, state: &str) -> Result<Build, LogError> {
    let number: i64 = client.query_one(CREATE, &[&view.name(), &view.version(), &state]).await?.try_get(0)?;
    make_tables(client, view, number).await
}

async fn make_tables(client: &impl GenericClient, view: &dyn Projection, number: i64) -> Result<Build, LogError> {
    let build = Build::new(view.name(), view.version(), number);
    client.batch_execute(&build.sql(view.schema())).await?;
    Ok(build)
}

/// Somebody goes on with this build now: its speed is counted from here.
pub(crate) async fn take_up(database: &Database, build: &Build) -> Result<(), LogError> {
    database.connection().await?.execute(TAKEN_UP, &[&build.number]).await?;
    Ok(())
}

/// The replay of `view` as of `position` that was begun before and not finished, or a new one; `None` when there are `most` already. Call it under
/// the replay's lock.
pub(crate) async fn begin_replay(database: &Database, view: &dyn Projection, position: Position, most: usize) -> Result<Option<Build>, LogError> {
    let mut client = database.connection().await?;
    let position = position.to_i64();
    if let Some((unfinished, _)) = read(view, client.query_opt(UNFINISHED_REPLAY, &[&view.name(), &view.version(), &position]).await?)? {
        return Ok(Some(unfinished));
    }
    let transaction = client.transaction().await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&BUILDS_LOCK]).await?;
    let there: i64 = transaction.query_one(REPLAYS, &[]).await?.try_get(0)?;
    if unsigned(there) >= most as u64 {
        return Ok(None);
    }
    let number: i64 = transaction.query_one(CREATE_REPLAY, &[&view.name(), &view.version(), &position]).await?.try_get(0)?;
    let build = make_tables(&*transaction, view, number).await?;
    transaction.commit().await?;
    Ok(Some(build))
}

/// Keeps a finished replay for whoever wants to look at its tables.
pub(crate) async fn keep_replay(database: &Database, build: &Build) -> Result<(), LogError> {
    database.connection().await?.execute(KEEP, &[&build.number]).await?;
    Ok(())
}

/// Drops what nobody reads any more: retired builds, and unfinished ones of other versions. Call it under the view's rebuild lock.
pub(crate) async fn drop_dead(database: &Database, view: &dyn Projection) -> Result<(), LogError> {
    drop_all(database, view, DEAD, &[&view.name(), &view.version()]).await
}

/// Drops the retired builds that a rebuild left behind which was killed between its switch and its end. Needs no lock: of those nobody makes anything.
pub(crate) async fn drop_retired(database: &Database, view: &dyn Projection) -> Result<(), LogError> {
    drop_all(database, view, RETIRED, &[&view.name()]).await
}

async fn drop_all(database: &Database, view: &dyn Projection, which: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<(), LogError> {
    let mut client = database.connection().await?;
    for row in client.query(which, parameters).await? {
        drop_build(&mut client, &Build::new(view.name(), row.try_get(1)?, row.try_get(0)?)).await?;
    }
    Ok(())
}

/// Drops a build that nobody reads any more: its row, its quarantine and its tables. The row first: of two who drop the same build at once the other
/// waits for it, and finds nothing left to drop.
pub(crate) async fn drop_build(client: &mut Client, build: &Build) -> Result<(), LogError> {
    let transaction = client.transaction().await?;
    // A reader that still stands on the old tables is waited for, but not for ever: whoever comes behind us would wait as well.
    transaction.batch_execute("SET LOCAL lock_timeout = '5s'").await?;
    if transaction.execute(FORGET, &[&build.number]).await? == 0 {
        return Ok(());
    }
    for table in transaction.query(TABLES_OF, &[&&*build.prefix]).await? {
        transaction.batch_execute(table.try_get(0)?).await?;
    }
    Ok(transaction.commit().await?)
}

/// Sequences and counts are never negative in the database.
pub(crate) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// Sequences and counts cannot reach 2^63.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
