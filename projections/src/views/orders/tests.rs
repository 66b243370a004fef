//! Given events of orders, then one row an order.

use jari_domain::{
    ids::{CustomerRef, OrderId, PoolId, SlotId},
    order::{Order, OrderCommand},
};
use serde_json::json;

use crate::tests::{
    given::{noon, rows_after, stream},
    history::line,
};

fn placed(customer: &str) -> OrderCommand {
    let slot = SlotId::of(&PoolId::parse("deck").unwrap(), None);
    OrderCommand::PlaceOrder { customer: CustomerRef::parse(customer).unwrap(), lines: vec![line(&[&slot], 2)], hold_seconds: 600, personal: None }
}

fn id(order: &str) -> OrderId {
    OrderId::parse(order).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_one_row_that_says_what_became_of_it_last() {
    let expires_at = noon() + jiff::SignedDuration::from_secs(600);
    let bought = [placed("kim"), OrderCommand::RecordHold { expires_at }, OrderCommand::ConfirmOrder];
    let left = [placed("lee"), OrderCommand::CancelOrder { reason: "비".into() }];
    let rows = rows_after("orders", vec![stream::<Order>(&id("a"), &bought), stream::<Order>(&id("b"), &left)]).await;
    assert_eq!(rows.len(), 2);
    let told = ["order_id", "customer", "status", "accepted_position", "hold_expires_at", "confirmed_at", "cancel_reason", "total_minor"];
    let row = |n: usize| told.map(|column| rows[n][column].clone());
    assert_eq!(
        row(0),
        [
            json!("a"),
            json!("kim"),
            json!("CONFIRMED"),
            json!(1),
            json!("2026-12-24T12:10:00+00:00"),
            json!("2026-12-24T12:00:00+00:00"),
            json!(null),
            json!(24_000)
        ]
    );
    assert_eq!(row(1), [json!("b"), json!("lee"), json!("CANCELLED"), json!(4), json!(null), json!(null), json!("비"), json!(24_000)]);
}
