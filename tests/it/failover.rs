//! What answers under the address of the database is not always what answered before.

use std::time::Duration;

use jari_event_store::PoolSettings;
use jari_proto::order::v1::OrderState;
use tokio_postgres::Client;

use crate::{
    harness::{Node, command, eventually, hold},
    raw::client,
    serving::{Serving, order},
};

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
async fn a_database_that_takes_nothing_is_not_stormed_and_is_used_again_when_it_does() {
    let node = Node::start().await;
    let slot = node.open_stock("seat", 10).await;
    let operator = client(&node.database).await;
    let name = node.database.config().get_dbname().unwrap().to_owned();
    operator.batch_execute(&format!("ALTER DATABASE \"{name}\" SET default_transaction_read_only = on")).await.unwrap();
    cut_off(&operator).await;
    let sent = node.engine.status().batches;
    let id = uuid::Uuid::now_v7();
    let first = node.engine.execute(hold(&slot, "first", 1), command(id)).await;
    assert!(first.is_err(), "{first:?}");
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
