//! `OperationsService`: how the node stands, and what waits for an operator.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jari_commands::{
    engine::Engine,
    names,
    settlement::{RetryParkedError, SETTLEMENT, Settlement, SettlementStatus},
};
use jari_domain::{Position, StreamId, Timestamp, ids::OrderId};
use jari_event_store::{Database, LogError, LogTail, read_lease};
use jari_projections::{ProjectionState, ProjectionStatus, QuarantinePage, RebuildStanding, RetryError, Views, view_names};
use jari_proto::{
    operations::v1::{self as pb, operations_service_server::OperationsService},
    status::{invalid, refusal_status},
};
use tonic::{Code, Request, Response, Status};
use uuid::Uuid;

use jari_sealing::Sealer;
use jari_wire::{signed, timestamp};

use crate::{intake_status::IntakePart, relay_status::RelayPart};

/// The codes that this service gives by itself.
pub const CODES: &[&str] = &[
    "ORDER_NOT_PARKED",
    "PROJECTIONS_OFF",
    "DATABASE_UNAVAILABLE",
    "VIEW_UNKNOWN",
    "STREAM_NOT_QUARANTINED",
    "STREAM_STILL_QUARANTINED",
    "VIEW_SWITCHED",
    "INTAKE_OFF",
];

/// How long an answer waits for the position that it must have seen.
const REACH: Duration = Duration::from_secs(2);
const PAGE: u32 = 50;
const MAX_PAGE: u32 = 1_000;

/// The service.
#[derive(Clone)]
pub struct Operations(Arc<Inner>);

struct Inner {
    node: String,
    log_id: Uuid,
    database: Database,
    tail: LogTail,
    engine: Engine,
    settlement: Settlement,
    views: Option<Views>,
    relay: RelayPart,
    intake: IntakePart,
    sealer: Sealer,
    started_at: Timestamp,
}

impl Operations {
    /// Speaks for this node.
    pub fn new(
        (node, log_id): (String, Uuid),
        (relay, intake, sealer): (RelayPart, IntakePart, Sealer),
        database: Database,
        tail: LogTail,
        engine: Engine,
        settlement: Settlement,
        views: Option<Views>,
    ) -> Self {
        Self(Arc::new(Inner { node, log_id, database, tail, engine, settlement, views, relay, intake, sealer, started_at: Timestamp::now() }))
    }

    fn views(&self) -> Result<&Views, Status> {
        let off = || refusal_status("PROJECTIONS_OFF", Code::FailedPrecondition, "this node keeps no views", BTreeMap::new(), None);
        self.0.views.as_ref().ok_or_else(off)
    }

    /// Waits, bounded, until this node has seen the position.
    async fn reach(&self, wanted: i64) -> Result<(), Status> {
        let refused = |_| invalid(vec![("min_position", "must be 0 or a position of the log")], "MIN_POSITION_INVALID");
        let wanted = Position::try_from(wanted).map_err(refused)?;
        let mut head = self.0.tail.watch();
        let seen = tokio::time::timeout(REACH, head.wait_for(|head| *head >= wanted)).await;
        if matches!(seen, Ok(Ok(_))) {
            return Ok(());
        }
        let message = "this node has not seen that position of the log yet";
        Err(refusal_status("VIEW_BEHIND", Code::Unavailable, message, BTreeMap::new(), Some(Duration::from_secs(1))))
    }

    fn position(&self) -> i64 {
        self.0.tail.head().to_i64()
    }
}

fn away(error: &LogError) -> Status {
    tracing::warn!(%error, "an operator's question was not answered");
    refusal_status("DATABASE_UNAVAILABLE", Code::Unavailable, "the database does not answer", BTreeMap::new(), Some(Duration::from_secs(1)))
}

fn page_size(asked: i32) -> Result<u32, Status> {
    match u32::try_from(asked) {
        Ok(0) => Ok(PAGE),
        Ok(size @ 1..=MAX_PAGE) => Ok(size),
        _ => Err(invalid(vec![("page_size", format!("must be 0 (for {PAGE}) or 1 to {MAX_PAGE}"))], "PAGE_SIZE_INVALID")),
    }
}

