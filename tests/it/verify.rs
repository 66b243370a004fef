//! The proof that `jari verify` makes, of logs that somebody broke: each thing that it promises to find, found, and nothing else.

use std::sync::LazyLock;

use jari::proof::Walk;
use jari_domain::{
    AnyEvent, Quantity, StreamId, Timestamp,
    ids::{HoldId, PoolId, SlotId},
    slot::{Counts, Holder, Sale, SlotEvent},
};
use jari_event_store::Database;
use tokio_postgres::Client;

use crate::{
    archive::archive,
    harness::database,
    processes::{Folder, start},
    raw::{INSERT, client, values},
    seal::tamper,
};

/// An event as another writer inserts it.
pub struct Row {
    pub stream: StreamId,
    pub event: AnyEvent,
    pub metadata: &'static str,
    pub decided: When,
}

/// When its writer says that it was decided.
#[derive(Clone, Copy)]
pub enum When {
    /// When the row before it was; the first one at second 0.
    AsBefore,
    At(i64),
    Unsaid,
}

impl Row {
    pub fn new(stream: impl Into<StreamId>, event: AnyEvent) -> Self {
        Self { stream: stream.into(), event, metadata: "{}", decided: When::AsBefore }
    }

    /// Decided at that second.
    pub fn decided(self, second: i64) -> Self {
        Self { decided: When::At(second), ..self }
    }

    pub fn untimed(self) -> Self {
        Self { decided: When::Unsaid, ..self }
    }
}

/// Seconds are counted from the beginning of the run: what is decided far ahead of its recording is said by no clock.
pub fn at(second: i64) -> Timestamp {
    static BEGAN: LazyLock<i64> = LazyLock::new(|| Timestamp::now().as_second());
    Timestamp::from_second(*BEGAN + second).unwrap()
}

pub fn counts(capacity: u32, held: u32, confirmed: u32) -> Counts {
    let [capacity, held, confirmed] = [capacity, held, confirmed].map(Quantity::new);
    Counts { capacity, held, confirmed, sale: Sale::Open }
}

/// An event of the slot of that pool's stock.
pub fn on(pool: &str, event: SlotEvent) -> Row {
    Row::new(&SlotId::of(&PoolId::parse(pool).unwrap(), None), AnyEvent::InventorySlot(event))
}

pub fn hold_id(name: &str) -> HoldId {
    HoldId::parse(name).unwrap()
}

pub fn opened(pool: &str, capacity: u32) -> Row {
    on(pool, SlotEvent::SlotOpened { pool_id: PoolId::parse(pool).unwrap(), window: None, counts: counts(capacity, 0, 0) })
}
pub fn held(pool: &str, hold: &str, quantity: u32, counts: Counts) -> Row {
    held_by(Holder::Caller, 600, pool, hold, quantity, counts)
}
pub fn held_by(holder: Holder, until: i64, pool: &str, hold: &str, quantity: u32, counts: Counts) -> Row {
    on(pool, SlotEvent::UnitsHeld { hold_id: hold_id(hold), quantity: Quantity::new(quantity), expires_at: at(until), holder, counts })
}
pub fn extended(pool: &str, hold: &str, second: i64) -> Row {
    on(pool, SlotEvent::HoldExtended { hold_id: hold_id(hold), expires_at: at(second) })
}
pub fn sold(pool: &str, hold: &str, quantity: u32, counts: Counts) -> Row {
    on(pool, SlotEvent::HoldConfirmed { hold_id: hold_id(hold), quantity: Quantity::new(quantity), counts })
}
pub fn released(pool: &str, hold: &str, quantity: u32, counts: Counts) -> Row {
    on(pool, SlotEvent::HoldReleased { hold_id: hold_id(hold), quantity: Quantity::new(quantity), counts })
}
pub fn lapsed(pool: &str, hold: &str, quantity: u32, counts: Counts) -> Row {
    on(pool, SlotEvent::HoldExpired { hold_id: hold_id(hold), quantity: Quantity::new(quantity), expired_at: at(600), counts }).decided(600)
}
pub fn given_back(pool: &str, hold: &str, quantity: u32, counts: Counts) -> Row {
    on(pool, SlotEvent::UnitsCancelled { hold_id: hold_id(hold), quantity: Quantity::new(quantity), holder: Holder::Caller, counts })
}
pub fn adjusted(pool: &str, counts: Counts) -> Row {
    on(pool, SlotEvent::CapacityAdjusted { counts })
}
pub fn suspended(pool: &str, counts: Option<Counts>) -> Row {
    on(pool, SlotEvent::SlotSuspended { reason: "rain".into(), counts })
}
pub fn closed(pool: &str, counts: Counts) -> Row {
    on(pool, SlotEvent::SlotClosed { counts: Some(while_closed(counts)) })
}
pub fn resumed(pool: &str, counts: Counts) -> Row {
    on(pool, SlotEvent::SlotResumed { counts: Some(counts) })
}
pub fn while_closed(counts: Counts) -> Counts {
    Counts { sale: Sale::Closed, ..counts }
}
/// The same counts of a slot that does not sell for a while.
pub fn while_suspended(counts: Counts) -> Counts {
    Counts { sale: Sale::Suspended, ..counts }
}

