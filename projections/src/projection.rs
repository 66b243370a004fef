//! What a view is to the runner.

use jari_event_store::RecordedEvent;
use tokio_postgres::types::ToSql;

/// One view over the log: which events it reads, the tables that it keeps, and what a run of events changes in them.
///
/// It depends on events alone: no clock, no arrival, no row that it wrote before. So a rebuilt view equals the live one.
pub(crate) trait Projection: Send + Sync + 'static {
    /// Lower case; names tables and the command line's argument.
    fn name(&self) -> &'static str;
    /// Raised with any change of the tables or of what is written into them: the program then builds the new version beside the live one.
    fn version(&self) -> i32;
    /// `view/<name>/<version>`: two versions are two roles, so that an old program and a new one never wait for each other.
    fn lease(&self) -> &'static str;
    /// Creates the tables. In this and all SQL of a view the qualifier `build.` stands for the build's own tables.
    fn schema(&self) -> &'static str;
    /// The aggregates whose events it folds; an event of another cannot hold it up.
    fn reads(&self) -> &'static [&'static str];
    /// What `events`, in the order of the log, change: each row once, whatever happened to it in between.
    fn fold<'a>(&self, events: &[&'a RecordedEvent]) -> Vec<Write<'a>>;
}

/// One statement over arrays, a row an element.
pub(crate) struct Write<'a> {
    /// Expects that what it inserts is not there: a quarter to a third cheaper than asking.
    pub sql: &'static str,
    /// The same with what is there replaced, where that differs: for events that were folded before.
    pub again: Option<&'static str>,
    /// Its parameters, all of one length.
    pub columns: Vec<Box<dyn ToSql + Sync + Send + 'a>>,
}

impl<'a> Write<'a> {
    /// A statement that is the same whether or not its events were folded before.
    pub fn new(sql: &'static str) -> Self {
        Self { sql, again: None, columns: Vec::new() }
    }

    /// An insert, and the form of it that replaces what is there.
    pub fn insert(sql: &'static str, again: &'static str) -> Self {
        Self { sql, again: Some(again), columns: Vec::new() }
    }

    /// The next parameter.
    pub fn column<T: ToSql + Sync + Send + 'a>(mut self, values: impl Iterator<Item = T>) -> Self {
        self.columns.push(Box::new(values.collect::<Vec<T>>()));
        self
    }

    pub fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.columns.iter().map(|column| -> &(dyn ToSql + Sync) { &**column }).collect()
    }
}