fn not_a_token() -> Status {
    invalid(vec![("page_token", "is not one of this list's")], "PAGE_TOKEN_INVALID")
}

/// The place in line after which a list of parked orders goes on.
fn after_parked(token: &str) -> Option<(Position, &str)> {
    if token.is_empty() {
        return Some((Position::START, ""));
    }
    let (position, order) = token.split_once('.')?;
    let position = position.parse::<i64>().ok()?;
    OrderId::parse(order).ok()?;
    Some((Position::try_from(position).ok()?, order))
}

/// The longest id of a stream that is looked for, in bytes. Other writers may have named theirs as they liked, but for what no text can hold.
const MAX_STREAM_ID: usize = 256;

fn stream(aggregate_type: &str, aggregate_id: &str) -> Option<StreamId> {
    let usable = (1..=MAX_STREAM_ID).contains(&aggregate_id.len()) && !aggregate_id.chars().any(char::is_control);
    StreamId::parse(aggregate_type, aggregate_id).filter(|_| usable)
}

/// The stream after which a list of quarantined ones goes on: no token, or view, type and id.
fn after_quarantined(token: &str) -> Option<Option<(String, String, String)>> {
    match token.split('\t').collect::<Vec<_>>().as_slice() {
        [""] => Some(None),
        [view, kind, id] if view_names().contains(view) => {
            stream(kind, id)?;
            Some(Some(((*view).to_owned(), (*kind).to_owned(), (*id).to_owned())))
        }
        _ => None,
    }
}

#[async_trait::async_trait]
impl OperationsService for Operations {
    async fn get_status(&self, request: Request<pb::GetStatusRequest>) -> Result<Response<pb::GetStatusResponse>, Status> {
        self.reach(request.get_ref().min_position).await?;
        let projections = match &self.0.views {
            Some(views) => views.status().await.map_err(|e| away(&e))?.into_iter().map(projection).collect(),
            None => Vec::new(),
        };
        let SettlementStatus { waiting, .. } = self.0.settlement.status();
        let lease = self.0.database.in_time(read_lease(&self.0.database, SETTLEMENT)).await.map_err(|e| away(&e))?;
        let (owner, epoch, expires_at) = match lease {
            Some((row, until)) if row.live => (row.holder.to_string(), row.epoch, Some(timestamp(until))),
            Some((row, _)) => (String::new(), row.epoch, None),
            None => (String::new(), 0, None),
        };
        let head = self.0.tail.head();
        let last = self.0.database.in_time(self.0.tail.read_now(head.previous(), 1)).await.map_err(|e| away(&e))?;
        let parked = self.0.settlement.parked_count().await.map_err(|e| away(&e))?;
        let engine = self.0.engine.status();
        let counters = [
            (names::UNITS_UNDER_WAY, engine.units as u64),
            (names::STREAMS_IN_MEMORY, engine.cells as u64),
            (names::CALLERS_WITH_A_PLACE, engine.occupied as u64),
            (names::CALLERS_SENT_AWAY, engine.refused),
            (names::BATCHES, engine.batches),
            (names::GROUPS, engine.groups),
        ];
        Ok(Response::new(pb::GetStatusResponse {
            log: Some(pb::LogStatus {
                log_id: self.0.log_id.to_string(),
                head_position: head.to_i64(),
                head_recorded_at: last.first().map(|event| timestamp(event.recorded_at)),
            }),
            projections,
            settlement: Some(pb::SettlementStatus {
                owner,
                epoch: signed(epoch),
                lease_expires_at: expires_at,
                queued_orders: signed(waiting as u64),
                parked_orders: signed(parked),
            }),
            engine: Some(pb::EngineStatus {
                node: self.0.node.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                started_at: Some(timestamp(self.0.started_at)),
                counters: counters.into_iter().map(|(name, n)| (name.to_owned(), signed(n))).collect(),
            }),
            position: head.to_i64(),
            relay: Some(self.0.relay.status(&self.0.node, head)),
            intake: Some(self.0.intake.status()),
            keys: Some(keys(&self.0.sealer)),
        }))
    }

