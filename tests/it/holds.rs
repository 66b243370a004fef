//! Holds over gRPC: they end by themselves, to the instant, whoever is late.

use std::time::Duration;

use jari_domain::{AnyEvent, Timestamp, slot::SlotEvent};
use jari_proto::{
    availability::v1::SlotState,
    inventory::v1::{
        AdjustCapacityRequest, CancelUnitsRequest, CloseSlotRequest, ConfirmHoldRequest, ExtendHoldRequest, HoldUnitsRequest, ReleaseHoldRequest,
        ResumeSlotRequest, SuspendSlotRequest, inventory_service_client::InventoryServiceClient,
    },
    order::v1::{CancelOrderRequest, ConfirmOrderRequest, GetOrderRequest, Order, OrderState, PlaceOrderRequest},
    status::{reason, retry_after},
    subject::v1::EraseSubjectRequest,
};
use jiff::SignedDuration;
use tonic::{Status, transport::Channel};

use crate::{
    harness::{eventually, in_seconds},
    serving::{HOLD_SECONDS, Serving, id, order, wire},
};

fn in_millis(millis: i64) -> Timestamp {
    Timestamp::now() + SignedDuration::from_millis(millis)
}

async fn until(at: Timestamp) {
    tokio::time::sleep(Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default()).await;
}

impl Serving {
    async fn hold(&self, slot: &str, hold: &str, quantity: i32, expires_at: Timestamp) -> Result<i64, Status> {
        let request = HoldUnitsRequest { request_id: id(), slot_id: slot.into(), hold_id: hold.into(), quantity, expires_at: Some(wire(expires_at)) };
        Ok(self.inventory().hold_units(request).await?.into_inner().position)
    }

    async fn extend(&self, slot: &str, hold: &str, expires_at: Timestamp) -> Result<i64, Status> {
        let request = ExtendHoldRequest { request_id: id(), slot_id: slot.into(), hold_id: hold.into(), expires_at: Some(wire(expires_at)) };
        Ok(self.inventory().extend_hold(request).await?.into_inner().position)
    }

    async fn confirm(&self, slot: &str, hold: &str) -> Result<i64, Status> {
        let request = ConfirmHoldRequest { request_id: id(), slot_id: slot.into(), hold_id: hold.into() };
        Ok(self.inventory().confirm_hold(request).await?.into_inner().position)
    }

    async fn release(&self, slot: &str, hold: &str) -> Result<i64, Status> {
        let request = ReleaseHoldRequest { request_id: id(), slot_id: slot.into(), hold_id: hold.into() };
        Ok(self.inventory().release_hold(request).await?.into_inner().position)
    }

    async fn cancel(&self, slot: &str, hold: &str, quantity: i32) -> Result<i64, Status> {
        let request = CancelUnitsRequest { request_id: id(), slot_id: slot.into(), hold_id: hold.into(), quantity };
        Ok(self.inventory().cancel_units(request).await?.into_inner().position)
    }

    /// Capacity, held, confirmed.
    async fn counts(&self, slot: &str, position: i64) -> (i32, i32, i32) {
        let (_, capacity, held, confirmed) = self.slot(slot, position).await;
        (capacity, held, confirmed)
    }

    async fn events(&self, name: &str) -> usize {
        self.log().await.iter().filter(|event| &*event.event_type == name).count()
    }

    /// When the end of a hold was recorded.
    async fn expired_at(&self, hold: &str) -> Option<Timestamp> {
        let log = self.log().await;
        let is_its_end =
            |event: &AnyEvent| matches!(event, AnyEvent::InventorySlot(SlotEvent::HoldExpired { hold_id, .. }) if hold_id.as_str() == hold);
        Some(log.iter().find(|event| event.event().is_some_and(is_its_end))?.recorded_at)
    }

    /// Holds both units of a slot for so long. Whether they were seen to be taken shortly before the end, which a slow machine is too late for.
    async fn is_held_to_the_end(&self, slot: &str, millis: i64) -> bool {
        let ends = in_millis(millis);
        let Some(position) = in_time(self.hold(slot, "a", 2, ends).await) else { return false };
        until(ends - SignedDuration::from_millis(150)).await;
        let counts = self.counts(slot, position).await;
        let is_before = Timestamp::now() < ends;
        assert!(!is_before || counts == (2, 2, 0), "not before: {counts:?}");
        until(ends).await;
        assert_eq!(self.counts(slot, position).await, (2, 0, 0), "from that instant on");
        is_before
    }

