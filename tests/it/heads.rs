//! Signed heads against somebody who may write everything in the database, and does it well.

use std::path::Path;

use jari_contract::LogHeadSigned;
use jari_event_store::{ChainWalk, Database, newest_head};
use jari_heads::{Checked, HeadSigner, HeadsCheck, SignerSettings, SigningKey, Trusted, newest_in};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    harness::{database, eventually},
    raw::{INSERT, client, values},
    seal::{tamper, walk},
};

/// Chains the whole log anew, as the database itself does it: the walk then finds nothing.
pub const CHAIN_ANEW: &str = "DO $$ DECLARE b record; head bytea := (SELECT s.head FROM log_seal s); BEGIN
    FOR b IN SELECT * FROM batches ORDER BY first_position LOOP
        head := sha256(head || int8send(b.first_position) || int4send(b.event_count) || timestamptz_send(b.recorded_at) || (
            SELECT string_agg(event_digest(e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, e.event_version, e.payload::text, e.metadata::text),
                '' ORDER BY e.position) FROM events e WHERE e.position >= b.first_position AND e.position < b.first_position + b.event_count));
        UPDATE batches SET chained_hash = head WHERE first_position = b.first_position;
    END LOOP; END $$";

pub fn settings(folder: &Path) -> SignerSettings {
    SignerSettings { file: folder.join("heads.jsonl"), key_file: folder.join("heads.key"), every: std::time::Duration::from_millis(20) }
}

/// What the file of heads proves against the log as it is now: heads that hold, and what does not.
async fn check(database: &Database, settings: &SignerSettings) -> (Vec<u64>, Vec<String>) {
    let mut trusted = Trusted::default();
    trusted.add(&SigningKey::read(&settings.key_file).unwrap().public_text()).unwrap();
    let chain = ChainWalk::begin(database.clone()).await.unwrap();
    let (broken, end) = walk(database).await;
    assert_eq!(broken, [], "the chain itself stands");
    let mut check = HeadsCheck::open(&settings.file, trusted, database.clone(), chain.log_id(), end.position).unwrap();
    let (mut held, mut broken) = (Vec::new(), Vec::new());
    while let Some(checked) = check.step().await.unwrap() {
        match checked {
            Checked::Holds(position) => held.push(position.get()),
            Checked::Broken(why) | Checked::CutOff(why) => broken.push(why),
        }
    }
    (held, broken)
}

/// Signs the head of the log as it is now, and not twice.
pub async fn sign(database: &Database, settings: &SignerSettings) {
    let (head, log_id) = (newest_head(database).await.unwrap().position, ChainWalk::begin(database.clone()).await.unwrap().log_id());
    let (told, stop) = (watch::Sender::new(None), CancellationToken::new());
    let signer = HeadSigner::start(database.clone(), log_id, settings.clone(), told.clone(), stop.clone());
    eventually("the head is signed", async || told.borrow().as_ref().is_some_and(|told| told.position.to_position() == head)).await;
    // a log that stands still is not signed again
    tokio::time::sleep(settings.every * 3).await;
    stop.cancel();
    signer.await.unwrap();
}

/// A log whose heads were signed after 1, 2, 3 and 4 events.
async fn signed(settings: &SignerSettings) -> Database {
    let database = database().await;
    let writer = client(&database).await;
    for n in 1..=4 {
        writer.batch_execute(&format!("{INSERT} {}", values("a", n))).await.unwrap();
        sign(&database, settings).await;
    }
    database
}

