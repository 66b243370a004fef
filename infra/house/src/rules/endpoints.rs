//! Every endpoint is called by some test.

use crate::{breach::Breach, tree::Tree};

/// See the module. A test names an endpoint by its client's method (`.place_order(`) or by the endpoint's own name (`PlaceOrder`).
pub fn check(tree: &Tree) -> Vec<Breach> {
    let tests: Vec<&str> = tree.texts().filter(|(path, _)| path.starts_with("tests/")).map(|(_, text)| text).collect();
    let mut breaches = Vec::new();
    for (path, text) in tree.texts().filter(|(path, _)| path.ends_with(".proto")) {
        for (number, line) in text.lines().enumerate() {
            let Some(rpc) = line.trim_start().strip_prefix("rpc ").and_then(|rest| rest.split('(').next()).map(str::trim) else { continue };
            let call = format!(".{}(", snake_case(rpc));
            if !tests.iter().any(|test| test.contains(&call) || names(test, rpc)) {
                let remedy = format!("add one below tests/ that calls `{call}..)`");
                breaches.push(Breach::new(path, number + 1, format!("no test calls {rpc}"), remedy));
            }
        }
    }
    breaches
}

/// Whether the word stands there by itself: `PlaceOrder`, not `PlaceOrderRequest`.
fn names(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let beside = [text[..at].chars().next_back(), text[at + word.len()..].chars().next()];
        beside.iter().flatten().all(|c| !c.is_alphanumeric() && *c != '_')
    })
}

fn snake_case(pascal: &str) -> String {
    let mut snake = String::new();
    for (at, letter) in pascal.chars().enumerate() {
        if letter.is_uppercase() && at > 0 {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROTO: (&str, &str) = ("proto/order.proto", "service OrderService {\n  rpc PlaceOrder(PlaceOrderRequest) returns (PlaceOrderResponse);\n}");

    #[test]
    fn an_endpoint_that_no_test_calls_is_found() {
        let bad = [PROTO, ("tests/src/a.rs", "PlaceOrderRequest {}"), ("commands/src/a.rs", "client.place_order(x)")];
        assert_eq!(check(&Tree::of(&bad)).iter().map(|b| b.line).collect::<Vec<_>>(), [2]);
        for good in ["client.place_order(x)", "grpcurl OrderService/PlaceOrder"] {
            assert_eq!(check(&Tree::of(&[PROTO, ("tests/src/a.rs", good)])), []);
        }
    }
}
