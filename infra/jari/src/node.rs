//! One node: everything that `serve` runs, and the order in which it starts and stops.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use jari_commands::{
    engine::{Digester, Engine, OUTCOMES_KEPT_BEYOND_DAYS},
    services::{DoorLayer, ForwardLayer, OwnerRoute, WriteContext},
    settlement::Settlement,
};
use jari_contract::LogHeadSigned;
use jari_event_store::{Database, LogIdentity, LogTail, Reader, SnapshotWriter, StreamWatchers, TailSettings, prune_commands};
use jari_heads::HeadSigner;
use jari_history::{History, HistoryContext, HistorySettings};
use jari_intake::Intake;
use jari_projections::{AvailabilityQueries, OrderQueries, ProductQueries, Views};
use jari_proto::{
    availability::v1::availability_service_server::AvailabilityServiceServer, operations::v1::operations_service_server::OperationsServiceServer,
    order::v1::order_query_service_server::OrderQueryServiceServer, product::v1::product_query_service_server::ProductQueryServiceServer,
    subject::v1::subject_service_server::SubjectServiceServer,
};
use jari_relay::{Claim, Cluster, Relay};
use jari_sealing::Sealer;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server, server::TcpIncoming};

use crate::{
    config::Config,
    health,
    intake_status::{IntakePart, Taking},
    metrics::{self, Sources},
    operations::Operations,
    parts::{self, Part},
    relay_status::RelayPart,
    subjects::Subjects,
};

/// Connections at most for what the node does of itself: look-ups and loads of the engine, settlement, leases, views, the relay. Whoever only reads
/// has a pool of its own, so that however many read, bookings go on.
const OWN_CONNECTIONS: usize = 12;

/// Rows of old commands that go in one round.
const PRUNE_ROWS: u64 = 200_000;
/// Between two rounds.
const PRUNE_EVERY: Duration = Duration::from_secs(600);
/// How often it is seen whether everything runs.
const LOOK: Duration = Duration::from_secs(1);
/// How long settlement, views, the relay and their like may take to end, all together: each has a shorter bound of its own for what it would still
/// write, so that this is for what was forgotten there.
const WORK_ENDS_WITHIN: Duration = Duration::from_secs(10);
/// The same for what the server rested on: a little more than the engine gives what it has accepted.
const ENGINE_ENDS_WITHIN: Duration = Duration::from_secs(25);

/// Bytes on their way on one connection and on one call. The first also bounds how many small requests may be buffered at once: half of it,
/// each counted as a kilobyte; with the usual 64 KiB a client that sends a few dozen calls at once would be cut off for flooding.
const CONNECTION_WINDOW: u32 = 64 << 20;
const STREAM_WINDOW: u32 = 1 << 20;

/// A running node.
pub struct Node {
    /// For what starts beside the server.
    pub engine: Engine,
    /// The log's identity.
    pub identity: LogIdentity,
    /// Where it serves.
    pub address: SocketAddr,
    /// Where it serves its metrics, if it does.
    pub metrics: Option<SocketAddr>,
    /// How its relay stands.
    pub relay: RelayPart,
    /// How its intake of commands stands.
    pub intake: IntakePart,
    relaying: Relaying,
    /// The newest signed head, for the relay.
    heads: watch::Sender<Option<LogHeadSigned>>,
    stop: Stop,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
    work: Vec<Part>,
    foundation: Vec<Part>,
    drain: Duration,
}

impl Node {
    /// Starts everything on `database`, whose schema is up to date. Personal data is not taken.
    ///
    /// # Errors
    /// What stands in the way: the address is taken, the database does not answer, its settings would lose bookings.
    pub async fn start(config: &Config, database: Database) -> anyhow::Result<Self> {
        Self::start_with(config, database, Sealer::off("this node was started without the keys of persons")).await
    }

