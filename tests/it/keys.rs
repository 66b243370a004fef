//! The keys of persons, for tests: a database of their own, a folder for master key and list, and what may happen to them.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use jari_event_store::{Database, PoolSettings};
use jari_proto::{
    order::v1::{Contact, GetOrderRequest, GetPersonalDataRequest, Guest, PersonalData, PersonalDataState, PlaceOrderRequest},
    subject::v1::{EraseSubjectRequest, EraseSubjectResponse, subject_service_client::SubjectServiceClient},
};
use jari_sealing::{ErasureList, KeyStore, MasterSource, Sealer, SealerSettings, SealingError};
use tokio_postgres::{Config, NoTls};
use tonic::transport::Channel;

use crate::{
    harness::empty_database,
    serving::{Serving, id, order},
};

/// Where keys are kept. Dropping it removes the folder, not the database.
pub struct Keys {
    pub config: Config,
    pub folder: tempfile::TempDir,
}

impl Keys {
    /// A database of this test's own.
    pub async fn new() -> Self {
        Self::at(empty_database().await)
    }

    pub fn at(config: Config) -> Self {
        Self { config, folder: tempfile::tempdir().unwrap() }
    }

    pub fn store(&self) -> KeyStore {
        KeyStore::new(self.config.clone(), PoolSettings { connections: 4, ..PoolSettings::patient() }).unwrap()
    }

    pub fn masters(&self) -> MasterSource {
        MasterSource::File(self.folder.path().join("master.key"))
    }

    pub fn list(&self) -> PathBuf {
        self.folder.path().join("erasures.jsonl")
    }

    pub async fn sealer(&self) -> Sealer {
        self.try_sealer(SealerSettings { patience: Duration::from_secs(30), ..SealerSettings::default() }).await.unwrap()
    }

    pub async fn try_sealer(&self, settings: SealerSettings) -> Result<Sealer, SealingError> {
        self.masters().provide().unwrap();
        let store = self.store();
        store.migrate().await?;
        Sealer::start(store, self.masters(), Some(ErasureList::new(self.list())), settings).await
    }

    /// A node on `database` with these keys.
    pub async fn serve(&self, database: Database) -> Serving {
        Serving::with_keys(database, self.sealer().await, |_| {}).await
    }

    /// A copy of the database of the keys as it is now, as a backup has it. Nobody may be connected to it.
    pub async fn backup(&self) -> Config {
        let mut copy = self.config.clone();
        copy.dbname(format!("{}_copy", self.config.get_dbname().unwrap()));
        let (client, connection) = {
            let mut server = self.config.clone();
            server.dbname("postgres").connect(NoTls).await.unwrap()
        };
        tokio::spawn(connection);
        let (from, to) = (self.config.get_dbname().unwrap(), copy.get_dbname().unwrap());
        client.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", &[&from]).await.unwrap();
        // those that were told to end may take a moment
        crate::harness::eventually("the backup is made", || async {
            client.batch_execute(&format!("CREATE DATABASE {to} TEMPLATE {from}")).await.is_ok()
        })
        .await;
        copy
    }
}

/// What nobody else is called: looked for in every file.
pub const WORDS: [&str; 4] = ["Dokgo Youngjae", "youngjae.dokgo@mail.example", "+82 10 5550 7319", "Namgoong Hyeonju"];

/// An order of one piece with a contact and a guest, to be waited for.
pub fn personal(product: &str, customer: &str) -> PlaceOrderRequest {
    PlaceOrderRequest {
        customer: customer.into(),
        contact: Some(Contact { name: WORDS[0].into(), email: WORDS[1].into(), phone: WORDS[2].into() }),
        guests: vec![Guest { line: 0, unit_id: "piece".into(), name: WORDS[3].into() }],
        ..order(&[(product, 1)])
    }
}

/// What [`personal`] was given, as an answer tells it.
pub fn readable() -> PersonalData {
    let given = personal("any", "any");
    PersonalData { state: PersonalDataState::Readable.into(), contact: given.contact, guests: given.guests }
}

pub fn only(state: PersonalDataState) -> PersonalData {
    PersonalData { state: state.into(), ..PersonalData::default() }
}

impl Serving {
    pub fn subjects(&self) -> SubjectServiceClient<Channel> {
        SubjectServiceClient::new(self.channel.clone())
    }

    pub async fn erase(&self, subject: &str) -> EraseSubjectResponse {
        self.subjects().erase_subject(EraseSubjectRequest { request_id: id(), subject: subject.into() }).await.unwrap().into_inner()
    }

    /// Places it, and says under which id.
    pub async fn place(&self, request: PlaceOrderRequest) -> String {
        self.orders().place_order(request).await.unwrap().into_inner().order.unwrap().order_id
    }

    /// What the order knows of persons, once the view has seen all that there is.
    pub async fn persons(&self, order_id: &str) -> Option<PersonalData> {
        let head = jari_event_store::Reader::new(self.database.clone()).head().await.unwrap().to_i64();
        let get = GetOrderRequest { order_id: order_id.into(), min_position: head };
        let with_order = || async { self.order_queries().get_order(get.clone()).await.unwrap().into_inner().order.unwrap().personal_data };
        let before = with_order().await;
        let alone = GetPersonalDataRequest { order_id: order_id.into(), min_position: head };
        let alone = self.order_queries().get_personal_data(alone).await.unwrap().into_inner().personal_data;
        // a node lets go of a key in its own time, which may be between two questions
        assert!(before == alone || with_order().await == alone, "asked for alone, or with the order: {before:?}, {alone:?}");
        alone
    }
}

/// How often each word stands in the files below a folder, byte by byte.
pub fn search(folder: &std::path::Path, words: &[&str]) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().flatten() {
            let path = entry.path();
            // files come and go below a server that runs
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                let Ok(bytes) = std::fs::read(&path) else { continue };
                for word in words {
                    let count = memchr::memmem::find_iter(&bytes, word.as_bytes()).count();
                    if count > 0 {
                        *found.entry((*word).to_owned()).or_default() += count;
                    }
                }
            }
        }
    }
    found
}
