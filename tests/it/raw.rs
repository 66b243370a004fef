//! Other writers and readers of the log: clients with `psql` in their hands, who know seven columns and nothing else.

use std::sync::Arc;

use jari_domain::{AnyEvent, StreamId, slot::SlotEvent};
use jari_event_store::{Batch, CommandRow, Database, Group, LeaseStamp, Metadata, StreamUse};
use tokio_postgres::{Client, Config, NoTls};
use uuid::Uuid;

pub const INSERT: &str = "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata) VALUES";

pub async fn client(database: &Database) -> Client {
    connect(database.config()).await
}

/// A client of the same server in another database of it: for what cannot be done to a database from within.
pub async fn elsewhere(database: &Database) -> Client {
    let mut config = database.config().clone();
    connect(config.dbname("postgres")).await
}

async fn connect(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    // what a test holds it holds for as long as the machine needs
    client.batch_execute("SET idle_in_transaction_session_timeout = 0").await.unwrap();
    client
}

/// The values of one harmless event: a slot is suspended, or resumed.
pub fn values(slot: &str, sequence: u64) -> String {
    let (kind, payload) = if sequence % 2 == 1 { ("SlotSuspended", r#"{"reason":"rain"}"#) } else { ("SlotResumed", "{}") };
    format!(r#"('InventorySlot', '{slot}', {sequence}, '{kind}', '1.0', '{{"{kind}":{payload}}}', '{{}}')"#)
}

/// A stream of slots.
pub fn stream(id: &str) -> StreamId {
    StreamId { aggregate_type: "InventorySlot", aggregate_id: id.into() }
}

pub fn suspended(reason: &str) -> AnyEvent {
    AnyEvent::InventorySlot(SlotEvent::SlotSuspended { reason: reason.into(), counts: None })
}

/// Adds one event on version `expected`.
pub fn write(id: &str, expected: u64, reason: &str) -> StreamUse {
    StreamUse { stream: stream(id), expected, events: vec![suspended(reason)], claims: true }
}

/// Only reads.
pub fn read(id: &str, expected: u64) -> StreamUse {
    StreamUse { stream: stream(id), expected, events: vec![], claims: false }
}

pub fn group(uses: Vec<StreamUse>) -> Group {
    Group::new(uses, None, Arc::default(), None).unwrap()
}

pub fn command(uses: Vec<StreamUse>, id: Uuid) -> Group {
    let row = CommandRow { id, caller: "raw".into(), digest: [0; 16], refusal: None };
    Group::new(uses, Some(row), Arc::new(Metadata::default()), None).unwrap()
}

pub fn leased(uses: Vec<StreamUse>, name: &str, epoch: u64) -> Group {
    Group::new(uses, None, Arc::default(), Some(LeaseStamp { name: name.into(), epoch })).unwrap()
}

pub fn batch(groups: Vec<Group>) -> Batch {
    Batch { groups }
}