    async fn list_parked_orders(&self, request: Request<pb::ListParkedOrdersRequest>) -> Result<Response<pb::ListParkedOrdersResponse>, Status> {
        let request = request.into_inner();
        self.reach(request.min_position).await?;
        let size = page_size(request.page_size)?;
        let after = after_parked(&request.page_token).ok_or_else(not_a_token)?;
        let parked = self.0.settlement.parked(after, size).await.map_err(|e| away(&e))?;
        let full = parked.len() == size as usize;
        let next_page_token = parked.last().filter(|_| full).map(|p| format!("{}.{}", p.position, p.key)).unwrap_or_default();
        let order = |parked: jari_event_store::ParkedWork| pb::ParkedOrder {
            order_id: parked.key,
            accepted_position: parked.position.to_i64(),
            code: parked.code,
            message: parked.message,
            attempts: i32::try_from(parked.attempts).unwrap_or(i32::MAX),
            parked_at: Some(timestamp(parked.parked_at)),
        };
        let parked_orders = parked.into_iter().map(order).collect();
        Ok(Response::new(pb::ListParkedOrdersResponse { parked_orders, next_page_token, position: self.position() }))
    }

    async fn retry_parked_order(&self, request: Request<pb::RetryParkedOrderRequest>) -> Result<Response<pb::RetryParkedOrderResponse>, Status> {
        let order = OrderId::parse(&request.get_ref().order_id).map_err(|e| invalid(vec![("order_id", e.to_string())], "REQUEST_INVALID"))?;
        self.0.settlement.retry(order).await.map_err(not_retried)?;
        Ok(Response::new(pb::RetryParkedOrderResponse { position: self.position() }))
    }

    async fn list_quarantined_streams(
        &self,
        request: Request<pb::ListQuarantinedStreamsRequest>,
    ) -> Result<Response<pb::ListQuarantinedStreamsResponse>, Status> {
        let request = request.into_inner();
        self.reach(request.min_position).await?;
        let size = page_size(request.page_size)?;
        let after = after_quarantined(&request.page_token).ok_or_else(not_a_token)?;
        let view = Some(request.projection).filter(|view| !view.is_empty());
        if let Some(unknown) = view.as_ref().filter(|view| !view_names().contains(&view.as_str())) {
            return Err(retry_failed(RetryError::ViewUnknown(unknown.clone())));
        }
        let page = QuarantinePage { view, after, limit: size };
        let streams = self.views()?.quarantined(&page).await.map_err(|e| away(&e))?;
        let next_page_token = match streams.last() {
            Some(last) if streams.len() == size as usize => format!("{}\t{}\t{}", last.view, last.aggregate_type, last.aggregate_id),
            _ => String::new(),
        };
        let stream = |stream: jari_projections::QuarantinedStream| pb::QuarantinedStream {
            projection: stream.view,
            aggregate_type: stream.aggregate_type,
            aggregate_id: stream.aggregate_id,
            failed_position: stream.failed_position.to_i64(),
            code: stream.code,
            message: stream.error,
            quarantined_at: Some(timestamp(stream.at)),
            waiting_events: signed(stream.waiting_events),
        };
        let quarantined_streams = streams.into_iter().map(stream).collect();
        Ok(Response::new(pb::ListQuarantinedStreamsResponse { quarantined_streams, next_page_token, position: self.position() }))
    }

    async fn retry_quarantined_stream(
        &self,
        request: Request<pb::RetryQuarantinedStreamRequest>,
    ) -> Result<Response<pb::RetryQuarantinedStreamResponse>, Status> {
        let request = request.into_inner();
        let unknown = || invalid(vec![("aggregate_type", "it and aggregate_id name no stream of this program")], "REQUEST_INVALID");
        let stream = stream(&request.aggregate_type, &request.aggregate_id).ok_or_else(unknown)?;
        let position = self.views()?.retry_quarantined(&request.projection, &stream).await.map_err(retry_failed)?;
        Ok(Response::new(pb::RetryQuarantinedStreamResponse { position: position.to_i64() }))
    }

