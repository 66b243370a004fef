//! A sale as it goes: customers come in a rush that ebbs, choose, buy, forget, give back, cancel and come again. Made over gRPC, as real ones would;
//! for analysts, who need something to look at.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use jari_proto::{
    inventory::v1::{OpenSlotRequest, inventory_service_client::InventoryServiceClient},
    order::v1::{
        CancelOrderRequest, ConfirmOrderRequest, LineRequest, OrderState, PlaceOrderRequest, UnitQuantity, order_service_client::OrderServiceClient,
    },
    product::v1::{
        CreateProductRequest, DefineOptionRequest, Draw, LaunchProductRequest, Option as ProductOption, SaleMode, Unit,
        product_service_client::ProductServiceClient,
    },
    status::retry_after,
    r#type::v1::{Money, Window},
};
use prost_types::Timestamp;
use tokio::{task::JoinSet, time::sleep};
use tonic::{Status, transport::Channel};
use uuid::Uuid;

use crate::client::Shop;

/// The shortest for which a product may hold: a story with forgotten holds is no shorter.
const HOLD_SECONDS: i32 = 30;
/// How long a customer waits for the settlement.
const WAIT_SECONDS: i64 = 20;
/// Times that a customer who is told to come back does so.
const TRIES: u32 = 20;
/// Orders of a customer who finds nothing.
const ORDERS: u64 = 3;

/// One way to buy: what it takes, and how its customers are. Shares are of 1.
struct Choice {
    id: &'static str,
    title: &'static str,
    price: i64,
    teachers: i32,
    boards: i32,
    /// Of the customers who choose it.
    chosen: f64,
    /// Of those who have it held, who buy.
    bought: f64,
}

const CHOICES: [Choice; 3] = [
    Choice { id: "lesson", title: "Lesson", price: 55_000, teachers: 1, boards: 0, chosen: 0.55, bought: 0.82 },
    Choice { id: "lesson-board", title: "Lesson and board", price: 70_000, teachers: 1, boards: 1, chosen: 0.33, bought: 0.64 },
    Choice { id: "private", title: "Private lesson", price: 160_000, teachers: 3, boards: 0, chosen: 0.12, bought: 0.42 },
];

/// The slots: in how many hours each starts, and how many of the customers want it.
const SLOTS: [(u64, f64); 6] = [(3, 0.34), (6, 0.22), (24, 0.16), (48, 0.12), (120, 0.1), (240, 0.06)];

/// Why people cancel.
const REASONS: [&str; 3] = ["sick", "other plans", "the weather"];

/// How large a story.
#[derive(Debug, Clone, Copy)]
pub struct Story {
    /// Who come.
    pub customers: u32,
    /// From the first to about the last; what was forgotten lapses half a minute later.
    pub lasts: Duration,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// On sale in this story.
    pub product: String,
    /// Orders that were accepted.
    pub placed: u32,
    /// Those that could not be served.
    pub rejected: u32,
    /// Held, and bought.
    pub bought: u32,
    /// Bought, and cancelled later.
    pub cancelled: u32,
    /// Held, and given back.
    pub given_back: u32,
    /// Held, and let go.
    pub forgotten: u32,
    /// Customers who were sent away, or heard nothing in time.
    pub unserved: u32,
}

/// Where it plays.
struct Scene {
    shop: Shop,
    product: String,
    starts: Vec<Timestamp>,
    lasts: Duration,
}

/// Lets the story happen.
///
/// # Errors
/// A server that does not answer, or refuses to put the product on sale.
pub async fn tell(server: &str, story: Story) -> anyhow::Result<Told> {
    let shop = Shop::connect(server, 8).await?;
    let scene = Arc::new(open(shop, story).await?);
    let mut customers = JoinSet::new();
    for n in 0..u64::from(story.customers) {
        let scene = scene.clone();
        customers.spawn(async move { scene.customer(n).await });
    }
    let mut told = Told { product: scene.product.clone(), ..Told::default() };
    while let Some(done) = customers.join_next().await {
        let one = done?;
        told.placed += one.placed;
        told.rejected += one.rejected;
        told.bought += one.bought;
        told.cancelled += one.cancelled;
        told.given_back += one.given_back;
        told.forgotten += one.forgotten;
        told.unserved += one.unserved;
    }
    if told.forgotten > 0 {
        // the last hold lapses, and its end is recorded
        sleep(Duration::from_secs(HOLD_SECONDS.unsigned_abs().into())).await;
    }
    Ok(told)
}

