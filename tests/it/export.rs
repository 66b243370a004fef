//! Exports hold what the log tells, each event once, whatever happens to the program that writes them.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};

use jari_event_store::{Database, PoolSettings, Position, Reader};
use jari_export::{Checked, ExportError, Exported, Format, Settings, StepManifest, check, check_chain, check_rows, export};
use jari_proto::history::v1::ReadLogRequest;
use parquet::{
    file::reader::{FileReader, SerializedFileReader},
    record::RowAccessor,
};
use sha2::{Digest, Sha256};
use tokio_postgres::Config;
use tokio_util::sync::CancellationToken;

use crate::{
    archive::archive,
    export_killed::Folder,
    harness::{Node, command, database, eventually, hold, patient},
    heads::CHAIN_ANEW,
    history::{cancel, confirm, place, read},
    raw::{INSERT, client, values},
    seal::tamper,
    serving::Serving,
};

/// Steps and pages so small that a test has many.
pub const SMALL: Settings = Settings { format: None, step_events: 10, page: 4, per_second: None };

pub async fn run(database: &Database, folder: &Path, settings: Settings) -> Result<Exported, ExportError> {
    export(&Reader::new(database.clone()), folder, settings, |_| {}, &CancellationToken::new()).await
}

pub fn steps(folder: &Path) -> Vec<StepManifest> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder.join("_manifest")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| serde_json::from_slice(&fs::read(path).unwrap()).unwrap()).collect()
}

/// Positions in the files of an export by what stands in the files, not by their names; sorted.
pub fn positions(folder: &Path) -> Vec<u64> {
    let mut positions = Vec::new();
    for file in steps(folder).iter().flat_map(|step| &step.files) {
        let table = SerializedFileReader::new(File::open(folder.join(&file.path)).unwrap()).unwrap();
        positions.extend(table.get_row_iter(None).unwrap().map(|row| row.unwrap().get_long(0).unwrap() as u64));
    }
    positions.sort_unstable();
    positions
}

/// Where positions are not 1, 2, 3 and so on up to `last`: what stands in the place of what.
pub fn fault(folder: &Path, last: u64) -> Option<(u64, Option<u64>)> {
    let found = positions(folder);
    let wrong = (1..=last.max(found.len() as u64)).find(|due| found.get(*due as usize - 1) != Some(due) || *due > last);
    wrong.map(|due| (due, found.get(due as usize - 1).copied()))
}

/// Every file of data below a folder, whether or not a manifest names it.
pub fn data(folder: &Path) -> Vec<String> {
    fn walk(folder: &Path, prefix: &str, into: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            if entry.path().is_dir() { walk(&entry.path(), &format!("{name}/"), into) } else { into.push(name) }
        }
    }
    let mut files = Vec::new();
    walk(folder, "", &mut files);
    files.retain(|name| name.starts_with("day="));
    files.sort();
    files
}

