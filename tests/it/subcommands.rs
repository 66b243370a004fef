//! The program's subcommands as operators run them: how they end, what they say, what they leave behind.

use std::{
    fs,
    path::{Path, PathBuf},
};

use jari_event_store::{Database, PoolSettings};
use jari_heads::SigningKey;
use jari_proto::subject::v1::{EraseSubjectRequest, subject_service_client::SubjectServiceClient};
use jari_sealing::{ErasureList, Opened, Subject};
use uuid::Uuid;

use crate::{
    erasures::PLACE,
    export::{address, data},
    harness::{database, eventually},
    heads::{self, CHAIN_ANEW, sign},
    keys::Keys,
    processes::{Folder, channel, free_address, start},
    raw::client,
    seal::tamper,
    serving::id,
    verify::{Log, counts, held, opened},
};

/// Runs it to its end: whether it ended well, and what it said.
async fn run(config: &Path, words: &[&str]) -> (bool, String) {
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