#[tokio::test(flavor = "multi_thread")]
async fn who_changes_the_log_and_chains_it_anew_is_found_by_heads_from_before() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let database = signed(&settings).await;
    assert_eq!(check(&database, &settings).await, (vec![1, 2, 3, 4], vec![]));
    let writer = client(&database).await;
    tamper(&writer, CHAIN_ANEW).await;
    assert_eq!(check(&database, &settings).await.0, [1, 2, 3, 4], "chained anew from the same events it is the same");
    tamper(&writer, &format!("UPDATE events SET payload = replace(payload::text, 'rain', 'reign')::json WHERE position = 3; {CHAIN_ANEW}")).await;
    let (held, broken) = check(&database, &settings).await;
    assert_eq!((held, broken.len()), (vec![1, 2], 2));
    assert!(broken[0].contains("line 3") && broken[0].contains("position 3"), "{broken:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cuts_the_end_off_is_found_by_heads_from_before() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let database = signed(&settings).await;
    tamper(&client(&database).await, "DELETE FROM events WHERE position > 2; DELETE FROM batches WHERE first_position > 2").await;
    assert_eq!(newest_head(&database).await.unwrap().position.get(), 2);
    let (held, broken) = check(&database, &settings).await;
    assert_eq!((held, broken.len()), (vec![1, 2], 2));
    assert!(broken[1].contains("the log ends at 2") && broken[1].contains("it reached 4"), "{broken:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_prove_nothing_are_named_and_the_others_still_count() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let database = signed(&settings).await;
    let lines = std::fs::read_to_string(&settings.file).unwrap();
    let lines: Vec<&str> = lines.lines().collect();
    let forged = lines[1].replace(r#""position":"2""#, r#""position":"3""#);
    let long = "x".repeat(10_000);
    std::fs::write(&settings.file, [lines[0], &forged, "null", &long, lines[3]].join("\n")).unwrap();
    let (held, broken) = check(&database, &settings).await;
    assert_eq!(held, [1, 4]);
    assert!(broken[0].contains("line 2") && broken[0].contains("not signed with a key"), "{broken:?}");
    assert!(broken[1..].iter().all(|line| line.contains("no signed head")), "{broken:?}");
    let (other, own) = (tempfile::tempdir().unwrap(), std::fs::read_to_string(&settings.file).unwrap());
    let other = self::settings(other.path());
    let stranger = signed(&other).await;
    std::fs::write(&other.file, own).unwrap();
    std::fs::copy(&settings.key_file, &other.key_file).unwrap();
    let (held, broken) = check(&stranger, &other).await;
    assert!(held.is_empty() && broken[0].contains("of another log"), "{broken:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_heads_proves_nothing_and_one_that_a_crash_cut_off_proves_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let database = signed(&settings).await;
    let whole = std::fs::read_to_string(&settings.file).unwrap();
    for nothing in ["", "\n"] {
        std::fs::write(&settings.file, nothing).unwrap();
        let (held, broken) = check(&database, &settings).await;
        assert!(held.is_empty() && broken.last().is_some_and(|why| why.contains("holds no signed head")), "{nothing:?}: {broken:?}");
    }
    std::fs::write(&settings.file, &whole[..whole.len() - 30]).unwrap();
    let (held, broken) = check(&database, &settings).await;
    assert!(held == [1, 2, 3] && broken.len() == 1 && broken[0].contains("line 4: was cut off"), "{broken:?}");
    // without the line's end it is a head all the same
    std::fs::write(&settings.file, whole.trim_end()).unwrap();
    assert_eq!(check(&database, &settings).await, (vec![1, 2, 3, 4], vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_of_a_shared_folder_reach_the_relay_of_either_node_and_each_is_signed_once() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let database = database().await;
    let log_id = ChainWalk::begin(database.clone()).await.unwrap().log_id();
    let stop = CancellationToken::new();
    let told = [watch::Sender::new(None), watch::Sender::new(None)];
    let start = |told: &watch::Sender<_>| HeadSigner::start(database.clone(), log_id, settings.clone(), told.clone(), stop.clone());
    let signers = [start(&told[0]), start(&told[1])];
    let writer = client(&database).await;
    for n in 1..=3 {
        writer.batch_execute(&format!("{INSERT} {}", values("a", n))).await.unwrap();
        let is_told = |told: &watch::Sender<Option<LogHeadSigned>>| told.borrow().as_ref().is_some_and(|head| head.position.get() == n);
        eventually("both relays have the head", async || told.iter().all(is_told)).await;
        assert_eq!(*told[0].borrow(), *told[1].borrow());
    }
    stop.cancel();
    for signer in signers {
        signer.await.unwrap();
    }
    assert_eq!(check(&database, &settings).await, (vec![1, 2, 3], vec![]), "one of them wrote");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signer_whose_file_holds_heads_of_another_log_signs_its_own_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    signed(&settings).await;
    let own = database().await;
    client(&own).await.batch_execute(&format!("{INSERT} {}", values("a", 1))).await.unwrap();
    sign(&own, &settings).await;
    let newest = newest_in(&settings.file).unwrap().unwrap();
    let log_id = ChainWalk::begin(own).await.unwrap().log_id();
    assert_eq!((newest.log_id, newest.position.get()), (log_id.to_string(), 1), "the other log's had reached 4");
}
