//! What callers were told, beside the log and beside the views: order by order, and slot by slot.

use anyhow::Context;
use futures::{StreamExt, TryStreamExt};
use jari::{client::Shop, proof::Proof};
use jari_domain::{
    Position, StreamId, Timestamp,
    ids::{OrderId, SlotId},
    order::{Order, OrderStatus},
    registry::AsAggregate,
    slot::InventorySlot,
};
use jari_event_store::{LoadRequest, Reader};
use jari_proto::{
    availability::v1::{GetSlotRequest, availability_service_client::AvailabilityServiceClient},
    order::v1::{GetOrderRequest, OrderState, order_query_service_client::OrderQueryServiceClient},
};
use tonic::{Code, transport::Channel};

use crate::{
    callers::{PATIENCE, Record, Told},
    faults::{loop_until, say},
};

/// Most orders that the view is asked for; of more, each second, third and so on is asked for, from the first to the last.
const ASKED_FOR: usize = 20_000;
/// Questions to the view at once.
const AT_ONCE: usize = 64;
/// Orders read from the log at once.
const PAGE: usize = 1_000;
/// Differences that are told one by one; the rest is counted.
const SHOWN: u64 = 50;

/// Compares all of it at the head of the log, and says what does not hold. Gives how much that is.
///
/// # Errors
/// A log that cannot be read, or a server that does not answer within [`PATIENCE`].
pub async fn compare(reader: &Reader, address: &str, slots: &[String], record: &Record) -> anyhow::Result<u64> {
    let (proof, head) = walk(reader).await?;
    let mut findings = Findings::default();
    proof.finish().iter().for_each(|finding| findings.add(&format!("log: {finding}")));
    let shop = loop_until(PATIENCE, || Shop::connect(address, 8)).await?;
    let standing = with_log(reader, record, &mut findings).await?;
    let asked = with_orders(&shop, record, &standing, head, &mut findings).await?;
    with_slots(reader, &shop, slots, head, &mut findings).await?;
    let count = |told: &Told| record.iter().filter(|(_, last)| last == told).count();
    say(&format!(
        "{} orders answered ({} held, {} confirmed, {} cancelled, {} rejected), {asked} of them asked for at the view; {} events, {} orders in the log",
        record.len(),
        count(&Told::Held),
        count(&Told::Confirmed),
        count(&Told::Cancelled),
        count(&Told::Rejected),
        proof.events,
        proof.orders()
    ));
    Ok(findings.0)
}

/// What does not hold.
#[derive(Default)]
struct Findings(u64);

impl Findings {
    fn add(&mut self, finding: &str) {
        self.0 += 1;
        if self.0 <= SHOWN {
            say(finding);
        }
    }
}

/// Walks the whole log; gives what it proves, and where it ends.
async fn walk(reader: &Reader) -> anyhow::Result<(Proof, Position)> {
    let (mut proof, mut position) = (Proof::default(), Position::START);
    // ends at the log's head: each round reads a page further
    loop {
        let page = reader.log_after(position, 10_000).await?;
        let Some(last) = page.last() else { return Ok((proof, position)) };
        position = last.position;
        page.iter().for_each(|event| proof.take(event));
    }
}

/// Where each order stands in the log; what its caller was told must agree.
async fn with_log(reader: &Reader, record: &Record, findings: &mut Findings) -> anyhow::Result<Vec<OrderStatus>> {
    let mut standing = Vec::with_capacity(record.len());
    for page in record.chunks(PAGE) {
        let requests = page.iter().map(|(id, _)| anyhow::Ok(LoadRequest { stream: StreamId::from(&OrderId::parse(id)?), from: None }));
        let loaded = reader.load(&requests.collect::<Result<Vec<_>, _>>()?).await?;
        for ((id, told), loaded) in page.iter().zip(loaded) {
            let status = loaded.ok().and_then(|l| Order::of(&l.state).map(Order::status)).unwrap_or_default();
            if !agrees_with_log(told, status) {
                findings.add(&format!("order {id}: the caller was told {told:?}, the log says {status}"));
            }
            standing.push(status);
        }
    }
    Ok(standing)
}

/// A hold may have lapsed since its caller was told. A caller whose next word on a live hold was refused was told wrong, whatever the log says.
fn agrees_with_log(told: &Told, status: OrderStatus) -> bool {
    match told {
        Told::Held => matches!(status, OrderStatus::Held | OrderStatus::Expired),
        Told::Rejected => status == OrderStatus::Rejected,
        Told::Confirmed => status == OrderStatus::Confirmed,
        Told::Cancelled => status == OrderStatus::Cancelled,
        Told::Refused(_) => false,
    }
}

