//! Between the wire and the domain's types, both ways. Bad input is told field by field, all of it at once.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jari_domain::{
    Currency, Money, Refusal, RefusalKind, Timestamp,
    ids::IdError,
    order::{OrderLine, OrderStatus},
};
use jari_proto::{
    order::v1 as pb,
    status::{invalid, refusal_status},
};
use jari_sealing::SealingError;
use tonic::{Code, Status, metadata::MetadataMap};
use uuid::Uuid;

use crate::{engine::ExecuteError, names, settlement::ENGINE_ACTORS};

/// Fields of the request cannot be used: the `BadRequest` detail names each.
pub(super) const REQUEST_INVALID: &str = "REQUEST_INVALID";
/// The node that settles orders is not known at the moment.
pub(super) const SETTLEMENT_UNAVAILABLE: &str = "SETTLEMENT_UNAVAILABLE";
/// The codes that the write services give by themselves.
pub const CODES: &[&str] = &[REQUEST_INVALID, SETTLEMENT_UNAVAILABLE];

/// Who calls, until callers prove who they are: scopes request ids.
const CALLER_HEADER: &str = "x-jari-caller";
/// The first command of the chain that a call belongs to. For a caller who must try again under another id: what comes of it is found by the first.
const CORRELATION_HEADER: &str = "x-jari-correlation-id";
const TRACE_HEADER: &str = "traceparent";
const ANONYMOUS: &str = "anonymous";
/// The longest name of a caller, in bytes.
const MAX_CALLER: usize = 64;

/// What is wrong with a request.
#[derive(Default)]
pub(super) struct Violations(Vec<(String, String)>);

impl Violations {
    /// Notes what is wrong with a field.
    pub fn add(&mut self, field: impl Into<String>, what: impl ToString) {
        // more than a few dozen help nobody, and a request can have thousands of fields
        if self.0.len() < 64 {
            self.0.push((field.into(), what.to_string()));
        }
    }

    /// Takes an id.
    pub fn id<T>(&mut self, field: impl Into<String>, text: &str, parse: impl Fn(&str) -> Result<T, IdError>) -> Option<T> {
        parse(text).map_err(|error| self.add(field, error)).ok()
    }

    /// Takes a number that is at least `least`.
    pub fn number(&mut self, field: impl Into<String>, value: i32, least: u32) -> Option<u32> {
        match u32::try_from(value) {
            Ok(number) if number >= least => Some(number),
            _ => {
                self.add(field, format!("must be at least {least}, not {value}"));
                None
            }
        }
    }

    /// Takes a time, when there is one.
    pub fn time(&mut self, field: impl Into<String>, at: Option<&prost_types::Timestamp>) -> Option<Option<Timestamp>> {
        let Some(at) = at else { return Some(None) };
        match Timestamp::new(at.seconds, at.nanos) {
            Ok(time) if (0..1_000_000_000).contains(&at.nanos) => Some(Some(time)),
            _ => {
                self.add(field, "is not a time between the years -9999 and 9999");
                None
            }
        }
    }

    /// Takes a time that must be there.
    pub fn required_time(&mut self, field: &str, at: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
        let time = self.time(field, at)?;
        if time.is_none() {
            self.add(field, "is required");
        }
        time
    }

    /// Takes money.
    pub fn money(&mut self, field: impl Into<String>, money: Option<&jari_proto::r#type::v1::Money>) -> Option<Money> {
        let field = field.into();
        let Some(money) = money else {
            self.add(field, "is required");
            return None;
        };
        let currency = Currency::parse(&money.currency).map_err(|error| self.add(format!("{field}.currency"), error)).ok();
        let minor = u64::try_from(money.minor_units).ok().filter(|minor| *minor <= Money::MAX_MINOR);
        if minor.is_none() {
            self.add(format!("{field}.minor_units"), format!("must be 0 to {}, not {}", Money::MAX_MINOR, money.minor_units));
        }
        Some(Money { minor: minor?, currency: currency? })
    }

    /// The answer, when anything is wrong.
    pub fn check(&mut self) -> Result<(), Status> {
        if self.0.is_empty() { Ok(()) } else { Err(refuse(std::mem::take(&mut self.0))) }
    }

    /// What was taken; the answer, when anything is wrong. `None` only ever comes with a violation.
    pub fn finish<T>(mut self, taken: Option<T>) -> Result<T, Status> {
        self.check()?;
        taken.ok_or_else(|| unusable("request", "cannot be used"))
    }
}

