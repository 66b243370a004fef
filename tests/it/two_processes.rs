//! Two processes with all roles on one PostgreSQL and one Kafka: roles move in seconds when one is killed or paused, and nothing is written twice.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use jari::{client::Shop, config::Config, proof::Proof};
use jari_domain::{AnyEvent, Position, order::OrderEvent};
use jari_event_store::{Database, Reader};
use jari_projections::{AsOf, Replay, digest_live, view_names};
use jari_proto::{
    operations::v1::{GetStatusRequest, GetStatusResponse, RelayState, operations_service_client::OperationsServiceClient},
    order::v1::{OrderState, order_service_client::OrderServiceClient},
};
use jari_relay::{Cluster, audit};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::{
    harness::{database, eventually},
    processes::{Folder, Program, channel, free_address, start},
    relay::{kafka, prefix},
    serving::order,
};

/// One of the two.
struct One {
    name: &'static str,
    address: String,
    config: std::path::PathBuf,
    channel: Channel,
    program: Program,
}

struct Stage {
    database: Database,
    nodes: [One; 2],
    brokers: String,
    prefix: String,
    _folder: Folder,
}

impl One {
    async fn status(&self) -> Option<GetStatusResponse> {
        OperationsServiceClient::new(self.channel.clone()).get_status(GetStatusRequest::default()).await.ok().map(tonic::Response::into_inner)
    }

    /// Whether it settles, relays, and writes every view.
    async fn has_all_roles(&self) -> bool {
        let Some(status) = self.status().await else { return false };
        let relays = status.relay.is_some_and(|relay| relay.state() == RelayState::Running);
        let settles = status.settlement.is_some_and(|settlement| settlement.owner == self.name);
        settles && relays && status.projections.len() == view_names().len() && status.projections.iter().all(|view| view.owner == self.name)
    }
}

impl Stage {
    async fn set() -> Self {
        let (database, brokers, prefix, folder) = (database().await, kafka().await, prefix(), Folder::new());
        let one = |name: &'static str| {
            let address = free_address();
            let rest = format!(
                "[node]\nid = \"{name}\"\n[server]\nlisten = \"{address}\"\n[settlement]\nlease_ms = 1_500\n[projections]\nlease_ms = 1_500\n\
                 [relay]\nlease_ms = 1_500\n[kafka]\nbrokers = \"{brokers}\"\ntopic_prefix = \"{prefix}\"\npatience_ms = 5_000\n"
            );
            let config = folder.config(name, &database, &rest);
            let program = start(&config, &["serve"]);
            One { name, config, channel: channel(&address), address, program }
        };
        let first = one("first");
        eventually("the first has all roles", || first.has_all_roles()).await;
        let second = one("second");
        eventually("the second serves", || async { second.status().await.is_some() }).await;
        Self { database, nodes: [first, second], brokers, prefix, _folder: folder }
    }

    /// A new product with so many seats; begun anew, under another name, when a call in the middle is not answered in time.
    async fn product(&self, seats: i32) -> String {
        let opened = Mutex::new(None);
        eventually("a product is on sale", || async {
            let Ok(shop) = Shop::connect(&self.nodes[0].address, 1).await else { return false };
            let stock = shop.open(1, seats).await.ok();
            *opened.lock().unwrap() = stock.map(|mut stock| stock.products.remove(0));
            opened.lock().unwrap().is_some()
        })
        .await;
        opened.into_inner().unwrap().unwrap()
    }

    /// Waits until the other of the two has all roles; gives how long that took.
    async fn until_moved(&self, to: usize) -> Duration {
        let began = Instant::now();
        eventually("the other has all roles", || self.nodes[to].has_all_roles()).await;
        began.elapsed()
    }
}

/// What customers were told, by order.
type Told = Arc<Mutex<HashMap<String, OrderState>>>;

