//! The difference between two states, field by field.

use jari_proto::history::v1::{Change, State, state};
use serde_json::{Map, Value};

use crate::json::json;

/// Every field of which the two say something else, in the order of paths as JSON has them: by name, and lists by place. A state that is not there
/// has no fields.
pub(crate) fn changes(before: Option<&State>, after: Option<&State>) -> Vec<Change> {
    let mut changes = Vec::new();
    compare("", &whole(before), &whole(after), &mut changes);
    changes
}

fn whole(state: Option<&State>) -> Value {
    match state.and_then(|state| state.state.as_ref()) {
        None => Value::Object(Map::new()),
        Some(state::State::Product(product)) => json("reservation.product.v1.Product", product),
        Some(state::State::Slot(slot)) => json("reservation.availability.v1.Slot", slot),
        Some(state::State::Order(order)) => json("reservation.order.v1.Order", order),
    }
}

/// As deep as the messages are, which do not nest in themselves.
fn compare(path: &str, before: &Value, after: &Value, changes: &mut Vec<Change>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let only_after = after.keys().filter(|name| !before.contains_key(*name));
            let mut names: Vec<&String> = before.keys().chain(only_after).collect();
            names.sort();
            for name in names {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                step(path, before.get(name), after.get(name), changes);
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            for place in 0..before.len().max(after.len()) {
                step(format!("{path}[{place}]"), before.get(place), after.get(place), changes);
            }
        }
        (before, after) => step(path.to_owned(), Some(before), Some(after), changes),
    }
}

fn step(path: String, before: Option<&Value>, after: Option<&Value>, changes: &mut Vec<Change>) {
    // a message that is not there is written as null by some, and left out by others
    let (before, after) = (before.filter(|value| !value.is_null()), after.filter(|value| !value.is_null()));
    match (before, after) {
        (Some(before), Some(after)) if before == after => {}
        (Some(before @ Value::Object(_)), Some(after @ Value::Object(_))) | (Some(before @ Value::Array(_)), Some(after @ Value::Array(_))) => {
            compare(&path, before, after, changes);
        }
        (None, None) => {}
        (before, after) => {
            let text = |value: Option<&Value>| value.map(Value::to_string).unwrap_or_default();
            changes.push(Change { path, before_json: text(before), after_json: text(after) });
        }
    }
}

#[cfg(test)]
mod tests {
    use jari_proto::{
        availability::v1::Slot,
        order::v1::{LineFailure, Order, OrderLine},
        r#type::v1::Counts,
    };

    use super::*;

    fn state(of: state::State) -> State {
        State { state: Some(of), position: 1, time: None, version: 1 }
    }

    fn told(before: Option<state::State>, after: Option<state::State>) -> Vec<(String, String, String)> {
        let (before, after) = (before.map(state), after.map(state));
        let changes = changes(before.as_ref(), after.as_ref());
        changes.into_iter().map(|change| (change.path, change.before_json, change.after_json)).collect()
    }

    fn change(path: &str, before: &str, after: &str) -> (String, String, String) {
        (path.into(), before.into(), after.into())
    }

    #[test]
    fn a_difference_names_each_field_with_both_values() {
        let slot = |held| {
            let counts = Counts { capacity: 5, held, confirmed: 0, available: 5 - held };
            state::State::Slot(Slot { slot_id: "seat@stock".into(), counts: Some(counts), state: 1, ..Slot::default() })
        };
        assert_eq!(told(Some(slot(0)), Some(slot(2))), [change("counts.available", "5", "3"), change("counts.held", "0", "2")]);
        assert_eq!(told(Some(slot(2)), Some(slot(2))), []);
    }

    #[test]
    fn lists_are_compared_place_by_place_and_what_is_not_there_is_empty() {
        let order = |lines: &[&str], failures: &[&str]| {
            let lines = lines.iter().map(|id| OrderLine { product_id: (*id).into(), ..OrderLine::default() }).collect();
            let failures = failures.iter().map(|code| LineFailure { code: (*code).into(), ..LineFailure::default() }).collect();
            state::State::Order(Order { order_id: "o".into(), lines, failures, ..Order::default() })
        };
        let changed = told(Some(order(&["a", "b"], &[])), Some(order(&["a", "c"], &["SLOT_SOLD_OUT"])));
        assert_eq!(changed.iter().map(|(path, ..)| path.as_str()).collect::<Vec<_>>(), ["failures[0]", "lines[1].productId"]);
        assert_eq!((changed[0].1.as_str(), changed[0].2.contains("SLOT_SOLD_OUT")), ("", true));
        assert_eq!(changed[1], change("lines[1].productId", "\"b\"", "\"c\""));
    }

    #[test]
    fn before_it_began_every_field_is_new() {
        let slot = state::State::Slot(Slot { slot_id: "seat@stock".into(), state: 1, ..Slot::default() });
        let changed = told(None, Some(slot.clone()));
        assert!(changed.contains(&change("slotId", "", "\"seat@stock\"")) && changed.contains(&change("state", "", "\"SLOT_STATE_OPEN\"")));
        assert!(told(Some(slot), None).contains(&change("slotId", "\"seat@stock\"", "")));
    }
}
