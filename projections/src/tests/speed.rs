//! How many bookings a second the views take. Run by hand: `cargo test --release -p jari-projections -- --ignored --nocapture speed`.

use jari_domain::{
    AnyEvent, Position, Quantity, StreamId, Timestamp,
    ids::{CustomerRef, HoldId, OrderId, PoolId, SlotId},
    order::OrderEvent,
    slot::{Counts, Holder, SlotEvent},
};
use jari_event_store::{Body, Metadata, RecordedEvent};
use jiff::SignedDuration;
use uuid::Uuid;

use super::{history::line, place::database};
use crate::{builds, views::VIEWS, writer::Writer};

const BOOKINGS: usize = 60_000;

/// Placed, units held, order held: three events a booking, each booking in one go.
fn bookings(slots: usize, confirm: bool) -> Vec<RecordedEvent> {
    let mut events: Vec<RecordedEvent> = Vec::with_capacity(BOOKINGS * 3);
    let mut say = |stream: StreamId, event: AnyEvent, at: Timestamp| {
        let metadata = Metadata { decided_at: Some(at), ..Metadata::default() };
        events.push(RecordedEvent {
            position: Position::new(events.len() as u64 + 1),
            aggregate_type: stream.aggregate_type.into(),
            aggregate_id: stream.aggregate_id,
            sequence: 1,
            event_type: event.event_type().into(),
            event_version: event.event_version().into(),
            body: Body::Known(event),
            metadata: metadata.into(),
            recorded_at: at,
        });
    };
    let now = Timestamp::now();
    let ids: Vec<SlotId> = (0..slots).map(|n| SlotId::of(&PoolId::parse(&format!("pool-{n}")).unwrap(), Some(now))).collect();
    let counts = |held: u32| Counts { capacity: Quantity::new(100_000_000), held: Quantity::new(held), ..Counts::default() };
    for id in &ids {
        let pool_id = PoolId::parse(id.as_str().split('@').next().unwrap()).unwrap();
        say(id.into(), AnyEvent::InventorySlot(SlotEvent::SlotOpened { pool_id, window: None, counts: counts(0) }), now);
    }
    let orders: Vec<OrderId> = (0..BOOKINGS).map(|_| OrderId::parse(&Uuid::now_v7().to_string()).unwrap()).collect();
    for (n, order) in orders.iter().enumerate() {
        let slot = &ids[n * 7_919 % slots];
        let customer = CustomerRef::parse(&format!("customer-{}", n * 31 % 20_000)).unwrap();
        let lines = vec![line(&[slot], 1)];
        let total = lines[0].total;
        let expires_at = now + SignedDuration::from_secs(600);
        let hold_id = HoldId::from(order);
        say(order.into(), AnyEvent::Order(OrderEvent::OrderPlaced { customer, lines: lines.into(), total, hold_seconds: 600, personal: None }), now);
        let held = SlotEvent::UnitsHeld { hold_id, quantity: Quantity::ONE, expires_at, holder: Holder::Caller, counts: counts(n as u32) };
        say(slot.into(), AnyEvent::InventorySlot(held), now);
        say(order.into(), AnyEvent::Order(OrderEvent::OrderHeld { expires_at }), now);
    }
    for (n, order) in orders.iter().enumerate().filter(|_| confirm) {
        let slot = &ids[n * 7_919 % slots];
        let confirmed = SlotEvent::HoldConfirmed { hold_id: HoldId::from(order), quantity: Quantity::ONE, counts: counts(0) };
        say(slot.into(), AnyEvent::InventorySlot(confirmed), now);
        say(order.into(), AnyEvent::Order(OrderEvent::OrderConfirmed {}), now);
    }
    events
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
#[allow(clippy::print_stdout, reason = "a measurement is read by whoever runs it")]
async fn speed_of_the_views_alone() {
    for (slots, confirm) in [(1, false), (1_000, false), (1_000, true)] {
        let events = bookings(slots, confirm);
        let database = database().await;
        builds::prepare(&database).await.unwrap();
        for view in VIEWS.iter().copied() {
            builds::provide(&database, view).await.unwrap();
            let client = database.connection().await.unwrap();
            let (build, _) = builds::live(&**client, view).await.unwrap().unwrap();
            let mut writer = Writer::open(&database, view, build, 1, "live").await.unwrap().unwrap();
            let began = std::time::Instant::now();
            for batch in events.chunks(2_000) {
                writer.take(batch).await.unwrap();
            }
            let took = began.elapsed();
            let micros = took.as_micros() as f64 / BOOKINGS as f64;
            println!("{slots} slots, confirmed {confirm}, {}: {:.0} bookings/s, {micros:.1} us a booking", view.name(), 1e6 / micros);
        }
    }
}
