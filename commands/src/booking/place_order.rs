//! A place in line. Touches: the order (new), and every product in it (read: its version must still stand when the order lands).
//!
//! Which refusal wins: 1 `ORDER_EXISTS`, 2 `ORDER_EMPTY` and `ORDER_TOO_MANY_LINES`, 3 the first line that its product refuses, 4 the order's own.
//! With 3 the details name the other lines that their products refuse, too: who mends one line at a time would have to ask once for each.

use std::ops::RangeInclusive;

use jari_domain::{
    Refusal, Refuse, Sealed, Timestamp,
    ids::{CustomerRef, OrderId, ProductId},
    order::{MAX_LINES, Order, OrderCommand, OrderError, OrderStatus},
    product::{LineRequest, Product, ProductError},
    slot::MAX_HOLD_SECONDS,
};

use super::decide;
use crate::engine::{Changes, States, Touch, UnitOfWork};

/// A line of a request.
#[derive(Debug, Clone)]
pub struct PlaceLine {
    /// Of which product.
    pub product_id: ProductId,
    /// What of it.
    pub request: LineRequest,
}

/// Accepts an order at the prices of this moment.
#[derive(Debug)]
pub struct PlaceOrder {
    /// Chosen by the caller.
    pub order_id: OrderId,
    /// For whom.
    pub customer: CustomerRef,
    /// What.
    pub lines: Vec<PlaceLine>,
    /// Contact and names of guests, sealed.
    pub personal: Option<Sealed>,
}

impl PlaceOrder {
    /// The products, each once, in the order of their first line.
    fn products(&self) -> Vec<&ProductId> {
        let mut products: Vec<&ProductId> = Vec::new();
        for line in self.lines.iter().take(MAX_LINES) {
            if !products.contains(&&line.product_id) {
                products.push(&line.product_id);
            }
        }
        products
    }

    /// What the order is told when products refuse lines of it: the first one's refusal, with the number and code of each other.
    fn refused(&self, failing: &[(usize, ProductError)]) -> Option<Refusal> {
        let ((number, error), others) = failing.split_first()?;
        let mut refusal = error.to_refusal();
        refusal.details.insert("line".into(), number.to_string());
        refusal.details.entry("product_id".into()).or_insert_with(|| self.lines[*number].product_id.to_string());
        if !others.is_empty() {
            refusal.details.insert("also_failing".into(), by_code(others));
        }
        Some(refusal)
    }
}

/// `2 5-9 CUT_OFF_PASSED, 4 PRODUCT_SUSPENDED`: the lines of each code, at most 640 bytes for the most lines that an order has.
fn by_code(failing: &[(usize, ProductError)]) -> String {
    let mut codes: Vec<(&str, Vec<RangeInclusive<usize>>)> = Vec::new();
    for (number, error) in failing {
        match codes.iter_mut().find(|(code, _)| *code == error.code()) {
            Some((_, runs)) => match runs.last_mut() {
                Some(run) if run.end() + 1 == *number => *run = *run.start()..=*number,
                _ => runs.push(*number..=*number),
            },
            None => codes.push((error.code(), vec![*number..=*number])),
        }
    }
    let lines =
        |run: &RangeInclusive<usize>| if run.start() == run.end() { run.start().to_string() } else { format!("{}-{}", run.start(), run.end()) };
    let code = |(code, runs): &(&str, Vec<_>)| format!("{} {code}", runs.iter().map(lines).collect::<Vec<_>>().join(" "));
    codes.iter().map(code).collect::<Vec<_>>().join(", ")
}

impl UnitOfWork for PlaceOrder {
    fn name(&self) -> &'static str {
        "place_order"
    }

    fn touches(&self) -> Vec<Touch> {
        let products = self.products().into_iter().map(Touch::existing);
        std::iter::once(Touch::presumed_new(&self.order_id)).chain(products).collect()
    }

    fn decide(&self, states: &States<'_>, now: Timestamp) -> Result<Changes, Refusal> {
        let (mut priced, mut failing, mut hold_seconds) = (Vec::with_capacity(self.lines.len()), Vec::new(), MAX_HOLD_SECONDS);
        // an order that exists is refused as such, before any product is asked
        if states.at::<Order>(0).status() == OrderStatus::Absent {
            if self.lines.len() > MAX_LINES {
                return Err(OrderError::TooManyLines { lines: self.lines.len() }.to_refusal());
            }
            let products = self.products();
            for (number, line) in self.lines.iter().enumerate() {
                let index = 1 + products
                    .iter()
                    .position(|p| **p == line.product_id)
                    .expect("each line's product is among them, which are no more than the lines");
                let product = states.at::<Product>(index);
                match product.quote(&line.product_id, &line.request, now) {
                    Ok(quoted) => priced.push(quoted),
                    Err(error) => failing.push((number, error)),
                }
                hold_seconds = product.terms().map_or(hold_seconds, |terms| terms.hold_seconds.min(hold_seconds));
            }
            if let Some(refusal) = self.refused(&failing) {
                return Err(refusal);
            }
        }
        let command = OrderCommand::PlaceOrder { customer: self.customer.clone(), lines: priced, hold_seconds, personal: self.personal.clone() };
        Ok(vec![(0, decide::<Order>(states, 0, &command, now)?)])
    }
}
