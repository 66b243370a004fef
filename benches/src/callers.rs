//! Callers of a proof by real faults: each places one order after the other and confirms or cancels some of those that it gets. What is not answered
//! is asked again under the same request id, and what was told is recorded.

use std::{
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use jari_proto::{
    order::v1::{
        CancelOrderRequest, ConfirmOrderRequest, LineRequest, OrderState, PlaceOrderRequest, UnitQuantity, order_service_client::OrderServiceClient,
    },
    status::reason,
};
use tokio::task::JoinSet;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};
use uuid::Uuid;

/// Callers at once.
const CALLERS: u64 = 32;
/// A caller gives up on a command after this; it then counts as lost.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// Before asking again after an error.
const PAUSE: Duration = Duration::from_millis(100);

/// The last that a caller was told of one of its orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Held, and left at that.
    Held,
    /// Not served.
    Rejected,
    /// Held, then bought.
    Confirmed,
    /// Held, then given back.
    Cancelled,
    /// Held; then the confirmation or the cancellation was refused, with this code.
    Refused(String),
}

/// What callers were told, each order once: its id, and the last.
pub type Record = Vec<(String, Told)>;

/// Callers at work.
pub struct Callers {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

struct Shared {
    products: Vec<String>,
    /// Locked for as long as it takes to add or count.
    record: Mutex<Record>,
    over: AtomicBool,
    lost: AtomicU64,
}

impl Callers {
    /// Lets them call at `address`, for one or two of the products at a time.
    ///
    /// # Errors
    /// What is no address.
    pub fn start(address: &str, products: Vec<String>) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
        let channel = endpoint.timeout(Duration::from_secs(15)).connect_timeout(Duration::from_secs(1));
        let shared = Arc::new(Shared { products, record: Mutex::default(), over: AtomicBool::new(false), lost: AtomicU64::new(0) });
        let mut tasks = JoinSet::new();
        for number in 0..CALLERS {
            let caller = Caller { number, orders: OrderServiceClient::new(channel.connect_lazy()), shared: shared.clone() };
            tasks.spawn(caller.call());
        }
        Ok(Self { shared, tasks })
    }

    /// Orders of which something was told.
    #[must_use]
    pub fn told(&self) -> usize {
        self.shared.record.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Lets each end its last order; gives what they were told, and how many commands got no outcome in all their patience.
    pub async fn end(mut self) -> (Record, u64) {
        self.shared.over.store(true, Ordering::Relaxed);
        // each ends within its patience for two commands
        while self.tasks.join_next().await.is_some() {}
        let record = std::mem::take(&mut *self.shared.record.lock().unwrap_or_else(PoisonError::into_inner));
        (record, self.shared.lost.load(Ordering::Relaxed))
    }
}

struct Caller {
    number: u64,
    orders: OrderServiceClient<Channel>,
    shared: Arc<Shared>,
}

impl Caller {
    async fn call(self) {
        let (mut n, mut held) = (self.number, 0);
        while !self.shared.over.load(Ordering::Relaxed) {
            n += CALLERS;
            let request = self.wish(n);
            let order_id = request.request_id.clone();
            let Some(mut told) = self.place(request).await else { continue };
            if told == Told::Held {
                held += 1;
                // each third is bought or given back, in turns
                if held % 3 == 0 {
                    // when nobody told what came of that, it is counted as lost
                    let Some(then) = (if held % 2 == 0 { self.confirm(&order_id).await } else { self.cancel(&order_id).await }) else { continue };
                    told = then;
                }
            }
            self.shared.record.lock().unwrap_or_else(PoisonError::into_inner).push((order_id, told));
        }
    }

    /// The caller's order number `n`: each third wants two slots, in either order.
    fn wish(&self, n: u64) -> PlaceOrderRequest {
        let products = &self.shared.products;
        let first = usize::try_from(n).unwrap_or(0) % products.len();
        let second = (first + 1 + usize::try_from(self.number).unwrap_or(0)) % products.len();
        let wanted = if n.is_multiple_of(3) { vec![first, second] } else { vec![first] };
        let line = |product: usize| LineRequest {
            product_id: products[product].clone(),
            option_id: "one".into(),
            starts_at: None,
            units: vec![UnitQuantity { unit_id: "seat".into(), quantity: 1 }],
        };
        PlaceOrderRequest {
            request_id: Uuid::now_v7().to_string(),
            customer: format!("caller-{}", self.number),
            lines: wanted.into_iter().map(line).collect(),
            wait: Some(prost_types::Duration { seconds: 10, nanos: 0 }),
            ..PlaceOrderRequest::default()
        }
    }

    async fn place(&self, request: PlaceOrderRequest) -> Option<Told> {
        self.until_told(|| {
            let (mut orders, request) = (self.orders.clone(), request.clone());
            async move {
                // whatever else it is, it is not settled yet
                Ok(match orders.place_order(request).await?.into_inner().order.unwrap_or_default().state() {
                    OrderState::Held => Some(Told::Held),
                    OrderState::Rejected => Some(Told::Rejected),
                    _ => None,
                })
            }
        })
        .await
    }

    async fn confirm(&self, order_id: &str) -> Option<Told> {
        let request = ConfirmOrderRequest { request_id: Uuid::now_v7().to_string(), order_id: order_id.to_owned() };
        self.until_told(|| {
            let (mut orders, request) = (self.orders.clone(), request.clone());
            async move { decided(orders.confirm_order(request).await.map(|_| Told::Confirmed)) }
        })
        .await
    }

    async fn cancel(&self, order_id: &str) -> Option<Told> {
        let request = CancelOrderRequest { request_id: Uuid::now_v7().to_string(), order_id: order_id.to_owned(), reason: "other plans".into() };
        self.until_told(|| {
            let (mut orders, request) = (self.orders.clone(), request.clone());
            async move { decided(orders.cancel_order(request).await.map(|_| Told::Cancelled)) }
        })
        .await
    }

    /// Asks until it is told; nothing when that took longer than its patience, which is then counted.
    async fn until_told<F: Future<Output = Result<Option<Told>, Status>>>(&self, ask: impl Fn() -> F) -> Option<Told> {
        let began = Instant::now();
        // bounded by PATIENCE
        loop {
            match ask().await {
                Ok(Some(told)) => return Some(told),
                Ok(None) | Err(_) if began.elapsed() > PATIENCE => break,
                Ok(None) => {}
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
        self.shared.lost.fetch_add(1, Ordering::Relaxed);
        None
    }
}

/// A refusal is an answer, too, and no use in asking again; everything else may come from the faults.
fn decided(answer: Result<Told, Status>) -> Result<Option<Told>, Status> {
    match answer {
        Ok(told) => Ok(Some(told)),
        Err(status) => match (status.code(), reason(&status)) {
            (Code::InvalidArgument | Code::NotFound | Code::AlreadyExists | Code::FailedPrecondition, Some(code)) => Ok(Some(Told::Refused(code))),
            _ => Err(status),
        },
    }
}
