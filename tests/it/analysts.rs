//! The walk-through of docs/analysts.md, as an analyst takes it: a sale, an export, questions by DuckDB, a fold of one's own in Python; their answers
//! put beside SQL on the views.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use jari::story::{Story, tell};
use jari_export::Settings;
use jari_proto::{inventory::v1::SuspendSlotRequest, operations::v1::GetStatusRequest, order::v1::OrderState};
use serde_json::{Value, json};

use crate::{
    export::run as export,
    export_killed::Folder,
    harness::eventually,
    serving::{Serving, id, order},
};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/analysts")
}

/// Runs a program to its end; what it says on standard output.
fn run(program: &Path, arguments: &[&str]) -> String {
    let ran = Command::new(program).args(arguments).output();
    let ran = ran.unwrap_or_else(|e| panic!("{} cannot be run ({e}): install Python 3.11 or newer with venv", program.display()));
    assert!(ran.status.success(), "{} {arguments:?}: {}", program.display(), String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

/// Orders by what has become of them, counts by slot, and what was earned: SQL on the live views.
async fn views(shop: &Serving) -> Value {
    let client = shop.database.connection().await.unwrap();
    let live = "SELECT view, 'views.' || view || '_v' || version || '_' || build || '_' FROM views.builds WHERE state = 'live'";
    let tables: BTreeMap<String, String> = client.query(live, &[]).await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect();
    let (orders, slots) = (&tables["orders"], &tables["availability"]);
    let by_state = format!("SELECT status, count(*) FROM {orders}orders GROUP BY status ORDER BY status");
    let states: serde_json::Map<String, Value> =
        client.query(&by_state, &[]).await.unwrap().iter().map(|row| (row.get(0), json!(row.get::<_, i64>(1)))).collect();
    let counts = format!("SELECT slot_id, capacity, held, confirmed FROM {slots}slots ORDER BY slot_id");
    let count = |row: &tokio_postgres::Row| json!([row.get::<_, i32>(1), row.get::<_, i32>(2), row.get::<_, i32>(3)]);
    let slots: serde_json::Map<String, Value> = client.query(&counts, &[]).await.unwrap().iter().map(|row| (row.get(0), count(row))).collect();
    let earned = format!("SELECT coalesce(sum(total_minor), 0)::bigint FROM {orders}orders WHERE status = 'CONFIRMED'");
    let revenue: i64 = client.query_one(&earned, &[]).await.unwrap().get(0);
    json!({ "orders": states, "slots": slots, "revenue": revenue })
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: needs Python, and half a minute for holds to lapse"]
async fn duckdb_on_an_export_and_a_fold_in_python_say_what_the_views_say() {
    let (shop, export_to, work) = (Serving::start().await, Folder::new("analysts"), Folder::new("analysts-venv"));
    let story = Story { customers: 300, lasts: Duration::from_secs(20) };
    let address = shop.node.address.to_string();
    let server = address.clone();
    let selling = tokio::spawn(async move { tell(&server, story).await.unwrap() });
    fs::create_dir_all(&work.0).unwrap();
    let (venv, pip) = (work.0.join("venv"), work.0.join("venv/bin/pip"));
    let requirements = examples().join("requirements.txt");
    let installing = tokio::task::spawn_blocking(move || {
        run(Path::new("python3"), &["-m", "venv", venv.to_str().unwrap()]);
        run(&pip, &["install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", requirements.to_str().unwrap()]);
    });
    let mut told = selling.await.unwrap();
    assert!(told.rejected > 0 && told.bought > told.cancelled && told.cancelled > 0 && told.given_back > 0 && told.forgotten > 0, "{told:?}");
    // refused for another reason than want of room
    let suspended = shop.on_sale("lamp", 5).await;
    shop.inventory().suspend_slot(SuspendSlotRequest { request_id: id(), slot_id: suspended, reason: "storm".into() }).await.unwrap();
    let refused = shop.orders().place_order(order(&[("lamp", 1)])).await.unwrap().into_inner().order.unwrap();
    assert_eq!((refused.state(), refused.failures[0].code.as_str()), (OrderState::Rejected, "SLOT_SUSPENDED"));
    (told.placed, told.rejected) = (told.placed + 1, told.rejected + 1);
    eventually("what was forgotten has lapsed", async || {
        let log = shop.log().await;
        log.iter().filter(|event| event.event_type == "OrderExpired").count() as u32 == told.forgotten
    })
    .await;
    // the views have read everything
    let head = shop.log().await.len() as u64;
    eventually("the views are level with the log", async || {
        let status = shop.operations().get_status(GetStatusRequest::default()).await.unwrap().into_inner();
        status.projections.iter().all(|view| view.lag_events == 0) && status.log.unwrap().head_position as u64 == head
    })
    .await;
    let views = views(&shop).await;
    export(&shop.database, &export_to.0, Settings::default()).await.unwrap();
    installing.await.unwrap();

    let python = work.0.join("venv/bin/python");
    let (script, output) = (examples().join("questions.py"), work.0.join("output"));
    run(&python, &[script.to_str().unwrap(), export_to.0.to_str().unwrap(), output.to_str().unwrap()]);
    let answers: Value = serde_json::from_str(&fs::read_to_string(output.join("answers.json")).unwrap()).unwrap();
    for question in ["orders", "slots", "revenue"] {
        assert_eq!(answers[question], views[question], "{question}: DuckDB on the export, SQL on the views");
    }
    assert_eq!((&answers["refused"], &answers["cancelledBookings"]), (&json!(told.rejected), &json!(told.cancelled)));
    let options = answers["conversion"].as_object().unwrap();
    let sum = |at: usize| options.values().map(|option| option[at].as_u64().unwrap() as u32).sum::<u32>();
    assert_eq!([sum(0), sum(2), sum(3), sum(4)], [told.placed, told.bought, told.forgotten, told.given_back], "asked, bought, lapsed, given back");
    assert!(answers["soldOutAfterSeconds"].is_number(), "the slot that most want sells out");
    for picture in ["conversion.png", "sell-out.png", "refused.png", "lead-time.png"] {
        assert!(fs::read(output.join(picture)).unwrap().starts_with(b"\x89PNG"), "{picture}");
    }

    let script = examples().join("fold.py");
    let folded: Value = serde_json::from_str(&run(&python, &[script.to_str().unwrap(), &address])).unwrap();
    assert_eq!((&folded["orders"], &folded["slots"]), (&views["orders"], &views["slots"]), "a fold over the history, SQL on the views");
    assert_eq!((&folded["position"], &folded["refusals"]), (&json!(head), &json!(told.rejected - 1)));
    assert_eq!(folded["refusedOtherwise"], json!({ "SLOT_SUSPENDED": 1 }));
    assert!(folded["refusedForNothing"].as_u64() > Some(0) && !folded["idleUnitSeconds"].as_object().unwrap().is_empty());
    shop.node.stop().await;
}
