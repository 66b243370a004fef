//! One PostgreSQL for the whole run, a database for each test, and an engine on it.

use std::{sync::Mutex, time::Duration};

use jari_commands::engine::{Engine, EngineSettings, Origin, Outcome, UnitOfWork};
use jari_domain::{
    AnyState, Position, Quantity, StreamId, Timestamp,
    ids::{HoldId, PoolId, SlotId},
    registry::AsAggregate,
    slot::{InventorySlot, SlotCommand, Window},
};
use jari_event_store::{CommandKey, Database, LoadRequest, LogTail, PoolSettings, Reader, RecordedEvent, SnapshotWriter, TailSettings, migrate};
use jari_postgres::{Lifetime, PrivatePostgres};
use tokio::{sync::OnceCell, task::JoinHandle};
use tokio_postgres::{Config, NoTls};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

static SERVER: OnceCell<(Config, Mutex<Option<PrivatePostgres>>)> = OnceCell::const_new();

/// The server that all tests of this run share: the one that `JARI_TEST_DATABASE_URL` names, or a private one that ends with this process.
pub async fn server() -> Config {
    let (config, _) = SERVER
        .get_or_init(|| async {
            if let Ok(url) = std::env::var("JARI_TEST_DATABASE_URL") {
                return (url.parse().unwrap(), Mutex::new(None));
            }
            let server = PrivatePostgres::temporary(true, Lifetime::Owned).await.unwrap();
            (server.access().superuser.clone(), Mutex::new(Some(server)))
        })
        .await;
    config.clone()
}

/// A new, empty database of this test's own.
pub async fn empty_database() -> Config {
    let mut config = server().await;
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    let name = format!("t_{}", Uuid::now_v7().simple());
    client.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    config.dbname(&name);
    config
}

/// A new database with the log in it.
pub async fn database() -> Database {
    let database = Database::new(empty_database().await, PoolSettings::patient()).unwrap();
    migrate(&database, None).await.unwrap();
    database
}

/// Bounds for tests of anything else than these bounds: a machine with other work to do is slow, not wrong.
pub fn patient() -> EngineSettings {
    EngineSettings { answer_within: Duration::from_secs(300), stalled_after: Duration::from_secs(300), ..EngineSettings::default() }
}

/// An engine and what it stands on.
pub struct Node {
    pub database: Database,
    pub engine: Engine,
    pub tail: LogTail,
    pub stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Node {
    pub async fn start() -> Self {
        Self::on(database().await, patient()).await
    }

    pub async fn on(database: Database, settings: EngineSettings) -> Self {
        Self::following(database, settings, TailSettings::default()).await
    }

    /// The same, with bounds of the tail.
    pub async fn following(database: Database, settings: EngineSettings, tail: TailSettings) -> Self {
        let stop = CancellationToken::new();
        let (tail, following) = LogTail::start(database.clone(), tail, stop.clone()).await.unwrap();
        let (snapshots, writing) = SnapshotWriter::start(database.clone(), stop.clone());
        let (engine, deciding) = Engine::start(database.clone(), tail.clone(), snapshots, settings, stop.clone()).await.unwrap();
        Self { database, engine, tail, stop, tasks: vec![following, writing, deciding] }
    }

    pub async fn stop(self) -> Database {
        self.stop.cancel();
        for task in self.tasks {
            task.await.unwrap();
        }
        self.database
    }

    pub fn reader(&self) -> Reader {
        Reader::new(self.database.clone())
    }

    /// Executes under a fresh command id.
    pub async fn run(&self, work: impl UnitOfWork) -> Outcome {
        self.engine.execute(work, command(Uuid::now_v7())).await.unwrap()
    }

    /// A stock slot with so many units.
    pub async fn open_stock(&self, pool: &str, capacity: u32) -> SlotId {
        let pool_id = PoolId::parse(pool).unwrap();
        let slot = SlotId::of(&pool_id, None);
        let outcome = self.run(on_slot(&slot, SlotCommand::OpenSlot { pool_id, window: None::<Window>, capacity: Quantity::new(capacity) })).await;
        assert_eq!(outcome.refusal, None);
        slot
    }

    pub async fn state<A: AsAggregate>(&self, stream: impl Into<StreamId>) -> A {
        let mut loaded = self.reader().load(&[LoadRequest { stream: stream.into(), from: None }]).await.unwrap();
        let state: AnyState = loaded.pop().unwrap().unwrap().state;
        A::of(&state).unwrap().clone()
    }

    /// The whole log, proved to be dense and in order.
    pub async fn log(&self) -> Vec<RecordedEvent> {
        let events = self.reader().log_after(Position::START, 1_000_000).await.unwrap();
        for (n, event) in events.iter().enumerate() {
            assert_eq!(event.position.get(), n as u64 + 1, "positions are dense");
        }
        assert!(events.windows(2).all(|w| w[0].recorded_at <= w[1].recorded_at), "time of recording never decreases");
        events
    }
}

/// The origin of a caller's command.
pub fn command(id: Uuid) -> Origin {
    Origin { key: Some(CommandKey { caller: "tests".into(), id }), ..Origin::default() }
}

pub fn on_slot(slot: &SlotId, command: SlotCommand) -> jari_commands::booking::OneStream<InventorySlot> {
    jari_commands::booking::OneStream::on("test", slot, command)
}

pub fn hold(slot: &SlotId, hold: &str, quantity: u32) -> jari_commands::booking::OneStream<InventorySlot> {
    hold_until(slot, hold, quantity, in_seconds(600))
}

pub fn hold_until(slot: &SlotId, hold: &str, quantity: u32, expires_at: Timestamp) -> jari_commands::booking::OneStream<InventorySlot> {
    on_slot(slot, SlotCommand::HoldUnits { hold_id: HoldId::parse(hold).unwrap(), quantity: Quantity::new(quantity), expires_at })
}

pub fn in_seconds(seconds: i64) -> Timestamp {
    Timestamp::now() + jiff::SignedDuration::from_secs(seconds)
}

/// Waits until `holds` holds, bounded by two minutes: a machine with other work to do is slow, not wrong.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    for _ in 0..2_400 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what}: not within two minutes");
}