    /// Holds a unit for so long and extends that to the double. How long after its new end that was recorded; nothing when a slow machine was too late to
    /// extend it, or to read the log before it ended.
    async fn recorded_after(&self, slot: &str, millis: i64) -> Option<SignedDuration> {
        let (hold, ends) = (id(), in_millis(2 * millis));
        in_time(self.hold(slot, &hold, 1, in_millis(millis)).await)?;
        in_time(self.extend(slot, &hold, ends).await)?;
        until(ends - SignedDuration::from_millis(millis / 2)).await;
        let recorded = self.expired_at(&hold).await;
        let is_before = Timestamp::now() < ends;
        assert!(!is_before || recorded.is_none(), "an extended hold keeps its new end");
        eventually("what lapses is recorded", || async { self.expired_at(&hold).await.is_some() }).await;
        self.expired_at(&hold).await.filter(|_| is_before).map(|at| at.duration_since(ends))
    }

    /// Holds for `millis` by 120 callers that buy at once, around the end, or after it: how many were sold, and how many came too late.
    async fn race_to_the_end(&self, slot: &str, millis: i64) -> (usize, usize) {
        let racers = (0..120_i64).map(|n| tokio::spawn(race(self.inventory(), slot.to_owned(), n, in_millis(millis))));
        let (mut sold, mut late) = (0, 0);
        for racer in futures::future::join_all(racers).await {
            match in_time(racer.unwrap()) {
                Some(_) => sold += 1,
                None => late += 1,
            }
        }
        (sold, late)
    }
}

/// What was done; nothing when it came after the end of the hold, or after the end that it asked for.
fn in_time<T>(answer: Result<T, Status>) -> Option<T> {
    let is_late = |status: &Status| matches!(reason(status).as_deref(), Some("HOLD_EXPIRED" | "HOLD_NOT_FOUND" | "HOLD_EXPIRY_INVALID"));
    answer.map_err(|status| assert!(is_late(&status), "{status:?}")).ok()
}

