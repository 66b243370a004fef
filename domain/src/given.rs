//! Given what happened, when a command, then events or a refusal: the words of every aggregate's tests.

use std::{collections::BTreeMap, fmt::Debug};

use jiff::{SignedDuration, Timestamp};

use crate::{Decider, Refuse};

/// So many seconds after the first midnight of 2027.
pub(crate) fn t(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_798_761_600 + seconds)
}

/// A state that came about by events.
#[derive(Debug, Clone, Default)]
pub(crate) struct Given<A> {
    pub(crate) state: A,
}

/// Begins with a stream without events.
pub(crate) fn given<A: Decider>() -> Given<A> {
    Given { state: A::default() }
}

impl<A> Given<A>
where
    A: Decider + PartialEq + Debug,
    A::Command: Debug,
{
    /// And then this happened.
    pub(crate) fn event(mut self, event: &A::Event) -> Self {
        self.state.apply(event);
        self
    }

    /// And then this was asked, at `now`, and taken.
    pub(crate) fn done(mut self, now: Timestamp, command: &A::Command) -> Self {
        let events = self.state.decide(command, now).unwrap_or_else(|e| panic!("{command:?} at {now} belongs to the past of a test: {e}"));
        for event in &events {
            self.state.apply(event);
        }
        self
    }

    pub(crate) fn when(&self, now: Timestamp, command: &A::Command) -> Then<A> {
        Then { what: format!("{command:?} at {now}"), outcome: self.state.decide(command, now) }
    }
}

/// What came of a command.
pub(crate) struct Then<A: Decider> {
    what: String,
    outcome: Result<Vec<A::Event>, A::Error>,
}

impl<A: Decider> Then<A> {
    pub(crate) fn then(self, expected: &[A::Event]) {
        match self.outcome {
            Ok(events) => assert_eq!(events, expected, "{}", self.what),
            Err(refusal) => panic!("{} was refused: {refusal}", self.what),
        }
    }

    /// Expects a refusal and gives its facts.
    pub(crate) fn refused(self, code: &str) -> BTreeMap<String, String> {
        match self.outcome {
            Ok(events) => panic!("{} should be refused with {code}, but gave {events:?}", self.what),
            Err(refusal) => {
                assert_eq!(refusal.code(), code, "{}", self.what);
                refusal.details()
            }
        }
    }
}
