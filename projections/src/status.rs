//! How far the views are.

use jari_event_store::{Database, LogError, LogTail};

use crate::{bookkeeping::unsigned, views::VIEWS};

const STATUS: &str = include_str!("sql/status.sql");

/// What a view is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProjectionState {
    /// It answers, and nothing is made beside it.
    Live,
    /// It answers, and is being made anew beside.
    Rebuilding,
    /// It does not answer: it is being made in the version that this program reads, or another program's version is live.
    NotReady,
}

/// How a view stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectionStatus {
    /// Its name.
    pub view: String,
    /// Of the live build.
    pub version: i32,
    /// The live build.
    pub build: i64,
    /// How far the live build has read the log.
    pub position: u64,
    /// The log's.
    pub head: u64,
    /// Events between the two.
    pub lag: u64,
    /// Streams that the live build has set aside.
    pub quarantined: u64,
    /// See [`ProjectionState`].
    pub state: ProjectionState,
    /// How far the build that is being made has come.
    pub rebuilding_at: Option<u64>,
    /// The node that writes it; `None` when none does.
    pub owner: Option<String>,
    /// What keeps this node from going on with it.
    pub trouble: Option<String>,
}

/// In the order of [`VIEWS`].
pub(crate) async fn read(database: &Database, tail: &LogTail) -> Result<Vec<ProjectionStatus>, LogError> {
    let client = database.connection().await?;
    let mut all = Vec::with_capacity(VIEWS.len());
    for view in VIEWS {
        let row = client.query_one(STATUS, &[&view.name(), &view.lease()]).await?;
        let version: i32 = row.try_get(1)?;
        let position = unsigned(row.try_get(2)?);
        let rebuilding_at: Option<i64> = row.try_get(4)?;
        let state = match rebuilding_at {
            _ if version != view.version() => ProjectionState::NotReady,
            Some(_) => ProjectionState::Rebuilding,
            None => ProjectionState::Live,
        };
        // The view may have read on since the head was read, and this node's tail may be behind.
        let head = unsigned(row.try_get(6)?).max(tail.head()).max(position);
        all.push(ProjectionStatus {
            view: view.name().to_owned(),
            version,
            build: row.try_get(0)?,
            position,
            head,
            lag: head - position,
            quarantined: unsigned(row.try_get(3)?),
            state,
            rebuilding_at: rebuilding_at.map(unsigned),
            owner: row.try_get(5)?,
            trouble: None,
        });
    }
    Ok(all)
}