/// The answer to a request of which these fields cannot be used. Its log line names them, and never what stood in them: that may be personal.
fn refuse(violations: Vec<(String, String)>) -> Status {
    let fields = || violations.iter().map(|(field, _)| field.as_str()).collect::<Vec<_>>().join(" ");
    tracing::debug!(code = REQUEST_INVALID, fields = fields(), "{}", names::REQUEST_REFUSED);
    invalid(violations, REQUEST_INVALID)
}

/// The same for one field.
pub(super) fn unusable(field: &str, what: impl ToString) -> Status {
    refuse(vec![(field.to_owned(), what.to_string())])
}

/// Who calls.
pub(super) fn caller(metadata: &MetadataMap) -> Result<Arc<str>, Status> {
    let Some(value) = metadata.get(CALLER_HEADER) else { return Ok(ANONYMOUS.into()) };
    match value.to_str() {
        Ok(name) if name.starts_with(ENGINE_ACTORS) => {
            Err(unusable(CALLER_HEADER, format!("must not begin with {ENGINE_ACTORS}: such names are the engine's own")))
        }
        Ok(name) if (1..=MAX_CALLER).contains(&name.len()) => Ok(name.into()),
        _ => Err(unusable(CALLER_HEADER, "must be 1 to 64 ASCII characters")),
    }
}

/// The first command of the chain, when the call names one.
pub(super) fn correlation(metadata: &MetadataMap) -> Result<Option<String>, Status> {
    let Some(value) = metadata.get(CORRELATION_HEADER) else { return Ok(None) };
    match value.to_str().ok().and_then(|id| Uuid::try_parse(id).ok()) {
        Some(id) if !id.is_nil() => Ok(Some(id.to_string())),
        _ => Err(unusable(CORRELATION_HEADER, "must be a UUID")),
    }
}

