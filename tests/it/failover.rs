//! What answers under the address of the database is not always what answered before.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jari_commands::engine::EngineSettings;
use jari_event_store::{Database, PoolSettings};
use jari_proto::{order::v1::OrderState, product::v1::product_service_client::ProductServiceClient};
use tokio_postgres::Client;

use crate::{
    harness::{Node, command, database, eventually, hold},
    outage::stocked,
    processes::{Folder, channel, free_address, start},
    raw::client,
    serving::{Serving, draft, order},
};

/// What the log is on another server that had got another last event.
const OTHER_END: &str = "SET session_replication_role = replica;
    UPDATE events SET recorded_at = recorded_at + interval '1 second' WHERE position = (SELECT max(position) FROM events)";

/// Ends every connection to it, as a failover does.
async fn cut_off(client: &Client) {
    let all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    client.execute(all, &[]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_has_lost_its_end_ends_the_process_rather_than_get_a_gap() {
    let mut shop = Serving::start().await;
    shop.on_sale("poster", 10).await;
    let sold = shop.orders().place_order(order(&[("poster", 1)])).await.unwrap().into_inner().order.unwrap();
    // a standby that had not got the last batch takes over
    let standby = client(&shop.database).await;
    let lost = "SET session_replication_role = replica; \
        DELETE FROM events WHERE position >= (SELECT max(first_position) FROM batches); \
        DELETE FROM batches WHERE first_position = (SELECT max(first_position) FROM batches); \
        DELETE FROM process_checkpoints; DELETE FROM process_memory";
    standby.batch_execute(lost).await.unwrap();
    cut_off(&standby).await;
    let log = "SELECT count(*), max(position) FROM events";
    let before = standby.query_one(log, &[]).await.unwrap();
    // nobody asks for anything: the process sees it all the same
    let failed = tokio::time::timeout(Duration::from_secs(60), shop.node.failed()).await.expect("it sees that").unwrap_err();
    assert!(failed.to_string().contains("ended by itself"), "{failed}");
    let after = standby.query_one(log, &[]).await.unwrap();
    assert_eq!((before.get::<_, i64>(0), before.get::<_, i64>(1)), (after.get(0), after.get(1)), "nothing was written on top of what is gone");
    let database = shop.database.clone();
    shop.node.stop().await;
    // what begins anew knows what is there: the order was accepted, and is settled once more
    let shop = Serving::on(database, |_| {}).await;
    let settled = "SELECT count(*) FROM events WHERE aggregate_id = $1 AND event_type = 'OrderHeld'";
    eventually("the order is settled", || async { standby.query_one(settled, &[&sold.order_id]).await.unwrap().get::<_, i64>(0) == 1 }).await;
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_ends_with_another_event_at_the_same_position_is_another_history() {
    let mut shop = Serving::start().await;
    shop.on_sale("poster", 10).await;
    shop.orders().place_order(order(&[("poster", 1)])).await.unwrap();
    let standby = client(&shop.database).await;
    standby.batch_execute(OTHER_END).await.unwrap();
    cut_off(&standby).await;
    let failed = tokio::time::timeout(Duration::from_secs(60), shop.node.failed()).await.expect("it sees that").unwrap_err();
    assert!(failed.to_string().contains("ended by itself"), "{failed}");
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_whose_engine_has_ended_by_itself_ends_with_an_error() {
    let (database, folder, address) = (database().await, Folder::new(), free_address());
    let rest = format!("[server]\nlisten = \"{address}\"\n[relay]\nenabled = false\n[intake]\nenabled = false\n");
    let mut program = start(&folder.config("serve", &database, &rest), &["serve"]);
    let poster = draft("poster");
    let products = ProductServiceClient::new(channel(&address));
    eventually("it serves", || async { products.clone().create_product(poster.clone()).await.is_ok() }).await;
    let standby = client(&database).await;
    standby.batch_execute(OTHER_END).await.unwrap();
    cut_off(&standby).await;
    assert!(!program.until_ended().await, "{}", program.said());
    assert!(program.said().contains("ended by itself"), "{}", program.said());
}

/// Backends whose commit waits for a standby.
async fn wait_for_a_standby(client: &Client) -> i64 {
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'SyncRep'";
    client.query_one(waits, &[]).await.unwrap().get(0)
}

/// From then on each commit waits for a standby of this name; for none, when there is no name.
async fn require_standby(client: &Client, name: &str) {
    client.batch_execute(&format!("ALTER SYSTEM SET synchronous_standby_names = '{name}'")).await.unwrap();
    client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    let setting = "SELECT current_setting('synchronous_standby_names')";
    eventually("the server has read it", || async { client.query_one(setting, &[]).await.unwrap().get::<_, String>(0) == name }).await;
    // it is the checkpointer that tells commits to wait
    client.batch_execute("CHECKPOINT").await.unwrap();
}

/// A hold whose commit waits for a standby that is not there, while somebody does `what` to the server again and again: it is told to nobody before a standby
/// has it, and is done once.
async fn prove_untold_while(what: impl AsyncFn(&Client)) {
    let (server, mut slots) = stocked(&[("seat", 10)]).await;
    let slot = slots.remove(0);
    let database = Database::new(server.access().superuser.clone(), PoolSettings::default()).unwrap();
    let node = Arc::new(Node::on(database, EngineSettings::default()).await);
    let operator = client(&node.database).await;
    require_standby(&operator, "nobody").await;
    let id = uuid::Uuid::now_v7();
    let ask = || async { node.engine.execute(hold(&slot, "first", 1), command(id)).await.is_ok_and(|outcome| outcome.refusal.is_none()) };
    let first = tokio::spawn({
        let (node, slot) = (node.clone(), slot.clone());
        async move { node.engine.execute(hold(&slot, "first", 1), command(id)).await }
    });
    eventually("its commit waits", || async { wait_for_a_standby(&operator).await > 0 }).await;
    what(&operator).await;
    // committed where it was sent, and lost should a standby take over now
    let told = async {
        while !first.is_finished() && !ask().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let again = async {
        for _ in 0..60 {
            what(&operator).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! { () = told => panic!("it was told before a standby had it"), () = again => {} }
    require_standby(&operator, "").await;
    eventually("the same command is answered", || async { ask().await }).await;
    let _ = first.await.unwrap();
    let holds = client(&node.database).await.query_one("SELECT count(*) FROM events WHERE event_type = 'UnitsHeld'", &[]).await.unwrap();
    assert_eq!(holds.get::<_, i64>(0), 1);
    Arc::into_inner(node).unwrap().stop().await;
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_standby_has_is_told_to_nobody_even_when_its_connection_is_cut() {
    let is_cut = AtomicBool::new(false);
    prove_untold_while(async |operator| {
        if !is_cut.swap(true, Ordering::Relaxed) {
            cut_off(operator).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_standby_has_is_told_to_nobody_even_when_its_wait_is_cancelled() {
    // also that of each connection after it
    prove_untold_while(async |operator| {
        // the server then answers as if a standby had it
        let waits = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'SyncRep'";
        operator.query_one(waits, &[]).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_takes_nothing_is_not_stormed_and_is_used_again_when_it_does() {
    let first = Node::start().await;
    let slot = first.open_stock("seat", 10).await;
    // its bound is ten seconds
    let node = Node::on(first.stop().await, EngineSettings::default()).await;
    let operator = client(&node.database).await;
    let name = node.database.config().get_dbname().unwrap().to_owned();
    operator.batch_execute(&format!("ALTER DATABASE \"{name}\" SET default_transaction_read_only = on")).await.unwrap();
    cut_off(&operator).await;
    let sent = node.engine.status().batches;
    let id = uuid::Uuid::now_v7();
    let began = tokio::time::Instant::now();
    // whoever asks after the node has seen the cut hears so at once, and asks again
    while began.elapsed() < Duration::from_secs(10) {
        let first = node.engine.execute(hold(&slot, "first", 1), command(id)).await;
        assert!(first.is_err(), "{first:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let tries = node.engine.status().batches - sent;
    assert!((1..40).contains(&tries), "{tries} tries while it was asked for ten seconds");
    operator.batch_execute(&format!("ALTER DATABASE \"{name}\" RESET default_transaction_read_only")).await.unwrap();
    cut_off(&operator).await;
    eventually("the same command is done, once", || async {
        node.engine.execute(hold(&slot, "first", 1), command(id)).await.is_ok_and(|outcome| outcome.refusal.is_none())
    })
    .await;
    let holds = client(&node.database).await.query_one("SELECT count(*) FROM events WHERE event_type = 'UnitsHeld'", &[]).await.unwrap();
    assert_eq!(holds.get::<_, i64>(0), 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn however_many_read_bookings_go_on() {
    let shop = Serving::start().await;
    shop.on_sale("poster", 10).await;
    // every connection for reads is taken, as by queries that do not come to an end
    let mut taken = Vec::new();
    while taken.len() < PoolSettings::default().connections {
        taken.push(shop.database.connection().await.unwrap());
    }
    let held = shop.orders().place_order(order(&[("poster", 1)])).await.unwrap().into_inner().order.unwrap();
    assert_eq!(held.state(), OrderState::Held);
    drop(taken);
    shop.node.stop().await;
}
