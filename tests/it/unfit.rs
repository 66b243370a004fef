//! What another writer put into the log that no key of the database takes: a NUL in an id, in an event's name. Those who need nothing of it go on.

use std::time::Duration;

use jari_proto::{
    operations::v1::{GetStatusRequest, ListParkedOrdersRequest, ParkedOrder},
    order::v1::OrderState,
};
use tokio_postgres::Client;

use crate::{
    harness::eventually,
    raw::{INSERT, client},
    serving::{Serving, order},
};

/// An order that is held.
async fn is_held(shop: &Serving, product: &str) {
    let placed = shop.orders().place_order(order(&[(product, 1)])).await.unwrap().into_inner().order.unwrap();
    assert_eq!(placed.state(), OrderState::Held, "{product}");
}

async fn parked(shop: &Serving) -> Vec<ParkedOrder> {
    shop.operations().list_parked_orders(ListParkedOrdersRequest::default()).await.unwrap().into_inner().parked_orders
}

/// Inserts a first event of an order: what the first order of the log has, changed.
async fn place_by_hand(client: &Client, order_id: &str, change: impl FnOnce(&mut serde_json::Value)) {
    let first = "SELECT payload::text, event_version FROM events WHERE event_type = 'OrderPlaced' ORDER BY position LIMIT 1";
    let row = client.query_one(first, &[]).await.unwrap();
    let mut payload: serde_json::Value = serde_json::from_str(row.get(0)).unwrap();
    change(&mut payload["OrderPlaced"]);
    let version: &str = row.get(1);
    client.batch_execute(&format!("{INSERT} ('Order', '{order_id}', 1, 'OrderPlaced', '{version}', '{payload}', '{{}}')")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_over_a_slot_whose_name_is_no_text_is_parked_and_nobody_waits_for_it() {
    let shop = Serving::start().await;
    let slot_id = shop.on_sale("wanted", 100).await;
    is_held(&shop, "wanted").await;
    let client = client(&shop.database).await;
    place_by_hand(&client, "by-hand", |placed| {
        placed["lines"][0]["draws"] = serde_json::json!([{"slot_id": "a\u{0}@stock", "quantity": 1}, {"slot_id": slot_id, "quantity": 1}]);
    })
    .await;
    is_held(&shop, "wanted").await;
    eventually("it is parked", || async { parked(&shop).await.iter().any(|p| p.order_id == "by-hand" && p.code == "STREAM_UNREADABLE") }).await;
    is_held(&shop, "wanted").await;
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_whose_name_is_no_key_keeps_settlement_from_saving_nothing() {
    let shop = Serving::start().await;
    let slot_id = shop.on_sale("wanted", 100).await;
    is_held(&shop, "wanted").await;
    let client = client(&shop.database).await;
    let long = "x".repeat(5_000);
    for (sequence, hold) in [(3, "a\\u0000b"), (4, long.as_str())] {
        let held = format!(
            r#"{{"UnitsHeld":{{"hold_id":"{hold}","quantity":1,"expires_at":"2030-01-01T00:00:00Z","counts":{{"capacity":100,"held":{},"confirmed":0}}}}}}"#,
            sequence - 1
        );
        client.batch_execute(&format!("{INSERT} ('InventorySlot', '{slot_id}', {sequence}, 'UnitsHeld', '1.0', '{held}', '{{}}')")).await.unwrap();
    }
    is_held(&shop, "wanted").await;
    let head: i64 = client.query_one("SELECT max(position) FROM events", &[]).await.unwrap().get(0);
    let saved = "SELECT position FROM process_checkpoints WHERE process = 'settlement'";
    eventually("what settlement remembers is saved", || async {
        client.query_opt(saved, &[]).await.unwrap().is_some_and(|row| row.get::<_, i64>(0) >= head)
    })
    .await;
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_order_is_noted_also_when_its_fault_quotes_what_the_database_cannot_keep() {
    let shop = Serving::start().await;
    let slot_id = shop.on_sale("broken", 10).await;
    shop.on_sale("sound", 10).await;
    is_held(&shop, "sound").await;
    let client = client(&shop.database).await;
    let scrawl = format!(r#"('InventorySlot', '{slot_id}', 2, 'UnitsHeld', '1.0', '{{"Foo\u0000":{{}}}}', '{{}}')"#);
    client.batch_execute(&format!("{INSERT} {scrawl}")).await.unwrap();
    let mut place = order(&[("broken", 1)]);
    (place.order_id, place.wait) = ("stuck".into(), None);
    shop.orders().place_order(place).await.unwrap();
    is_held(&shop, "sound").await;
    eventually("it is noted", || async { parked(&shop).await.iter().any(|p| p.order_id == "stuck") }).await;
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_that_the_database_does_not_take_is_written_later_and_the_line_goes_on_meanwhile() {
    let shop = Serving::start().await;
    let slot_id = shop.on_sale("broken", 10).await;
    shop.on_sale("sound", 10).await;
    let client = client(&shop.database).await;
    client.batch_execute("ALTER TABLE parked_work RENAME TO parked_away").await.unwrap();
    shop.scrawl("InventorySlot", &slot_id, 2).await;
    let mut place = order(&[("broken", 1)]);
    (place.order_id, place.wait) = ("stuck".into(), None);
    shop.orders().place_order(place).await.unwrap();
    is_held(&shop, "sound").await;
    client.batch_execute("ALTER TABLE parked_away RENAME TO parked_work").await.unwrap();
    eventually("it is noted after all", || async { parked(&shop).await.iter().any(|p| p.order_id == "stuck") }).await;
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_settlement_may_neither_hold_nor_reject_is_parked() {
    let shop = Serving::start().await;
    shop.on_sale("wanted", 100).await;
    is_held(&shop, "wanted").await;
    let client = client(&shop.database).await;
    place_by_hand(&client, "held-for-no-time", |placed| (placed["lines"], placed["hold_seconds"]) = (serde_json::json!([]), 0.into())).await;
    eventually("it is parked", || async { parked(&shop).await.iter().any(|p| p.order_id == "held-for-no-time" && p.code == "HOLD_EXPIRY_INVALID") })
        .await;
    is_held(&shop, "wanted").await;
    eventually("it is the only one, and what is parked does not wait in line", || async {
        let status = tokio::time::timeout(Duration::from_secs(60), shop.operations().get_status(GetStatusRequest::default())).await;
        let settlement = status.expect("it answers").unwrap().into_inner().settlement;
        settlement.is_some_and(|settlement| (settlement.parked_orders, settlement.queued_orders) == (1, 0))
    })
    .await;
    shop.node.stop().await;
}
