//! What was delivered and what was not, and which record it is that a broker does not take: that one is told, for nothing behind it goes on without it.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use jari_event_store::Position;
use rdkafka::{
    ClientContext, Message as _,
    error::{KafkaError, RDKafkaErrorCode},
    message::{BorrowedMessage, DeliveryResult, Headers},
    producer::ProducerContext,
};
use rustc_hash::FxHashMap;

use crate::{Message, RelayError, error::position_of};

/// A record that was not delivered.
pub(crate) struct Undelivered {
    pub(crate) error: KafkaError,
    /// Its `ce_id`; empty when it is no CloudEvent.
    id: String,
    topic: String,
    partition: i32,
    bytes: usize,
}

impl Undelivered {
    fn new(error: &KafkaError, record: &BorrowedMessage<'_>) -> Self {
        let headers = || record.headers().into_iter().flat_map(|headers| headers.iter());
        let id = headers().find(|header| header.key == "ce_id").and_then(|header| header.value);
        let in_headers: usize = headers().map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len)).sum();
        Self {
            error: error.clone(),
            id: id.map(|id| String::from_utf8_lossy(id).into_owned()).unwrap_or_default(),
            topic: record.topic().to_owned(),
            partition: record.partition(),
            bytes: record.payload_len() + record.key_len() + in_headers,
        }
    }

    fn has(&self, code: RDKafkaErrorCode) -> bool {
        self.error.rdkafka_error_code() == Some(code)
    }

    /// In the log's order; what is of no event comes last.
    fn place(&self) -> Position {
        position_of(&self.id).unwrap_or(Position::MAX)
    }
}

/// Keeps what was not delivered, in the order in which that was heard: at most the records of a transaction, which then fails.
#[derive(Default)]
pub struct Deliveries {
    failed: Mutex<Vec<Undelivered>>,
    /// Where the last one that was delivered stands in its partition.
    newest_offset: AtomicI64,
}

impl Deliveries {
    pub(crate) fn newest_offset(&self) -> i64 {
        self.newest_offset.load(Ordering::Relaxed)
    }

    pub(crate) fn failed(&self) -> MutexGuard<'_, Vec<Undelivered>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Deliveries {
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "librdkafka");
    }
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();
    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(record) => self.newest_offset.store(record.offset(), Ordering::Relaxed),
            Err((error, record)) => self.failed().push(Undelivered::new(error, record)),
        }
    }
}

/// The record of `messages` that a broker does not take, if there is one among those that failed, at `now_ms`. Whatever was on its way with it failed as
/// well, some of it before. `ended` says what ended the transaction.
pub(crate) fn refusal(
    failed: &[Undelivered],
    ended: impl FnOnce() -> Option<RDKafkaErrorCode>,
    messages: &[Message],
    now_ms: i64,
) -> Option<RelayError> {
    // records that travelled together are refused together: for the largest of them
    let large = failed.iter().filter(|record| record.has(RDKafkaErrorCode::MessageSizeTooLarge)).max_by_key(|record| record.bytes);
    if let Some(large) = large {
        return Some(RelayError::too_large(&large.id, large.topic.clone(), large.bytes));
    }
    let times: FxHashMap<&str, i64> = messages.iter().map(|message| (message.public.attributes.id.as_str(), message.recorded_ms)).collect();
    // a checkpoint has the time at which it is sent
    let time = |record: &Undelivered| times.get(record.id.as_str()).copied().unwrap_or(now_ms);
    let mut dated: BTreeMap<(&str, i32), Vec<&Undelivered>> = BTreeMap::new();
    // of each of several it says only that it is refused, and why stands in the transaction
    let several = failed.iter().any(|record| record.has(RDKafkaErrorCode::InvalidRecord)) && ended() == Some(RDKafkaErrorCode::InvalidTimestamp);
    let is_of_several = |record: &Undelivered| several && record.has(RDKafkaErrorCode::InvalidRecord);
    for record in failed.iter().filter(|record| record.has(RDKafkaErrorCode::InvalidTimestamp) || is_of_several(record)) {
        dated.entry((&record.topic, record.partition)).or_default().push(record);
    }
    // What travelled to one partition together is refused together. When several of it are dated wrongly, the client names them (`InvalidRecord`). When one
    // is, it says so of all: it is the last, or the first, since the time of recording never runs back.
    let wrong = dated.into_values().filter_map(|records| {
        if records.iter().any(|record| is_of_several(record)) {
            return records.into_iter().min_by_key(|record| record.place());
        }
        let latest = records.iter().copied().max_by_key(|record| time(record)).filter(|latest| time(latest) > now_ms);
        latest.or_else(|| records.into_iter().min_by_key(|record| time(record)))
    });
    let first = wrong.min_by_key(|record| record.place())?;
    Some(RelayError::dated(&first.id, first.topic.clone(), time(first)))
}

