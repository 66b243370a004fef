//! What was erased stays erased, by key and by list; and what was not erased is never told to be.

use std::time::Duration;

use jari_proto::{
    order::v1::PersonalDataState,
    status::{reason, retry_after},
    subject::v1::EraseSubjectRequest,
};
use jari_sealing::{Erasure, ErasureList, Opened, SealContext, SealerSettings, Subject};
use tokio_postgres::{Client, NoTls};
use tonic::Code;
use uuid::Uuid;

use crate::{
    harness::{database, eventually},
    keys::{Keys, only, personal, readable},
    serving::id,
};

/// How the program adds a key.
const ADD_KEY: &str = include_str!("../../infra/sealing/src/sql/add_key.sql");

/// By which a rotation keeps others off.
const ROTATION_LOCK: i64 = 0x6a61_7269_0003;

/// Where a value stands.
pub const PLACE: SealContext<'_> = SealContext { aggregate_type: "Order", aggregate_id: "order", field: "personal" };

async fn connected(keys: &Keys) -> Client {
    let (client, connection) = keys.config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_cannot_be_written_leaves_the_person_and_asks_to_come_again() {
    let (keys, log) = (Keys::new().await, database().await);
    let shop = keys.serve(log).await;
    shop.on_sale("poster", 10).await;
    let order_id = shop.place(personal("poster", "customer-1")).await;
    std::fs::create_dir(keys.list()).unwrap();
    let erase = EraseSubjectRequest { request_id: id(), subject: "customer-1".into() };
    let refused = shop.subjects().erase_subject(erase.clone()).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_deref()), (Code::Unavailable, Some("KEYS_FILE_UNUSABLE")));
    assert!(retry_after(&refused).is_some());
    assert_eq!(shop.persons(&order_id).await, Some(readable()), "what is on no list is not destroyed: a backup would bring it back");
    std::fs::remove_dir(keys.list()).unwrap();
    assert!(shop.subjects().erase_subject(erase).await.unwrap().into_inner().had_personal_data);
    assert_eq!(shop.persons(&order_id).await, Some(only(PersonalDataState::Erased)));
    assert_eq!(ErasureList::new(keys.list()).read().unwrap().len(), 1);
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_was_lost_is_made_anew_with_each_erasure_once() {
    let keys = Keys::new().await;
    let sealer = keys.sealer().await;
    for person in ["customer-1", "customer-2"] {
        sealer.seal(&Subject::of(person), &PLACE, b"a name").await.unwrap();
        assert!(sealer.erase(&Subject::of(person), "privacy", Uuid::now_v7()).await.unwrap().had_key);
    }
    let list = ErasureList::new(keys.list());
    let written = list.read().unwrap();
    assert_eq!(written.len(), 2);
    std::fs::remove_file(keys.list()).unwrap();
    for _ in 0..2 {
        keys.sealer().await;
        assert_eq!(list.read().unwrap(), written);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_whose_key_is_not_in_a_restored_backup_is_not_told_to_be_erased() {
    let (keys, log) = (Keys::new().await, database().await);
    let shop = keys.serve(log.clone()).await;
    shop.on_sale("poster", 10).await;
    let early = shop.place(personal("poster", "customer-1")).await;
    shop.node.stop().await;
    let backup = keys.backup().await;
    let shop = keys.serve(log.clone()).await;
    let late = shop.place(personal("poster", "customer-2")).await;
    shop.node.stop().await;
    let restored = Keys { config: backup, folder: keys.folder };
    let shop = restored.serve(log).await;
    assert_eq!(shop.persons(&early).await, Some(readable()));
    assert_eq!(shop.persons(&late).await, Some(only(PersonalDataState::Unavailable)), "a newer backup would have its key");
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_waits_for_the_key_that_a_closed_master_key_is_just_wrapping() {
    let keys = Keys::new().await;
    let sealer = keys.sealer().await;
    let (sealed, _) = sealer.seal(&Subject::of("customer-1"), &PLACE, b"a name").await.unwrap();
    let (mut adding, operator) = (connected(&keys).await, connected(&keys).await);
    // the same key, as if it were just being added
    let taken = "DELETE FROM keys.subject_keys RETURNING key_id, subject, wrapped, master_id";
    let key = operator.query_one(taken, &[]).await.unwrap();
    let (key_id, subject, wrapped): (Uuid, Vec<u8>, Vec<u8>) = (key.get(0), key.get(1), key.get(2));
    let transaction = adding.transaction().await.unwrap();
    assert_eq!(transaction.execute(ADD_KEY, &[&key_id, &subject, &wrapped, &key.get::<_, String>(3)]).await.unwrap(), 1);
    keys.masters().add_new().unwrap();
    let (store, masters) = (keys.store(), keys.masters().read().unwrap());
    let rotation = tokio::spawn(async move { store.rotate(&masters, |_| {}).await });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually("it waits, or has not waited", || async {
        rotation.is_finished() || operator.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) > 0
    })
    .await;
    transaction.commit().await.unwrap();
    let rotated = rotation.await.unwrap().unwrap();
    assert_eq!((rotated.keys, rotated.retired.len()), (1, 1), "the key was missed, and is lost with its master key");
    keys.masters().drop_retired(&rotated.retired).unwrap();
    let Opened::Readable(clear) = keys.sealer().await.open(&PLACE, &sealed).await else { panic!("it opens under the new master key") };
    assert_eq!(*clear, b"a name");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_more_than_a_thousand_erasures_is_applied_and_made_anew_to_its_last_line() {
    let keys = Keys::new().await;
    let sealer = keys.sealer().await;
    let (sealed, _) = sealer.seal(&Subject::of("customer-1"), &PLACE, b"a name").await.unwrap();
    let backup = keys.backup().await;
    // the backup has ended the sealer's connections
    eventually("the keys answer again", || async { sealer.erase(&Subject::of("customer-1"), "privacy", Uuid::now_v7()).await.is_ok() }).await;
    let last = ErasureList::new(keys.list()).read().unwrap().remove(0);
    let restored = Keys::at(backup);
    std::fs::copy(keys.folder.path().join("master.key"), restored.folder.path().join("master.key")).unwrap();
    // one more than is applied, or read, at once
    let nobody = |n| Erasure { key_id: None, subject: Subject::of(&format!("nobody-{n}")), request_id: Uuid::now_v7(), ..last.clone() };
    let listed: Vec<Erasure> = (0..1_000).map(nobody).chain([last.clone()]).collect();
    let list = ErasureList::new(restored.list());
    list.add(&listed).unwrap();
    assert!(matches!(restored.sealer().await.open(&PLACE, &sealed).await, Opened::Erased), "the backup has brought the last one back");
    std::fs::remove_file(restored.list()).unwrap();
    restored.sealer().await;
    assert_eq!(list.read().unwrap(), listed);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_noted_as_erased_cannot_be_read_though_its_key_is_there() {
    let keys = Keys::new().await;
    let (sealed, _) = keys.sealer().await.seal(&Subject::of("customer-1"), &PLACE, b"a name").await.unwrap();
    assert!(matches!(keys.sealer().await.open(&PLACE, &sealed).await, Opened::Readable(_)));
    // as when a backup of the keys alone was put back beside the newer list of erasures
    let note = "INSERT INTO keys.erasures (erased_at, key_id, request_id, subject, requested_by)
        SELECT now(), key_id, gen_random_uuid(), subject, 'privacy' FROM keys.subject_keys";
    let sealer = keys.sealer().await;
    assert_eq!(connected(&keys).await.execute(note, &[]).await.unwrap(), 1);
    assert!(matches!(sealer.open(&PLACE, &sealed).await, Opened::Erased));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_was_listed_but_told_as_not_done_is_done_as_soon_as_the_keys_answer() {
    let keys = Keys::new().await;
    let sealer = keys.try_sealer(SealerSettings { cached_for: Duration::from_millis(100), ..SealerSettings::default() }).await.unwrap();
    let (subject, request, list) = (Subject::of("customer-1"), Uuid::now_v7(), ErasureList::new(keys.list()));
    let (sealed, _) = sealer.seal(&subject, &PLACE, b"a name").await.unwrap();
    let mut operator = connected(&keys).await;
    // what notes an erasure stands still, after its line was written
    let stands_still = operator.transaction().await.unwrap();
    stands_still.batch_execute("LOCK TABLE keys.erasures IN SHARE MODE").await.unwrap();
    let refused = sealer.erase(&subject, "privacy", request).await.unwrap_err();
    assert_eq!(refused.code(), "KEYS_UNAVAILABLE", "{refused}");
    let listed = list.read().unwrap();
    assert_eq!(listed.len(), 1);
    stands_still.rollback().await.unwrap();
    eventually("nobody asks again, and it is done", || async { matches!(sealer.open(&PLACE, &sealed).await, Opened::Erased) }).await;
    let repeat = sealer.erase(&subject, "privacy", request).await.unwrap();
    assert_eq!((repeat.at, repeat.had_key), (listed[0].erased_at, true), "who asks again hears of that one");
    assert_eq!(list.read().unwrap(), listed);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_whose_node_died_after_its_line_is_done_by_the_others_of_that_list() {
    let keys = Keys::new().await;
    let sealer = keys.sealer().await;
    let (subject, request) = (Subject::of("customer-1"), Uuid::now_v7());
    let (sealed, _) = sealer.seal(&subject, &PLACE, b"a name").await.unwrap();
    let key_id = connected(&keys).await.query_one("SELECT key_id FROM keys.subject_keys", &[]).await.unwrap().get(0);
    let at = jiff::Timestamp::from_second(1_800_000_000).unwrap();
    let line = Erasure { key_id: Some(key_id), subject, erased_at: at, requested_by: "privacy".into(), request_id: request };
    ErasureList::new(keys.list()).add(&[line]).unwrap();
    eventually("its key is destroyed", || async { matches!(sealer.open(&PLACE, &sealed).await, Opened::Erased) }).await;
    assert_eq!(sealer.erase(&subject, "privacy", request).await.unwrap().at, at);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_waits_for_the_one_that_is_under_way_before_it_closes_its_master_key() {
    let keys = Keys::new().await;
    keys.sealer().await.seal(&Subject::of("customer-1"), &PLACE, b"a name").await.unwrap();
    let (under_way, operator) = (connected(&keys).await, connected(&keys).await);
    under_way.execute("SELECT pg_advisory_lock($1)", &[&ROTATION_LOCK]).await.unwrap();
    keys.masters().add_new().unwrap();
    let (store, masters) = (keys.store(), keys.masters().read().unwrap());
    let rotation = tokio::spawn(async move { store.rotate(&masters, |_| {}).await });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'";
    eventually("it waits, or has not waited", || async {
        rotation.is_finished() || operator.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) > 0
    })
    .await;
    let noted: i64 = operator.query_one("SELECT count(*) FROM keys.master_keys", &[]).await.unwrap().get(0);
    assert_eq!(noted, 1, "the new one is not in use before all is wrapped under the one before");
    drop(under_way);
    assert_eq!(rotation.await.unwrap().unwrap().keys, 1);
}
