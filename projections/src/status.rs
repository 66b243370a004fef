//! How far the views are.

use std::time::Duration;

use jari_domain::Position;
use jari_event_store::{Database, LogError, LogTail};
use tokio_postgres::Row;

use crate::{builds::unsigned, views::VIEWS};

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

/// A build that is being made beside the live one.
#[derive(Debug, Clone, PartialEq)]
pub struct RebuildStanding {
    /// How far it has come.
    pub position: Position,
    /// Whether somebody is at it; else it was begun and not finished, and the next rebuild goes on with it.
    pub under_way: bool,
    /// Since whoever is at it took it up; 0 when nobody is.
    pub events_per_second: f64,
    /// To the head, at that speed; `None` before it is known, or when nobody is at it.
    pub time_left: Option<Duration>,
}

/// How a view stands.
#[derive(Debug, Clone, PartialEq)]
pub struct ProjectionStatus {
    /// Its name.
    pub view: String,
    /// Of the live build.
    pub version: i32,
    /// The live build.
    pub build: i64,
    /// How far the live build has read the log.
    pub position: Position,
    /// The log's.
    pub head: Position,
    /// Events between the two.
    pub lag: u64,
    /// Streams that the live build has set aside.
    pub quarantined: u64,
    /// See [`ProjectionState`].
    pub state: ProjectionState,
    /// The build that is being made beside.
    pub rebuild: Option<RebuildStanding>,
    /// The node that writes it; `None` when none does.
    pub owner: Option<String>,
    /// What keeps this node from going on with it.
    pub trouble: Option<String>,
}

/// How a view is on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ViewHealth {
    /// Its name.
    pub view: &'static str,
    /// Whether a build is live that this program can read.
    pub ready: bool,
    /// Events of the log that this node has seen and the view has not read.
    pub lag: u64,
    /// Whether something keeps this node from going on with it, or from looking how far it is.
    pub pauses: bool,
}

/// In the order of [`VIEWS`].
pub(crate) async fn read(database: &Database, tail: &LogTail) -> Result<Vec<ProjectionStatus>, LogError> {
    let client = database.connection().await?;
    let mut all = Vec::with_capacity(VIEWS.len());
    for view in VIEWS {
        let row = client.query_one(STATUS, &[&view.name(), &view.lease()]).await?;
        let version: i32 = row.try_get(1)?;
        let position = Position::from_i64(row.try_get(2)?);
        // The view may have read on since the head was read, and this node's tail may be behind.
        let head = Position::from_i64(row.try_get(5)?).max(tail.head()).max(position);
        let rebuild = rebuilding(&row, head)?;
        let state = match rebuild {
            _ if version != view.version() => ProjectionState::NotReady,
            Some(_) => ProjectionState::Rebuilding,
            None => ProjectionState::Live,
        };
        all.push(ProjectionStatus {
            view: view.name().to_owned(),
            version,
            build: row.try_get(0)?,
            position,
            head,
            lag: head.since(position),
            quarantined: unsigned(row.try_get(3)?),
            state,
            rebuild,
            owner: row.try_get(4)?,
            trouble: None,
        });
    }
    Ok(all)
}

/// The last columns of the statement.
fn rebuilding(row: &Row, head: Position) -> Result<Option<RebuildStanding>, LogError> {
    let Some(position) = row.try_get::<_, Option<i64>>(6)?.map(Position::from_i64) else { return Ok(None) };
    let from = Position::from_i64(row.try_get(7)?);
    let seconds: Option<f64> = row.try_get(8)?;
    let under_way: bool = row.try_get(9)?;
    let read = position.since(from) as f64;
    let events_per_second = seconds.filter(|seconds| under_way && *seconds > 0.0).map_or(0.0, |seconds| read / seconds);
    let left = head.since(position) as f64;
    let time_left = (events_per_second > 0.0).then(|| Duration::try_from_secs_f64(left / events_per_second).ok()).flatten();
    Ok(Some(RebuildStanding { position, under_way, events_per_second, time_left }))
}