/// The W3C trace context, when it has its shape.
pub(super) fn trace(metadata: &MetadataMap) -> Option<String> {
    let value = metadata.get(TRACE_HEADER)?.to_str().ok()?;
    (value.len() == 55 && value.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')).then(|| value.to_owned())
}

/// The command's id. Nobody goes without: the repeat of a caller that brought none, for it got no answer, would be a second booking.
pub(super) fn command_id(request_id: &str) -> Result<Uuid, Status> {
    match Uuid::try_parse(request_id) {
        Ok(id) if !id.is_nil() => Ok(id),
        _ if request_id.is_empty() => Err(unusable("request_id", "is required: a UUID of this command, best of version 7")),
        _ => Err(unusable("request_id", "must be a UUID, best of version 7")),
    }
}

/// A refusal as an error.
pub(super) fn refused(refusal: &Refusal) -> Status {
    let kind = match refusal.kind {
        RefusalKind::InvalidArgument => Code::InvalidArgument,
        RefusalKind::NotFound => Code::NotFound,
        RefusalKind::AlreadyExists => Code::AlreadyExists,
        RefusalKind::FailedPrecondition => Code::FailedPrecondition,
        RefusalKind::ResourceExhausted => Code::ResourceExhausted,
        RefusalKind::Aborted => Code::Aborted,
    };
    let mut details = refusal.details.clone();
    details.insert("retryable".into(), refusal.retryable.to_string());
    let retry_at = refusal.details.get("retry_at").and_then(|at| at.parse::<Timestamp>().ok());
    let retry_after = retry_at.map(|at| Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default());
    refusal_status(&refusal.code, kind, &refusal.message, details, retry_after)
}

/// An execution without an outcome as an error.
pub(super) fn failed(error: &ExecuteError) -> Status {
    let (kind, retry_after) = match error {
        ExecuteError::Busy { retry_after } => (Code::ResourceExhausted, Some(*retry_after)),
        ExecuteError::LogUnavailable { retry_after } | ExecuteError::OutcomePending { retry_after } => (Code::Unavailable, Some(*retry_after)),
        ExecuteError::LeaseLost | ExecuteError::ShuttingDown => (Code::Unavailable, Some(Duration::from_secs(1))),
        ExecuteError::Contention { .. } => (Code::Aborted, Some(Duration::from_millis(200))),
        ExecuteError::CommandIdReused => (Code::AlreadyExists, None),
        ExecuteError::CommandIdAhead { .. } => (Code::InvalidArgument, None),
        ExecuteError::CommandIdExpired { .. } | ExecuteError::StreamUnreadable { .. } => (Code::FailedPrecondition, None),
        ExecuteError::LogRefused { .. } | ExecuteError::DecisionFailed { .. } => (Code::Internal, None),
    };
    let details = match error {
        ExecuteError::CommandIdAhead { made } => BTreeMap::from([("made".to_owned(), made.to_string())]),
        _ => BTreeMap::new(),
    };
    refusal_status(error.code(), kind, &error.to_string(), details, retry_after)
}

/// Personal data that could not be sealed as an error: nothing was accepted.
pub(super) fn unsealed(error: &SealingError) -> Status {
    let (kind, retry_after) = match error {
        SealingError::Unavailable { retry_after } => (Code::Unavailable, Some(*retry_after)),
        SealingError::Database(_) | SealingError::MasterKeyMissing { .. } | SealingError::NoRandomness => {
            (Code::Unavailable, Some(Duration::from_secs(1)))
        }
        SealingError::Off { .. } => (Code::FailedPrecondition, None),
        SealingError::MasterKeyMalformed { .. }
        | SealingError::File { .. }
        | SealingError::ListUnreadable { .. }
        | SealingError::RequestReused
        | SealingError::TooLarge { .. }
        | SealingError::NotOpened => (Code::Internal, None),
    };
    refusal_status(error.code(), kind, &error.to_string(), BTreeMap::new(), retry_after)
}

/// A position on the wire.
pub(super) fn position(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

/// A time on the wire.
pub(super) fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    let nanos = at.subsec_nanosecond();
    // the wire counts nanoseconds forwards from a whole second, also before 1970
    let (seconds, nanos) = if nanos < 0 { (at.as_second() - 1, nanos + 1_000_000_000) } else { (at.as_second(), nanos) };
    prost_types::Timestamp { seconds, nanos }
}

/// A time as PostgreSQL keeps it, to the microsecond: one that is kept elsewhere in nanoseconds would be told differently by the views and by the history.
pub(super) fn stored(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}

/// A count on the wire.
pub(super) fn count(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Money on the wire.
pub(super) fn money(money: Money) -> jari_proto::r#type::v1::Money {
    jari_proto::r#type::v1::Money { currency: money.currency.as_str().to_owned(), minor_units: i64::try_from(money.minor).unwrap_or(i64::MAX) }
}

/// Lines on the wire.
pub(super) fn lines(lines: &[OrderLine]) -> Vec<pb::OrderLine> {
    let line = |line: &OrderLine| pb::OrderLine {
        product_id: line.product_id.to_string(),
        option_id: line.option_id.to_string(),
        starts_at: line.starts_at.map(timestamp),
        units: line
            .units
            .iter()
            .map(|unit| pb::PricedUnit { unit_id: unit.unit_id.to_string(), quantity: count(unit.quantity), price: Some(money(unit.price)) })
            .collect(),
        draws: line.draws.iter().map(|draw| pb::SlotDraw { slot_id: draw.slot_id.to_string(), quantity: count(draw.quantity) }).collect(),
        total: Some(money(line.total)),
    };
    lines.iter().map(line).collect()
}

/// An order's state on the wire.
pub(super) fn state(status: OrderStatus) -> pb::OrderState {
    match status {
        OrderStatus::Absent => pb::OrderState::Unspecified,
        OrderStatus::Placed => pb::OrderState::Accepted,
        OrderStatus::Held => pb::OrderState::Held,
        OrderStatus::Rejected => pb::OrderState::Rejected,
        OrderStatus::Confirmed => pb::OrderState::Confirmed,
        OrderStatus::Expired => pb::OrderState::Expired,
        OrderStatus::Cancelled => pb::OrderState::Cancelled,
    }
}

/// Why lines failed, on the wire.
pub(super) fn failures(failures: &[jari_domain::order::LineFailure]) -> Vec<pb::LineFailure> {
    let failure = |failure: &jari_domain::order::LineFailure| pb::LineFailure {
        line: count(failure.line),
        slot_id: failure.slot_id.to_string(),
        code: failure.code.clone(),
        message: failure.message.clone(),
        details: failure.details.clone(),
        retryable: failure.retryable,
    };
    failures.iter().map(failure).collect()
}
