//! Between the wire and the domain's types, both ways. Bad input is told field by field, all of it at once.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jari_domain::{Currency, Money, Quantity, Refusal, Timestamp, ids::IdError};
use jari_proto::status::{invalid, refusal_status};
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

    /// Takes the command's id out of the request. Nobody goes without: the repeat of a caller that brought none, for it got no answer, would be a
    /// second booking.
    pub fn request_id(&mut self, text: &mut String) -> Option<Uuid> {
        let text = std::mem::take(text);
        let id = Uuid::try_parse(&text).ok().filter(|id| !id.is_nil());
        if id.is_none() {
            let what = if text.is_empty() { "is required: a UUID of this command, best of version 7" } else { "must be a UUID, best of version 7" };
            self.add("request_id", what);
        }
        id
    }

    /// Takes an id.
    pub fn id<T>(&mut self, field: impl Into<String>, text: &str, parse: impl Fn(&str) -> Result<T, IdError>) -> Option<T> {
        parse(text).map_err(|error| self.add(field, format!("must be {}", error.form))).ok()
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

    /// Takes a number of units that is at least `least`.
    pub fn quantity(&mut self, field: impl Into<String>, value: i32, least: Quantity) -> Option<Quantity> {
        self.number(field, value, least.get()).map(Quantity::new)
    }

    /// Takes a time, when there is one.
    pub fn time(&mut self, field: impl Into<String>, at: Option<&prost_types::Timestamp>) -> Option<Option<Timestamp>> {
        let Some(at) = at else { return Some(None) };
        match Timestamp::new(at.seconds, at.nanos) {
            Ok(time) if (0..1_000_000_000).contains(&at.nanos) => Some(Some(time)),
            _ => {
                self.add(field, "is not a time that can be told: the first is in the year -9999, the last 9999-12-30T22:00:00Z");
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

    /// The command's id and what else was taken; the answer, when anything is wrong. `None` only ever comes with a violation.
    pub fn finish<T>(mut self, id: Option<Uuid>, taken: Option<T>) -> Result<(Uuid, T), Status> {
        self.check()?;
        id.zip(taken).ok_or_else(|| unusable("request", "cannot be used"))
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

/// Who calls: what `x-jari-caller` says, or `anonymous`.
///
/// # Errors
/// `REQUEST_INVALID` of a name that is not 1 to 64 ASCII characters, or is one of the engine's own.
pub fn caller(metadata: &MetadataMap) -> Result<Arc<str>, Status> {
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

/// A refusal as an error. When it may go well later, the delay counts from `now`, by the engine's clock.
pub(super) fn refused(refusal: &Refusal, now: Timestamp) -> Status {
    let mut details = refusal.details.clone();
    details.insert("retryable".into(), refusal.retryable.to_string());
    let retry_at = refusal.details.get("retry_at").and_then(|at| at.parse::<Timestamp>().ok());
    let retry_after = retry_at.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
    refusal_status(&refusal.code, jari_wire::code(refusal.kind), &refusal.message, details, retry_after)
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
        SealingError::Database(_) | SealingError::MasterKeyMissing { .. } | SealingError::File { .. } => {
            (Code::Unavailable, Some(Duration::from_secs(1)))
        }
        SealingError::Off { .. } => (Code::FailedPrecondition, None),
        SealingError::MasterKeyMalformed { .. }
        | SealingError::TooManyMasterKeys { .. }
        | SealingError::ListUnreadable { .. }
        | SealingError::RequestReused
        | SealingError::TooLarge { .. }
        | SealingError::NotOpened
        | SealingError::NoRandomness => (Code::Internal, None),
    };
    refusal_status(error.code(), kind, &error.to_string(), BTreeMap::new(), retry_after)
}

/// A time as PostgreSQL keeps it, to the microsecond: one that is kept elsewhere in nanoseconds would be told differently by the views and by the history.
pub(super) fn stored(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use jari_proto::status::{reason, retry_after};

    use super::*;

    /// A caller branches on the code, a client library on the status, and both were told on the page what to do.
    fn is_told_as_its_page_says(status: &Status) {
        let code = reason(status).unwrap();
        let path = format!("{}/../docs/errors/{code}.md", env!("CARGO_MANIFEST_DIR"));
        let page = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let line = page.lines().find(|line| line.starts_with("gRPC status: ")).unwrap();
        let kind = format!("{:?}", status.code());
        let named = line.split('`').nth(1).unwrap().split('_').map(|word| word[..1].to_owned() + &word[1..].to_lowercase()).collect::<String>();
        assert_eq!(kind, named, "{path}: {status:?}");
        assert_eq!(retry_after(status).is_some(), line.contains("A retry can help"), "RetryInfo of {path}: {line}");
        assert!(retry_after(status).is_none_or(|delay| delay > Duration::ZERO), "{code}: at once is no delay");
    }

    #[test]
    fn every_execution_without_an_outcome_is_told_as_its_page_says() {
        let retry_after = Duration::from_millis(300);
        let text = || "as the database said".to_owned();
        let all = [
            ExecuteError::Busy { retry_after },
            ExecuteError::LogUnavailable { retry_after },
            ExecuteError::OutcomePending { retry_after },
            ExecuteError::CommandIdReused,
            ExecuteError::CommandIdExpired { retention_days: 30 },
            ExecuteError::CommandIdAhead { made: Timestamp::UNIX_EPOCH },
            ExecuteError::Contention { attempts: 32 },
            ExecuteError::StreamUnreadable { stream: "Order/o-1".into(), reason: text() },
            ExecuteError::LeaseLost,
            ExecuteError::LogRefused { reason: text() },
            ExecuteError::DecisionFailed { name: "place_order" },
            ExecuteError::ShuttingDown,
        ];
        let codes: BTreeSet<&str> = all.iter().map(ExecuteError::code).collect();
        assert_eq!(codes, ExecuteError::CODES.iter().copied().collect(), "each of them is looked at");
        for error in all {
            is_told_as_its_page_says(&failed(&error));
        }
        assert_eq!(jari_proto::status::retry_after(&failed(&ExecuteError::Busy { retry_after })), Some(retry_after), "as the door says");
    }

    #[test]
    fn personal_data_that_could_not_be_sealed_is_told_as_its_page_says() {
        let text = || "none".to_owned();
        for error in [
            SealingError::Off { reason: text() },
            SealingError::Unavailable { retry_after: Duration::from_secs(1) },
            SealingError::Database(jari_event_store::LogError::Pool(text())),
            SealingError::MasterKeyMissing { wanted: text(), at_hand: text() },
            SealingError::MasterKeyMalformed { place: text() },
            SealingError::File { path: "keys".into(), reason: text() },
            SealingError::TooLarge { bytes: 1 },
            SealingError::NotOpened,
            SealingError::NoRandomness,
        ] {
            is_told_as_its_page_says(&unsealed(&error));
        }
    }

    #[test]
    fn a_callers_name_has_1_to_64_characters_and_is_none_of_the_engines_own() {
        let named = |name: &str| {
            let mut metadata = MetadataMap::new();
            metadata.insert(CALLER_HEADER, name.parse().unwrap());
            caller(&metadata).map_err(|status| (status.code(), reason(&status).unwrap()))
        };
        assert_eq!(caller(&MetadataMap::new()).unwrap().as_ref(), ANONYMOUS);
        for name in ["a", &"n".repeat(64)] {
            assert_eq!(named(name).unwrap().as_ref(), name);
        }
        for name in [String::new(), "n".repeat(65), "n\u{e9}e".to_owned(), format!("{ENGINE_ACTORS}settlement")] {
            assert_eq!(named(&name), Err((Code::InvalidArgument, REQUEST_INVALID.to_owned())), "{name:?}");
        }
    }
}