#[cfg(test)]
mod tests {
    use jari_contract::{Attributes, PublicMessage, Topic, order_command::COMMANDS};

    use super::*;

    const NOW: i64 = 1_800_000_000_000;
    const DAY: i64 = 86_400_000;

    fn message(id: &str, recorded_ms: i64) -> Message {
        let attributes = Attributes::of_command(id.into(), "urn:example:log".into(), COMMANDS[0], "o-1", jiff::Timestamp::UNIX_EPOCH);
        Message { public: PublicMessage { topic: Topic::Slot, key: "o-1".into(), attributes, data: Vec::new() }, recorded_ms }
    }

    fn undelivered(code: RDKafkaErrorCode, id: &str, partition: i32) -> Undelivered {
        Undelivered { error: KafkaError::MessageProduction(code), id: id.into(), topic: "slots".into(), partition, bytes: id.len() }
    }

    /// What is said when records failed in this order, in a transaction that ended for a record's time.
    fn said(failed: &[(RDKafkaErrorCode, &str, i32)], times: &[(&str, i64)]) -> Option<(&'static str, String)> {
        let failed: Vec<_> = failed.iter().map(|(code, id, partition)| undelivered(*code, id, *partition)).collect();
        let messages: Vec<_> = times.iter().map(|(id, time_ms)| message(id, *time_ms)).collect();
        let error = refusal(&failed, || Some(RDKafkaErrorCode::InvalidTimestamp), &messages, NOW)?;
        Some((error.code(), error.to_string()))
    }

    #[test]
    fn of_all_that_failed_together_the_first_record_that_is_refused_is_told() {
        use RDKafkaErrorCode::{InvalidDifferentRecord, InvalidRecord, InvalidTimestamp, MessageTimedOut, PurgeQueue};
        let ahead = NOW + 2 * DAY;
        let log = [("7", NOW - 5), ("8.1", NOW - 4), ("9", ahead), ("10", ahead), ("11.head", ahead)];
        let told = |failed: &[(RDKafkaErrorCode, &str, i32)]| {
            let (code, said) = said(failed, &log).unwrap();
            assert_eq!(code, "KAFKA_TIMESTAMP_REFUSED");
            said.split(',').next().unwrap().to_owned()
        };
        let several = [(PurgeQueue, "7", 0), (InvalidDifferentRecord, "8.1", 1), (InvalidRecord, "10", 1), (InvalidRecord, "9", 2)];
        assert_eq!(told(&several), "the event at position 9 is dated 2027-01-17T08:00:00Z");
        let one = [(InvalidTimestamp, "7", 1), (InvalidTimestamp, "8.1", 1), (InvalidTimestamp, "10", 1), (InvalidTimestamp, "11.head", 0)];
        assert_eq!(told(&one), "the event at position 10 is dated 2027-01-17T08:00:00Z", "what went with it is dated rightly");
        assert_eq!(told(&one[3..]), "the signed head of position 11 is dated 2027-01-17T08:00:00Z");
        assert_eq!(told(&one[..2]), "the event at position 7 is dated 2027-01-15T07:59:59.995Z", "nothing is ahead: the oldest is too old");
        assert_eq!(told(&[(InvalidTimestamp, "", 0)]), "the relay's checkpoint is dated 2027-01-15T08:00:00Z");
        assert_eq!(said(&[(MessageTimedOut, "7", 0), (PurgeQueue, "8.1", 0)], &log), None, "no broker looked at them");
    }

    #[test]
    fn the_largest_of_the_records_that_are_too_large_together_is_told() {
        use RDKafkaErrorCode::{InvalidDifferentRecord, MessageSizeTooLarge, PurgeQueue};
        let failed = [(PurgeQueue, "10", 0), (MessageSizeTooLarge, "7", 1), (MessageSizeTooLarge, "123", 1), (InvalidDifferentRecord, "8", 2)];
        let (code, said) = said(&failed, &[]).unwrap();
        assert_eq!(code, "KAFKA_RECORD_TOO_LARGE");
        assert!(said.starts_with("the event at position 123 has 3 bytes, and slots takes no record"), "{said}");
    }
}
