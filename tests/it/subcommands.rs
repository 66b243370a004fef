//! The program's subcommands as operators run them: how they end, what they say, what they leave behind.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use jari_contract::Topic;
use jari_event_store::{Database, PoolSettings};
use jari_heads::SigningKey;
use jari_proto::{
    order::v1::{GetOrderRequest, OrderState, PersonalDataState, PlaceOrderRequest},
    subject::v1::{EraseSubjectRequest, subject_service_client::SubjectServiceClient},
};
use jari_sealing::{ErasureList, Opened, Subject};
use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
};
use uuid::Uuid;

use crate::{
    erasures::PLACE,
    export::{address, data},
    harness::{database, eventually},
    heads::{self, CHAIN_ANEW, sign},
    intake::{running, taking},
    keys::{Keys, only, personal},
    processes::{Folder, channel, free_address, start},
    raw::client,
    relay::{kafka, prefix},
    seal::tamper,
    sender::Sender,
    serving::{Serving, id, order},
    verify::{Log, counts, held, opened, released},
};

/// Runs it to its end: whether it ended well, and what it said.
pub async fn run(config: &Path, words: &[&str]) -> (bool, String) {
    let mut program = start(config, words);
    (program.until_ended().await, program.said())
}

/// A configuration with these keys, served at `listen`, without Kafka. The log may be any.
fn with_keys(folder: &Folder, name: &str, log: &Database, keys: &Keys, listen: &str) -> PathBuf {
    let (masters, list) = (keys.folder.path().join("master.key"), keys.list());
    let keys =
        format!("[keys]\nurl = \"{}\"\nmaster_file = \"{}\"\nerasure_list = \"{}\"\n", address(&keys.config), masters.display(), list.display());
    let rest = format!("[server]\nlisten = \"{listen}\"\n[relay]\nenabled = false\n[intake]\nenabled = false\n{keys}");
    folder.config(name, log, &rest)
}

/// A configuration that serves where this node does: what asks a running node asks this one.
pub fn beside(folder: &Folder, name: &str, shop: &Serving) -> PathBuf {
    let rest = format!("[server]\nlisten = \"{}\"\n[relay]\nenabled = false\n[intake]\nenabled = false\n", shop.node.address);
    folder.config(name, &shop.database, &rest)
}

/// The log of a program that reads none.
fn no_log(keys: &Keys) -> Database {
    Database::new(keys.config.clone(), PoolSettings::patient()).unwrap()
}