/// One customer: an order after the other, now at the one node, now at the other, each under its id until it is known what became of it.
async fn buy(channels: [Channel; 2], product: String, told: Told, over: Arc<AtomicBool>, count: Arc<AtomicUsize>, customer: usize) {
    let mut at = customer;
    while !over.load(Ordering::Relaxed) {
        let mut request = order(&[(&*product, 1)]);
        request.lines[0].units[0].unit_id = "seat".into();
        request.wait = Some(prost_types::Duration { seconds: 2, nanos: 0 });
        let began = Instant::now();
        // bounded: whoever gets no answer for two minutes has found a fault
        let state = loop {
            assert!(began.elapsed() < Duration::from_secs(120), "an order is not settled: {request:?}");
            at += 1;
            match OrderServiceClient::new(channels[at % 2].clone()).place_order(request.clone()).await {
                Ok(answer) => match answer.into_inner().order.unwrap().state() {
                    OrderState::Accepted => {}
                    settled => break settled,
                },
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        told.lock().unwrap().insert(request.request_id, state);
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_move_when_a_process_is_killed_or_paused_and_nothing_is_written_twice() {
    suffer(&["KILL", "STOP"]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: ten times, in some minutes"]
async fn roles_move_as_often_as_processes_are_killed_or_paused() {
    suffer(&["KILL", "STOP", "STOP", "KILL", "KILL", "STOP", "KILL", "STOP", "STOP", "KILL"]).await;
}

/// Kills or pauses whoever has all roles, fault by fault, while customers buy from both; then compares everything with the log.
async fn suffer(faults: &[&str]) {
    let mut stage = Stage::set().await;
    // one that sells out, and one that does not
    let products = [stage.product(700).await, stage.product(1_000_000).await];
    let (told, over, count) = (Told::default(), Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut customers = tokio::task::JoinSet::new();
    for customer in 0..12 {
        let channels = [stage.nodes[0].channel.clone(), stage.nodes[1].channel.clone()];
        let product = products[usize::from(customer % 3 != 0)].clone();
        customers.spawn(buy(channels, product, told.clone(), over.clone(), count.clone(), customer));
    }
    let mut owner = 0;
    for fault in faults {
        let before = count.load(Ordering::Relaxed);
        eventually("customers are served", || async { count.load(Ordering::Relaxed) > before + 60 }).await;
        let other = 1 - owner;
        match *fault {
            "KILL" => stage.nodes[owner].program.kill(),
            pause => stage.nodes[owner].program.signal(pause),
        }
        let took = stage.until_moved(other).await;
        eprintln!("{fault}: all roles moved after {took:.1?}");
        let before = count.load(Ordering::Relaxed);
        eventually("customers are served again", || async { count.load(Ordering::Relaxed) > before + 60 }).await;
        let gone = &mut stage.nodes[owner];
        if *fault == "KILL" {
            gone.program = start(&gone.config, &["serve"]);
        } else {
            // it wakes in the middle of what it did, and believes to have every role
            gone.program.signal("CONT");
        }
        let gone = &stage.nodes[owner];
        eventually("the one that was gone serves again", || async { gone.status().await.is_some() }).await;
        owner = other;
    }
    over.store(true, Ordering::Relaxed);
    while let Some(customer) = customers.join_next().await {
        customer.unwrap();
    }
    let head = until_still(&stage, owner).await;
    let told = told.lock().unwrap().clone();
    compare(&stage, &told, head).await;
    for node in &mut stage.nodes {
        node.program.signal("TERM");
        assert!(node.program.until_ended().await, "{}", node.program.said());
    }
}

/// Waits until all orders are settled, read by every view, and relayed; gives the head.
async fn until_still(stage: &Stage, owner: usize) -> Position {
    let reader = Reader::new(stage.database.clone());
    eventually("views and relay are level with the log", || async {
        let Some(status) = stage.nodes[owner].status().await else { return false };
        let head = reader.head().await.unwrap().to_i64();
        let settled = status.settlement.is_some_and(|settlement| settlement.queued_orders == 0 && settlement.parked_orders == 0);
        let relayed = status.relay.is_some_and(|relay| relay.state() == RelayState::Running && relay.position == head);
        settled && relayed && status.projections.iter().all(|view| view.position == head && view.quarantined_streams == 0)
    })
    .await;
    reader.head().await.unwrap()
}

/// The log in itself, what customers were told, every view, and the topics: all beside the log.
async fn compare(stage: &Stage, told: &HashMap<String, OrderState>, head: Position) {
    let reader = Reader::new(stage.database.clone());
    let events = reader.log_after(Position::START, usize::try_from(head.get()).unwrap()).await.unwrap();
    let mut proof = Proof::default();
    let mut settled: HashMap<&str, Vec<OrderState>> = HashMap::new();
    for event in &events {
        proof.take(event);
        match event.event() {
            Some(AnyEvent::Order(OrderEvent::OrderPlaced { .. })) => assert!(settled.insert(&event.aggregate_id, vec![]).is_none(), "placed twice"),
            Some(AnyEvent::Order(OrderEvent::OrderHeld { .. })) => settled.get_mut(&*event.aggregate_id).unwrap().push(OrderState::Held),
            Some(AnyEvent::Order(OrderEvent::OrderRejected { .. })) => settled.get_mut(&*event.aggregate_id).unwrap().push(OrderState::Rejected),
            _ => {}
        }
    }
    assert_eq!(proof.finish(), Vec::<String>::new());
    assert!(settled.values().all(|states| states.len() == 1), "each order is settled once");
    assert_eq!(settled.len(), told.len(), "as many orders as customers were told of");
    for (order, state) in told {
        // an order that was told late may have lapsed meanwhile
        let state = if *state == OrderState::Expired { OrderState::Held } else { *state };
        assert_eq!(settled[&**order], [state], "{order}");
    }
    for view in view_names() {
        let live = digest_live(&stage.database, view).await.unwrap();
        let replay = Replay::of(view, AsOf::Position(live.position));
        let then = replay.run(&stage.database, |_| {}, &CancellationToken::new()).await.unwrap();
        assert_eq!((live.position, live.digested.digest), (head, then.digested.digest), "{view} is what the log says");
    }
    let mut config = Config::default();
    config.kafka.topic_prefix.clone_from(&stage.prefix);
    let settings = config.relay_settings(&stage.brokers);
    let cluster = Cluster::new(settings.kafka, settings.patience);
    let log_id = reader.identity().await.unwrap().log_id;
    for audit in audit(&cluster, &reader, log_id, head).await.unwrap() {
        assert_eq!(audit.faults(), 0, "{audit:?}");
    }
    eprintln!("{} orders, {head} events, all alike in log, views and topics", told.len());
}
