//! `jari demo`: a thousand customers want a hundred seats, at once.

use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use jari_domain::{AnyEvent, Position, StreamId, ids::SlotId, order::OrderEvent, registry::AsAggregate, slot::InventorySlot};
use jari_event_store::{LoadRequest, Reader};
use jari_proto::availability::v1::{GetSlotRequest, GetSlotResponse, availability_service_client::AvailabilityServiceClient};
use tokio::task::JoinSet;
use tonic::{Code, Response, Status, transport::Channel};

use super::print;
use crate::{
    cli::Demo,
    client::{Answered, PATIENCE, PAUSE, Shop},
    config::Config,
    database,
    story::{self, Story, Told},
};

/// Connections that the customers share.
const CONNECTIONS: usize = 8;
/// Events read at once when the log is counted.
const PAGE: usize = 10_000;

/// Runs the demo; the exit code says whether customers, log, slot and view agree.
///
/// # Errors
/// A server or a database that does not answer.
pub async fn run(config: &Config, options: &Demo) -> anyhow::Result<ExitCode> {
    let server = options.server.clone().unwrap_or_else(|| config.advertised().to_owned());
    if let Some(seconds) = options.story {
        return story(&server, options.customers, seconds).await;
    }
    let shop = Arc::new(Shop::connect(&server, CONNECTIONS).await?);
    let stock = Arc::new(shop.open(1, i32::try_from(options.seats).unwrap_or(i32::MAX)).await?);
    let slot = SlotId::parse(&stock.slots[0])?;
    let reader = Reader::new(database::find(config)?.database);
    let before = reader.head().await?;
    print(&format!("{} customers want the {} seats of {slot}, over gRPC, all at once ...\n", options.customers, options.seats));
    let began = Instant::now();
    let mut customers = JoinSet::new();
    for n in 0..options.customers {
        let (shop, stock) = (shop.clone(), stock.clone());
        customers.spawn(async move { customer(&shop, &stock, n).await });
    }
    let mut latencies = Histogram::<u64>::new_with_bounds(1, 300_000_000, 3)?;
    let (mut sold, mut refused, mut other) = (0_u32, 0_u32, 0_u32);
    while let Some(done) = customers.join_next().await {
        let (answer, micros) = done?;
        latencies.saturating_record(micros);
        match answer {
            Answered::Held => sold += 1,
            Answered::Rejected(_) => refused += 1,
            Answered::Waiting | Answered::Refused(..) => other += 1,
        }
    }
    let took = began.elapsed().as_secs_f64();
    let latency = |quantile| latencies.value_at_quantile(quantile) as f64 / 1_000.0;
    print(&format!("sold {sold}, refused {refused}, no answer {other}\n"));
    print(&format!("{:.0} orders a second, p50 {:.1} ms, p99 {:.1} ms\n", f64::from(options.customers) / took, latency(0.5), latency(0.99)));

    let counted = count(&reader, before, &slot).await?;
    let request = LoadRequest { stream: StreamId::from(&slot), from: None };
    let loaded = reader.load(&[request]).await?.into_iter().next().transpose()?;
    let state = loaded.as_ref().and_then(|l| InventorySlot::of(&l.state)).map(InventorySlot::counts).unwrap_or_default();
    let get = GetSlotRequest { slot_id: slot.to_string(), min_position: counted.position.to_i64() };
    let view = look(shop.channel(0), &get).await?;
    let seen = view.slot.and_then(|s| s.counts).unwrap_or_default();
    print(&format!("log:  {} orders held, {} rejected\n", counted.held, counted.rejected));
    print(&format!("slot: {} held of {}\n", state.held, state.capacity));
    print(&format!("view: {} held of {}, at position {}\n", seen.held, seen.capacity, view.position));
    // of those who heard nothing in all that time, nobody knows what became of their orders: they may be in the log
    let told = (sold..=sold + other).contains(&counted.held) && (refused..=refused + other).contains(&counted.rejected);
    let agree = told && state.held.get() == counted.held && u32::try_from(seen.held) == Ok(counted.held);
    let exact = sold == options.seats.min(options.customers) || other > 0;
    let (verdict, code) = match agree && exact {
        true if other == 0 => ("They agree: every seat was sold once.\n", ExitCode::SUCCESS),
        true => ("They agree: no seat was sold twice.\n", ExitCode::SUCCESS),
        false => ("THEY DO NOT AGREE.\n", ExitCode::FAILURE),
    };
    print(verdict);
    shop.close(&stock).await?;
    Ok(code)
}

/// What the view has of a slot. A server that was started again a moment ago has views that are behind: it is asked again.
async fn look(channel: Channel, get: &GetSlotRequest) -> Result<GetSlotResponse, Status> {
    let (mut slots, began) = (AvailabilityServiceClient::new(channel), Instant::now());
    // ends with an answer, or with a customer's patience
    loop {
        match slots.get_slot(get.clone()).await {
            Err(status) if status.code() == Code::Unavailable && began.elapsed() < PATIENCE => tokio::time::sleep(PAUSE).await,
            answer => return answer.map(Response::into_inner),
        }
    }
}

/// A sale for analysts to look at.
async fn story(server: &str, customers: u32, seconds: u64) -> anyhow::Result<ExitCode> {
    print(&format!("{customers} customers come within {seconds} seconds ...\n"));
    let told = story::tell(server, Story { customers, lasts: Duration::from_secs(seconds) }).await?;
    let Told { product, placed, rejected, bought, cancelled, given_back, forgotten, unserved } = &told;
    print(&format!("{product}: {placed} orders, {rejected} rejected, {bought} bought, {given_back} given back, {forgotten} forgotten\n"));
    print(&format!("{cancelled} of those that were bought were cancelled later; {unserved} customers were sent away or heard nothing in time\n"));
    print("`jari export FOLDER` writes it down; docs/analysts.md tells what to ask of it.\n");
    Ok(ExitCode::SUCCESS)
}

/// Wants one seat, and asks until it is told.
async fn customer(shop: &Shop, stock: &crate::client::Stock, n: u32) -> (Answered, u64) {
    let began = Instant::now();
    let answer = shop.insist(&stock.wish(n.into()), n as usize).await;
    (answer, u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX))
}

#[derive(Default)]
struct Counted {
    held: u32,
    rejected: u32,
    position: Position,
}

/// What the log says of the orders on this slot since `after`.
async fn count(reader: &Reader, after: Position, slot: &SlotId) -> anyhow::Result<Counted> {
    let mut counted = Counted { position: after, ..Counted::default() };
    let mut ours = std::collections::HashSet::new();
    // ends at the log's head: each round reads a page further
    loop {
        let page = reader.log_after(counted.position, PAGE).await?;
        let Some(last) = page.last() else { return Ok(counted) };
        counted.position = last.position;
        for event in &page {
            let Some(AnyEvent::Order(change)) = event.event() else { continue };
            match change {
                OrderEvent::OrderPlaced { lines, .. } if lines.iter().flat_map(|line| &line.draws).any(|draw| draw.slot_id == *slot) => {
                    ours.insert(event.aggregate_id.clone());
                }
                OrderEvent::OrderHeld { .. } if ours.contains(&event.aggregate_id) => counted.held += 1,
                OrderEvent::OrderRejected { .. } if ours.contains(&event.aggregate_id) => counted.rejected += 1,
                _ => {}
            }
        }
    }
}