/// Puts the product and its slots on sale: room for about half of those who come, and less where most want to go.
async fn open(shop: Shop, story: Story) -> anyhow::Result<Scene> {
    let product = format!("surf-{}", Uuid::now_v7().simple());
    let (teachers, boards) = (format!("teachers-{product}"), format!("boards-{product}"));
    let mut products = ProductServiceClient::new(shop.channel(0));
    let create = CreateProductRequest {
        request_id: id(),
        product_id: product.clone(),
        title: "Surfing for beginners".into(),
        sale_mode: SaleMode::Reservation.into(),
        time_zone: "Asia/Seoul".into(),
        currency: "KRW".into(),
        hold_seconds: HOLD_SECONDS,
        cut_off_seconds: 0,
    };
    products.create_product(create).await?;
    for choice in &CHOICES {
        let unit = Unit {
            unit_id: "person".into(),
            title: "Person".into(),
            price: Some(Money { currency: "KRW".into(), minor_units: choice.price }),
            heads: 1,
        };
        let draws = [(&teachers, choice.teachers), (&boards, choice.boards)];
        let draws = draws.into_iter().filter(|(_, n)| *n > 0).map(|(pool, n)| Draw { pool_id: pool.clone(), per_head: n }).collect();
        let option = ProductOption { option_id: choice.id.into(), title: choice.title.into(), units: vec![unit], draws };
        products.define_option(DefineOptionRequest { request_id: id(), product_id: product.clone(), option: Some(option) }).await?;
    }
    products.launch_product(LaunchProductRequest { request_id: id(), product_id: product.clone() }).await?;
    let mut inventory = InventoryServiceClient::new(shop.channel(0));
    let mut starts = Vec::new();
    let room = i32::try_from(story.customers / 10)?.max(6);
    for (hours, _) in SLOTS {
        let at = SystemTime::now() + Duration::from_secs(hours * 3_600);
        let starts_at = Timestamp { nanos: 0, ..Timestamp::from(at) };
        let window = Window { starts_at: Some(starts_at), ends_at: Some(Timestamp { seconds: starts_at.seconds + 5_400, nanos: 0 }) };
        for (pool_id, capacity) in [(&teachers, room), (&boards, room * 2 / 5)] {
            inventory.open_slot(OpenSlotRequest { request_id: id(), pool_id: pool_id.clone(), window: Some(window), capacity }).await?;
        }
        starts.push(starts_at);
    }
    Ok(Scene { shop, product, starts, lasts: story.lasts })
}

impl Scene {
    /// One customer, from the first look to the last change of mind. The same customer always does the same.
    async fn customer(&self, n: u64) -> Told {
        let mut told = Told::default();
        self.after(0.6 * dice(n, 0).powf(1.6)).await;
        let choice = pick(dice(n, 1), CHOICES.iter().map(|choice| (choice, choice.chosen)));
        for try_no in 0..ORDERS {
            let slot = pick(dice(n, 10 + try_no), SLOTS.iter().enumerate().map(|(at, (_, wanted))| (at, *wanted)));
            match self.place(n, choice, slot).await {
                Ok((OrderState::Held, order_id)) => {
                    told.placed += 1;
                    self.decide(n, choice, slot, &order_id, &mut told).await;
                    return told;
                }
                Ok((OrderState::Rejected, _)) => {
                    told.placed += 1;
                    told.rejected += 1;
                }
                Ok(_) | Err(_) => {
                    told.unserved += 1;
                    return told;
                }
            }
            if dice(n, 20 + try_no) > 0.6 {
                return told;
            }
            self.after(0.05 + 0.2 * dice(n, 30 + try_no)).await;
        }
        told
    }

    async fn place(&self, n: u64, choice: &Choice, slot: usize) -> Result<(OrderState, String), Status> {
        let request = PlaceOrderRequest {
            request_id: id(),
            order_id: String::new(),
            customer: format!("customer-{n}"),
            lines: vec![LineRequest {
                product_id: self.product.clone(),
                option_id: choice.id.into(),
                starts_at: Some(self.starts[slot]),
                units: vec![UnitQuantity { unit_id: "person".into(), quantity: 1 }],
            }],
            wait: Some(prost_types::Duration { seconds: WAIT_SECONDS, nanos: 0 }),
            ..PlaceOrderRequest::default()
        };
        let answer = again(|| {
            let (mut orders, request) = (self.orders(n), request.clone());
            async move { orders.place_order(request).await }
        })
        .await?
        .into_inner();
        let order = answer.order.unwrap_or_default();
        Ok((order.state(), order.order_id))
    }

