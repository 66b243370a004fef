//! PostgreSQL stands still: connections stay, nothing is said on them, and on a local socket no system notices. Queries end, and so does a node.

use std::time::Duration;

use jari_event_store::{Database, LogError, PoolSettings, migrate};
use jari_postgres::{Lifetime, PrivatePostgres};
use jari_proto::{
    availability::v1::{GetSlotRequest, ListAvailabilityRequest},
    operations::v1::{
        GetStatusRequest, ListParkedOrdersRequest, ListQuarantinedStreamsRequest, RetryParkedOrderRequest, RetryQuarantinedStreamRequest,
        operations_service_client::OperationsServiceClient,
    },
    order::v1::{GetOrderRequest, GetPersonalDataRequest, ListOrdersRequest, WatchOrderRequest},
    product::v1::{GetProductRequest, ListProductsRequest},
    status::{reason, retry_after},
};
use tokio::{task::JoinSet, time::Instant};
use tonic::{Code, Status};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::{
    deadlines::{call, is_exceeded},
    harness::eventually,
    outage::{family, signal},
    processes::{Folder, Program, channel, free_address, start},
    serving::{Serving, order},
};

/// The service whose health is asked for.
const QUERIES: &str = jari_proto::order::v1::order_query_service_server::SERVICE_NAME;
/// Fails rather than hangs.
const AT_MOST: Duration = Duration::from_secs(120);

async fn own_server(connections: usize) -> (PrivatePostgres, Database) {
    let server = PrivatePostgres::temporary(true, Lifetime::Owned).await.unwrap();
    let with = |settings| Database::new(server.access().superuser.clone(), settings).unwrap();
    migrate(&with(PoolSettings::patient()), None).await.unwrap();
    let database = with(PoolSettings { connections, ..PoolSettings::default() });
    (server, database)
}

/// Processes that stand still until this is dropped, however the test ends.
struct Still(Vec<i32>);

impl Still {
    fn of(pids: Vec<i32>) -> Self {
        pids.iter().for_each(|pid| signal(*pid, "STOP"));
        Self(pids)
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        self.0.iter().rev().for_each(|pid| signal(*pid, "CONT"));
    }
}

