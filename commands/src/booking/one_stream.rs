//! A command on one aggregate. Touches: its stream.

use std::fmt::Debug;

use jari_domain::{Few, Refusal, StreamId, Timestamp, registry::AsAggregate};

use super::decide;
use crate::engine::{Changes, States, Touch, UnitOfWork};

/// A command on the aggregate `A` alone.
pub struct OneStream<A: AsAggregate> {
    name: &'static str,
    touch: Touch,
    command: A::Command,
}

impl<A: AsAggregate> OneStream<A> {
    /// `command` on the stream of an aggregate that should be there.
    #[must_use]
    pub fn on(name: &'static str, stream: impl Into<StreamId>, command: A::Command) -> Self {
        Self { name, touch: Touch::existing(stream), command }
    }
}

impl<A: AsAggregate> Debug for OneStream<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} on {}", self.name, self.touch.stream)
    }
}

impl<A: AsAggregate> UnitOfWork for OneStream<A> {
    fn name(&self) -> &'static str {
        self.name
    }
    fn touches(&self) -> Vec<Touch> {
        vec![self.touch.clone()]
    }
    fn beforehand(&self, states: &States<'_>, most: usize, now: Timestamp) -> Changes {
        let events = states.at::<A>(0).beforehand(&self.command, Few { within: most, before: most }, now);
        if events.is_empty() { Changes::new() } else { vec![(0, events.into_iter().map(A::wrap).collect())] }
    }
    fn decide(&self, states: &States<'_>, now: Timestamp) -> Result<Changes, Refusal> {
        Ok(vec![(0, decide::<A>(states, 0, &self.command, now)?)])
    }
}
