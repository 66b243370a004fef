//! The same log behind cqrs-es' own interface, so that an unchanged `CqrsFramework` works on it.
//!
//! What its signature allows: a conflict is an error that the caller retries, and there is no command id, so a repeated command is a new one.

use std::collections::HashMap;

use cqrs_es::{Aggregate, AggregateContext, AggregateError, EventEnvelope, EventStore};
use jari_domain::{Decider, StreamId, registry::AsAggregate};

use crate::{Appender, Batch, Body, Database, Group, LogError, Metadata, Reader, StreamUse};

/// cqrs-es' event store over the log.
#[derive(Clone)]
pub struct LogStore {
    database: Database,
    reader: Reader,
}

impl LogStore {
    /// A store on `database`.
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self { reader: Reader::new(database.clone()), database }
    }
}

/// An aggregate that was loaded, with the version on which its command will be decided.
pub struct LogContext<A> {
    aggregate: A,
    aggregate_id: String,
    version: u64,
}

impl<A: Aggregate> AggregateContext<A> for LogContext<A> {
    fn aggregate(&mut self) -> &mut A {
        &mut self.aggregate
    }
}

fn failed<E: std::error::Error>(error: LogError) -> AggregateError<E> {
    if error.is_away() { AggregateError::DatabaseConnectionError(Box::new(error)) } else { AggregateError::UnexpectedError(Box::new(error)) }
}

impl<A, D> EventStore<A> for LogStore
where
    D: cqrs_es::DomainEvent + jari_domain::EventFormat,
    A: Aggregate<Event = D> + AsAggregate + Decider<Event = D>,
{
    type AC = LogContext<A>;

    async fn load_events(&self, aggregate_id: &str) -> Result<Vec<EventEnvelope<A>>, AggregateError<<A as Aggregate>::Error>> {
        let stream = StreamId { aggregate_type: <A as Decider>::TYPE, aggregate_id: aggregate_id.into() };
        let events = self.reader.stream_after(&stream, 0, usize::MAX).await.map_err(failed)?;
        events
            .into_iter()
            .map(|event| {
                let metadata = serde_json::to_value(&*event.metadata).ok().and_then(|m| serde_json::from_value(m).ok()).unwrap_or_default();
                let payload = match event.body {
                    Body::Known(typed) => A::event_of(typed),
                    Body::Unreadable { error, .. } => return Err(AggregateError::DeserializationError(Box::new(error))),
                };
                let payload = payload.ok_or_else(|| AggregateError::DeserializationError("an event of another aggregate".into()))?;
                let sequence = usize::try_from(event.sequence).unwrap_or(usize::MAX);
                Ok(EventEnvelope { aggregate_id: aggregate_id.to_owned(), sequence, payload, metadata })
            })
            .collect()
    }

    async fn load_aggregate(&self, aggregate_id: &str) -> Result<LogContext<A>, AggregateError<<A as Aggregate>::Error>> {
        let events = EventStore::<A>::load_events(self, aggregate_id).await?;
        let mut aggregate = A::default();
        let version = events.last().map_or(0, |e| e.sequence as u64);
        events.iter().for_each(|event| Decider::apply(&mut aggregate, &event.payload));
        Ok(LogContext { aggregate, aggregate_id: aggregate_id.to_owned(), version })
    }

    async fn commit(
        &self,
        events: Vec<D>,
        context: LogContext<A>,
        metadata: HashMap<String, String>,
    ) -> Result<Vec<EventEnvelope<A>>, AggregateError<<A as Aggregate>::Error>> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let stream = StreamId { aggregate_type: <A as Decider>::TYPE, aggregate_id: context.aggregate_id.as_str().into() };
        let used = StreamUse { stream, expected: context.version, events: events.iter().cloned().map(A::wrap).collect(), claims: true };
        let other = metadata.iter().map(|(k, v)| (k.clone(), v.clone().into())).collect();
        let group = Group::new(vec![used], None, Metadata { other, ..Metadata::default() }.into(), None);
        let group = group.map_err(|e| AggregateError::UnexpectedError(Box::new(e)))?;
        let appender = Appender::connect(&self.database).await.map_err(failed)?;
        let appended = appender.append(&Batch { groups: vec![group] }, 1, None, true).await.map_err(failed)?;
        if !appended.fallen.is_empty() {
            return Err(AggregateError::AggregateConflict);
        }
        let envelope = |(payload, sequence): (D, u64)| EventEnvelope {
            aggregate_id: context.aggregate_id.clone(),
            sequence: usize::try_from(sequence).unwrap_or(usize::MAX),
            payload,
            metadata: metadata.clone(),
        };
        Ok(events.into_iter().zip(context.version + 1..).map(envelope).collect())
    }
}