/// Asks `GetOrder` for the orders; the view must say what the log says. Gives for how many.
async fn with_orders(shop: &Shop, record: &Record, standing: &[OrderStatus], head: Position, findings: &mut Findings) -> anyhow::Result<usize> {
    let min_position = head.to_i64();
    let each = record.len().div_ceil(ASKED_FOR).max(1);
    let asked = record.iter().zip(standing).enumerate().step_by(each).map(|(n, ((id, _), status))| async move {
        let state = seen(&OrderQueryServiceClient::new(shop.channel(n)), id, min_position).await.with_context(|| format!("order {id}"))?;
        anyhow::Ok((id, *status, state))
    });
    let answers: Vec<_> = futures::stream::iter(asked).buffer_unordered(AT_ONCE).try_collect().await?;
    for (id, status, state) in &answers {
        if !agrees_with_view(*state, *status) {
            findings.add(&format!("order {id}: the log says {status}, the view {}", state.as_str_name()));
        }
    }
    Ok(answers.len())
}

/// What the view has of an order; unspecified when it knows none.
async fn seen(orders: &OrderQueryServiceClient<Channel>, order_id: &str, min_position: i64) -> anyhow::Result<OrderState> {
    loop_until(PATIENCE, || async {
        match orders.clone().get_order(GetOrderRequest { order_id: order_id.to_owned(), min_position }).await {
            Ok(answer) => Ok(answer.into_inner().order.unwrap_or_default().state()),
            Err(status) if status.code() == Code::NotFound => Ok(OrderState::Unspecified),
            Err(status) => Err(status.into()),
        }
    })
    .await
}

/// A hold may lapse between the two questions, and is expired for the view before its end is recorded.
fn agrees_with_view(state: OrderState, status: OrderStatus) -> bool {
    match state {
        OrderState::Unspecified => status == OrderStatus::Absent,
        OrderState::Accepted => status == OrderStatus::Placed,
        OrderState::Held | OrderState::Expired => matches!(status, OrderStatus::Held | OrderStatus::Expired),
        OrderState::Confirmed => status == OrderStatus::Confirmed,
        OrderState::Rejected => status == OrderStatus::Rejected,
        OrderState::Cancelled => status == OrderStatus::Cancelled,
    }
}

/// What is taken of each slot, in the log and in the view.
async fn with_slots(reader: &Reader, shop: &Shop, slots: &[String], head: Position, findings: &mut Findings) -> anyhow::Result<()> {
    for name in slots {
        let loaded = reader.load(&[LoadRequest { stream: StreamId::from(&SlotId::parse(name)?), from: None }]).await?;
        let slot = loaded.into_iter().flatten().find_map(|l| InventorySlot::of(&l.state).map(|slot| slot.counts_at(Timestamp::now())));
        let counts = slot.unwrap_or_default();
        let request = GetSlotRequest { slot_id: name.clone(), min_position: head.to_i64() };
        let seen = loop_until(PATIENCE, || async { Ok(AvailabilityServiceClient::new(shop.channel(0)).get_slot(request.clone()).await?) }).await?;
        let seen = seen.into_inner().slot.and_then(|s| s.counts).unwrap_or_default();
        let is_same = (seen.held.into(), seen.confirmed.into()) == (i64::from(counts.held), i64::from(counts.confirmed));
        if counts.held.saturating_add(counts.confirmed) > counts.capacity || !is_same {
            let (held, confirmed, capacity) = (counts.held, counts.confirmed, counts.capacity);
            let in_view = format!("{} held and {} sold in the view", seen.held, seen.confirmed);
            findings.add(&format!("slot {name}: {held} held and {confirmed} sold of {capacity} in the log, {in_view}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUSES: [OrderStatus; 7] = [
        OrderStatus::Absent,
        OrderStatus::Placed,
        OrderStatus::Held,
        OrderStatus::Rejected,
        OrderStatus::Confirmed,
        OrderStatus::Expired,
        OrderStatus::Cancelled,
    ];

    #[test]
    fn what_a_caller_was_told_agrees_with_nothing_else_in_the_log() {
        for (told, agrees) in [
            (Told::Held, &[OrderStatus::Held, OrderStatus::Expired][..]),
            (Told::Rejected, &[OrderStatus::Rejected]),
            (Told::Confirmed, &[OrderStatus::Confirmed]),
            (Told::Cancelled, &[OrderStatus::Cancelled]),
            (Told::Refused("ORDER_ALREADY_CONFIRMED".into()), &[]),
        ] {
            let found: Vec<OrderStatus> = STATUSES.into_iter().filter(|status| agrees_with_log(&told, *status)).collect();
            assert_eq!(found, agrees, "{told:?}");
        }
    }

    #[test]
    fn what_the_view_has_of_an_order_agrees_with_one_standing_in_the_log() {
        for (state, agrees) in [
            (OrderState::Unspecified, &[OrderStatus::Absent][..]),
            (OrderState::Accepted, &[OrderStatus::Placed]),
            (OrderState::Held, &[OrderStatus::Held, OrderStatus::Expired]),
            (OrderState::Expired, &[OrderStatus::Held, OrderStatus::Expired]),
            (OrderState::Confirmed, &[OrderStatus::Confirmed]),
            (OrderState::Rejected, &[OrderStatus::Rejected]),
            (OrderState::Cancelled, &[OrderStatus::Cancelled]),
        ] {
            let found: Vec<OrderStatus> = STATUSES.into_iter().filter(|status| agrees_with_view(state, *status)).collect();
            assert_eq!(found, agrees, "{state:?}");
        }
    }
}