/// A log of one slot with one hold on it.
async fn small_log() -> Log {
    let log = Log::new().await;
    log.write(&[opened("s", 10), held("s", "a", 10, counts(10, 10, 0))]).await;
    log
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_writes_each_erasure_to_the_list_that_its_configuration_names() {
    let (folder, log, keys, listen) = (Folder::new(), database().await, Keys::new().await, free_address());
    keys.masters().provide().unwrap();
    let mut program = start(&with_keys(&folder, "serve", &log, &keys, &listen), &["serve"]);
    let subjects = SubjectServiceClient::new(channel(&listen));
    let erase = EraseSubjectRequest { request_id: id(), subject: "customer-1".into() };
    eventually("it serves", || async { subjects.clone().erase_subject(erase.clone()).await.is_ok() }).await;
    let listed = ErasureList::new(keys.list()).read().unwrap();
    assert_eq!(listed.iter().map(|erasure| erasure.request_id.to_string()).collect::<Vec<_>>(), [erase.request_id]);
    program.signal("TERM");
    assert!(program.until_ended().await, "{}", program.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_erasures_is_copied_and_applied_to_a_restored_backup_of_the_keys() {
    let (folder, keys) = (Folder::new(), Keys::new().await);
    let copy = folder.0.join("copy.jsonl");
    let path = copy.to_str().unwrap();
    let sealer = keys.sealer().await;
    let (sealed, _) = sealer.seal(&Subject::of("customer-1"), &PLACE, b"a name").await.unwrap();
    let backup = keys.backup().await;
    // the backup has ended the sealer's connections
    eventually("the keys answer again", || async { sealer.erase(&Subject::of("customer-1"), "privacy", Uuid::now_v7()).await.is_ok() }).await;
    let config = with_keys(&folder, "keys", &no_log(&keys), &keys, "127.0.0.1:0");
    for _ in 0..2 {
        let (well, said) = run(&config, &["keys", "erasures", "--export", path]).await;
        assert!(well && said.contains("holds 1 erasures") && !said.contains("not in this database"), "{said}");
        assert_eq!(ErasureList::new(&copy).read().unwrap(), ErasureList::new(keys.list()).read().unwrap());
    }

    let restored = Keys { config: backup, folder: tempfile::tempdir().unwrap() };
    fs::copy(keys.folder.path().join("master.key"), restored.folder.path().join("master.key")).unwrap();
    assert!(matches!(restored.sealer().await.open(&PLACE, &sealed).await, Opened::Readable(_)), "a backup alone brings the person back");
    let config = with_keys(&folder, "restored", &no_log(&restored), &restored, "127.0.0.1:0");
    let (well, said) = run(&config, &["keys", "erasures", "--export", path]).await;
    assert!(well && said.contains("1 of them are not in this database"), "{said}");
    let (well, said) = run(&config, &["keys", "erasures", "--apply", path]).await;
    assert!(well && said.contains("1 erasures applied: 1 keys had come back"), "{said}");
    assert_eq!(ErasureList::new(restored.list()).read().unwrap(), ErasureList::new(&copy).read().unwrap(), "the next start has it, too");
    assert!(matches!(restored.sealer().await.open(&PLACE, &sealed).await, Opened::Erased));
    let (well, said) = run(&config, &["keys", "erasures", "--apply", folder.0.join("nowhere").to_str().unwrap()]).await;
    assert!(!well && said.contains("is not there"), "a list that is missing is no empty one: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_keeps_the_old_master_key_until_it_is_told_to_forget_it() {
    let (folder, keys) = (Folder::new(), Keys::new().await);
    let (sealed, _) = keys.sealer().await.seal(&Subject::of("customer-1"), &PLACE, b"a name").await.unwrap();
    let first = keys.masters().read().unwrap().present().to_owned();
    let config = with_keys(&folder, "keys", &no_log(&keys), &keys, "127.0.0.1:0");
    let (well, said) = run(&config, &["keys", "rotate"]).await;
    assert!(well && said.contains(&format!("1 keys were wrapped anew; retired: {first}")), "{said}");
    let masters = keys.masters().read().unwrap();
    assert_eq!((masters.ids().len(), masters.ids()[1]), (2, &*first), "an older backup of the keys needs it");
    let (well, said) = run(&config, &["keys", "rotate", "--no-new", "--forget"]).await;
    assert!(well && said.contains("1 retired master keys were removed"), "{said}");
    assert_eq!(keys.masters().read().unwrap().ids(), [masters.present()]);
    assert!(matches!(keys.sealer().await.open(&PLACE, &sealed).await, Opened::Readable(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_too_many_is_refused_with_advice_that_helps() {
    let (folder, keys) = (Folder::new(), Keys::new().await);
    let (sealed, _) = keys.sealer().await.seal(&Subject::of("customer-1"), &PLACE, b"a name").await.unwrap();
    for _ in 0..15 {
        keys.masters().add_new().unwrap();
        keys.store().rotate(&keys.masters().read().unwrap(), |_| {}).await.unwrap();
    }
    let config = with_keys(&folder, "keys", &no_log(&keys), &keys, "127.0.0.1:0");
    let (well, said) = run(&config, &["keys", "rotate"]).await;
    assert!(!well && said.contains("MASTER_KEYS_TOO_MANY") && said.contains("jari keys rotate --no-new --forget"), "{said}");
    keys.sealer().await;
    let (well, said) = run(&config, &["keys", "rotate", "--no-new", "--forget"]).await;
    assert!(well && said.contains("15 retired master keys were removed"), "{said}");
    let (well, said) = run(&config, &["keys", "rotate"]).await;
    assert!(well && said.contains("1 keys were wrapped anew"), "{said}");
    assert!(matches!(keys.sealer().await.open(&PLACE, &sealed).await, Opened::Readable(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_cannot_be_done_adds_no_master_key() {
    let (folder, keys) = (Folder::new(), Keys::new().await);
    keys.sealer().await.seal(&Subject::of("customer-1"), &PLACE, b"a name").await.unwrap();
    let wrong = Keys { config: keys.config.clone(), folder: tempfile::tempdir().unwrap() };
    wrong.masters().provide().unwrap();
    let (well, said) = run(&with_keys(&folder, "keys", &no_log(&keys), &wrong, "127.0.0.1:0"), &["keys", "rotate"]).await;
    assert!(!well && said.contains("MASTER_KEY_MISSING"), "{said}");
    assert_eq!(wrong.masters().read().unwrap().ids().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_changed_and_chained_anew_does_not_pass_beside_its_signed_heads() {
    let (folder, log) = (Folder::new(), small_log().await);
    let settings = heads::settings(&folder.0);
    sign(&log.database, &settings).await;
    let key = SigningKey::read(&settings.key_file).unwrap().public_text();
    let config = folder.config("verify", &log.database, "");
    let beside_heads = ["verify", "--heads", settings.file.to_str().unwrap(), "--key", &key];
    let (well, said) = run(&config, &beside_heads).await;
    assert!(well && said.contains("signed heads that are the log's: 1"), "{said}");
    let rename = r#"UPDATE events SET payload = replace(payload::text, '"a"', '"b"')::json WHERE position = 2"#;
    tamper(&log.client, &format!("{rename}; {CHAIN_ANEW}")).await;
    let (well, said) = run(&config, &["verify"]).await;
    assert!(well, "the log alone is sound: {said}");
    let (well, said) = run(&config, &beside_heads).await;
    assert!(!well && said.contains("BROKEN") && said.contains("line 1"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_of_an_export_ends_with_an_error_when_a_file_or_the_chain_was_changed() {
    let (folder, log) = (Folder::new(), small_log().await);
    let (config, export) = (folder.config("export", &log.database, ""), folder.0.join("export"));
    let export_to = export.to_str().unwrap();
    let (well, said) = run(&config, &["export", export_to]).await;
    assert!(well && said.contains("2 events in "), "{said}");
    let (check, rows) = (["export", export_to, "--check"], ["export", export_to, "--check", "--rows"]);
    let (well, said) = run(&config, &rows).await;
    assert!(well && said.contains("every row is what the log holds"), "{said}");

    let path = export.join(&data(&export)[0]);
    let whole = fs::read(&path).unwrap();
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    fs::write(&path, changed).unwrap();
    let (well, said) = run(&config, &check).await;
    assert!(!well && said.contains("BROKEN") && said.contains("other bytes"), "{said}");
    fs::write(&path, whole).unwrap();

    // the same event in other bytes: its rows are as they were, its digest is not
    tamper(&client(&log.database).await, "UPDATE events SET payload = replace(payload::text, ':', ' :')::json WHERE position = 1").await;
    let (well, said) = run(&config, &check).await;
    assert!(well, "files and heads are as they were: {said}");
    let (well, said) = run(&config, &rows).await;
    assert!(!well && said.contains("BROKEN batch of positions 1 to 1"), "{said}");
}

/// How far the topic of commands reaches, over all of its partitions: records, and ends of transactions.
async fn reach_of_commands(brokers: &str, prefix: &str) -> i64 {
    let asking: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let topic = format!("{prefix}{}", Topic::OrderCommand.name());
    let ends =
        move || (0..Topic::OrderCommand.settings().partitions).map(|n| asking.fetch_watermarks(&topic, n, Duration::from_secs(60)).unwrap().1).sum();
    tokio::task::spawn_blocking(ends).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn to_list_refused_commands_sends_none_of_them_again_and_to_redrive_all_sends_each_once() {
    let (brokers, prefix, folder) = (kafka().await, prefix(), Folder::new());
    let shop = taking(database().await, &brokers, &prefix).await;
    running(&shop).await;
    let (sender, config) = (Sender::new(&brokers, &prefix), beside(&folder, "letters", &shop));
    let (well, said) = run(&config, &["dead-letters"]).await;
    assert!(well && said.contains("no commands were refused"), "{said}");
    for order in ["o-1", "o-2"] {
        sender.confirm(&id(), order).await;
    }
    eventually("both are refused", || async { shop.refused().await.len() == 2 }).await;
    let before = reach_of_commands(&brokers, &prefix).await;
    let letter = |order: &str| format!("ConfirmOrderCommand of order {order:?}: ");
    let (well, said) = run(&config, &["dead-letters"]).await;
    assert!(well && said.contains(&letter("o-1")) && said.contains(&letter("o-2")) && said.contains("(ORDER_NOT_FOUND)"), "{said}");
    let (well, said) = run(&config, &["dead-letters", "--order", "o-2"]).await;
    assert!(well && !said.contains(&letter("o-1")) && said.contains(&letter("o-2")), "{said}");
    assert_eq!((reach_of_commands(&brokers, &prefix).await, shop.refused().await.len()), (before, 2), "whoever looks sends nothing");

    let (well, said) = run(&config, &["dead-letters", "--redrive-all"]).await;
    assert!(well && said.matches("is sent again, as").count() == 2, "{said}");
    // two records, each in a transaction of its own
    assert_eq!(reach_of_commands(&brokers, &prefix).await, before + 4);
    assert!(said.contains("2 sent again, 0 not"), "{said}");
    eventually("they are refused anew", || async { shop.refused().await.len() == 4 }).await;
    let (well, said) = run(&config, &["dead-letters", "--redrive", "4711"]).await;
    assert!(!well && said.contains("REFUSED_COMMAND_UNKNOWN"), "{said}");

    // one that cannot be sent is told of; of those that were refused twice only the newest is sent
    sender.record("o-3", &[], b"hello").await;
    eventually("it is refused, too", || async { shop.refused().await.len() == 5 }).await;
    sender.confirm(&id(), "o-4").await;
    eventually("and the one behind it", || async { shop.refused().await.len() == 6 }).await;
    let (well, said) = run(&config, &["dead-letters", "--redrive-all"]).await;
    assert!(well && said.matches(", again after ").count() == 2, "{said}");
    assert!(said.matches("is not sent again: ").count() == 1 && said.contains("(COMMAND_NOT_KEPT)"), "{said}");
    assert!(said.contains("3 sent again, 1 not; 2 were left out"), "{said}");
    eventually("each line has one more", || async { shop.refused().await.len() == 9 }).await;
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_erased_by_one_command_and_its_repeat_says_what_the_first_did() {
    let (keys, folder) = (Keys::new().await, Folder::new());
    let shop = keys.serve(database().await).await;
    shop.on_sale("poster", 10).await;
    let order_id = shop.place(personal("poster", "customer-1")).await;
    let (config, request_id) = (beside(&folder, "erase", &shop), id());
    for _ in 0..2 {
        let (well, said) = run(&config, &["erase", "customer-1", "--request-id", &request_id]).await;
        assert!(well && said.contains("erased at 20") && said.contains("the key is destroyed"), "{said}");
        assert_eq!(shop.persons(&order_id).await, Some(only(PersonalDataState::Erased)));
    }
    let (well, said) = run(&config, &["erase", "customer-1"]).await;
    assert!(well && said.contains("there was no key"), "{said}");
    let (well, said) = run(&config, &["erase", "no id"]).await;
    assert!(!well && said.contains("REQUEST_INVALID") && !said.contains("ask again"), "{said}");
    assert_eq!(ErasureList::new(keys.list()).read().unwrap().len(), 2);
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_set_aside_is_listed_with_the_command_that_reads_it_again() {
    let (shop, folder) = (Serving::start().await, Folder::new());
    shop.on_sale("poster", 10).await;
    let config = beside(&folder, "quarantine", &shop);
    let (well, said) = run(&config, &["quarantine"]).await;
    assert!(well && said.contains("no streams are set aside"), "{said}");
    let held = shop.orders().place_order(order(&[("poster", 1)])).await.unwrap().into_inner();
    let order_id = held.order.unwrap().order_id;
    shop.scrawl("Order", &order_id, 3).await;
    let failed = shop.log().await.len();
    eventually("the view has come by", || async { run(&config, &["quarantine"]).await.1.contains(&order_id) }).await;
    let (well, said) = run(&config, &["quarantine", "orders"]).await;
    let line = format!("orders: Order/{order_id} from position {failed}, 1 events wait: ");
    let retry = ["quarantine", "orders", "--retry", &format!("Order/{order_id}")];
    assert!(well && said.contains(&line) && said.contains("(EVENT_UNREADABLE)") && said.contains(&format!("jari {}", retry.join(" "))), "{said}");
    let (well, said) = run(&config, &["quarantine", "products"]).await;
    assert!(well && said.contains("no streams are set aside"), "{said}");
    let (well, said) = run(&config, &retry).await;
    assert!(!well && said.contains("STREAM_STILL_QUARANTINED"), "it cannot be read yet: {said}");

    let mended = r#"UPDATE events SET event_type = 'OrderConfirmed', payload = '{"OrderConfirmed":{}}' WHERE event_type = 'Scrawled'"#;
    tamper(&client(&shop.database).await, mended).await;
    let (well, said) = run(&config, &retry).await;
    assert!(well && said.contains(&format!("orders reads Order/{order_id} again, and has read it up to position {failed}")), "{said}");
    let get = GetOrderRequest { order_id, min_position: 0 };
    assert_eq!(shop.order_queries().get_order(get).await.unwrap().into_inner().order.unwrap().state(), OrderState::Confirmed);
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_could_not_be_settled_is_listed_with_the_command_that_tries_it_again() {
    let (shop, folder) = (Serving::start().await, Folder::new());
    let slot_id = shop.on_sale("poster", 10).await;
    let config = beside(&folder, "parked", &shop);
    let (well, said) = run(&config, &["parked"]).await;
    assert!(well && said.contains("no orders are parked"), "{said}");
    shop.scrawl("InventorySlot", &slot_id, 2).await;
    let place = PlaceOrderRequest { order_id: "stuck".into(), wait: None, ..order(&[("poster", 1)]) };
    let accepted = shop.orders().place_order(place).await.unwrap().into_inner().order.unwrap().accepted_position;
    eventually("it is parked", || async { run(&config, &["parked"]).await.1.contains("stuck") }).await;
    let (well, said) = run(&config, &["parked"]).await;
    let line = format!("stuck, accepted at position {accepted}, tried once: ");
    assert!(well && said.contains(&line) && said.contains("(STREAM_UNREADABLE)") && said.contains("jari parked --retry stuck"), "{said}");
    let (well, said) = run(&config, &["parked", "--retry", "nobody"]).await;
    assert!(!well && said.contains("ORDER_NOT_PARKED"), "{said}");

    tamper(
        &client(&shop.database).await,
        r#"UPDATE events SET event_type = 'SlotSuspended', payload = '{"SlotSuspended":{"reason":"rain"}}' WHERE event_type = 'Scrawled'"#,
    )
    .await;
    let (well, said) = run(&config, &["parked", "--retry", "stuck"]).await;
    assert!(well && said.contains("stuck is tried again"), "{said}");
    eventually("it is settled", || async { run(&config, &["parked"]).await.1.contains("no orders are parked") }).await;
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_tells_of_a_node_that_serves_and_of_one_that_does_not() {
    let (shop, folder) = (Serving::start().await, Folder::new());
    shop.on_sale("poster", 10).await;
    shop.scrawl("Order", "o-1", 1).await;
    let config = beside(&folder, "status", &shop);
    let events = format!("log          {}, {} events", shop.node.identity.log_id, shop.log().await.len());
    let level = [&*events, "view         products v1, level with the log\n", "view         orders v2, level with the log, 1 streams set aside\n"];
    eventually("the views are level with the log", || async {
        let (well, said) = run(&config, &["status"]).await;
        assert!(well, "{said}");
        level.iter().all(|line| said.contains(line)) && said.contains("settlement   by ")
    })
    .await;
    let (_, said) = run(&config, &["status"]).await;
    for line in [
        "PostgreSQL   your own, as database.url says",
        "0 orders in line, 0 parked",
        "relay        off: ",
        "intake       off: ",
        "keys         off: ",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    shop.node.stop().await;
    let (well, said) = run(&config, &["status"]).await;
    assert!(well && said.contains("does not answer"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn old_events_are_archived_up_to_where_the_operator_says_and_never_beyond_the_log() {
    let (log, folder) = (Log::new().await, Folder::new());
    let held_and_released = (0..4).flat_map(|_| [held("old", "a", 1, counts(10, 1, 0)), released("old", "a", 1, counts(10, 0, 0))]);
    log.write(&std::iter::once(opened("old", 10)).chain(held_and_released).collect::<Vec<_>>()).await;
    let config = folder.config("archive", &log.database, "");
    let (well, said) = run(&config, &["archive", "--before", "11"]).await;
    assert!(!well && said.contains("the log ends at position 9; nothing moved"), "{said}");
    let (well, said) = run(&config, &["archive"]).await;
    assert!(well && said.contains("0 events moved"), "nothing was begun: {said}");
    let (well, said) = run(&config, &["archive", "--before", "9", "--rest", "0"]).await;
    assert!(well && said.contains("7 events moved, 1 stay as the ends of their streams; all before 9 is done"), "{said}");
    let moved: i64 = log.client.query_one("SELECT count(*) FROM archived_events", &[]).await.unwrap().get(0);
    assert_eq!(moved, 7);
    let (well, said) = run(&config, &["verify"]).await;
    assert!(well, "what moved is read with the rest: {said}");
}
