//! Executes commands as a client of `OrderService`, under the sender's own id, and tries again for as long as a try can help.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jari_proto::{
    order::v1::{self as pb, order_service_client::OrderServiceClient},
    status::{reason, retry_after},
};
use tokio::time::Instant;
use tonic::{
    Code, Request, Status,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::{
    IntakeError,
    command::{Command, Known, Refusal, derived},
    error::COMMAND_FAILED,
};

/// How long one try may take.
const TRY: Duration = Duration::from_secs(15);
/// How long the settlement of an order is waited for: whoever sends its confirmation right behind it means the settled order.
const SETTLED_WITHIN: Duration = Duration::from_secs(3);
/// A confirmation whose order is not settled yet is sent again so many times, each time under another id, since the refusal is recorded under the one
/// before. All of them are sent before it is refused for good, however little time there is: so a repeat of the record, which goes from the same id to
/// the same next one, comes to the same end. With the pauses it is half a minute: settlement has a new owner after `settlement.lease_ms`, 5 s.
const CONFIRMED_AGAIN: u32 = 8;
/// Between two tries, when the server names no delay; and at most, when it does.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A sender's name is passed on as it is up to so many bytes; a longer one, or one that no header carries, by its digest.
const MAX_CALLER: usize = 64;
/// What is answered when a stream that the command needs cannot be read by the node that was asked.
const STREAM_UNREADABLE: &str = "STREAM_UNREADABLE";

/// Executes.
#[derive(Debug)]
pub(crate) struct Executor {
    orders: OrderServiceClient<Channel>,
    try_for: Duration,
    unread: Mutex<Option<Unread>>,
}

/// Streams have been met that cannot be read, from the one time to the other.
#[derive(Debug, Clone, Copy)]
struct Unread {
    since: Instant,
    last: Instant,
}

impl Unread {
    /// One more is met, `now`. It belongs to those before it unless none was met for as long as a command is tried.
    fn after(known: Option<Self>, now: Instant, try_for: Duration) -> Self {
        let since = known.filter(|known| now - known.last < try_for).map_or(now, |known| known.since);
        Self { since, last: now }
    }
}

impl Executor {
    /// `server` is `http://host:port`; connects when first needed.
    pub fn new(server: &str, try_for: Duration) -> Result<Self, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(server.to_owned())?.connect_timeout(TRY).tcp_nodelay(true);
        Ok(Self { orders: OrderServiceClient::new(endpoint.connect_lazy()), try_for, unread: Mutex::default() })
    }

    /// How long the commands of one order, of all that were read together, may wait for its settlement: long enough for a new owner of settlement, and
    /// half of what one command may take. If each of them waited by itself, a sender of many could keep those of all other orders for hours.
    pub fn patience(&self) -> Duration {
        self.try_for / 2
    }

    /// For how long streams have been met that cannot be read, this one included. The patience with them is one for all commands: if each of those that
    /// need one damaged product had its own, those behind them would wait for hours.
    fn unread_for(&self) -> Duration {
        let mut unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        let met = Unread::after(*unread, Instant::now(), self.try_for);
        *unread = Some(met);
        met.last - met.since
    }

    /// Executes a command: `None` when it was done, now or before; else why it was refused. `patience` is what is left of [`Self::patience`] to the
    /// commands of its order.
    ///
    /// One whose stream cannot be read is tried on, since another node may read it: while nodes are brought up to date, a newer one writes what an older
    /// one does not know. Then it is refused, so that the line goes on. Nothing is recorded under its id, which is how it is sent again.
    ///
    /// # Errors
    /// [`IntakeError::NotTaken`] when nobody took it for too long: nothing is known of it.
    pub async fn execute(&self, known: &Known, patience: &mut Duration) -> Result<Option<Refusal>, IntakeError> {
        let until = Instant::now() + self.try_for;
        let (mut id, mut again) = (known.id, 0);
        // Ends with an answer that is one, after `try_for`, or when all ids were tried.
        loop {
            let tried = tokio::time::timeout(TRY, self.call(known, id)).await.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")));
            let Err(status) = tried else { return Ok(None) };
            let pause = match refusal(&status) {
                Some(refusal) if is_unsettled(&refusal) && again < CONFIRMED_AGAIN => {
                    let pause = (PAUSE * 2_u32.pow(again)).min(LONGEST_PAUSE).min(*patience);
                    *patience -= pause;
                    again += 1;
                    id = derived(&known.id, &format!("confirmed again {again}"));
                    pause
                }
                Some(refusal) if refusal.code == STREAM_UNREADABLE && self.unread_for() + PAUSE <= self.try_for => PAUSE,
                Some(refusal) => return Ok(Some(refusal)),
                None => {
                    let pause = retry_after(&status).unwrap_or(PAUSE).clamp(PAUSE, LONGEST_PAUSE);
                    if Instant::now() + pause > until {
                        let reason = format!("{} ({})", status.message(), reason(&status).unwrap_or_else(|| format!("{:?}", status.code())));
                        return Err(IntakeError::NotTaken { seconds: self.try_for.as_secs(), reason });
                    }
                    pause
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn call(&self, known: &Known, id: Uuid) -> Result<(), Status> {
        let mut orders = self.orders.clone();
        let request_id = id.to_string();
        match known.command.clone() {
            Command::Place(pb::PlaceOrderCommand { order_id, customer, lines }) => {
                let wait = prost_types::Duration::try_from(SETTLED_WITHIN).ok();
                let request = pb::PlaceOrderRequest { request_id, order_id, customer, lines, wait, ..pb::PlaceOrderRequest::default() };
                orders.place_order(from(known, id, request)).await.map(|_| ())
            }
            Command::Confirm(pb::ConfirmOrderCommand { order_id }) => {
                orders.confirm_order(from(known, id, pb::ConfirmOrderRequest { request_id, order_id })).await.map(|_| ())
            }
            Command::Cancel(pb::CancelOrderCommand { order_id, reason }) => {
                orders.cancel_order(from(known, id, pb::CancelOrderRequest { request_id, order_id, reason })).await.map(|_| ())
            }
        }
    }
}

/// The request, with who sends it, the trace that it belongs to, and the sender's id for it when it goes under another: events answer by that.
fn from<T>(known: &Known, id: Uuid, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-jari-caller", caller(&known.source));
    if let Some(first) = Some(known.id).filter(|first| *first != id).and_then(|first| first.to_string().parse().ok()) {
        request.metadata_mut().insert("x-jari-correlation-id", first);
    }
    if let Some(trace) = known.trace.as_deref().and_then(|trace| trace.parse().ok()) {
        request.metadata_mut().insert("traceparent", trace);
    }
    request
}

/// The caller that a sender is: ids of commands are told apart by it.
fn caller(source: &str) -> MetadataValue<Ascii> {
    let is_name = |source: &&str| source.len() <= MAX_CALLER && source.bytes().all(|byte| byte.is_ascii_graphic());
    // the server keeps these names for itself
    let short = Some(source).filter(is_name).filter(|source| !source.starts_with("engine/"));
    let digest = || format!("source-{}", &blake3::hash(source.as_bytes()).to_hex()[..32]);
    let name = short.map_or_else(digest, str::to_owned);
    name.parse().unwrap_or_else(|_| MetadataValue::from_static("source"))
}

/// Whether an order was refused its confirmation only because it is still in line: its sender cannot know, and means the settled order.
fn is_unsettled(refusal: &Refusal) -> bool {
    refusal.code == "ORDER_NOT_HELD" && refusal.details.get("status").is_some_and(|status| status == "PLACED")
}

/// What the server decided, or why it cannot decide; `None` when it decided nothing, and waiting helps.
fn refusal(status: &Status) -> Option<Refusal> {
    let info = status.get_details_error_info();
    // only a decision says of itself whether a new command may fare better
    let decided = info.as_ref().and_then(|info| info.metadata.get("retryable")).map(|retryable| retryable == "true");
    let may_pass = matches!(
        status.code(),
        Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded | Code::Cancelled | Code::Aborted | Code::Unknown
    );
    if decided.is_none() && may_pass {
        return None;
    }
    let mut details: BTreeMap<String, String> = info.map(|info| info.metadata.into_iter().collect()).unwrap_or_default();
    details.remove("retryable");
    for field in status.get_details_bad_request().into_iter().flat_map(|bad| bad.field_violations) {
        details.insert(field.field, field.description);
    }
    let code = reason(status).unwrap_or_else(|| COMMAND_FAILED.to_owned());
    // what failed for a reason of the engine's may not fail again
    let retryable = decided.unwrap_or(status.code() == Code::Internal || code == STREAM_UNREADABLE);
    Some(Refusal { code, message: status.message().to_owned(), details, retryable })
}

#[cfg(test)]
mod tests {
    use super::*;
    use jari_proto::status::{invalid, refusal_status};

    #[test]
    fn what_was_decided_is_told_and_what_was_not_is_tried_again() {
        let decided = |retryable: &str| BTreeMap::from([("retryable".to_owned(), retryable.to_owned()), ("order_id".to_owned(), "o-1".to_owned())]);
        let refused = refusal(&refusal_status("ORDER_NOT_HELD", Code::FailedPrecondition, "no", decided("false"), None)).unwrap();
        assert_eq!((refused.code.as_str(), refused.retryable), ("ORDER_NOT_HELD", false));
        assert_eq!(refused.details, BTreeMap::from([("order_id".to_owned(), "o-1".to_owned())]));
        let sold_out = refusal(&refusal_status("SLOT_SOLD_OUT", Code::ResourceExhausted, "no", decided("true"), None)).unwrap();
        assert!(sold_out.retryable, "a decision, though it bears a status that overload has, too");
        let bad = refusal(&invalid(vec![("lines[0].units", "none")], "REQUEST_INVALID")).unwrap();
        assert_eq!(bad.details["lines[0].units"], "none");
        let undecided = [
            ("ENGINE_BUSY", Code::ResourceExhausted),
            ("LOG_UNAVAILABLE", Code::Unavailable),
            ("CONTENTION", Code::Aborted),
            ("SETTLEMENT_UNAVAILABLE", Code::Unavailable),
        ];
        for (code, kind) in undecided {
            assert_eq!(refusal(&refusal_status(code, kind, "later", BTreeMap::new(), None)), None, "{code}");
        }
        for transport in [Status::unknown("reset"), Status::unavailable("refused"), Status::cancelled("gone"), Status::deadline_exceeded("late")] {
            assert_eq!(refusal(&transport), None);
        }
        assert!(refusal(&Status::internal("a mistake")).unwrap().retryable, "poison does not stop the line, and may be sent again");
        for (code, kind) in [(STREAM_UNREADABLE, Code::FailedPrecondition), ("DECISION_FAILED", Code::Internal), ("LOG_REFUSED", Code::Internal)] {
            let refused = refusal(&refusal_status(code, kind, "a mistake", BTreeMap::new(), None)).unwrap();
            assert_eq!((refused.code.as_str(), refused.retryable), (code, true));
        }
        let expired = refusal(&refusal_status("COMMAND_ID_EXPIRED", Code::FailedPrecondition, "old", BTreeMap::new(), None)).unwrap();
        assert!(!expired.retryable);
    }

    #[test]
    fn all_commands_share_one_patience_with_streams_that_cannot_be_read() {
        let (mut now, mut known) = (Instant::now(), None);
        let waited = [0, 50, 50, 61, 1].map(|seconds| {
            now += Duration::from_secs(seconds);
            let met = Unread::after(known, now, Duration::from_secs(60));
            known = Some(met);
            (met.last - met.since).as_secs()
        });
        assert_eq!(waited, [0, 50, 100, 0, 1], "whoever comes late does not wait again; after a while without any it begins anew");
    }

    #[test]
    fn a_confirmation_waits_for_an_order_in_line_and_for_no_other() {
        let refused = |code: &str, status: &str| {
            let details = BTreeMap::from([("retryable".to_owned(), "true".to_owned()), ("status".to_owned(), status.to_owned())]);
            refusal(&refusal_status(code, Code::FailedPrecondition, "no", details, None)).unwrap()
        };
        assert!(is_unsettled(&refused("ORDER_NOT_HELD", "PLACED")));
        assert!(!is_unsettled(&refused("ORDER_NOT_HELD", "CANCELLED")) && !is_unsettled(&refused("SLOT_SUSPENDED", "PLACED")));
    }

    #[test]
    fn every_source_is_a_caller_of_its_own_that_a_header_carries() {
        assert_eq!(caller("urn:example:kiosk-7").to_str().unwrap(), "urn:example:kiosk-7");
        let long = "https://partner.example/".repeat(10);
        let others =
            [long.as_str(), "부산", "with space", "with\ttab", "engine/settlement"].map(|source| caller(source).to_str().unwrap().to_owned());
        assert!(others.iter().all(|name| name.len() <= MAX_CALLER && name.starts_with("source-")));
        assert_eq!(others.iter().collect::<std::collections::BTreeSet<_>>().len(), 5);
    }
}