    /// What becomes of a held order: a hold is good for half a minute, and nobody takes longer than two thirds of that to decide.
    async fn decide(&self, n: u64, choice: &Choice, slot: usize, order_id: &str, told: &mut Told) {
        let (mood, longest) = (dice(n, 2), f64::from(HOLD_SECONDS) * 2.0 / 3.0);
        let takes = self.lasts.mul_f64(0.02 + 0.2 * dice(n, 3)).min(Duration::from_secs_f64(longest));
        if mood < choice.bought {
            sleep(takes).await;
            let request = ConfirmOrderRequest { request_id: id(), order_id: order_id.into() };
            if again(|| {
                let (mut orders, request) = (self.orders(n), request.clone());
                async move { orders.confirm_order(request).await }
            })
            .await
            .is_err()
            {
                told.forgotten += 1;
                return;
            }
            told.bought += 1;
            // the further away, the likelier that something comes in between
            let ahead = slot as f64 / SLOTS.len() as f64;
            if dice(n, 4) < 0.08 + 0.3 * ahead {
                self.after(0.05 + 0.5 * dice(n, 5)).await;
                let reason = pick(dice(n, 6), REASONS.iter().zip([0.3, 0.5, 0.2]));
                told.cancelled += u32::from(self.cancel(n, order_id, reason).await);
            }
        } else if mood < choice.bought + (1.0 - choice.bought) * 0.4 {
            sleep(takes).await;
            let given_back = self.cancel(n, order_id, "changed my mind").await;
            told.given_back += u32::from(given_back);
            told.forgotten += u32::from(!given_back);
        } else {
            told.forgotten += 1;
        }
    }

    async fn cancel(&self, n: u64, order_id: &str, reason: &str) -> bool {
        let request = CancelOrderRequest { request_id: id(), order_id: order_id.into(), reason: reason.into() };
        again(|| {
            let (mut orders, request) = (self.orders(n), request.clone());
            async move { orders.cancel_order(request).await }
        })
        .await
        .is_ok()
    }

    fn orders(&self, n: u64) -> OrderServiceClient<Channel> {
        OrderServiceClient::new(self.shop.channel(usize::try_from(n).unwrap_or(0)))
    }

    /// Waits for a part of the story's time.
    async fn after(&self, part: f64) {
        sleep(self.lasts.mul_f64(part)).await;
    }
}

/// Asks until there is an answer, or no use in asking again.
async fn again<T, F: Future<Output = Result<T, Status>>>(mut ask: impl FnMut() -> F) -> Result<T, Status> {
    let mut answer = ask().await;
    for _ in 0..TRIES {
        let Some(delay) = answer.as_ref().err().and_then(retry_after) else { break };
        sleep(delay).await;
        answer = ask().await;
    }
    answer
}

fn id() -> String {
    Uuid::now_v7().to_string()
}

/// The one on which `dice`, from 0 to 1, falls; shares add up to 1.
fn pick<T>(dice: f64, of: impl IntoIterator<Item = (T, f64)>) -> T {
    let mut left = dice;
    let mut last = None;
    for (one, share) in of {
        last = Some(one);
        left -= share;
        if left < 0.0 {
            break;
        }
    }
    last.expect("there is something to choose from")
}

/// A number from 0 to below 1 that depends on the customer and the question alone (SplitMix64, G. Steele and others, 2014).
fn dice(customer: u64, question: u64) -> f64 {
    let mut z = (customer * 64 + question + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (((z ^ (z >> 31)) >> 11) as f64) / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn customers_choose_as_often_as_the_table_says() {
        let shares = [CHOICES.iter().map(|choice| choice.chosen).sum::<f64>(), SLOTS.iter().map(|(_, wanted)| wanted).sum()];
        assert!(shares.iter().all(|sum| (sum - 1.0).abs() < 1e-9), "{shares:?}");
        for choice in &CHOICES {
            let chosen = (0..10_000).filter(|n| pick(dice(*n, 1), CHOICES.iter().map(|one| (one.id, one.chosen))) == choice.id).count();
            assert!((chosen as f64 / 10_000.0 - choice.chosen).abs() < 0.02, "{}: {chosen}", choice.id);
        }
    }
}
