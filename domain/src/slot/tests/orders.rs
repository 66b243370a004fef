//! An order's hold and a caller's, under one id.

use super::*;
use crate::ids::OrderId;

pub(super) fn order(text: &str) -> OrderId {
    OrderId::parse(text).unwrap()
}

pub(super) fn hold_for(order_id: &str, quantity: u32, expires_at: Timestamp) -> C {
    C::HoldForOrder { order_id: order(order_id), quantity: Quantity::new(quantity), expires_at }
}

pub(super) fn confirm_for(order_id: &str) -> C {
    C::ConfirmForOrder { order_id: order(order_id) }
}

pub(super) fn release_for(order_id: &str) -> C {
    C::ReleaseForOrder { order_id: order(order_id) }
}

pub(super) fn cancel_for(order_id: &str, quantity: u32) -> C {
    C::CancelForOrder { order_id: order(order_id), quantity: Quantity::new(quantity) }
}

fn held_for(order_id: &str, quantity: u32, expires_at: Timestamp, counts: Counts) -> E {
    E::UnitsHeld { hold_id: id(order_id), quantity: Quantity::new(quantity), expires_at, holder: Holder::Order, counts }
}

#[test]
fn a_callers_command_never_reaches_the_hold_of_an_order() {
    slot(10, 0).when(t(0), &hold_for("o", 4, t(60))).then(&[held_for("o", 4, t(60), counts(10, 4, 0))]);
    let past = slot(10, 0).done(t(0), &hold_for("o", 4, t(60)));
    for command in [confirm("o"), release("o"), extend("o", t(-1)), hold("o", 1, t(60))] {
        assert_eq!(past.when(t(59), &command).refused("HOLD_OF_ORDER")["order_id"], "o", "{command:?}");
    }
    // once it has lapsed there is nothing left to sell or to give back, whoever asks; its end is still the order's to record
    for command in [confirm("o"), release("o"), extend("o", t(90))] {
        past.when(t(60), &command).refused("HOLD_OF_ORDER");
    }
    past.when(t(60), &expire("o")).then(&[expired("o", 4, t(60), counts(10, 0, 0))]);
    past.when(t(59), &confirm_for("o")).then(&[confirmed("o", 4, counts(10, 0, 4))]);
    past.when(t(59), &release_for("o")).then(&[released("o", 4, counts(10, 0, 0))]);
}

#[test]
fn an_order_takes_no_hold_where_a_caller_has_a_live_one_under_its_id() {
    let past = slot(10, 0).done(t(0), &hold("twin", 4, t(60)));
    assert_eq!(past.when(t(59), &hold_for("twin", 1, t(90))).refused("HOLD_EXISTS")["expires_at"], t(60).to_string());
    past.when(t(60), &hold_for("twin", 1, t(90))).then(&[expired("twin", 4, t(60), counts(10, 0, 0)), held_for("twin", 1, t(90), counts(10, 1, 0))]);
    let again = past.done(t(60), &hold_for("twin", 1, t(90)));
    again.when(t(61), &hold_for("twin", 1, t(90))).refused("HOLD_EXISTS");
    again.when(t(61), &release("twin")).refused("HOLD_OF_ORDER");
}

#[test]
fn what_orders_bought_comes_back_with_them_alone() {
    let back = |hold_id, holder, quantity, counts| [cancelled(hold_id, holder, quantity, counts)];
    let past = slot(10, 3).done(t(0), &hold_for("o", 5, t(60))).done(t(1), &confirm_for("o"));
    past.when(t(2), &cancel(3)).then(&back("sold", Holder::Caller, 3, counts(10, 0, 5)));
    let refused = past.when(t(2), &cancel(4)).refused("SLOT_CANCEL_EXCEEDS_SOLD");
    assert_eq!((&*refused["confirmed"], &*refused["sold_to_orders"]), ("8", "5"));
    let none_left = past.clone().done(t(2), &cancel(3));
    none_left.when(t(3), &cancel(1)).refused("SLOT_CANCEL_EXCEEDS_SOLD");
    none_left.when(t(3), &cancel_for("o", 5)).then(&back("o", Holder::Order, 5, counts(10, 0, 0)));
    let without = past.done(t(2), &cancel_for("o", 5));
    assert_eq!(without.state.sold_to_orders(), Quantity::ZERO);
    without.when(t(3), &cancel(4)).refused("SLOT_CANCEL_EXCEEDS_SOLD");
    without.when(t(3), &cancel(3)).then(&back("sold", Holder::Caller, 3, counts(10, 0, 0)));
    // what lapsed or was given back was never sold
    let given_back = slot(10, 3).done(t(0), &hold_for("o", 5, t(60))).done(t(1), &release_for("o"));
    assert_eq!(given_back.state.sold_to_orders(), Quantity::ZERO);
    let lapsed = slot(10, 3).done(t(0), &hold_for("o", 5, t(60))).done(t(60), &expire("o"));
    assert_eq!(lapsed.state.sold_to_orders(), Quantity::ZERO);
}

#[test]
fn an_event_from_before_holders_reads_as_a_callers_hold_and_the_order_still_reaches_it() {
    let old = serde_json::to_string(&held("o", 4, t(60), counts(10, 4, 0))).unwrap();
    assert!(!old.contains("holder"), "what callers hold costs no byte more: {old}");
    let past = slot(10, 0).event(&serde_json::from_str(&old).unwrap());
    past.when(t(1), &confirm_for("o")).then(&[confirmed("o", 4, counts(10, 0, 4))]);
    past.when(t(1), &release_for("o")).then(&[released("o", 4, counts(10, 0, 0))]);
    let new = serde_json::to_string(&held_for("o", 4, t(60), counts(10, 4, 0))).unwrap();
    assert!(new.contains(r#""holder":"ORDER""#), "{new}");
}

#[test]
fn a_snapshot_remembers_which_holds_are_orders() {
    let bought = slot(10, 0).done(t(0), &hold_for("b", 2, t(60))).done(t(0), &confirm_for("b"));
    let past = bought.done(t(0), &hold_for("o", 4, t(60))).done(t(0), &hold("a", 1, t(60)));
    let stored = serde_json::to_string(&past.state).unwrap();
    let read: InventorySlot = serde_json::from_str(&stored).unwrap();
    assert_eq!(read, past.state);
    assert_eq!(read.sold_to_orders(), Quantity::new(2));
    assert_eq!((read.hold(&id("o")).unwrap().holder, read.hold(&id("a")).unwrap().holder), (Holder::Order, Holder::Caller));
}