    /// The same, with what seals and opens personal data.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub async fn start_with(config: &Config, database: Database, sealer: Sealer) -> anyhow::Result<Self> {
        if !config.database.allow_unsafe_durability {
            database.require_durability().await.context("database.allow_unsafe_durability = true serves all the same")?;
        }
        let listener = TcpListener::bind(&config.server.listen).await.with_context(|| format!("server.listen = {:?}", config.server.listen))?;
        let scrapes = listen_for_scrapes(&config.metrics.listen).await?;
        let metrics = scrapes.as_ref().map(TcpListener::local_addr).transpose()?;
        let address = listener.local_addr()?;
        // port 0 is any free one: the others must hear of the one that it became
        let mut config = config.clone();
        config.server.listen = address;
        let node_id = if config.node.id.is_empty() { uuid::Uuid::now_v7().to_string() } else { config.node.id.clone() };
        let stop = Stop::default();
        let reader = Reader::new(database.clone());
        let identity = reader.identity().await?;
        let own = database.apart(OWN_CONNECTIONS)?;
        let (tail, following) = LogTail::start(own.clone(), TailSettings::default(), stop.engine.clone()).await?;
        let (snapshots, snapshotting) = SnapshotWriter::start(own.clone(), stop.engine.clone());
        let (watchers, watching) = StreamWatchers::start(tail.clone(), stop.engine.clone());
        let (engine, deciding) = Engine::start(own.clone(), tail.clone(), snapshots, config.engine_settings(), stop.engine.clone()).await?;
        let settings = config.settlement_settings(&node_id);
        let (settlement, tasks) = Settlement::start(own.clone(), engine.clone(), tail.clone(), settings, stop.work.clone());
        let mut work: Vec<Part> = parts::all("settlement", tasks).map(Part::needed).collect();
        let tail_and_clock = (tail.clone(), engine.clock().clone());
        let mut views = None;
        if config.projections.enabled {
            let node = (node_id.clone(), config.advertised());
            let (started, tasks) =
                Views::start(own.clone(), database.clone(), tail_and_clock.clone(), node, config.view_settings(), stop.work.clone()).await?;
            work.extend(parts::all("views", tasks));
            views = Some(started);
        }
        work.push(Part::start("forgetting old request ids", prune(own.clone(), config.engine.retention_days, stop.work.clone())));
        let context = WriteContext {
            engine: engine.clone(),
            digester: Digester::new(&identity),
            sealer,
            watchers: watchers.clone(),
            reader: Reader::new(own.clone()),
            longest_wait: Duration::from_millis(config.engine.longest_wait_ms),
            waiters: Arc::new(Semaphore::new(config.engine.settlement_waiters)),
            max_message_bytes: config.server.max_message_bytes,
        };
        let relay = RelayPart::off(if config.relay.enabled { "no Kafka is known to this node" } else { "relay.enabled is false" });
        let intake = IntakePart::off(if config.intake.enabled { "no Kafka is known to this node" } else { "intake.enabled is false" });
        let relaying = Relaying { config: config.clone(), node: (node_id.clone(), config.advertised()), database: own, tail: tail.clone() };
        let history = HistoryContext::new(database.clone(), tail_and_clock, watchers.clone(), identity.log_id, HistorySettings::default());
        if let Some(listener) = scrapes {
            let (node, views, settlement) = (node_id.clone(), views.clone(), settlement.clone());
            let (database, tail, engine) = (database.clone(), tail.clone(), engine.clone());
            let sources = Sources {
                node,
                database,
                tail,
                engine,
                settlement,
                views,
                relay: relay.clone(),
                intake: intake.clone(),
                sealer: context.sealer.clone(),
            };
            work.push(Part::start("metrics", metrics::serve(listener, sources, stop.work.clone())));
        }
        let edges = (relay.clone(), intake.clone(), context.sealer.clone());
        let operations =
            Operations::new((node_id, identity.log_id), edges, database.clone(), tail, engine.clone(), settlement.clone(), views.clone());
        let services = Services { context, views, watchers, history, operations, settlement };
        let drain = Duration::from_secs(config.server.drain_seconds);
        // joined when the node stops, or when it fails
        let server = tokio::spawn(serve(config, listener, services, stop.server.clone()));
        let foundation = [("tail of the log", following), ("snapshots", snapshotting), ("watchers", watching), ("engine", deciding)];
        let foundation = foundation.into_iter().map(|(name, task)| Part::new(name, task).needed()).collect();
        let heads = watch::Sender::new(None);
        Ok(Self { engine, identity, address, metrics, relay, intake, relaying, heads, stop, server, work, foundation, drain })
    }

    /// Starts the relay to the Kafka that answers at `brokers`, unless the configuration forbids it. Once a node.
    pub fn relay_to(&mut self, brokers: &str) {
        let Relaying { config, node, database, tail } = &self.relaying;
        if !config.relay.enabled {
            return;
        }
        let (settings, log_id) = (config.relay_settings(brokers), self.identity.log_id);
        let heads = self.heads.subscribe();
        let (relay, tasks) = Relay::start(database.clone(), tail.clone(), log_id, node.clone(), settings, heads, self.stop.work.clone());
        self.work.extend(parts::all("relay", tasks));
        self.relay.runs(relay);
    }

    /// Starts taking commands from the Kafka that answers at `brokers`, unless the configuration forbids it. Once a node.
    pub fn take_commands_from(&mut self, brokers: &str) {
        let Relaying { config, database, .. } = &self.relaying;
        if config.intake.enabled {
            let settings = config.intake_settings(brokers, self.address, self.identity.log_id);
            let cluster = Cluster::new(settings.kafka.clone(), settings.patience);
            let claim = Claim::new(cluster, Reader::new(database.clone()), self.identity.log_id);
            let (intake, task) = Intake::start(settings.clone(), claim, self.stop.work.clone());
            self.work.push(Part::new("intake", task));
            self.intake.runs(Taking::new(intake, &settings));
        }
    }

    /// Starts signing heads of the log, unless the configuration forbids it. Once a node.
    pub fn sign_heads(&mut self) {
        let Relaying { config, database, .. } = &self.relaying;
        if config.heads.enabled {
            let (settings, told) = (config.signer_settings(), self.heads.clone());
            let task = HeadSigner::start(database.clone(), self.identity.log_id, settings, told, self.stop.work.clone());
            self.work.push(Part::new("signing heads", task));
        }
    }

    /// Waits until the server, or a part that bookings need, ends by itself: only when something is wrong. Another part that broke gives its role back
    /// and is told of; bookings go on without it.
    ///
    /// # Errors
    /// What was wrong.
    pub async fn failed(&mut self) -> anyhow::Result<()> {
        let broken = async {
            // looked at rather than awaited: each of them is joined once, when the node stops
            loop {
                if let Some(part) = self.foundation.iter_mut().chain(&mut self.work).find_map(|part| part.is_missed().then_some(part.name)) {
                    return part;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            ended = &mut self.server => ended??,
            part = broken => anyhow::bail!("a part of the node ended by itself: {part}; the log says why"),
        }
        anyhow::bail!("the server ended by itself")
    }

    /// Stops: no new calls; those under way end, bounded; settlement and views save and give their leases back; the engine settles what it
    /// has accepted. Each of the three is bounded, also while the database stands still: what has not ended by then is given up, as in a crash.
    pub async fn stop(mut self) {
        self.stop.server.cancel();
        // a server that ended by itself was waited for before
        if !self.server.is_finished() && tokio::time::timeout(self.drain, &mut self.server).await.is_err() {
            tracing::info!("calls were still under way when the time to drain was over");
            self.server.abort();
        }
        self.stop.work.cancel();
        parts::join(self.work, WORK_ENDS_WITHIN).await;
        self.stop.engine.cancel();
        parts::join(self.foundation, ENGINE_ENDS_WITHIN).await;
    }
}

/// What stops, in this order: the server, then the processes, then the engine.
#[derive(Default)]
struct Stop {
    server: CancellationToken,
    work: CancellationToken,
    engine: CancellationToken,
}

/// What the relay will need.
struct Relaying {
    config: Config,
    node: (String, String),
    database: Database,
    tail: LogTail,
}

struct Services {
    context: WriteContext,
    views: Option<Views>,
    watchers: StreamWatchers,
    history: HistoryContext,
    operations: Operations,
    settlement: Settlement,
}

async fn serve(config: Config, listener: TcpListener, services: Services, stop: CancellationToken) -> Result<(), tonic::transport::Error> {
    let Services { context, views, watchers, history, operations, settlement } = services;
    let most = config.server.max_message_bytes;
    let sealer = context.sealer.clone();
    let (products, inventory, orders) = context.servers();
    let (health, health_service) = tonic_health::server::health_reporter();
    health::begin(&health, views.is_some()).await;
    // joined below, when the server is told to stop
    let healthy = tokio::spawn(health::keep(health, views.clone(), config.projections.unhealthy_lag_events, stop.clone()));
    let reflection = |builder: tonic_reflection::server::Builder<'static>| {
        builder
            .register_encoded_file_descriptor_set(jari_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // so that a client that knows nothing but what it is told here can read an error's code and details
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let v1 = reflection(tonic_reflection::server::Builder::configure()).build_v1();
    let v1alpha = reflection(tonic_reflection::server::Builder::configure()).build_v1alpha();
    let keepalive = Duration::from_secs(config.server.keepalive_seconds);
    let mut router = Server::builder()
        .http2_keepalive_interval(Some(keepalive))
        .http2_keepalive_timeout(Some(keepalive))
        .max_concurrent_streams(Some(config.server.max_streams))
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW)
        .layer(jari_proto::deadline::layer())
        .layer(jari_proto::limits::layer())
        .layer(DoorLayer(context.engine.clone()))
        .layer(ForwardLayer(OwnerRoute::new(settlement.watch(), settlement.doubt())))
        .add_service(health_service)
        .add_service(products)
        .add_service(inventory)
        .add_service(orders)
        .add_service(SubjectServiceServer::new(Subjects(sealer.clone())).max_decoding_message_size(most))
        .add_service(History::server(history.clone()).max_decoding_message_size(most))
        .add_service(OperationsServiceServer::new(operations).max_decoding_message_size(most));
    if let Ok(service) = v1 {
        router = router.add_service(service);
    }
    if let Ok(service) = v1alpha {
        router = router.add_service(service);
    }
    let watched = views.clone();
    if let Some(views) = views {
        router = router
            .add_service(ProductQueryServiceServer::new(ProductQueries::new(views.clone())).max_decoding_message_size(most))
            .add_service(OrderQueryServiceServer::new(OrderQueries::new(views.clone(), watchers, sealer)).max_decoding_message_size(most))
            .add_service(AvailabilityServiceServer::new(AvailabilityQueries::new(views)).max_decoding_message_size(most));
    }
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let stopped = async move {
        stop.cancelled().await;
        if let Err(error) = healthy.await {
            tracing::error!(%error, "health was not told to the end");
        }
        // a stream ends when its caller likes: the stop would wait for it as long as it may
        history.end_streams();
        if let Some(views) = watched {
            views.end_watches();
        }
    };
    router.serve_with_incoming_shutdown(incoming, stopped).await
}

/// Where metrics are served; `None` where they are not.
async fn listen_for_scrapes(listen: &str) -> anyhow::Result<Option<TcpListener>> {
    if listen.is_empty() {
        return Ok(None);
    }
    let address: SocketAddr =
        listen.parse().with_context(|| format!("metrics.listen = {listen:?} is no address with a port, as in 127.0.0.1:9464"))?;
    TcpListener::bind(address).await.map(Some).with_context(|| format!("metrics.listen = {listen:?}"))
}

/// Forgets commands that are older than they are remembered.
async fn prune(database: Database, retention_days: u32, stop: CancellationToken) {
    let mut rounds = tokio::time::interval(PRUNE_EVERY);
    // ends with `stop`
    while tokio::select! { _ = rounds.tick() => true, () = stop.cancelled() => false } {
        // Ends when nothing that is old enough is left: however many come in, as many go.
        loop {
            let round = prune_commands(&database, retention_days.saturating_add(OUTCOMES_KEPT_BEYOND_DAYS), PRUNE_ROWS);
            match tokio::select! { pruned = round => pruned, () = stop.cancelled() => return } {
                Ok(0) => break,
                Ok(rows) => {
                    tracing::info!(rows, "old request ids were forgotten");
                    if rows < PRUNE_ROWS || stop.is_cancelled() {
                        break;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "old request ids were not forgotten; it is tried again");
                    break;
                }
            }
        }
    }
}
