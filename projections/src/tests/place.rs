//! Where a test happens: a database with the log in it, and nodes that keep the views up with it.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use jari_domain::{AnyEvent, Position, StreamId, Timestamp};
use jari_event_store::{Appender, Batch, Clock, Database, Group, LogTail, Metadata, PoolSettings, StreamUse, StreamWatchers, TailSettings, migrate};
use jari_postgres::{DataFolder, Lifetime, PrivatePostgres, Settings};
use tokio::{sync::OnceCell, task::JoinHandle};
use tokio_postgres::{Client, Config, NoTls};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::{AvailabilityQueries, OrderQueries, ProductQueries, ViewSettings, Views, builds::Build, views::VIEWS};

/// How to reach the server of this run, in the three roles that a real one has.
#[derive(Clone)]
struct Roles {
    superuser: Config,
    owner: Config,
    server: Config,
}

/// The roles, and the server itself for as long as the process of the tests.
static SERVER: OnceCell<(Roles, Mutex<Option<PrivatePostgres>>)> = OnceCell::const_new();

async fn server() -> Roles {
    let start = || async {
        if let Ok(url) = std::env::var("JARI_TEST_DATABASE_URL") {
            let config: Config = url.parse().unwrap();
            return (Roles { superuser: config.clone(), owner: config.clone(), server: config }, Mutex::new(None));
        }
        let root = std::env::temp_dir().join("jari-projections-tests");
        let place = DataFolder::new(&root);
        let server = if place.find().is_some() {
            PrivatePostgres::temporary(false, Lifetime::Owned).await.unwrap()
        } else {
            // what an earlier run left behind
            let _ = std::fs::remove_dir_all(&root);
            PrivatePostgres::start(Settings { fsync: false, max_connections: 400, ..Settings::new(place) }).await.unwrap()
        };
        let access = server.access().clone();
        (Roles { superuser: access.superuser, owner: access.owner, server: access.server }, Mutex::new(Some(server)))
    };
    SERVER.get_or_init(start).await.0.clone()
}

/// A new database with an empty log, reached as the program's own role.
pub async fn database() -> Database {
    let mut roles = server().await;
    let (client, connection) = roles.superuser.connect(NoTls).await.unwrap();
    let driver = tokio::spawn(connection);
    let name = format!("v_{}", Uuid::now_v7().simple());
    let owner = roles.owner.get_user().unwrap().to_owned();
    client.batch_execute(&format!("CREATE DATABASE {name} OWNER {owner}")).await.unwrap();
    drop(client);
    driver.await.unwrap().unwrap();
    roles.owner.dbname(&name);
    roles.server.dbname(&name);
    let connect = |config: &Config| Database::new(config.clone(), PoolSettings::patient()).unwrap();
    let role = roles.server.get_user().filter(|user| *user != owner);
    migrate(&connect(&roles.owner), role).await.unwrap();
    connect(&roles.server)
}

