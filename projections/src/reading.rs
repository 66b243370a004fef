//! One answer from one view: rows and the view's position in one statement.

use std::time::Duration;

use jari_domain::Position;
use jari_event_store::{LogError, Reader};
use jari_proto::deadline;
use tokio::time::Instant;
use tokio_postgres::{Row, error::SqlState, types::ToSql};
use tonic::metadata::MetadataMap;

use crate::{
    projection::Projection,
    refusal::{MIN_POSITION_INVALID, QueryError},
    runner::Views,
};

/// What a query must have seen, and until when it may wait for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub position: Position,
    pub until: Instant,
}

/// Rows of one view, all of one moment.
pub(crate) struct Answer {
    view: &'static str,
    /// How far the view had read the log.
    pub position: Position,
    rows: Vec<Row>,
}

/// How often a query begins again because the view was switched under it: more than once means rebuild after rebuild.
const SWITCHES: usize = 5;
/// A call with a deadline gets its answer, even if it is a refusal, so long before it.
const MARGIN: Duration = Duration::from_millis(20);

/// The first columns of every query: position, whether the build is live, the id of a stream that the row needs and that is held back.
const OWN: usize = 3;

impl Views {
    /// What `min_position` asks for, bounded by the call's own deadline.
    pub(crate) fn wanted(&self, min_position: i64, call: &MetadataMap) -> Result<Wanted, QueryError> {
        let what = || "must be 0 or a position of the log".to_owned();
        let position =
            Position::try_from(min_position).map_err(|_| QueryError::Field { field: "min_position", code: MIN_POSITION_INVALID, what: what() })?;
        let left = deadline::of(call.as_ref()).map_or(self.inner.settings.wait, |left| left.saturating_sub(MARGIN).min(self.inner.settings.wait));
        Ok(Wanted { position, until: Instant::now() + left })
    }

    /// Runs one of a view's queries against its live build. `$1` is the build; the first three columns are those of [`OWN`], and there is
    /// always a row, if only of nulls.
    pub(crate) async fn read(
        &self,
        view: &'static dyn Projection,
        wanted: Wanted,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Answer, QueryError> {
        let state = self.state(view);
        for _ in 0..SWITCHES {
            let standing = state.reach(wanted.position, wanted.until).await;
            let Some(build) = standing.build else { return Err(QueryError::NotReady { view: view.name() }) };
            if standing.position < wanted.position {
                return Err(QueryError::Behind { view: view.name(), min_position: wanted.position, position: standing.position });
            }
            let mut all: Vec<&(dyn ToSql + Sync)> = Vec::with_capacity(parameters.len() + 1);
            all.push(&build.number);
            all.extend(parameters);
            let rows = self.inner.reads.in_time(async {
                let client = self.inner.reads.connection().await?;
                let statement = client.prepare_cached(&build.sql(sql)).await?;
                Ok::<_, LogError>(client.query(&statement, &all).await?)
            });
            match rows.await {
                Ok(rows) => {
                    if let Some(answer) = Answer::of(view, rows)?.filter(|answer| answer.position >= wanted.position) {
                        return Ok(answer);
                    }
                }
                // The build was switched and dropped.
                Err(LogError::Database(error)) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => {}
                Err(error) => return Err(error.into()),
            }
            self.inner.database.in_time(state.refresh(&self.inner.database)).await?;
        }
        Err(QueryError::NotReady { view: view.name() })
    }

    /// As [`Views::read`], for one thing by its id. That it does not exist is said by a view that has read all that the log holds: who was told of it a
    /// moment ago, by whichever node, and asks without saying what the view must have seen, is not sent away.
    pub(crate) async fn read_one(
        &self,
        view: &'static dyn Projection,
        wanted: Wanted,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Answer, QueryError> {
        let answer = self.read(view, wanted, sql, parameters).await?;
        if answer.held_back()?.is_some() || !answer.rows()?.is_empty() {
            return Ok(answer);
        }
        // the log itself: what is in memory here may not have come to what was just answered
        let position = self.inner.reads.in_time(Reader::new(self.inner.reads.clone()).head()).await?;
        if answer.position >= position { Ok(answer) } else { self.read(view, Wanted { position, ..wanted }, sql, parameters).await }
    }
}

impl Answer {
    /// `None` when the build was not live any more.
    fn of(view: &'static dyn Projection, rows: Vec<Row>) -> Result<Option<Self>, QueryError> {
        let Some(first) = rows.first() else { return Ok(None) };
        let live: bool = first.try_get(1)?;
        let position = Position::from_i64(first.try_get(0)?);
        Ok(live.then_some(Self { view: view.name(), position, rows }))
    }

    /// The stream that the answer needs and that is held back: the first row's.
    pub fn held_back(&self) -> Result<Option<&str>, QueryError> {
        Ok(self.rows.first().map(|row| row.try_get(2)).transpose()?.flatten())
    }

    /// Refuses an answer that any of its rows would need a held-back stream for.
    pub fn must_be_whole(&self, aggregate_type: &str) -> Result<(), QueryError> {
        for row in &self.rows {
            if let Some(id) = row.try_get::<_, Option<&str>>(2)? {
                return Err(self.quarantined(aggregate_type, id));
            }
        }
        Ok(())
    }

    pub fn quarantined(&self, aggregate_type: &str, id: &str) -> QueryError {
        QueryError::Quarantined { view: self.view, stream: format!("{aggregate_type}/{id}") }
    }

    /// The rows that are there: those whose fourth column, their key, is not null.
    pub fn rows(&self) -> Result<Vec<Fields<'_>>, QueryError> {
        let mut there = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            if row.try_get::<_, Option<&str>>(OWN)?.is_some() {
                there.push(Fields { row, view: self.view });
            }
        }
        Ok(there)
    }
}

/// The columns of a row after the first three, counted from 0.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    row: &'a Row,
    view: &'static str,
}

impl<'a> Fields<'a> {
    pub fn get<T: tokio_postgres::types::FromSql<'a>>(&self, column: usize) -> Result<T, QueryError> {
        self.row.try_get(OWN + column).map_err(|error| self.unreadable(error.to_string()))
    }

    pub fn time(&self, column: usize) -> Result<Option<prost_types::Timestamp>, QueryError> {
        Ok(self.get::<Option<std::time::SystemTime>>(column)?.map(Into::into))
    }

    pub fn json<T: serde::de::DeserializeOwned>(&self, text: &str) -> Result<T, QueryError> {
        serde_json::from_str(text).map_err(|error| self.unreadable(error.to_string()))
    }

    /// What `read` makes of the word in the column, as of a status.
    pub fn word<T>(&self, column: usize, read: impl Fn(&str) -> Option<T>) -> Result<T, QueryError> {
        let word: &str = self.get(column)?;
        read(word).ok_or_else(|| self.unreadable(format!("nothing is known of the word {word:?} in column {column}")))
    }

    pub fn unreadable(&self, reason: String) -> QueryError {
        QueryError::RowUnreadable { view: self.view, reason }
    }
}