/// A log of its own, written anew for each case.
pub struct Log {
    pub database: Database,
    pub client: Client,
}

impl Log {
    pub async fn new() -> Self {
        let database = database().await;
        let client = client(&database).await;
        Self { database, client }
    }

    /// Has these events in it and no others, numbered as they come.
    pub async fn write(&self, rows: &[Row]) {
        tamper(&self.client, "TRUNCATE events, batches").await;
        let (mut versions, mut time) = (std::collections::HashMap::new(), 0);
        let values: Vec<String> = rows
            .iter()
            .map(|Row { stream, event, metadata, decided }| {
                if let When::At(second) = decided {
                    time = *second;
                }
                let said = format!(r#"{{"decided_at":"{}"{}{}"#, at(time), if *metadata == "{}" { "" } else { "," }, &metadata[1..]);
                let metadata = if matches!(decided, When::Unsaid) { (*metadata).to_owned() } else { said };
                let sequence = versions.entry(stream).and_modify(|n| *n += 1).or_insert(1);
                // what carries no counts is from before it did
                let is_old = matches!(event, AnyEvent::InventorySlot(SlotEvent::SlotSuspended { counts: None, .. }));
                let version = if is_old { "1.0" } else { event.event_version() };
                let (kind, id) = (stream.aggregate_type, &stream.aggregate_id);
                format!("('{kind}', '{id}', {sequence}, '{}', '{version}', '{}', '{metadata}')", event.event_type(), event.to_payload().unwrap())
            })
            .collect();
        self.client.batch_execute(&format!("{INSERT} {}", values.join(", "))).await.unwrap();
    }

    pub async fn walked(&self) -> Walk {
        Walk::over(&self.database).await.unwrap()
    }

    pub async fn findings(&self) -> Vec<String> {
        self.walked().await.proof.finish()
    }

    /// Each log has these findings, and no others.
    pub async fn find(&self, cases: Vec<(Vec<Row>, &[&str])>) {
        for (rows, expected) in cases {
            self.write(&rows).await;
            assert_eq!(self.findings().await, expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_slot_may_go_through_by_whichever_writer_is_no_finding() {
    let sound = vec![
        opened("s", 10),
        held("s", "a", 4, counts(10, 4, 0)),
        held("s", "b", 6, counts(10, 10, 0)),
        extended("s", "a", 900),
        sold("s", "a", 4, counts(10, 6, 4)),
        // below what is taken; what is held may still be sold
        adjusted("s", counts(5, 6, 4)),
        sold("s", "b", 6, counts(5, 0, 10)),
        given_back("s", "a", 7, counts(5, 0, 3)),
        held("s", "a", 2, counts(5, 2, 3)),
        lapsed("s", "a", 2, counts(5, 0, 3)),
        held_by(Holder::Caller, 900, "s", "a", 1, counts(5, 1, 3)),
        suspended("s", Some(while_suspended(counts(5, 1, 3)))),
        released("s", "a", 1, while_suspended(counts(5, 0, 3))),
        on("s", SlotEvent::SlotResumed { counts: Some(counts(5, 0, 3)) }),
        closed("s", counts(5, 0, 3)),
        // from before events said whether a slot sells
        opened("t", 2).decided(0),
        held("t", "a", 1, counts(2, 1, 0)),
        suspended("t", None),
        released("t", "a", 1, counts(2, 0, 0)),
    ];
    let log = Log::new().await;
    log.write(&sound).await;
    assert_eq!(log.findings().await, Vec::<String>::new());
    assert!(archive(&log.database, 15).await > 10);
    let walk = log.walked().await;
    assert_eq!((walk.proof.finish(), walk.proof.events, walk.proof.streams()), (vec![], 19, 2), "the archive is read with the rest");
    assert_eq!(walk.chain.at().position.get(), 19);
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_that_do_not_follow_from_the_quantities_are_found_once() {
    let said =
        |position: u64, stated: &str, counted: &str| format!("position {position}: slot s@stock states {stated}, and its events come to {counted}");
    let held_too_few = said(2, "1 held and 0 sold of 100, Open", "50 held and 0 sold of 100, Open");
    let capacity = said(2, "1 held and 0 sold of 9, Open", "1 held and 0 sold of 100, Open");
    let sold_too_few = said(3, "0 held and 1 sold of 100, Open", "0 held and 2 sold of 100, Open");
    let not_sold = said(2, "0 held and 0 sold of 100, Open", "0 held and 0 sold of 100, Suspended");
    let still_open = said(3, "0 held and 0 sold of 100, Open", "0 held and 0 sold of 100, Suspended");
    let suspended_by_nobody = said(2, "1 held and 0 sold of 100, Suspended", "1 held and 0 sold of 100, Open");
    let log = Log::new().await;
    log.find(vec![
        (vec![opened("s", 100), held("s", "a", 50, counts(100, 1, 0)), held("s", "b", 2, counts(100, 3, 0))], &[&held_too_few]),
        (vec![opened("s", 100), held("s", "a", 1, counts(9, 1, 0))], &[&capacity]),
        (vec![opened("s", 100), held("s", "a", 2, counts(100, 2, 0)), sold("s", "a", 2, counts(100, 0, 1))], &[&sold_too_few]),
        (vec![opened("s", 100), suspended("s", Some(counts(100, 0, 0)))], &[&not_sold]),
        (vec![opened("s", 100), suspended("s", Some(while_suspended(counts(100, 0, 0)))), adjusted("s", counts(100, 0, 0))], &[&still_open]),
        (vec![opened("s", 100), held("s", "a", 1, while_suspended(counts(100, 1, 0)))], &[&suspended_by_nobody]),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_takes_more_than_it_has_is_found_whatever_it_states() {
    let lies = "position 2: slot s@stock states 1 held and 0 sold of 10, Open, and its events come to 50 held and 0 sold of 10, Open";
    let log = Log::new().await;
    log.find(vec![
        (vec![opened("s", 10), held("s", "a", 11, counts(10, 11, 0))], &["position 2: slot s@stock is oversold: 11 taken of 10"]),
        (vec![opened("s", 10), held("s", "a", 50, counts(10, 1, 0))], &[lies, "position 2: slot s@stock is oversold: 50 taken of 10"]),
        (
            vec![
                opened("s", 10),
                held("s", "a", 9, counts(10, 9, 0)),
                sold("s", "a", 9, counts(10, 0, 9)),
                adjusted("s", counts(3, 0, 9)),
                held("s", "b", 1, counts(3, 1, 9)),
            ],
            &["position 5: slot s@stock is oversold: 10 taken of 3"],
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn holds_that_begin_twice_or_end_without_having_begun_are_found() {
    let log = Log::new().await;
    log.find(vec![
        (
            vec![opened("s", 10), held("s", "a", 4, counts(10, 4, 0)), held("s", "a", 3, counts(10, 3, 0))],
            &["position 3: slot s@stock takes hold a, which it has already"],
        ),
        (vec![opened("s", 10), released("s", "a", 1, counts(10, 0, 0))], &["position 2: slot s@stock ends hold a, which it does not have"]),
        (vec![opened("s", 10), sold("s", "a", 1, counts(10, 0, 1))], &["position 2: slot s@stock ends hold a, which it does not have"]),
        (vec![opened("s", 10), lapsed("s", "a", 1, counts(10, 0, 0))], &["position 2: slot s@stock ends hold a, which it does not have"]),
        (
            vec![opened("s", 10), held("s", "a", 4, counts(10, 4, 0)), released("s", "a", 3, counts(10, 0, 0))],
            &["position 3: slot s@stock ends hold a of 4 as one of 3"],
        ),
        (vec![opened("s", 10), extended("s", "a", 700)], &["position 2: slot s@stock extends hold a, which it does not have"]),
        (
            vec![
                opened("s", 10),
                held("s", "a", 4, counts(10, 4, 0)),
                sold("s", "a", 4, counts(10, 0, 4)),
                given_back("s", "a", 5, counts(10, 0, 0)),
            ],
            &["position 4: slot s@stock takes back 5 of 4 sold"],
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gaps_and_times_that_run_back_and_what_cannot_be_read_are_found() {
    let log = Log::new().await;
    let unreadable = "position 3: the event cannot be read, sequence 3 of InventorySlot/s@stock";
    for (broken, expected) in [
        (
            "DELETE FROM events WHERE position = 2",
            &["position 3 where 2 should be", "position 3: sequence 3 of InventorySlot/s@stock where 2 should be"][..],
        ),
        ("UPDATE events SET position = 7 WHERE position = 4", &["position 7 where 4 should be"]),
        ("UPDATE events SET sequence = 9 WHERE position = 4", &["position 4: sequence 9 of InventorySlot/s@stock where 4 should be"]),
        ("UPDATE events SET recorded_at = recorded_at - interval '1 day' WHERE position = 3", &["position 3: recorded before the event before it"]),
        ("UPDATE events SET event_type = 'SlotFlooded' WHERE position = 3", &[unreadable]),
        ("UPDATE events SET payload = '{}' WHERE position = 3", &[unreadable]),
        (
            "UPDATE events SET aggregate_type = 'Balloon', sequence = 1 WHERE position = 4",
            &["position 4: the event cannot be read, sequence 1 of Balloon/s@stock"],
        ),
        ("UPDATE events SET payload = replace(payload::text, 'rain', 'hail')::json WHERE position = 3", &[]),
    ] {
        log.write(&[opened("s", 10).untimed()]).await;
        let rows: Vec<String> = (2..=4).map(|n| values("s@stock", n)).collect();
        log.client.batch_execute(&format!("{INSERT} {}", rows.join(", "))).await.unwrap();
        tamper(&log.client, broken).await;
        let found = log.findings().await;
        let (events, chain) = found.split_at(expected.len().min(found.len()));
        assert_eq!(events, expected, "{broken}");
        assert!(!chain.is_empty(), "{broken}: the chain does not fit any more, either");
    }
    tamper(&log.client, "DELETE FROM batches WHERE first_position > 1").await;
    assert!(log.findings().await.contains(&"positions 2 to 4: no batch covers them".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_stands_where_no_walk_comes_by_is_found() {
    let log = Log::new().await;
    log.write(&[opened("s", 10), held("s", "a", 4, counts(10, 4, 0))]).await;
    assert_eq!(log.findings().await, Vec::<String>::new());
    let invented = "SET session_replication_role = replica; INSERT INTO archived_events
        SELECT aggregate_type, aggregate_id, 3, event_type, event_version, payload, metadata, 1000, recorded_at FROM events WHERE position = 2";
    log.client.batch_execute(invented).await.unwrap();
    assert_eq!(log.findings().await, ["position 1000: stands in archived_events, where the log has no place for it"]);
    // nor before the first: every reader begins behind 0. The archive refuses such rows by now, but those that it had may be there still
    let before_all = |table: &str, position: i64| {
        format!(
            "INSERT INTO {table} SELECT aggregate_type, aggregate_id, {}, event_type, event_version, payload, metadata, {position}, recorded_at
            FROM events WHERE position = 2",
            10 - position
        )
    };
    let all = [("events", 0), ("events", -1), ("archived_events", 0)].map(|(table, position)| before_all(table, position)).join("; ");
    let unbound = "ALTER TABLE archived_events DROP CONSTRAINT archived_events_have_a_place; DELETE FROM archived_events";
    log.client.batch_execute(&format!("{unbound}; {all}")).await.unwrap();
    let mut found = log.findings().await;
    found.sort_unstable();
    let stray = |position: i64, table: &str| format!("position {position}: stands in {table}, where the log has no place for it");
    assert_eq!(found, [stray(-1, "events"), stray(0, "archived_events"), stray(0, "events")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_an_event_that_cannot_be_read_nothing_is_made_up() {
    let log = Log::new().await;
    let rows = [opened("s", 10), held("s", "a", 4, counts(10, 4, 0)), sold("s", "a", 4, counts(10, 0, 4)), held("s", "b", 6, counts(10, 6, 4))];
    log.write(&rows).await;
    tamper(&log.client, "UPDATE events SET event_version = '7.0' WHERE position = 2").await;
    let found = log.findings().await;
    assert_eq!(
        (found.len(), &*found[0]),
        (2, "position 2: the event cannot be read, sequence 2 of InventorySlot/s@stock"),
        "and the chain: {found:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_ends_with_an_error_and_says_what_is_broken() {
    let (log, folder) = (Log::new().await, Folder::new());
    let config = folder.config("verify", &log.database, "");
    log.write(&[opened("s", 10), held("s", "a", 10, counts(10, 10, 0))]).await;
    let mut sound = start(&config, &["verify"]);
    assert!(sound.until_ended().await, "{}", sound.said());
    log.write(&[opened("s", 10), held("s", "a", 11, counts(10, 11, 0))]).await;
    let mut broken = start(&config, &["verify"]);
    assert!(!broken.until_ended().await, "{}", broken.said());
    assert!(broken.said().contains("BROKEN position 2: slot s@stock is oversold: 11 taken of 10"), "{}", broken.said());
}
