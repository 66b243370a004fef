//! The database of the keys.

use std::fmt;

use jari_event_store::{Address, Database, PoolSettings};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::{SealingError, key::SubjectKey, master::MasterKeys};

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// The advisory lock under which one node migrates while the others wait.
const MIGRATION_LOCK: i64 = 0x6a61_7269_0002;
/// The keys' own table of migrations: theirs may be the same database as the log's.
const MIGRATIONS: &str = "jari_keys_migrations";
/// A statement of ours reads or writes a handful of rows; one that stands still is given up by the server, too.
const OPTIONS: &str = "-c statement_timeout=5s -c idle_in_transaction_session_timeout=10s -c timezone=UTC";

/// A person, as the keys know them: a digest of the reference that the log has.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subject([u8; 32]);

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subject({})", self.to_hex())
    }
}

impl Subject {
    /// The person of this reference.
    #[must_use]
    pub fn of(reference: &str) -> Self {
        Self(blake3::derive_key("jari 2026 person in the store of keys", reference.as_bytes()))
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(crate) fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn from_hex(text: &str) -> Option<Self> {
        let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect();
        Self::from_bytes(&bytes?)
    }
}

impl Serialize for Subject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_hex())
    }
}

impl<'de> Deserialize<'de> for Subject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_hex(&text).ok_or_else(|| D::Error::custom("no person: 64 hexadecimal digits"))
    }
}

/// A stored key.
pub(crate) struct WrappedKey {
    pub key_id: Uuid,
    pub subject: Vec<u8>,
    wrapped: Vec<u8>,
    pub master_id: String,
}

impl WrappedKey {
    pub fn of(row: &Row) -> Result<Self, SealingError> {
        Ok(Self { key_id: row.try_get(0)?, subject: row.try_get(1)?, wrapped: row.try_get(2)?, master_id: row.try_get(3)? })
    }

    pub fn open(&self, masters: &MasterKeys) -> Result<SubjectKey, SealingError> {
        masters.open(&self.master_id, self.key_id, &self.subject, &self.wrapped)
    }
}

/// What is known of a key.
pub(crate) enum Known {
    Kept(WrappedKey),
    Erased,
    /// Neither kept nor erased: the keys were restored from a backup that is older than it.
    Never,
}

/// The database of the keys. Cloning shares its connections.
#[derive(Clone, Debug)]
pub struct KeyStore {
    pub(crate) database: Database,
}

impl KeyStore {
    /// Takes where it is; connects when first needed.
    ///
    /// # Errors
    /// [`SealingError::Database`] when the settings make no pool.
    pub fn new(address: impl Into<Address>, settings: PoolSettings) -> Result<Self, SealingError> {
        Ok(Self { database: Database::new(address.into().with_options(OPTIONS), settings)? })
    }

    /// Brings the schema up to date. Safe when many nodes start at once.
    ///
    /// # Errors
    /// [`SealingError::Database`].
    pub async fn migrate(&self) -> Result<(), SealingError> {
        let mut client = self.database.dedicated().await?;
        client.batch_execute("SET statement_timeout = 0").await?;
        client.execute("SELECT pg_advisory_lock($1)", &[&MIGRATION_LOCK]).await?;
        let mut runner = embedded::migrations::runner().set_abort_divergent(true).set_abort_missing(true);
        let migrated = runner.set_migration_table_name(MIGRATIONS).run_async(&mut client).await;
        client.execute("SELECT pg_advisory_unlock($1)", &[&MIGRATION_LOCK]).await?;
        migrated.map_err(|error| jari_event_store::LogError::Migration(error.to_string()))?;
        Ok(())
    }

    /// Whether the database answers at all.
    pub(crate) async fn answers(&self) -> Result<(), SealingError> {
        self.database.connection().await?.simple_query("SELECT 1").await?;
        Ok(())
    }

    pub(crate) async fn find_of(&self, subject: &Subject) -> Result<Option<WrappedKey>, SealingError> {
        let client = self.database.connection().await?;
        let statement = client.prepare_cached(include_str!("sql/find_key_of_subject.sql")).await?;
        let row = client.query_opt(&statement, &[&subject.bytes().as_slice()]).await?;
        row.as_ref().map(WrappedKey::of).transpose()
    }

    pub(crate) async fn find(&self, key_id: Uuid) -> Result<Known, SealingError> {
        let client = self.database.connection().await?;
        let statement = client.prepare_cached(include_str!("sql/find_key.sql")).await?;
        let row = client.query_one(&statement, &[&key_id]).await?;
        // a key on the list is erased, even where a restored backup has brought it back
        Ok(match (row.try_get::<_, bool>(4)?, row.try_get::<_, Option<Uuid>>(0)?) {
            (true, _) => Known::Erased,
            (false, Some(_)) => Known::Kept(WrappedKey::of(&row)?),
            (false, None) => Known::Never,
        })
    }

    /// Whether it was added: not when the person has one by now, or the master key is closed.
    pub(crate) async fn add(&self, key: &SubjectKey, subject: &Subject, masters: &MasterKeys) -> Result<bool, SealingError> {
        let wrapped = masters.wrap(key, subject.bytes())?;
        let client = self.database.connection().await?;
        let statement = client.prepare_cached(include_str!("sql/add_key.sql")).await?;
        let added = client.execute(&statement, &[&key.id(), &subject.bytes().as_slice(), &wrapped, &masters.present()]).await?;
        Ok(added == 1)
    }

    /// Whether every key that is there can be opened with these.
    ///
    /// # Errors
    /// [`SealingError::MasterKeyMissing`] when not; [`SealingError::Database`].
    pub async fn opens_with(&self, masters: &MasterKeys) -> Result<(), SealingError> {
        self.masters_in_use().await?.iter().find(|id| !masters.has(id)).map_or(Ok(()), |wanted| Err(masters.missing(wanted)))
    }

    /// Master keys that wrapped keys which are still there, or may yet.
    async fn masters_in_use(&self) -> Result<Vec<String>, SealingError> {
        let client = self.database.connection().await?;
        let rows = client.query("SELECT master_id FROM keys.master_keys WHERE retired_at IS NULL ORDER BY master_id", &[]).await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// Master keys that wrap no new keys.
    pub(crate) async fn closed_masters(&self) -> Result<Vec<String>, SealingError> {
        let client = self.database.connection().await?;
        let rows = client.query("SELECT master_id FROM keys.master_keys WHERE closed_at IS NOT NULL ORDER BY master_id", &[]).await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// Notes a master key before it wraps the first key.
    pub(crate) async fn note_master(&self, id: &str) -> Result<(), SealingError> {
        let client = self.database.connection().await?;
        client.execute("INSERT INTO keys.master_keys (master_id) VALUES ($1) ON CONFLICT DO NOTHING", &[&id]).await?;
        Ok(())
    }
}
