//! Outcomes kept in memory, so that a caller's quick repeat costs no query and no place in a batch.

use std::collections::VecDeque;

use jari_domain::Timestamp;
use jari_event_store::{CommandKey, RecordedCommand};
use rustc_hash::FxHashMap;
use uuid::Uuid;

use super::{
    digest,
    unit::{ExecuteError, Origin, Outcome},
};

/// A bounded memory of the newest outcomes, oldest out first.
#[derive(Debug)]
pub struct RecentOutcomes {
    outcomes: FxHashMap<CommandKey, RecordedCommand>,
    order: VecDeque<(CommandKey, Timestamp)>,
    most: usize,
    /// Every outcome of this node since then is here.
    complete_since: Timestamp,
}

impl RecentOutcomes {
    /// An empty memory of at most `most` outcomes, complete from `now` on.
    #[must_use]
    pub fn new(most: usize, now: Timestamp) -> Self {
        Self { outcomes: FxHashMap::default(), order: VecDeque::new(), most, complete_since: now }
    }

    /// What became of the command, when it is remembered.
    #[must_use]
    pub fn get(&self, key: &CommandKey) -> Option<&RecordedCommand> {
        self.outcomes.get(key)
    }

    /// Remembers an outcome of `now`.
    pub fn put(&mut self, key: CommandKey, outcome: RecordedCommand, now: Timestamp) {
        if self.outcomes.insert(key.clone(), outcome).is_none() {
            self.order.push_back((key, now));
        }
        if self.order.len() > self.most
            && let Some((oldest, at)) = self.order.pop_front()
        {
            self.outcomes.remove(&oldest);
            self.complete_since = self.complete_since.max(at);
        }
    }

    /// Whether an absent id may have been executed before all the same, so that the database must be asked first.
    ///
    /// An id that was made after everything forgotten was executed cannot have been. Ids without a time of their own may be of any age. A
    /// wrong answer (a caller's fast clock, another node) costs a second try of a batch, never a second booking: ids are a unique key.
    #[must_use]
    pub fn may_be_older(&self, id: Uuid) -> bool {
        uuid_time(id).is_none_or(|made| made <= self.complete_since)
    }
}

/// The time inside a UUID v7.
#[must_use]
pub fn uuid_time(id: Uuid) -> Option<Timestamp> {
    if id.get_version_num() != 7 {
        return None;
    }
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    Timestamp::new(i64::try_from(seconds).ok()?, i32::try_from(nanos).ok()?).ok()
}

/// What a repeat is answered; another command under a known id is none.
pub(super) fn repeat(known: &RecordedCommand, origin: &Origin) -> Result<Outcome, ExecuteError> {
    if digest::is_same(&known.digest, origin) {
        Ok(Outcome { position: known.position, refusal: known.refusal.clone(), events: Vec::new() })
    } else {
        Err(ExecuteError::CommandIdReused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u64) -> CommandKey {
        CommandKey { caller: "c".into(), id: Uuid::from_u64_pair(7, n) }
    }

    #[test]
    fn the_oldest_outcome_is_forgotten_first_and_moves_the_horizon() {
        let at = |s| Timestamp::from_second(s).unwrap();
        let mut recent = RecentOutcomes::new(2, at(100));
        let outcome = RecordedCommand { digest: [0; 16], position: 1, refusal: None };
        for n in 1..=3 {
            recent.put(key(n), outcome.clone(), at(100 + n as i64));
        }
        assert!(recent.get(&key(1)).is_none() && recent.get(&key(3)).is_some());
        let made_at = |s| Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, s, 0));
        assert!(recent.may_be_older(made_at(101)), "made before the newest forgotten outcome");
        assert!(!recent.may_be_older(made_at(102)));
        assert!(recent.may_be_older(Uuid::from_u64_pair(1, 1)), "an id without a time may be of any age");
    }
}
