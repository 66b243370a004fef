//! Figures for a monitoring system, in the text form of OpenMetrics, over HTTP on an address of their own.
//!
//! Nothing is counted here: what the parts of the node know of themselves is asked when somebody scrapes, and an answer is kept for a second, so that
//! many who scrape cost the database as much as one.

mod names;

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use anyhow::Context;
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use jari_commands::{
    engine::{Engine, Health},
    settlement::Settlement,
};
use jari_event_store::{Database, Lease, LogError, LogTail};
use jari_projections::{ProjectionState, ProjectionStatus, Views};
use jari_proto::operations::v1::{IntakeState, RelayState};
use jari_sealing::Sealer;
use names::Metric;
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use tokio::{net::TcpListener, sync::Mutex, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{intake_status::IntakePart, relay_status::RelayPart};

/// How long an answer is good for the next who asks.
const GOOD_FOR: Duration = Duration::from_secs(1);
/// How long a node may take to gather its figures, a little more than it waits for the database: one that is away must not hold whoever scrapes.
const PATIENCE: Duration = Duration::from_secs(8);
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whom to ask.
#[derive(Clone)]
pub(crate) struct Sources {
    pub node: String,
    pub database: Database,
    pub tail: LogTail,
    pub engine: Engine,
    pub settlement: Settlement,
    pub views: Option<Views>,
    pub relay: RelayPart,
    pub intake: IntakePart,
    pub sealer: Sealer,
}

struct Exporter {
    sources: Sources,
    /// Held while figures are gathered: whoever scrapes meanwhile waits for the same ones.
    last: Mutex<Option<(Instant, String)>>,
}

/// Serves `/metrics` until `stop`.
pub(crate) async fn serve(listener: TcpListener, sources: Sources, stop: CancellationToken) {
    let exporter = Arc::new(Exporter { sources, last: Mutex::new(None) });
    let router = Router::new().route("/metrics", get(scraped)).with_state(exporter);
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await {
        tracing::error!(%error, "metrics are not served any more");
    }
}

async fn scraped(State(exporter): State<Arc<Exporter>>) -> Response {
    match tokio::time::timeout(PATIENCE, exporter.text()).await {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Ok(Err(error)) => {
            tracing::warn!(error = format!("{error:#}"), "metrics were not gathered");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

impl Exporter {
    async fn text(&self) -> anyhow::Result<String> {
        let mut last = self.last.lock().await;
        if let Some((_, text)) = last.as_ref().filter(|(at, _)| at.elapsed() < GOOD_FOR) {
            return Ok(text.clone());
        }
        let text = self.sources.gather().await?;
        *last = Some((Instant::now(), text.clone()));
        Ok(text)
    }
}

type ByView = Family<[(&'static str, String); 1], Gauge>;

/// A page of figures.
#[derive(Default)]
struct Page(Registry);

impl Page {
    fn gauge(&mut self, (name, help): Metric, value: u64) {
        let gauge = Gauge::<i64>::default();
        gauge.set(whole(value));
        self.0.register(name, help, gauge);
    }

    fn counter(&mut self, (name, help): Metric, value: u64) {
        let counter = Counter::<u64, AtomicU64>::default();
        counter.inc_by(value);
        self.0.register(name, help, counter);
    }

    /// One figure for each value of a label.
    fn by(&mut self, (name, help): Metric, label: &'static str, values: impl Iterator<Item = (String, u64)>) {
        let family = ByView::default();
        for (of, value) in values {
            family.get_or_create(&[(label, of)]).set(whole(value));
        }
        self.0.register(name, help, family);
    }
}

fn whole(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Sources {
    async fn gather(&self) -> anyhow::Result<String> {
        let mut page = Page::default();
        let statuses = async { Some(self.views.as_ref()?.status().await) };
        let (parked, views) = tokio::join!(self.settlement.parked_count(), statuses);
        self.of_the_engine(&mut page);
        self.of_settlement(&mut page, known("parked orders", Some(parked)));
        of_the_views(&mut page, known("views", views));
        self.of_the_relay(&mut page);
        self.of_the_intake(&mut page);
        if let Ok(answers) = self.sealer.answers() {
            page.gauge(names::KEYS_ANSWER, u64::from(answers));
        }
        let pool = self.database.pool_use();
        page.gauge(names::POOL_CONNECTIONS, pool.open as u64);
        page.gauge(names::POOL_IN_USE, pool.in_use as u64);
        page.gauge(names::POOL_WAITING, pool.waiting as u64);
        let mut text = String::new();
        encode(&mut text, &page.0).context("figures are always text")?;
        Ok(text)
    }

    fn of_the_engine(&self, page: &mut Page) {
        let engine = self.engine.status();
        page.gauge(names::LOG_HEAD, self.tail.head().get());
        page.counter(names::EVENTS_APPENDED, engine.events);
        page.counter(names::APPEND_BATCHES, engine.batches);
        page.counter(names::APPEND_GROUPS, engine.groups);
        page.counter(names::CALLERS_ADMITTED, engine.admitted);
        page.counter(names::CALLERS_SENT_AWAY, engine.refused);
        page.gauge(names::CALLERS_WITH_A_PLACE, engine.occupied as u64);
        page.gauge(names::CALLERS_WAITING, engine.waiting as u64);
        page.gauge(names::UNITS_UNDER_WAY, engine.units as u64);
        page.gauge(names::STREAMS_IN_MEMORY, engine.cells as u64);
        page.gauge(names::LOG_ANSWERS, u64::from(engine.health == Health::Serving));
    }

    fn of_settlement(&self, page: &mut Page, parked: Option<u64>) {
        let settlement = self.settlement.status();
        let owned = matches!(settlement.lease, Lease::Mine(_));
        page.gauge(names::SETTLEMENT_OWNED, u64::from(owned));
        if owned {
            page.gauge(names::SETTLEMENT_QUEUED, settlement.waiting as u64);
        }
        if let Some(parked) = parked {
            page.gauge(names::SETTLEMENT_PARKED, parked);
        }
        page.counter(names::ORDERS_SETTLED, settlement.settled);
    }

    fn of_the_intake(&self, page: &mut Page) {
        let intake = self.intake.status();
        let count = |number: i64| u64::try_from(number).unwrap_or(0);
        page.gauge(names::INTAKE_TAKES, u64::from(intake.state() == IntakeState::Running));
        page.counter(names::INTAKE_EXECUTED, count(intake.executed));
        page.counter(names::INTAKE_REFUSED, count(intake.refused));
    }

    fn of_the_relay(&self, page: &mut Page) {
        let relay = self.relay.status(&self.node, self.tail.head());
        let now = relay.state();
        let states = [RelayState::Off, RelayState::Standby, RelayState::Starting, RelayState::Running, RelayState::Waiting, RelayState::Halted];
        let name = |state: RelayState| state.as_str_name().trim_start_matches("RELAY_STATE_").to_lowercase();
        page.by(names::RELAY_STATE, "state", states.into_iter().map(|state| (name(state), u64::from(state == now))));
        let count = |number: i64| u64::try_from(number).unwrap_or(0);
        if now != RelayState::Standby && self.relay.is_placed() {
            page.gauge(names::RELAY_POSITION, count(relay.position));
            page.gauge(names::RELAY_LAG, count(relay.lag_events));
        }
        page.counter(names::RELAY_TRANSACTIONS, count(relay.transactions));
    }
}

/// What the database was asked for. While it does not answer, its part is left out: the rest is what an operator needs to see just then.
fn known<T>(what: &str, asked: Option<Result<T, LogError>>) -> Option<T> {
    asked?.inspect_err(|error| tracing::warn!(%error, what, "figures were left out: the database does not answer")).ok()
}

fn of_the_views(page: &mut Page, views: Option<Vec<ProjectionStatus>>) {
    let Some(views) = views else { return };
    let mut each = |metric, value: fn(&ProjectionStatus) -> Option<u64>| {
        page.by(metric, "view", views.iter().filter_map(|view| Some((view.view.clone(), value(view)?))));
    };
    each(names::VIEW_POSITION, |view| Some(view.position.get()));
    each(names::VIEW_LAG, |view| Some(view.lag));
    each(names::VIEW_READY, |view| Some(u64::from(view.state != ProjectionState::NotReady)));
    each(names::VIEW_QUARANTINED, |view| Some(view.quarantined));
    each(names::VIEW_REBUILD_POSITION, |view| Some(view.rebuild.as_ref()?.position.get()));
}