/// Some orders, of every fate.
async fn some_orders(shop: &Serving, named: &str) {
    for n in 0..6 {
        place(shop, &format!("{named}-{n}"), &[("poster", 1), ("print", 2)]).await;
    }
    place(shop, &format!("{named}-greedy"), &[("print", 10_000)]).await;
    confirm(shop, &format!("{named}-1")).await;
    confirm(shop, &format!("{named}-2")).await;
    cancel(shop, &format!("{named}-2")).await;
    cancel(shop, &format!("{named}-3")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_holds_each_event_once_and_goes_on_where_it_ended() {
    let (shop, folder) = (Serving::start().await, Folder::new("once"));
    shop.on_sale("poster", 50).await;
    shop.on_sale("print", 50).await;
    some_orders(&shop, "first").await;
    let first = run(&shop.database, &folder.0, SMALL).await.unwrap();
    assert_eq!((first.after, Position::new(first.rows), first.position), (Position::START, first.head, first.head));
    some_orders(&shop, "second").await;
    let second = run(&shop.database, &folder.0, SMALL).await.unwrap();
    let events = shop.log().await.len() as u64;
    let head = Position::new(events);
    assert_eq!((second.after, second.position, first.rows + second.rows), (first.position, head, events));
    assert_eq!(positions(&folder.0), (1..=events).collect::<Vec<_>>());

    let steps = steps(&folder.0);
    assert!(steps.len() > 5 && steps.iter().all(|step| step.head.is_some()), "each step ends where the log's chain has a head");
    let named: Vec<&str> = steps.iter().flat_map(|step| &step.files).map(|file| file.path.as_str()).collect();
    let day = shop.log().await[0].recorded_at.to_string()[..10].to_owned();
    assert!(named.iter().any(|path| path.starts_with(&format!("day={day}/type=reservation.order.v1.OrderPlaced/0000"))), "{named:?}");
    assert_eq!(data(&folder.0).len(), named.len(), "nothing stands there that no manifest names");

    let mut checked = check(&folder.0).unwrap();
    check_chain(&Reader::new(shop.database.clone()), &mut checked).await.unwrap();
    assert_eq!((checked.rows, checked.position, &checked.findings[..]), (events, head, &[][..]));
    assert_eq!(checked.heads.len(), steps.len());
    let again = run(&shop.database, &folder.0, SMALL).await.unwrap();
    assert_eq!((again.rows, again.files, again.position), (0, 0, head));
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_an_export_say_what_the_history_says() {
    let (shop, folder) = (Serving::start().await, Folder::new("lines"));
    shop.on_sale("poster", 50).await;
    shop.on_sale("print", 50).await;
    some_orders(&shop, "order").await;
    shop.scrawl("Parcel", "parcel-1", 1).await;
    some_orders(&shop, "other").await;
    let done = run(&shop.database, &folder.0, Settings { format: Some(Format::Jsonl), ..SMALL }).await.unwrap();
    assert_eq!(done.rows, done.position.previous().get(), "what another program wrote for itself is not ours to tell");
    let (events, _) = read(&shop, ReadLogRequest::default()).await;
    let mut lines = Vec::new();
    for file in steps(&folder.0).iter().flat_map(|step| &step.files) {
        lines.extend(fs::read_to_string(folder.0.join(&file.path)).unwrap().lines().map(str::to_owned));
    }
    assert_eq!(lines.len(), events.len());
    for (line, event) in lines.iter().zip(&events) {
        let start = format!(r#"{{"position":{},"time":""#, event.position);
        let middle =
            format!(r#""type":"{}","subject":"{}","streamVersion":{},"id":"{}""#, event.r#type, event.subject, event.stream_version, event.id);
        let end = format!(r#","data":{}}}"#, event.data_json);
        assert!(line.starts_with(&start) && line.contains(&middle) && line.ends_with(&end), "{line}");
        assert!(line.contains(&format!(r#""correlationId":"{}""#, event.correlation_id)), "{line}");
    }
    let refused = run(&shop.database, &folder.0, Settings { format: Some(Format::Parquet), ..SMALL }).await.unwrap_err();
    assert!(refused.code() == "EXPORT_FOLDER_INVALID" && refused.to_string().contains("as jsonl"), "{refused}");
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_cannot_be_told_ends_the_export_after_all_before_it() {
    let (shop, folder) = (Serving::start().await, Folder::new("unreadable"));
    shop.on_sale("poster", 50).await;
    place(&shop, "order", &[("poster", 1)]).await;
    let before = shop.log().await.len() as u64;
    shop.scrawl("Order", "scrawled", 1).await;
    for _ in 0..2 {
        let refused = run(&shop.database, &folder.0, Settings::default()).await.unwrap_err();
        assert!(refused.code() == "EXPORT_EVENT_UNREADABLE" && refused.to_string().contains(&format!("position {} ", before + 1)), "{refused}");
        assert_eq!(positions(&folder.0), (1..=before).collect::<Vec<_>>());
    }
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_exports_at_once_one_writes_and_the_other_is_told() {
    let (node, folder) = (Node::start().await, Folder::new("two"));
    let slot = node.open_stock("poster", 1_000).await;
    for n in 0..60 {
        node.run(hold(&slot, &format!("hold-{n}"), 1)).await;
    }
    let (reader, stop, path) = (node.reader(), CancellationToken::new(), folder.0.clone());
    let stopping = stop.clone();
    let slow = Settings { per_second: Some(10), ..SMALL };
    let first = tokio::spawn(async move { export(&reader, &path, slow, |_| {}, &stopping).await });
    eventually("the first export writes", async || folder.0.join("_unfinished/1").exists()).await;
    let refused = run(&node.database, &folder.0, SMALL).await.unwrap_err();
    assert!(refused.code() == "EXPORT_BUSY" && refused.to_string().contains(&format!("process {}", std::process::id())), "{refused}");
    // no transaction stays open while it pauses
    let client = node.database.dedicated().await.unwrap();
    for _ in 0..20 {
        let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
        assert_eq!(client.query_one(open, &[]).await.unwrap().get::<_, i64>(0), 0);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.cancel();
    let stopped = first.await.unwrap().unwrap();
    assert!(stopped.position < stopped.head, "{stopped:?}");
    assert_eq!(positions(&folder.0), (1..=stopped.position.get()).collect::<Vec<_>>(), "what was written when it was stopped is kept");
    run(&node.database, &folder.0, SMALL).await.unwrap();
    assert_eq!(positions(&folder.0), (1..=stopped.head.get()).collect::<Vec<_>>());
    node.stop().await;
}

/// A new log that says it is the one of `database`.
async fn pretender(of: &Database) -> Database {
    let log_id = Reader::new(of.clone()).identity().await.unwrap().log_id;
    let other = database().await;
    let client = other.dedicated().await.unwrap();
    let rename = format!("ALTER TABLE log_identity DISABLE TRIGGER USER; UPDATE log_identity SET log_id = '{log_id}'");
    client.batch_execute(&rename).await.unwrap();
    other
}

#[tokio::test(flavor = "multi_thread")]
async fn another_log_or_one_that_was_restored_is_never_mixed_in() {
    let (node, folder) = (Node::start().await, Folder::new("other"));
    let slot = node.open_stock("poster", 1_000).await;
    node.run(hold(&slot, "one", 1)).await;
    let done = run(&node.database, &folder.0, SMALL).await.unwrap();
    let before = data(&folder.0);

    let other = Node::start().await;
    other.open_stock("poster", 1_000).await;
    let refused = run(&other.database, &folder.0, SMALL).await.unwrap_err();
    assert_eq!(refused.code(), "EXPORT_OTHER_LOG", "{refused}");
    other.stop().await;

    let restored = Node::on(pretender(&node.database).await, patient()).await;
    let refused = run(&restored.database, &folder.0, SMALL).await.unwrap_err();
    assert!(matches!(refused, ExportError::LogBehind { exported, head: Position::START } if exported == done.position), "{refused}");
    let slot = restored.open_stock("poster", 999).await;
    restored.run(hold(&slot, "two", 1)).await;
    restored.run(hold(&slot, "three", 1)).await;
    let refused = run(&restored.database, &folder.0, SMALL).await.unwrap_err();
    assert!(matches!(refused, ExportError::LogDiffers { position } if position == done.position), "{refused}");
    let mut checked = check(&folder.0).unwrap();
    check_chain(&restored.reader(), &mut checked).await.unwrap();
    assert!(checked.findings[0].contains("another head"), "{:?}", checked.findings);
    assert_eq!(data(&folder.0), before, "nothing was touched");
    restored.stop().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_changed_byte_or_file_of_an_export_is_found() {
    let (node, folder) = (Node::start().await, Folder::new("changed"));
    let slot = node.open_stock("poster", 1_000).await;
    for n in 0..30 {
        node.run(hold(&slot, &format!("hold-{n}"), 1)).await;
    }
    run(&node.database, &folder.0, SMALL).await.unwrap();
    node.stop().await;
    let path = folder.0.join(&data(&folder.0)[1]);
    let whole = fs::read(&path).unwrap();
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    for (bytes, expected) in [(&changed[..], "other bytes"), (&whole[1..], "bytes, not")] {
        fs::write(&path, bytes).unwrap();
        let findings = check(&folder.0).unwrap().findings;
        assert!(findings.len() == 1 && findings[0].contains(expected), "{findings:?}");
    }
    fs::write(&path, &whole).unwrap();
    assert_eq!(check(&folder.0).unwrap().findings, [""; 0]);

    // whoever reads all files of a day would read these, too
    let file = data(&folder.0).remove(0);
    for stranger in [format!("{}/zz.parquet", file.rsplit_once('/').unwrap().0), "day=2026-01-01/extra.parquet".to_owned()] {
        let at = folder.0.join(&stranger);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::copy(folder.0.join(&file), &at).unwrap();
        let findings = check(&folder.0).unwrap().findings;
        assert!(findings.len() == 1 && findings[0].starts_with(&format!("{stranger}: no manifest names it")), "{findings:?}");
        fs::remove_file(at).unwrap();
    }

    // a manifest that was changed is told by the one after it
    let mut manifests: Vec<PathBuf> = fs::read_dir(folder.0.join("_manifest")).unwrap().map(|entry| entry.unwrap().path()).collect();
    manifests.sort();
    let first = fs::read_to_string(&manifests[0]).unwrap();
    fs::write(&manifests[0], first.replacen("\"rows\":", "\"rows\" :", 1)).unwrap();
    let refused = check(&folder.0).unwrap_err();
    assert!(refused.code() == "EXPORT_MANIFEST_INVALID" && refused.to_string().contains("another manifest"), "{refused}");
    fs::remove_file(&manifests[0]).unwrap();
    let refused = check(&folder.0).unwrap_err();
    assert!(refused.to_string().contains("a manifest is missing"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_holds_something_else_is_left_alone() {
    let (node, folder) = (Node::start().await, Folder::new("taken"));
    node.open_stock("poster", 1).await;
    fs::create_dir_all(folder.0.join("day=2026-01-01")).unwrap();
    fs::write(folder.0.join("day=2026-01-01/00000000000000000001-00000000000000000002.parquet"), "mine").unwrap();
    let refused = run(&node.database, &folder.0, SMALL).await.unwrap_err();
    assert_eq!(refused.code(), "EXPORT_FOLDER_INVALID", "{refused}");
    assert_eq!(data(&folder.0).len(), 1);
    node.stop().await;
}

/// How a process of its own reaches this database.
pub fn address(config: &Config) -> String {
    let mut said = BTreeMap::from([("dbname", config.get_dbname().unwrap().to_owned())]);
    said.insert("user", config.get_user().unwrap().to_owned());
    said.insert(
        "host",
        match &config.get_hosts()[0] {
            tokio_postgres::config::Host::Tcp(host) => host.clone(),
            tokio_postgres::config::Host::Unix(path) => path.to_str().unwrap().to_owned(),
        },
    );
    said.extend(config.get_ports().first().map(|port| ("port", port.to_string())));
    said.extend(config.get_password().map(|password| ("password", String::from_utf8(password.to_vec()).unwrap())));
    said.iter().map(|(key, value)| format!("{key}='{value}' ")).collect()
}

pub fn reach(address: &str) -> Database {
    Database::new(address.parse::<jari_event_store::Address>().unwrap(), PoolSettings::patient()).unwrap()
}

/// So many holds at once: batches of many events.
pub async fn many(node: &Node, slot: &jari_domain::ids::SlotId, count: usize) {
    let holds = (0..count).map(|_| {
        let id = uuid::Uuid::now_v7();
        node.engine.execute(hold(slot, &id.to_string(), 1), command(id))
    });
    for outcome in futures::future::join_all(holds).await {
        assert_eq!(outcome.unwrap().refusal, None);
    }
}

async fn proved(node: &Node, folder: &Path) -> Vec<String> {
    let mut checked = Checked::default();
    check_rows(&node.reader(), folder, &mut checked).await.unwrap();
    checked.findings
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_forged_with_its_manifest_is_found_by_making_it_anew() {
    let (node, folder, lines) = (Node::start().await, Folder::new("tables"), Folder::new("forged"));
    let slot = node.open_stock("poster", 1_000).await;
    for n in 0..30 {
        node.run(hold(&slot, &format!("hold-{n}"), 1)).await;
    }
    run(&node.database, &folder.0, SMALL).await.unwrap();
    let done = run(&node.database, &lines.0, Settings { format: Some(Format::Jsonl), ..Settings::default() }).await.unwrap();
    assert!(archive(&node.database, done.head.get()).await > 0);
    assert_eq!((proved(&node, &folder.0).await, proved(&node, &lines.0).await), (vec![], vec![]), "also where events have moved to the archive");

    // somebody who may write everywhere in the folder: the file, its digest, and the one manifest
    let path = lines.0.join(&data(&lines.0)[0]);
    let honest = fs::read(&path).unwrap();
    let forged = String::from_utf8(honest.clone()).unwrap().replacen("hold-7", "hold-8", 1).into_bytes();
    assert_ne!(honest, forged);
    fs::write(&path, &forged).unwrap();
    let digest = |bytes: &[u8]| Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let manifest = fs::read_dir(lines.0.join("_manifest")).unwrap().next().unwrap().unwrap().path();
    let told = fs::read_to_string(&manifest).unwrap();
    assert!(told.contains(&digest(&honest)));
    fs::write(&manifest, told.replace(&digest(&honest), &digest(&forged))).unwrap();
    assert_eq!(check(&lines.0).unwrap().findings, [""; 0], "the folder is at one with itself");
    let findings = proved(&node, &lines.0).await;
    assert!(findings.len() == 1 && findings[0].contains("makes another file of these events"), "{findings:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_changed_before_its_last_exported_event_is_not_exported_further() {
    let (log, folder) = (database().await, Folder::new("changed-before"));
    let writer = client(&log).await;
    for n in 1..=3 {
        writer.batch_execute(&format!("{INSERT} {}", values("a", n))).await.unwrap();
    }
    let done = run(&log, &folder.0, Settings::default()).await.unwrap();
    // the last event is the very same: only the head of the chain after it tells
    tamper(&writer, &format!("UPDATE events SET payload = replace(payload::text, 'rain', 'reign')::json WHERE position = 1; {CHAIN_ANEW}")).await;
    writer.batch_execute(&format!("{INSERT} {}", values("a", 4))).await.unwrap();
    let refused = run(&log, &folder.0, Settings::default()).await.unwrap_err();
    assert!(matches!(refused, ExportError::LogDiffers { position } if position == done.position), "{refused}");
    assert_eq!(positions(&folder.0), [1, 2, 3]);
}
