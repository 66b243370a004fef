//! Figures for a monitoring system, and health, as somebody outside sees them.

use std::cell::RefCell;

use jari_proto::{operations::v1::GetStatusRequest, order::v1::order_query_service_server::SERVICE_NAME};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::{
    harness::{database, eventually},
    raw,
    serving::{Serving, order},
};

impl Serving {
    /// What `GET path` answers where the metrics are: the head and the body.
    async fn scrape(&self, path: &str) -> (String, String) {
        let mut connection = tokio::net::TcpStream::connect(self.node.metrics.unwrap()).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: jari\r\nConnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    /// The figures, once they are as they are waited for: a part of which nobody heard in time, as on a slow machine, tells none.
    async fn figures(&self, are_there: impl Fn(&str) -> bool) -> (String, String) {
        let scraped = RefCell::new(<(String, String)>::default());
        eventually("the figures are there", || async {
            let told = self.scrape("/metrics").await;
            let is_all = are_there(&told.1);
            scraped.replace(told);
            is_all
        })
        .await;
        scraped.into_inner()
    }

    async fn health(&self, service: &str) -> ServingStatus {
        let asked = HealthCheckRequest { service: service.into() };
        HealthClient::new(self.channel.clone()).check(asked).await.unwrap().into_inner().status()
    }
}

/// The value of a figure: its name and labels as they stand in the text.
fn figure(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_part_of_a_node_tells_its_figures_to_whoever_scrapes() {
    let shop = Serving::on(database().await, |config| config.metrics.listen = "127.0.0.1:0".into()).await;
    shop.on_sale("poster", 100).await;
    for _ in 0..10 {
        shop.orders().place_order(order(&[("poster", 1)])).await.unwrap();
    }
    let head = u64::try_from(shop.status().await.position).unwrap();
    shop.scrawl("Order", "scrawled", 1).await;
    // the views have read everything, and whoever asks the database for a figure was answered
    let there = [
        ("jari_view_quarantined_streams{view=\"orders\"}", 1),
        ("jari_view_lag_events{view=\"orders\"}", 0),
        ("jari_view_lag_events{view=\"products\"}", 0),
        ("jari_view_lag_events{view=\"availability\"}", 0),
        ("jari_settlement_owned", 1),
        ("jari_log_answers", 1),
    ];
    let is_parked_told = |text: &str| figure(text, "jari_settlement_parked_orders").is_some();
    let (top, text) = shop.figures(|text| is_parked_told(text) && there.iter().all(|(name, value)| figure(text, name) == Some(*value))).await;
    assert!(top.starts_with("HTTP/1.1 200") && top.to_lowercase().contains("content-type: application/openmetrics-text"), "{top}");
    assert!(text.ends_with("# EOF\n"), "{text}");
    for (name, value) in [
        ("jari_log_head_position", head + 1),
        ("jari_view_position{view=\"products\"}", head + 1),
        ("jari_view_ready{view=\"availability\"}", 1),
        ("jari_settlement_owned", 1),
        ("jari_settlement_queued_orders", 0),
        ("jari_settlement_parked_orders", 0),
        ("jari_orders_settled_total", 10),
        ("jari_callers_sent_away_total", 0),
        ("jari_relay_state{state=\"off\"}", 1),
        ("jari_relay_state{state=\"running\"}", 0),
        ("jari_log_answers", 1),
        ("jari_events_appended_total", head),
    ] {
        assert_eq!(figure(&text, name), Some(value), "{name}\n{text}");
    }
    for name in ["jari_append_batches_total", "jari_append_groups_total", "jari_callers_admitted_total", "jari_pool_connections"] {
        assert!(figure(&text, name).is_some_and(|value| value > 0), "{name}\n{text}");
    }
    assert_eq!(figure(&text, "jari_relay_position"), None, "what nobody knows is not told");
    let names: std::collections::BTreeSet<_> = text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()).collect();
    assert!(names.iter().all(|name| name.starts_with("jari_")) && names.len() >= 20, "{names:?}");
    assert!(shop.scrape("/").await.0.starts_with("HTTP/1.1 404"));
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_service_is_unhealthy_while_its_view_is_too_far_behind_and_bookings_are_not() {
    let shop = Serving::on(database().await, |config| config.projections.unhealthy_lag_events = 20).await;
    shop.on_sale("poster", 1_000).await;
    eventually("it is well", || async { shop.health(SERVICE_NAME).await == ServingStatus::Serving }).await;
    // somebody keeps the view from being written
    let mut client = raw::client(&shop.database).await;
    let held = client.transaction().await.unwrap();
    held.execute("SELECT 1 FROM views.builds WHERE view = 'orders' AND state = 'live' FOR UPDATE", &[]).await.unwrap();
    for _ in 0..20 {
        shop.orders().place_order(order(&[("poster", 1)])).await.unwrap();
    }
    eventually("the service says so", || async { shop.health(SERVICE_NAME).await == ServingStatus::NotServing }).await;
    for well in ["", "reservation.order.v1.OrderService", "reservation.product.v1.ProductQueryService"] {
        eventually(well, || async { shop.health(well).await == ServingStatus::Serving }).await;
    }
    held.rollback().await.unwrap();
    eventually("it is well again", || async { shop.health(SERVICE_NAME).await == ServingStatus::Serving }).await;
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_a_node_says_what_it_knows_and_when_it_is_back_that_all_is_well() {
    let shop = Serving::on(database().await, |config| config.metrics.listen = "127.0.0.1:0".into()).await;
    shop.on_sale("poster", 10).await;
    eventually("it is well", || async { shop.health(SERVICE_NAME).await == ServingStatus::Serving }).await;
    let name = shop.database.config().get_dbname().unwrap().to_owned();
    let operator = raw::elsewhere(&shop.database).await;
    let allow = |whether: bool| format!("ALTER DATABASE \"{name}\" WITH ALLOW_CONNECTIONS {whether}");
    operator.batch_execute(&allow(false)).await.unwrap();
    operator.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", &[&name]).await.unwrap();
    let (top, text) = shop.figures(|text| figure(text, "jari_log_answers") == Some(0)).await;
    assert!(top.starts_with("HTTP/1.1 200") && text.ends_with("# EOF\n"), "{top}\n{text}");
    for asked in ["jari_settlement_parked_orders", "jari_view_lag_events{view=\"orders\"}"] {
        assert_eq!(figure(&text, asked), None, "what nobody knows is not told");
    }
    eventually("views that cannot be written are not well", || async { shop.health(SERVICE_NAME).await == ServingStatus::NotServing }).await;
    operator.batch_execute(&allow(true)).await.unwrap();
    eventually("nothing is troubled any more, though nothing has happened", || async {
        let told = shop.operations().get_status(GetStatusRequest::default()).await;
        told.is_ok_and(|told| told.into_inner().projections.iter().all(|view| view.trouble.is_empty()))
    })
    .await;
    eventually("it is well again", || async { shop.health(SERVICE_NAME).await == ServingStatus::Serving }).await;
    shop.figures(|text| figure(text, "jari_log_answers") == Some(1) && figure(text, "jari_settlement_parked_orders") == Some(0)).await;
    shop.node.stop().await;
}