/// Calls under way: what was asked, and what was said.
type Calls = JoinSet<(&'static str, Result<(), Status>)>;

macro_rules! ask {
    ($calls:ident, $shop:ident, [$($client:ident . $rpc:ident ($request:expr)),* $(,)?]) => {
        $({
            let (mut client, request) = ($shop.$client(), $request);
            $calls.spawn(async move { (stringify!($rpc), client.$rpc(request).await.map(|_| ())) });
        })*
    };
}

/// Each call of those that read, and none says how long it waits.
fn ask_everything(shop: &Serving, order_id: &str, slot_id: &str) -> Calls {
    let mut calls = Calls::new();
    let id = || order_id.to_owned();
    ask!(
        calls,
        shop,
        [
            order_queries.get_order(GetOrderRequest { order_id: id(), min_position: 0 }),
            order_queries.get_personal_data(GetPersonalDataRequest { order_id: id(), min_position: 0 }),
            order_queries.list_orders(ListOrdersRequest { customer: "customer-1".into(), ..ListOrdersRequest::default() }),
            order_queries.watch_order(WatchOrderRequest { order_id: id(), ..WatchOrderRequest::default() }),
            product_queries.get_product(GetProductRequest { product_id: "seat".into(), min_position: 0 }),
            product_queries.list_products(ListProductsRequest::default()),
            availability.get_slot(GetSlotRequest { slot_id: slot_id.into(), min_position: 0 }),
            availability.list_availability(ListAvailabilityRequest { product_id: "seat".into(), ..ListAvailabilityRequest::default() }),
            operations.get_status(GetStatusRequest::default()),
            operations.list_parked_orders(ListParkedOrdersRequest::default()),
            operations.retry_parked_order(RetryParkedOrderRequest { order_id: id(), ..RetryParkedOrderRequest::default() }),
            operations.list_quarantined_streams(ListQuarantinedStreamsRequest::default()),
            operations.retry_quarantined_stream(RetryQuarantinedStreamRequest {
                projection: "orders".into(),
                aggregate_type: "Order".into(),
                aggregate_id: id(),
                ..RetryQuarantinedStreamRequest::default()
            }),
        ]
    );
    calls
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_ends_within_seconds_while_the_database_stands_still_and_finds_it_again() {
    let (server, database) = own_server(16).await;
    let shop = Serving::on(database, |_| {}).await;
    let slot_id = shop.on_sale("seat", 10).await;
    let placed = shop.orders().place_order(order(&[("seat", 1)])).await.unwrap().into_inner();
    let order_id = placed.order.unwrap().order_id;
    eventually("every view has read what is asked for below", || async {
        shop.status().await.projections.iter().all(|view| view.position >= placed.position)
    })
    .await;
    let still = Still::of(family(&server));
    let began = Instant::now();
    // more than there are connections, and one after the other
    for round in 0..2 {
        let mut all: Vec<Calls> = (0..3).map(|_| ask_everything(&shop, &order_id, &slot_id)).collect();
        for calls in &mut all {
            while let Some(call) = tokio::time::timeout(AT_MOST, calls.join_next()).await.expect("each query ends") {
                let (what, answer) = call.unwrap();
                let status = answer.expect_err(what);
                assert_eq!((status.code(), reason(&status).as_deref()), (Code::Unavailable, Some("DATABASE_UNAVAILABLE")), "{what}: {status:?}");
                assert!(retry_after(&status).is_some(), "{what}: {status:?}");
            }
        }
        assert!(began.elapsed() < Duration::from_secs(45 * (round + 1)), "{:?}", began.elapsed());
    }
    let is = |service: &'static str, wanted: ServingStatus| {
        let mut health = HealthClient::new(shop.channel.clone());
        async move { health.check(HealthCheckRequest { service: service.into() }).await.unwrap().into_inner().status() == wanted }
    };
    assert!(is(QUERIES, ServingStatus::NotServing).await, "whoever asks for its health is not sent here with queries");
    assert!(is("", ServingStatus::Serving).await, "bookings do not need views");
    // who says how long it waits is told in that time
    let get = GetOrderRequest { order_id: order_id.clone(), min_position: 0 };
    is_exceeded(&call(shop.node.address, "/reservation.order.v1.OrderQueryService/GetOrder", "700m", &get).await);
    drop(still);
    eventually("its health says so", || is(QUERIES, ServingStatus::Serving)).await;
    eventually("queries are answered again", || async { shop.order_queries().get_order(get.clone()).await.is_ok() }).await;
    eventually("every query is answered as ever", || async {
        let answers = tokio::time::timeout(AT_MOST, ask_everything(&shop, &order_id, &slot_id).join_all()).await.expect("each query ends");
        let codes: Vec<_> = answers.into_iter().map(|(what, answer)| (what, answer.err().map(|status| status.code()))).collect();
        for (what, code) in &codes {
            let is_retry = matches!(*what, "retry_parked_order" | "retry_quarantined_stream");
            assert!(matches!(code, None | Some(Code::Unavailable)) || is_retry && *code == Some(Code::NotFound), "{what}: {code:?}");
        }
        codes.iter().all(|(_, code)| *code != Some(Code::Unavailable))
    })
    .await;
    eventually("every connection is back", || async { shop.database.pool_use().in_use == 0 }).await;
    shop.node.stop().await;
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_gives_no_sign_leaves_the_pool_and_another_takes_its_place() {
    let (server, database) = own_server(1).await;
    let ask = || {
        database.in_time(async {
            let client = database.connection().await?;
            Ok::<i32, LogError>(client.query_one("SELECT pg_backend_pid()", &[]).await?.get(0))
        })
    };
    let mut kept = None;
    // on a machine that is slow for a moment its sign may come too late
    for _ in 0..10 {
        let (first, second) = (ask().await.ok(), ask().await.ok());
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        if first.is_some() && (first, first) == (second, ask().await.ok()) {
            kept = first;
            break;
        }
    }
    let backend = kept.expect("one that answers is kept, and one that gives a sign");
    let still = Still::of(vec![backend]);
    assert!(matches!(ask().await, Err(LogError::Silent(_))), "it stands still");
    let mut other = ask().await;
    for _ in 0..10 {
        if other.is_err() {
            other = ask().await;
        }
    }
    assert_ne!(other.expect("the others go on"), backend);
    assert_eq!(database.pool_use().open, 1);
    drop((still, server));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_database_stands_still_stops_within_its_bounds_all_the_same() {
    let (server, database) = own_server(16).await;
    let shop = Serving::on(database.clone(), |config| config.server.drain_seconds = 1).await;
    shop.on_sale("seat", 10).await;
    let placed = shop.orders().place_order(order(&[("seat", 1)])).await.unwrap().into_inner();
    let still = Still::of(family(&server));
    // long enough that each part waits for the database in the middle of something
    tokio::time::sleep(Duration::from_secs(6)).await;
    let began = Instant::now();
    tokio::time::timeout(AT_MOST, shop.node.stop()).await.expect("it stops");
    assert!(began.elapsed() < Duration::from_secs(90), "{:?}", began.elapsed());
    drop(still);
    // the next one finds everything
    let next = Serving::on(database, |_| {}).await;
    let get = GetOrderRequest { order_id: placed.order.unwrap().order_id, min_position: placed.position };
    eventually("it is found", || async { next.order_queries().get_order(get.clone()).await.is_ok() }).await;
    next.node.stop().await;
    drop(server);
}

/// The program, serving on this database.
async fn program(folder: &Folder, database: &Database) -> Program {
    let address = free_address();
    let rest = format!("[server]\nlisten = \"{address}\"\ndrain_seconds = 1\n[relay]\nenabled = false\n[intake]\nenabled = false\n");
    let program = start(&folder.config("node", database, &rest), &["serve"]);
    let channel = channel(&address);
    eventually("it serves", || async { OperationsServiceClient::new(channel.clone()).get_status(GetStatusRequest::default()).await.is_ok() }).await;
    program
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_ends_by_one_signal_while_its_database_stands_still_and_at_once_by_a_second() {
    let (server, database) = own_server(16).await;
    let folder = Folder::new();
    for signals in [&["INT"][..], &["INT", "TERM"]] {
        let mut node = program(&folder, &database).await;
        let still = Still::of(family(&server));
        tokio::time::sleep(Duration::from_secs(3)).await;
        let began = Instant::now();
        for signal in signals {
            node.signal(signal);
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        assert_eq!(node.until_ended().await, signals.len() == 1, "{}", node.said());
        assert!(began.elapsed() < Duration::from_secs(if signals.len() == 1 { 100 } else { 30 }), "{:?}", began.elapsed());
        assert_eq!(node.said().contains("the process ends at once."), signals.len() == 2, "{}", node.said());
        drop(still);
    }
    drop(server);
}