/// Holds a unit until `ends`, and buys it: by its number at once, around the end, or after it; every third gives it back at the same time.
async fn race(mut one: InventoryServiceClient<Channel>, slot_id: String, n: i64, ends: Timestamp) -> Result<i64, Status> {
    let hold_id = id();
    let hold = HoldUnitsRequest { request_id: id(), slot_id: slot_id.clone(), hold_id: hold_id.clone(), quantity: 1, expires_at: Some(wire(ends)) };
    one.hold_units(hold).await?;
    let offset = [-60_000, n % 30 - 15, n % 30 - 15, 100];
    until(ends + SignedDuration::from_millis(offset[usize::try_from(n % 4).unwrap()])).await;
    let confirm = ConfirmHoldRequest { request_id: id(), slot_id: slot_id.clone(), hold_id: hold_id.clone() };
    if n % 3 != 0 {
        return one.confirm_hold(confirm).await.map(|answer| answer.into_inner().position);
    }
    let (release, mut two) = (ReleaseHoldRequest { request_id: id(), slot_id, hold_id }, one.clone());
    let (confirmed, released) = tokio::join!(one.confirm_hold(confirm), two.release_hold(release));
    assert!(!(confirmed.is_ok() && released.is_ok()), "sold and given back");
    confirmed.map(|answer| answer.into_inner().position)
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> String {
    reason(&answer.unwrap_err()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_extended_bought_or_given_back_and_the_counts_follow() {
    let shop = Serving::start().await;
    let slot = shop.on_sale("seat", 10).await;
    shop.hold(&slot, "a", 4, in_seconds(3_000)).await.unwrap();
    let position = shop.hold(&slot, "b", 6, in_seconds(3_000)).await.unwrap();
    assert_eq!(shop.counts(&slot, position).await, (10, 10, 0));
    let full = shop.hold(&slot, "c", 1, in_seconds(3_000)).await.unwrap_err();
    assert_eq!(reason(&full).as_deref(), Some("SLOT_HELD_BY_OTHERS"));
    assert!(retry_after(&full).is_some_and(|delay| delay > Duration::from_secs(300)), "it may come back when the first hold ends");
    shop.extend(&slot, "a", in_seconds(6_000)).await.unwrap();
    shop.confirm(&slot, "a").await.unwrap();
    assert_eq!(refused(shop.confirm(&slot, "a").await), "HOLD_NOT_FOUND");
    let position = shop.release(&slot, "b").await.unwrap();
    assert_eq!(shop.counts(&slot, position).await, (10, 0, 4));
    assert_eq!(refused(shop.extend(&slot, "b", in_seconds(3_000)).await), "HOLD_NOT_FOUND");
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_commands_of_the_same_bytes_under_one_id_are_told_apart() {
    let shop = Serving::start().await;
    let slot = shop.on_sale("seat", 10).await;
    shop.hold(&slot, "a", 4, in_seconds(3_000)).await.unwrap();
    let confirm = ConfirmHoldRequest { request_id: id(), slot_id: slot.clone(), hold_id: "a".into() };
    let release = ReleaseHoldRequest { request_id: confirm.request_id.clone(), slot_id: slot.clone(), hold_id: "a".into() };
    let done = shop.inventory().confirm_hold(confirm.clone()).await.unwrap().into_inner();
    assert_eq!(refused(shop.inventory().release_hold(release).await), "COMMAND_ID_REUSED", "it would be told that its units are free");
    assert_eq!(shop.inventory().confirm_hold(confirm).await.unwrap().into_inner(), done);
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_ends_to_the_instant_though_nobody_records_it() {
    let shop = Serving::on(crate::harness::database().await, |config| config.settlement.enabled = false).await;
    let mut found = None;
    // the first that is long enough for this machine
    for millis in [1_500, 5_000, 20_000] {
        let slot = shop.on_sale(&format!("seat-{millis}"), 2).await;
        if shop.is_held_to_the_end(&slot, millis).await {
            found = Some(slot);
            break;
        }
    }
    let slot = found.expect("one of them is long enough");
    assert_eq!(refused(shop.confirm(&slot, "a").await), "HOLD_EXPIRED");
    assert_eq!(refused(shop.extend(&slot, "a", in_seconds(3_000)).await), "HOLD_EXPIRED");
    assert_eq!(shop.events("HoldExpired").await, 0, "nobody has recorded it");
    let position = shop.hold(&slot, "b", 2, in_seconds(3_000)).await.unwrap();
    assert_eq!(shop.events("HoldExpired").await, 1, "whoever takes its places records it first");
    assert_eq!(shop.counts(&slot, position).await, (2, 2, 0));
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sweeper_records_soon_what_has_lapsed_also_what_lapsed_before_it_began() {
    let late = Serving::on(crate::harness::database().await, |config| config.settlement.enabled = false).await;
    let slot = late.on_sale("seat", 10).await;
    late.hold(&slot, "before", 1, in_millis(2_000)).await.unwrap();
    late.hold(&slot, "kept", 1, in_seconds(3_000)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let sweeping = Serving::on(late.database.clone(), |_| {}).await;
    eventually("what lapsed before is recorded", || async { late.events("HoldExpired").await == 1 }).await;
    let mut delays = Vec::new();
    for millis in [500, 2_000, 5_000, 10_000, 20_000] {
        delays.extend(sweeping.recorded_after(&slot, millis).await);
        if delays.last().is_some_and(|delay| *delay < SignedDuration::from_secs(2)) {
            break;
        }
    }
    assert!(delays.last().is_some_and(|delay| *delay < SignedDuration::from_secs(2)), "soon: {delays:?}");
    sweeping.node.stop().await;
    late.node.stop().await;
}

/// When an order's hold ends.
fn ends(order: &Order) -> Timestamp {
    let ends = order.hold_expires_at.unwrap();
    Timestamp::new(ends.seconds, ends.nanos).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_held_for_as_long_as_its_product_says() {
    let shop = Serving::start().await;
    let slot = shop.on_sale("seat", 1).await;
    let placed = shop.orders().place_order(order(&[("seat", 1)])).await.unwrap().into_inner();
    let held = placed.order.unwrap();
    let settled = held.settled_at.unwrap();
    let settled = Timestamp::new(settled.seconds, settled.nanos).unwrap();
    assert_eq!(ends(&held).duration_since(settled), SignedDuration::from_secs(HOLD_SECONDS.into()));
    assert_eq!(shop.counts(&slot, placed.position).await, (1, 1, 0));
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: the shortest time for which a product may hold is half a minute"]
async fn an_order_that_nobody_confirms_expires_and_its_places_are_free() {
    let shop = Serving::start().await;
    shop.draft_with("seat", |draft| draft.hold_seconds = 30).await;
    let slot = shop.launched("seat", 1).await;
    let placed = shop.orders().place_order(order(&[("seat", 1)])).await.unwrap().into_inner().order.unwrap();
    until(ends(&placed) + SignedDuration::from_millis(1)).await;
    let confirm = ConfirmOrderRequest { request_id: id(), order_id: placed.order_id.clone() };
    assert_eq!(refused(shop.orders().confirm_order(confirm).await), "ORDER_EXPIRED");
    eventually("the end of the order is recorded", || async { shop.events("OrderExpired").await == 1 }).await;
    let head = shop.log().await.len().try_into().unwrap();
    let get = GetOrderRequest { order_id: placed.order_id, min_position: head };
    assert_eq!(shop.order_queries().get_order(get).await.unwrap().into_inner().order.unwrap().state(), OrderState::Expired);
    assert_eq!(shop.counts(&slot, head).await, (1, 0, 0));
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirm_and_an_end_that_race_have_exactly_one_winner() {
    let shop = Serving::start().await;
    let slot = shop.on_sale("seat", 1_000).await;
    let (mut sold, mut late) = (0, 0);
    for millis in [3_000, 10_000, 30_000] {
        let raced = shop.race_to_the_end(&slot, millis).await;
        (sold, late) = (sold + raced.0, late + raced.1);
        if sold > 0 && late > 0 {
            break;
        }
    }
    assert!(sold > 0 && late > 0, "both sides win now and then: {sold} sold, {late} late");
    eventually("every end is recorded", || async {
        shop.events("HoldExpired").await + shop.events("HoldReleased").await + shop.events("HoldConfirmed").await == shop.events("UnitsHeld").await
    })
    .await;
    assert_eq!(shop.events("HoldConfirmed").await, sold);
    let head = shop.log().await.len().try_into().unwrap();
    assert_eq!(shop.counts(&slot, head).await, (1_000, 0, sold.try_into().unwrap()));
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn below_what_is_taken_nothing_new_is_held_and_what_is_held_may_be_bought() {
    let shop = Serving::start().await;
    let slot = shop.on_sale("seat", 10).await;
    let bought = shop.orders().place_order(order(&[("seat", 4)])).await.unwrap().into_inner().order.unwrap().order_id;
    shop.hold(&slot, "raw", 4, in_seconds(3_000)).await.unwrap();
    let adjust = |capacity| AdjustCapacityRequest { request_id: id(), slot_id: slot.clone(), capacity };
    let position = shop.inventory().adjust_capacity(adjust(5)).await.unwrap().into_inner().position;
    assert_eq!(shop.counts(&slot, position).await, (5, 8, 0));
    assert_eq!(refused(shop.hold(&slot, "new", 1, in_seconds(3_000)).await), "SLOT_HELD_BY_OTHERS");
    let late = shop.orders().place_order(order(&[("seat", 1)])).await.unwrap().into_inner().order.unwrap();
    assert_eq!((late.state(), late.failures[0].code.as_str()), (OrderState::Rejected, "SLOT_HELD_BY_OTHERS"));
    shop.orders().confirm_order(ConfirmOrderRequest { request_id: id(), order_id: bought.clone() }).await.unwrap();
    let position = shop.confirm(&slot, "raw").await.unwrap();
    assert_eq!(shop.counts(&slot, position).await, (5, 0, 8), "what was promised is kept");
    assert_eq!(refused(shop.hold(&slot, "new", 1, in_seconds(3_000)).await), "SLOT_SOLD_OUT");
    let cancel = CancelOrderRequest { request_id: id(), order_id: bought, reason: String::new() };
    shop.orders().cancel_order(cancel).await.unwrap();
    assert_eq!(refused(shop.hold(&slot, "new", 2, in_seconds(3_000)).await), "SLOT_INSUFFICIENT_UNITS");
    shop.hold(&slot, "new", 1, in_seconds(3_000)).await.unwrap();
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_or_closed_slot_takes_nothing_new_and_keeps_what_it_promised() {
    let shop = Serving::start().await;
    let slot = shop.on_sale("seat", 10).await;
    for hold in ["a", "b", "c"] {
        shop.hold(&slot, hold, 1, in_seconds(3_000)).await.unwrap();
    }
    let suspend = SuspendSlotRequest { request_id: id(), slot_id: slot.clone(), reason: "storm".into() };
    shop.inventory().suspend_slot(suspend).await.unwrap();
    assert_eq!(refused(shop.hold(&slot, "d", 1, in_seconds(3_000)).await), "SLOT_SUSPENDED");
    let rejected = shop.orders().place_order(order(&[("seat", 1)])).await.unwrap().into_inner().order.unwrap();
    assert_eq!((rejected.state(), rejected.failures[0].code.as_str()), (OrderState::Rejected, "SLOT_SUSPENDED"));
    shop.confirm(&slot, "a").await.unwrap();
    shop.inventory().resume_slot(ResumeSlotRequest { request_id: id(), slot_id: slot.clone() }).await.unwrap();
    let held = shop.orders().place_order(order(&[("seat", 1)])).await.unwrap().into_inner().order.unwrap();
    shop.inventory().close_slot(CloseSlotRequest { request_id: id(), slot_id: slot.clone() }).await.unwrap();
    assert_eq!(refused(shop.hold(&slot, "d", 1, in_seconds(3_000)).await), "SLOT_CLOSED");
    assert_eq!(refused(shop.extend(&slot, "b", in_seconds(6_000)).await), "SLOT_CLOSED");
    let again = ResumeSlotRequest { request_id: id(), slot_id: slot.clone() };
    assert_eq!(refused(shop.inventory().resume_slot(again).await), "SLOT_CLOSED");
    shop.confirm(&slot, "b").await.unwrap();
    shop.release(&slot, "c").await.unwrap();
    let confirm = ConfirmOrderRequest { request_id: id(), order_id: held.order_id.clone() };
    let position = shop.orders().confirm_order(confirm).await.unwrap().into_inner().position;
    assert_eq!(shop.slot(&slot, position).await, (SlotState::Closed, 10, 0, 3));
    let get = GetOrderRequest { order_id: held.order_id, min_position: position };
    assert_eq!(shop.order_queries().get_order(get).await.unwrap().into_inner().order.unwrap().state(), OrderState::Confirmed);
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_keeps_its_units_whatever_is_asked_of_them_without_it() {
    let shop = Serving::start().await;
    let slot = shop.on_sale("seat", 5).await;
    let place = PlaceOrderRequest { order_id: "mine".into(), ..order(&[("seat", 2)]) };
    assert_eq!(shop.orders().place_order(place).await.unwrap().into_inner().order.unwrap().state(), OrderState::Held);
    let before = shop.log().await.len();
    for answer in [
        shop.release(&slot, "mine").await,
        shop.confirm(&slot, "mine").await,
        shop.extend(&slot, "mine", in_seconds(86_000)).await,
        shop.hold(&slot, "mine", 1, in_seconds(3_000)).await,
        shop.cancel(&slot, "mine", 1).await,
    ] {
        assert_eq!(refused(answer), "HOLD_OF_ORDER");
    }
    assert_eq!(shop.log().await.len(), before, "nothing was done");
    shop.orders().confirm_order(ConfirmOrderRequest { request_id: id(), order_id: "mine".into() }).await.unwrap();
    assert_eq!(refused(shop.cancel(&slot, "mine", 1).await), "HOLD_OF_ORDER");
    shop.hold(&slot, "own", 3, in_seconds(3_000)).await.unwrap();
    shop.confirm(&slot, "own").await.unwrap();
    let position = shop.cancel(&slot, "own", 1).await.unwrap();
    assert_eq!(shop.counts(&slot, position).await, (5, 0, 4), "a caller's own units come back as ever");
    for hold in ["own", "nobody"] {
        assert_eq!(refused(shop.cancel(&slot, hold, 3).await), "SLOT_CANCEL_EXCEEDS_SOLD", "one of the three is the order's");
    }
    let cancel = CancelOrderRequest { request_id: id(), order_id: "mine".into(), reason: String::new() };
    shop.orders().cancel_order(cancel).await.unwrap();
    assert_eq!(refused(shop.cancel(&slot, "mine", 2).await), "HOLD_OF_ORDER", "what came back with the order comes back once");
    assert_eq!(shop.proved().await.counts(&slot), (5, 0, 2));
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_with_the_id_of_a_callers_hold_is_rejected_by_name_and_the_hold_stays_the_callers() {
    let shop = Serving::start().await;
    let (slot, other) = (shop.on_sale("seat", 5).await, shop.on_sale("aisle", 5).await);
    shop.hold(&slot, "twin", 2, in_seconds(3_000)).await.unwrap();
    let place = |order_id: &str, product| PlaceOrderRequest { order_id: order_id.into(), ..order(&[(product, 1)]) };
    let rejected = shop.orders().place_order(place("twin", "seat")).await.unwrap().into_inner().order.unwrap();
    assert_eq!((rejected.state(), rejected.failures[0].code.as_str()), (OrderState::Rejected, "HOLD_EXISTS"));
    shop.confirm(&slot, "twin").await.unwrap();
    let position = shop.cancel(&slot, "twin", 1).await.unwrap();
    assert_eq!(shop.counts(&slot, position).await, (5, 0, 1));
    // an order elsewhere under the id of a hold here: neither is in the other's way
    shop.hold(&slot, "apart", 1, in_seconds(3_000)).await.unwrap();
    let held = shop.orders().place_order(place("apart", "aisle")).await.unwrap().into_inner().order.unwrap();
    assert_eq!(held.state(), OrderState::Held);
    shop.release(&slot, "apart").await.unwrap();
    let confirm = ConfirmOrderRequest { request_id: id(), order_id: "apart".into() };
    let position = shop.orders().confirm_order(confirm).await.unwrap().into_inner().position;
    assert_eq!((shop.counts(&slot, position).await, shop.counts(&other, position).await), ((5, 0, 1), (5, 0, 1)));
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_caller_passes_for_the_engine_and_holds_without_a_timer() {
    let shop = Serving::start().await;
    let slot = shop.on_sale("seat", 5).await;
    let before = shop.log().await.len();
    let hold_as = |caller: &'static str| {
        let expires_at = Some(wire(in_millis(2_000)));
        let hold = HoldUnitsRequest { request_id: id(), slot_id: slot.clone(), hold_id: "a".into(), quantity: 1, expires_at };
        let mut request = tonic::Request::new(hold);
        request.metadata_mut().insert("x-jari-caller", caller.parse().unwrap());
        let mut inventory = shop.inventory();
        async move { inventory.hold_units(request).await }
    };
    for caller in ["engine/settlement", "engine/settlement/retry", "engine/"] {
        assert_eq!(refused(hold_as(caller).await), "REQUEST_INVALID", "{caller}");
    }
    let mut erase = tonic::Request::new(EraseSubjectRequest { request_id: id(), subject: "customer-1".into() });
    erase.metadata_mut().insert("x-jari-caller", "engine/settlement".parse().unwrap());
    assert_eq!(refused(shop.subjects().erase_subject(erase).await), "REQUEST_INVALID", "whatever is asked");
    assert_eq!(shop.log().await.len(), before, "nothing was done");
    hold_as("engineers").await.unwrap();
    eventually("the hold of a caller ends by its timer", || async { shop.events("HoldExpired").await == 1 }).await;
    shop.node.stop().await;
}