    async fn list_refused_commands(
        &self,
        request: Request<pb::ListRefusedCommandsRequest>,
    ) -> Result<Response<pb::ListRefusedCommandsResponse>, Status> {
        let request = request.into_inner();
        self.reach(request.min_position).await?;
        let size = page_size(request.page_size)?;
        let from = if request.page_token.is_empty() { Some(0) } else { request.page_token.parse().ok().filter(|from| *from >= 0) };
        let (refused_commands, next) = self.0.intake.list(from.ok_or_else(not_a_token)?, size as usize).await?;
        let next_page_token = next.map(|next| next.to_string()).unwrap_or_default();
        Ok(Response::new(pb::ListRefusedCommandsResponse { refused_commands, next_page_token, position: self.position() }))
    }

    async fn redrive_command(&self, request: Request<pb::RedriveCommandRequest>) -> Result<Response<pb::RedriveCommandResponse>, Status> {
        let offset = Some(request.get_ref().offset).filter(|offset| *offset >= 0);
        let offset = offset.ok_or_else(|| invalid(vec![("offset", "must be 0 or more")], "REQUEST_INVALID"))?;
        let command_id = self.0.intake.redrive(offset).await?.to_string();
        Ok(Response::new(pb::RedriveCommandResponse { command_id, position: self.position() }))
    }
}

fn not_retried(error: RetryParkedError) -> Status {
    let (reason, code, retry_after) = match &error {
        RetryParkedError::NotParked => ("ORDER_NOT_PARKED", Code::NotFound, None),
        RetryParkedError::NotOwner => ("SETTLEMENT_UNAVAILABLE", Code::Unavailable, Some(Duration::from_secs(1))),
        RetryParkedError::Busy => ("ENGINE_BUSY", Code::ResourceExhausted, Some(Duration::from_secs(1))),
        RetryParkedError::Log(error) => return away(error),
    };
    refusal_status(reason, code, &error.to_string(), BTreeMap::new(), retry_after)
}

fn retry_failed(error: RetryError) -> Status {
    let (reason, code) = match &error {
        RetryError::ViewUnknown(_) => ("VIEW_UNKNOWN", Code::NotFound),
        RetryError::NotQuarantined(_) => ("STREAM_NOT_QUARANTINED", Code::NotFound),
        RetryError::Still(_) => ("STREAM_STILL_QUARANTINED", Code::FailedPrecondition),
        RetryError::Switched => ("VIEW_SWITCHED", Code::Aborted),
        RetryError::Away(error) => return away(error),
    };
    refusal_status(reason, code, &error.to_string(), BTreeMap::new(), None)
}

fn keys(sealer: &Sealer) -> pb::KeysStatus {
    match sealer.answers() {
        Ok(answers) => pb::KeysStatus { enabled: true, answers, message: String::new() },
        Err(reason) => pb::KeysStatus { enabled: false, answers: false, message: reason.to_owned() },
    }
}

fn projection(status: ProjectionStatus) -> pb::ProjectionStatus {
    let state = match status.state {
        ProjectionState::Live => pb::ProjectionState::Live,
        ProjectionState::Rebuilding => pb::ProjectionState::Rebuilding,
        ProjectionState::NotReady => pb::ProjectionState::NotReady,
    };
    pb::ProjectionStatus {
        projection: status.view,
        version: status.version,
        position: status.position.to_i64(),
        lag_events: signed(status.lag),
        quarantined_streams: signed(status.quarantined),
        owner: status.owner.unwrap_or_default(),
        state: state.into(),
        rebuild: status.rebuild.map(rebuild),
        trouble: status.trouble.unwrap_or_default(),
    }
}

fn rebuild(standing: RebuildStanding) -> pb::RebuildStatus {
    let RebuildStanding { position, under_way, events_per_second, time_left } = standing;
    pb::RebuildStatus {
        position: position.to_i64(),
        under_way,
        // a speed is neither negative nor beyond what an integer holds
        events_per_second: events_per_second.round() as i64,
        time_left: time_left.and_then(|left| left.try_into().ok()),
    }
}
