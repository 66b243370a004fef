//! What there is to book, and what people ask for: a few slots, two products, and few enough ids that everybody meets everybody.

use std::sync::Arc;

use jari_domain::{
    AnyEvent, Quantity, StreamId, Timestamp,
    ids::{CustomerRef, HoldId, OptionId, OrderId, PoolId, ProductId, SlotId, UnitId},
    product::{Draw, LineRequest, Product, ProductCommand, ProductOption, SaleMode, Unit, UnitRequest},
    registry::AsAggregate,
    slot::{InventorySlot, SlotCommand},
};
use jiff::SignedDuration;

use super::{dice::Dice, model::Model};
use crate::{
    booking::{CancelOrder, ConfirmOrder, ExpireOrder, OneStream, PlaceLine, PlaceOrder},
    engine::UnitOfWork,
};

const SLOTS: u64 = 3;
const PRODUCTS: u64 = 2;
const ORDERS: u64 = 14;
const HOLDS: u64 = 6;

pub fn slot(n: u64) -> SlotId {
    SlotId::of(&pool(n), None)
}

fn pool(n: u64) -> PoolId {
    PoolId::parse(&format!("pool-{n}")).unwrap()
}

fn product(n: u64) -> ProductId {
    ProductId::parse(&format!("product-{n}")).unwrap()
}

fn order(dice: &mut Dice) -> OrderId {
    OrderId::parse(&format!("order-{}", dice.below(ORDERS))).unwrap()
}

/// One of `many` quantities, from `least` on.
fn some(least: u64, many: u64, dice: &mut Dice) -> Quantity {
    Quantity::new(u32::try_from(least + dice.below(many)).unwrap())
}

/// Slots open with few units; product 0 draws on slot 0, product 1 on slots 1 and 2.
pub fn found(model: &mut Model, dice: &mut Dice, now: Timestamp) {
    for n in 0..SLOTS {
        let capacity = some(3, 12, dice);
        write::<InventorySlot>(model, &StreamId::from(&slot(n)), &SlotCommand::OpenSlot { pool_id: pool(n), window: None, capacity }, now);
    }
    for n in 0..PRODUCTS {
        let draws = if n == 0 { vec![0] } else { vec![1, 2] };
        let draws = draws.into_iter().map(|n| Draw { pool_id: pool(n), per_head: 1 }).collect();
        let price = jari_domain::Money { minor: 100, currency: jari_domain::Currency::parse("KRW").unwrap() };
        let unit = Unit { unit_id: UnitId::parse("piece").unwrap(), title: "Piece".into(), price, heads: 1 };
        let option = ProductOption { option_id: OptionId::parse("one").unwrap(), title: "One".into(), units: vec![unit], draws };
        let draft = ProductCommand::DraftProduct {
            title: "A product".into(),
            sale_mode: SaleMode::Realtime,
            time_zone: "UTC".into(),
            currency: jari_domain::Currency::parse("KRW").unwrap(),
            hold_seconds: 30 + 30 * u32::try_from(n).unwrap(),
            cut_off_seconds: 0,
        };
        for command in [draft, ProductCommand::DefineOption(option), ProductCommand::LaunchProduct] {
            write::<Product>(model, &StreamId::from(&product(n)), &command, now);
        }
    }
}

/// Another writer's events, decided on what is durable. Says how many.
pub fn write<A: AsAggregate>(model: &mut Model, stream: &StreamId, command: &A::Command, now: Timestamp) -> usize {
    let state = model.state(stream);
    let at = now.max(model.last_time(stream));
    let events = A::of(&state).unwrap().decide(command, at).unwrap_or_default();
    let count = events.len();
    for event in events {
        let sequence = model.version(stream) + 1;
        model.push(stream, sequence, A::wrap(event), at);
    }
    count
}

fn free(model: &Model, slot: &StreamId, now: Timestamp) -> Quantity {
    InventorySlot::of(&model.state(slot)).unwrap().available_at(now)
}