/// A connection by which the log can be changed, as whoever mends a row has it.
pub async fn as_superuser(database: &Database) -> Client {
    let mut config = server().await.superuser;
    let (client, connection) = config.dbname(database.config().get_dbname().unwrap()).connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Settings that make a test quick.
pub fn settings() -> ViewSettings {
    ViewSettings { lease: Duration::from_millis(1_500), wait: Duration::from_secs(60), ..ViewSettings::default() }
}

/// A node that runs the views and answers from them.
pub struct Node {
    pub database: Database,
    pub views: Views,
    pub products: ProductQueries,
    pub orders: OrderQueries,
    pub availability: AvailabilityQueries,
    pub stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Node {
    pub async fn start(database: &Database, name: &str, settings: ViewSettings) -> Self {
        Self::by(Clock::new(Timestamp::now()), database, name, settings).await
    }

    pub async fn by(clock: Clock, database: &Database, name: &str, settings: ViewSettings) -> Self {
        let stop = CancellationToken::new();
        let tailing = TailSettings { poll: Duration::from_millis(50), ..TailSettings::default() };
        let (tail, following) = LogTail::start(database.clone(), tailing, stop.clone()).await.unwrap();
        let (watchers, watching) = StreamWatchers::start(tail.clone(), stop.clone());
        let node = (name.to_owned(), format!("{name}:50051"));
        let (views, mut tasks) = Views::start(database.clone(), database.clone(), (tail, clock), node, settings, stop.clone()).await.unwrap();
        tasks.extend([following, watching]);
        let (products, availability) = (ProductQueries::new(views.clone()), AvailabilityQueries::new(views.clone()));
        let orders = OrderQueries::new(views.clone(), watchers, jari_sealing::Sealer::off("no keys in these tests"));
        Self { database: database.clone(), views, products, orders, availability, stop, tasks }
    }

    /// Waits until every view has read the whole log.
    pub async fn caught_up(&self) {
        let head = jari_event_store::Reader::new(self.database.clone()).head().await.unwrap();
        assert!(self.views.reach(head, Duration::from_secs(60)).await, "{:?}", self.views.status().await);
    }

    pub async fn stop(self) {
        self.stop.cancel();
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

/// Writes to the log.
pub struct Pencil {
    appender: Appender,
    database: Database,
    versions: HashMap<StreamId, u64>,
    batches: u64,
}

impl Pencil {
    pub async fn new(database: &Database) -> Self {
        Self { appender: Appender::connect(database).await.unwrap(), database: database.clone(), versions: HashMap::new(), batches: 0 }
    }

    /// Appends groups of events, each to one stream, in one batch; gives the position of the last event.
    pub async fn append(&mut self, groups: Vec<(StreamId, Vec<AnyEvent>, Timestamp)>) -> Position {
        let count: usize = groups.iter().map(|(_, events, _)| events.len()).sum();
        let group = |(stream, events, at): (StreamId, Vec<AnyEvent>, Timestamp)| {
            let version = self.versions.entry(stream.clone()).or_default();
            let expected = *version;
            *version += events.len() as u64;
            let metadata = Metadata { decided_at: Some(at), ..Metadata::default() };
            Group::new(vec![StreamUse { stream, expected, events, claims: true }], None, metadata.into(), None).unwrap()
        };
        let batch = Batch { groups: groups.into_iter().map(group).collect() };
        self.batches += 1;
        let appended = self.appender.append(&batch, self.batches, None, true).await.unwrap();
        assert_eq!(appended.fallen, Vec::<usize>::new());
        appended.base + count as u64
    }

    /// One stream's events, decided now.
    pub async fn say(&mut self, stream: impl Into<StreamId>, events: Vec<AnyEvent>) -> Position {
        self.append(vec![(stream.into(), events, Timestamp::now())]).await
    }

    /// An event as somebody else would insert it: whatever they like.
    pub async fn scrawl(&mut self, stream: impl Into<StreamId>, event_type: &str, payload: &str) -> Position {
        let stream = stream.into();
        let version = self.versions.entry(stream.clone()).or_default();
        *version += 1;
        let sequence = i64::try_from(*version).unwrap();
        let client = self.database.connection().await.unwrap();
        let insert = "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata) \
             VALUES ($1, $2, $3, $4, '1.0', $5::text::json, '{}') RETURNING position";
        let row = client.query_one(insert, &[&stream.aggregate_type, &&*stream.aggregate_id, &sequence, &event_type, &payload]).await.unwrap();
        Position::try_from(row.get::<_, i64>(0)).unwrap()
    }
}

/// Every row of the live build of `view`, by table, sorted.
pub async fn rows(database: &Database, view: &str) -> Vec<String> {
    let client = database.connection().await.unwrap();
    let live = client.query_one("SELECT version, build FROM views.builds WHERE view = $1 AND state = 'live'", &[&view]).await.unwrap();
    let build = Build::new(view, live.get(0), live.get(1));
    let prefix = build.sql("build.");
    let prefix = prefix.strip_prefix("views.").unwrap();
    let tables =
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'views'::regnamespace AND relkind = 'r' AND starts_with(relname, $1) ORDER BY 1";
    let mut all = Vec::new();
    for table in client.query(tables, &[&prefix]).await.unwrap() {
        let table: String = table.get(0);
        let name = table.strip_prefix(prefix).unwrap();
        let rows = client.query(&format!("SELECT t::text FROM views.{table} t ORDER BY 1"), &[]).await.unwrap();
        all.extend(rows.iter().map(|row| format!("{name} {}", row.get::<_, String>(0))));
    }
    assert!(VIEWS.iter().any(|v| v.name() == view));
    all
}

/// The code of a refusal, and its reason.
pub fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, String) {
    let status = answer.unwrap_err();
    (status.code(), jari_proto::status::reason(&status).unwrap_or_default())
}
