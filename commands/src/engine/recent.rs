//! Outcomes kept in memory, so that a caller's quick repeat costs no query and no place in a batch.

use std::{collections::VecDeque, hash::BuildHasher};

use hashbrown::HashTable;
use jari_domain::{Position, Refusal, Timestamp};
use jari_event_store::{CommandKey, RecordedCommand};
use rustc_hash::FxBuildHasher;
use uuid::Uuid;

use super::{
    digest,
    unit::{ExecuteError, Origin, Outcome},
};

/// Room that is set aside at the start, but not touched: a memory of the usual size never moves.
const ROOM: usize = 1 << 17;

/// An outcome, and since when it is remembered. A refusal takes some hundred bytes more, and stands elsewhere: the line has room for it whether there is one or not.
#[derive(Debug)]
struct Remembered {
    key: CommandKey,
    digest: [u8; 16],
    position: Position,
    refusal: Option<Box<Refusal>>,
    at: Timestamp,
}
const _: () = assert!(size_of::<Remembered>() <= 80, "a remembered outcome has grown: the loop touches the memory of a hundred thousand");

/// A bounded memory of the newest outcomes, oldest out first.
#[derive(Debug)]
pub struct RecentOutcomes {
    /// In the order in which they came.
    line: VecDeque<Remembered>,
    /// The number of the first in the line; each that came had the next one.
    first: u64,
    /// Of those in the line, found by key.
    numbers: HashTable<u64>,
    most: usize,
    /// Every outcome of this node since then is here.
    complete_since: Timestamp,
}

fn hash(key: &CommandKey) -> u64 {
    FxBuildHasher.hash_one(key)
}

/// The place in a line that begins with number `first`.
fn place(first: u64, number: u64) -> usize {
    usize::try_from(number - first).unwrap_or(usize::MAX)
}

impl RecentOutcomes {
    /// An empty memory of at most `most` outcomes, complete from `now` on.
    #[must_use]
    pub fn new(most: usize, now: Timestamp) -> Self {
        let room = most.saturating_add(1).min(ROOM);
        Self { line: VecDeque::with_capacity(room), first: 0, numbers: HashTable::with_capacity(room), most, complete_since: now }
    }

    /// What became of the command, when it is remembered.
    #[must_use]
    pub fn get(&self, key: &CommandKey) -> Option<RecordedCommand> {
        self.find(key).map(|known| RecordedCommand { digest: known.digest, position: known.position, refusal: known.refusal.as_deref().cloned() })
    }

    fn find(&self, key: &CommandKey) -> Option<&Remembered> {
        let at = |number: &u64| &self.line[place(self.first, *number)];
        self.numbers.find(hash(key), |number| at(number).key == *key).map(at)
    }

    /// Remembers an outcome of `now`; one that is remembered already stays as it is.
    pub fn put(&mut self, key: CommandKey, outcome: RecordedCommand, now: Timestamp) {
        if self.find(&key).is_some() {
            return;
        }
        let Self { line, first, numbers, .. } = self;
        let number = *first + line.len() as u64;
        let hashed = hash(&key);
        let RecordedCommand { digest, position, refusal } = outcome;
        line.push_back(Remembered { key, digest, position, refusal: refusal.map(Box::new), at: now });
        numbers.insert_unique(hashed, number, |number| hash(&line[place(*first, *number)].key));
        if self.line.len() > self.most
            && let Some(oldest) = self.line.pop_front()
        {
            if let Ok(entry) = self.numbers.find_entry(hash(&oldest.key), |number| *number == self.first) {
                entry.remove();
            }
            self.first += 1;
            self.complete_since = self.complete_since.max(oldest.at);
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
pub(super) fn repeat(known: RecordedCommand, origin: &Origin) -> Result<Outcome, ExecuteError> {
    if digest::is_same(&known.digest, origin) {
        Ok(Outcome { position: known.position, refusal: known.refusal, events: Vec::new() })
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
        let outcome = RecordedCommand { digest: [0; 16], position: Position::START.next(), refusal: None };
        for n in 1..=3 {
            recent.put(key(n), outcome.clone(), at(100 + n as i64));
        }
        assert!(recent.get(&key(1)).is_none() && recent.get(&key(3)).is_some());
        let made_at = |s| Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, s, 0));
        assert!(recent.may_be_older(made_at(101)), "made before the newest forgotten outcome");
        assert!(!recent.may_be_older(made_at(102)));
        assert!(recent.may_be_older(Uuid::from_u64_pair(1, 1)), "an id without a time may be of any age");
    }

    #[test]
    fn each_of_the_newest_outcomes_is_found_under_its_own_key() {
        let at = Timestamp::from_second(100).unwrap();
        for most in [0, 1, 7, 1_000] {
            let mut recent = RecentOutcomes::new(most, at);
            for n in 0..5_000 {
                // every other one comes twice
                for _ in 0..=n % 2 {
                    recent.put(key(n), RecordedCommand { digest: [0; 16], position: Position::new(n), refusal: None }, at);
                }
            }
            let remembered: Vec<u64> = (0..5_000).filter_map(|n| recent.get(&key(n)).map(|outcome| outcome.position.get())).collect();
            assert_eq!(remembered, (5_000 - most as u64..5_000).collect::<Vec<_>>());
            assert_eq!((recent.line.len(), recent.numbers.len()), (most, most));
        }
    }
}
