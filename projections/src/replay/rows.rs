//! The rows of a build in one order and one form: what a digest is of, and what is written to files.
//!
//! The form: a line of JSON for each row, table by table by name, rows by their primary key (byte order), columns in their order, the table's name before
//! them; as PostgreSQL's `row_to_json` writes it with times in UTC. The digest is the SHA-256 of these bytes, so `sha256sum` of the file says it, too.

use std::{
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use futures::TryStreamExt;
use jari_domain::Position;
use jari_event_store::{Database, LogError};
use sha2::{Digest, Sha256};
use tokio::{
    fs::File,
    io::{AsyncWriteExt, BufWriter},
};
use tokio_postgres::{GenericClient, IsolationLevel, error::SqlState};

use super::{error::ReplayError, find};
use crate::builds::{self, Build, unsigned};

const TABLES: &str = include_str!("../sql/tables_of.sql");
const QUARANTINED: &str = "SELECT count(*) FROM views.quarantine WHERE build = $1";
/// What the text of a value depends on.
const SESSION: &str = "SET timezone = 'UTC'; SET datestyle = 'ISO, YMD'; SET intervalstyle = 'iso_8601'; SET bytea_output = 'hex'; \
     SET extra_float_digits = 1; SET statement_timeout = '10min'";

/// Rows fetched at once.
const PAGE: i64 = 10_000;
/// How often the digest of a live view begins again because it was switched under it: more than once means rebuild after rebuild.
const SWITCHES: usize = 5;

/// A table of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayTable {
    /// As the view calls it.
    pub name: String,
    /// As SQL finds it.
    pub sql_name: String,
    /// Its rows.
    pub rows: u64,
}

/// All rows of a build in one number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digested {
    /// SHA-256, 64 hexadecimal digits.
    pub digest: String,
    /// By name.
    pub tables: Vec<ReplayTable>,
}

/// A live view at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveView {
    /// How far it had read the log.
    pub position: Position,
    /// Its version.
    pub version: i32,
    /// Of all rows.
    pub digested: Digested,
    /// Streams that it had set aside.
    pub quarantined: u64,
}

/// A table, and how it is read.
pub(super) struct Table {
    name: String,
    pub sql_name: String,
    first: String,
    next: String,
    copy: String,
}

/// The tables of a build, by name.
pub(super) async fn tables(client: &impl GenericClient, build: &Build) -> Result<Vec<Table>, LogError> {
    let rows = client.query(TABLES, &[&build.prefix()]).await?;
    let table = |row: &tokio_postgres::Row| {
        Ok(Table { name: row.try_get(0)?, sql_name: row.try_get(1)?, first: row.try_get(2)?, next: row.try_get(3)?, copy: row.try_get(4)? })
    };
    rows.iter().map(table).collect()
}

/// A file that has its name only when it is whole; or standard output, which is called `-`.
struct NewFile {
    to: BufWriter<File>,
    /// Its name so far, and the one that it gets.
    names: Option<(PathBuf, PathBuf)>,
}

impl NewFile {
    async fn begin(path: &Path) -> Result<Self, ReplayError> {
        if path == Path::new("-") {
            let same = std::io::stdout().as_fd().try_clone_to_owned().map_err(|error| failed(path, error))?;
            return Ok(Self { to: BufWriter::new(File::from_std(same.into())), names: None });
        }
        let mut begun = path.as_os_str().to_owned();
        begun.push(".part");
        let begun = PathBuf::from(begun);
        let file = File::create(&begun).await.map_err(|error| failed(&begun, error))?;
        Ok(Self { to: BufWriter::new(file), names: Some((begun, path.to_owned())) })
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), ReplayError> {
        self.to.write_all(bytes).await.map_err(|error| self.failed(error))
    }

    async fn finish(mut self) -> Result<(), ReplayError> {
        self.to.flush().await.map_err(|error| self.failed(error))?;
        let Some((begun, path)) = &self.names else { return Ok(()) };
        self.to.get_ref().sync_all().await.map_err(|error| failed(begun, error))?;
        tokio::fs::rename(begun, path).await.map_err(|error| failed(path, error))
    }

    fn failed(&self, error: std::io::Error) -> ReplayError {
        failed(self.names.as_ref().map_or(Path::new("-"), |(begun, _)| begun), error)
    }
}

fn failed(path: &Path, error: std::io::Error) -> ReplayError {
    ReplayError::File { path: path.display().to_string(), error }
}

