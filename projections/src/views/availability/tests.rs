//! Given events of slots and products, then a row a slot, an open hold, and a pool that an option draws on.

use jari_domain::{
    Quantity,
    ids::{HoldId, PoolId, ProductId, SlotId},
    product::{Product, ProductCommand, SaleMode},
    slot::{InventorySlot, SlotCommand},
};
use serde_json::{Value, json};

use crate::tests::{
    given::{noon, rows_after, stream},
    history::{draft, option},
};

fn of(rows: &[Value], table: &str, columns: &[&str]) -> Vec<Vec<Value>> {
    let rows = rows.iter().filter(|row| row["table"] == table);
    rows.map(|row| columns.iter().map(|column| row[*column].clone()).collect()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_has_the_counts_of_its_last_event_and_the_holds_that_are_open() {
    let (pool_id, expires_at) = (PoolId::parse("deck").unwrap(), noon() + jiff::SignedDuration::from_secs(60));
    let slot = SlotId::of(&pool_id, None);
    let hold = |hold: &str, quantity| SlotCommand::HoldUnits { hold_id: HoldId::parse(hold).unwrap(), quantity: Quantity::new(quantity), expires_at };
    let later = expires_at + jiff::SignedDuration::from_secs(60);
    let commands = [
        SlotCommand::OpenSlot { pool_id, window: None, capacity: Quantity::new(10) },
        hold("a", 1),
        hold("b", 2),
        hold("c", 3),
        SlotCommand::ConfirmHold { hold_id: HoldId::parse("a").unwrap() },
        SlotCommand::ExtendHold { hold_id: HoldId::parse("b").unwrap(), expires_at: later },
        SlotCommand::ReleaseHold { hold_id: HoldId::parse("c").unwrap() },
        SlotCommand::SuspendSlot { reason: "점검".into() },
    ];
    let rows = rows_after("availability", vec![stream::<InventorySlot>(&slot, &commands)]).await;
    let slots = of(&rows, "slots", &["slot_id", "pool_id", "capacity", "held", "confirmed", "status"]);
    assert_eq!(slots, [[json!("deck@stock"), json!("deck"), json!(10), json!(2), json!(1), json!("SUSPENDED")]]);
    let holds = of(&rows, "holds", &["slot_id", "hold_id", "quantity", "expires_at"]);
    assert_eq!(holds, [[json!("deck@stock"), json!("b"), json!(2), json!("2026-12-24T12:02:00+00:00")]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_option_that_is_defined_anew_draws_on_its_new_pools_only() {
    let commands = [
        draft("Ferry", SaleMode::Reservation, "Asia/Seoul"),
        ProductCommand::DefineOption(option("day", &["deck", "boat"])),
        ProductCommand::DefineOption(option("day", &["boat"])),
    ];
    let rows = rows_after("availability", vec![stream::<Product>(&ProductId::parse("ferry").unwrap(), &commands)]).await;
    assert_eq!(of(&rows, "draws", &["product_id", "option_id", "pool_id"]), [[json!("ferry"), json!("day"), json!("boat")]]);
    assert_eq!(of(&rows, "products", &["product_id", "sale_mode", "time_zone"]), [[json!("ferry"), json!("RESERVATION"), json!("Asia/Seoul")]]);
}