/// Somebody with `psql`.
pub fn foreign(model: &mut Model, dice: &mut Dice, now: Timestamp) {
    let at = if dice.one_in(8) { now + SignedDuration::from_secs(40) } else { now };
    if dice.one_in(5) {
        let command = if dice.one_in(2) { ProductCommand::SuspendProduct { reason: "rain".into() } } else { ProductCommand::ResumeProduct };
        write::<Product>(model, &StreamId::from(&product(dice.below(PRODUCTS))), &command, at);
    } else {
        let stream = StreamId::from(&slot(dice.below(SLOTS)));
        if dice.one_in(3) {
            // a crowd, whose holds lapse soon and together
            let expires_at = at + SignedDuration::from_secs(9);
            for n in 0..4 {
                let hold_id = HoldId::parse(&format!("crowd-{n}")).unwrap();
                write::<InventorySlot>(model, &stream, &SlotCommand::HoldUnits { hold_id, quantity: Quantity::ONE, expires_at }, at);
            }
            return;
        }
        let free = free(model, &stream, at);
        write::<InventorySlot>(model, &stream, &on_a_slot(dice, free, at), at);
    }
}

/// On a slot of which so many units are free.
fn on_a_slot(dice: &mut Dice, free: Quantity, now: Timestamp) -> SlotCommand {
    let own = HoldId::parse(&format!("hold-{}", dice.below(HOLDS))).unwrap();
    // now and then under an id that an order has, too
    let hold_id = if dice.one_in(4) { HoldId::from(&order(dice)) } else { own };
    // now and then all that is free, which needs the room of all that have lapsed
    let quantity = if dice.one_in(3) { free.max(Quantity::ONE) } else { some(1, 3, dice) };
    match dice.below(8) {
        0..=3 => SlotCommand::HoldUnits {
            hold_id,
            quantity,
            // now and then it has come when this is decided, or looked at once more: bad input then, though perhaps done before
            expires_at: now + SignedDuration::from_secs(i64::try_from(dice.below(60)).unwrap()),
        },
        4 => SlotCommand::ConfirmHold { hold_id },
        5 => SlotCommand::ReleaseHold { hold_id },
        6 => SlotCommand::ExpireHold { hold_id },
        _ => SlotCommand::CancelUnits { hold_id, quantity: Quantity::ONE },
    }
}

/// What a caller asks for.
pub fn ask(model: &Model, dice: &mut Dice, now: Timestamp) -> Arc<dyn UnitOfWork> {
    match dice.below(12) {
        0..=3 => {
            let slot = slot(dice.below(SLOTS));
            let free = free(model, &StreamId::from(&slot), now);
            Arc::new(OneStream::<InventorySlot>::on("on_slot", &slot, on_a_slot(dice, free, now)))
        }
        4..=7 => Arc::new(place(dice)),
        8 | 9 => Arc::new(ConfirmOrder { order_id: order(dice) }),
        10 => Arc::new(CancelOrder { order_id: order(dice), reason: "rain".into() }),
        _ => Arc::new(ExpireOrder { order_id: order(dice) }),
    }
}

fn place(dice: &mut Dice) -> PlaceOrder {
    let lines = (0..=dice.below(3))
        .map(|_| {
            let units = vec![UnitRequest { unit_id: UnitId::parse("piece").unwrap(), quantity: some(1, 3, dice) }];
            let request = LineRequest { option_id: OptionId::parse("one").unwrap(), starts_at: None, units };
            PlaceLine { product_id: product(dice.below(PRODUCTS)), request }
        })
        .collect();
    PlaceOrder { order_id: order(dice), customer: CustomerRef::parse("somebody").unwrap(), lines, personal: None }
}

/// The order that an event of the log puts in line.
pub fn placed(event: &AnyEvent) -> bool {
    matches!(event, AnyEvent::Order(jari_domain::order::OrderEvent::OrderPlaced { .. }))
}