/// Digests a build that nobody writes any more, and writes its rows to files; also how many streams it has set aside.
pub(super) async fn digest(database: &Database, build: &Build, lines: Option<&Path>, csv: Option<&Path>) -> Result<(Digested, u64), ReplayError> {
    let client = database.dedicated().await?;
    client.batch_execute(SESSION).await?;
    let mut file = match lines {
        Some(path) => Some(NewFile::begin(path).await?),
        None => None,
    };
    let digested = read_all(&client, build, PAGE, &mut file).await?;
    if let Some(file) = file {
        file.finish().await?;
    }
    if let Some(folder) = csv {
        tokio::fs::create_dir_all(folder).await.map_err(|error| failed(folder, error))?;
        for table in tables(&client, build).await? {
            let mut file = NewFile::begin(&folder.join(format!("{}.csv", table.name))).await?;
            let mut rows = std::pin::pin!(client.copy_out(&table.copy).await?);
            // Ends with the table.
            while let Some(bytes) = rows.try_next().await? {
                file.write(&bytes).await?;
            }
            file.finish().await?;
        }
    }
    let quarantined: i64 = client.query_one(QUARANTINED, &[&build.number]).await?.try_get(0)?;
    Ok((digested, unsigned(quarantined)))
}

/// Digests the live build of a view as it is at one moment, while it goes on. Its rows are read under one snapshot, a second or two for each million.
///
/// # Errors
/// [`ReplayError::ViewUnknown`], [`ReplayError::Halted`] when there is none, [`ReplayError::Away`].
pub async fn digest_live(database: &Database, view: &str) -> Result<LiveView, ReplayError> {
    let view = find(view)?;
    let mut client = database.dedicated().await?;
    client.batch_execute(SESSION).await?;
    for _ in 0..SWITCHES {
        let transaction = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true).start().await?;
        let none = || ReplayError::Halted(format!("no build of view {:?} is live", view.name()));
        let (build, position) = builds::live(&transaction, view).await?.ok_or_else(none)?;
        let quarantined: i64 = transaction.query_one(QUARANTINED, &[&build.number]).await?.try_get(0)?;
        match read_all(&transaction, &build, PAGE, &mut None).await {
            Ok(digested) => return Ok(LiveView { position, version: build.version, digested, quarantined: unsigned(quarantined) }),
            // switched and dropped meanwhile
            Err(ReplayError::Away(LogError::Database(error))) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => {}
            Err(error) => return Err(error),
        }
    }
    Err(ReplayError::Halted(format!("view {:?} is switched again and again", view.name())))
}

async fn read_all(client: &impl GenericClient, build: &Build, most: i64, file: &mut Option<NewFile>) -> Result<Digested, ReplayError> {
    let mut sum = Sha256::new();
    let mut told = Vec::new();
    for table in tables(client, build).await? {
        let mut rows = 0;
        let mut page = client.query(&table.first, &[&most]).await?;
        // Ends with the table: each page goes on behind the last key of the one before.
        while let Some(last) = page.last() {
            let behind: Vec<String> = last.try_get(1)?;
            let mut bytes = Vec::new();
            for row in &page {
                line(&mut bytes, &table.name, row.try_get(0)?);
            }
            rows += page.len() as u64;
            sum.update(&bytes);
            if let Some(file) = file {
                file.write(&bytes).await?;
            }
            page = client.query(&table.next, &[&most, &behind]).await?;
        }
        told.push(ReplayTable { name: table.name, sql_name: table.sql_name, rows });
    }
    let digest = sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Digested { digest, tables: told })
}

/// `{"table":"orders",` and the row, which is an object with one column at least.
fn line(to: &mut Vec<u8>, table: &str, row: &str) {
    to.extend_from_slice(b"{\"table\":\"");
    to.extend_from_slice(table.as_bytes());
    to.extend_from_slice(b"\",");
    to.extend_from_slice(row.strip_prefix('{').unwrap_or(row).as_bytes());
    to.push(b'\n');
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{
        rebuild,
        tests::{
            history::History,
            place::{Pencil, database},
        },
        view_names,
    };

    #[tokio::test(flavor = "multi_thread")]
    async fn the_digest_of_a_view_is_the_same_in_pages_of_every_size() {
        let database = database().await;
        Pencil::new(&database).await.append(History::new(31).go_on(2_000)).await;
        for name in view_names() {
            rebuild(&database, name, |_| {}, &CancellationToken::new()).await.unwrap();
            let client = database.dedicated().await.unwrap();
            client.batch_execute(SESSION).await.unwrap();
            let (build, _) = builds::live(&client, find(name).unwrap()).await.unwrap().unwrap();
            let whole = read_all(&client, &build, PAGE, &mut None).await.unwrap();
            assert!(whole.tables.iter().any(|table| table.rows > 10), "{whole:?}");
            for most in [1, 2, 5] {
                let again = read_all(&client, &build, most, &mut None).await.unwrap();
                assert_eq!(again, whole, "{name} in pages of {most}");
            }
        }
    }
}
