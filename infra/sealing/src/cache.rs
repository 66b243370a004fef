//! Keys kept in memory for a moment: an order of a person whose key was just used asks nobody.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rustc_hash::FxHashMap;
use uuid::Uuid;

use crate::{key::SubjectKey, store::Subject};

/// Keys, each for a bounded time, and at most so many of them. When it is full it is emptied: that costs a look-up for each, once.
pub(crate) struct Cache {
    keys: FxHashMap<Uuid, (Instant, Option<Arc<SubjectKey>>)>,
    subjects: FxHashMap<Subject, Uuid>,
    most: usize,
    kept_for: Duration,
}

impl Cache {
    pub fn new(most: usize, kept_for: Duration) -> Self {
        Self { keys: FxHashMap::default(), subjects: FxHashMap::default(), most, kept_for }
    }

    /// The key; inside, `None` when it is known to be erased.
    pub fn key(&self, id: Uuid) -> Option<Option<Arc<SubjectKey>>> {
        self.keys.get(&id).filter(|(since, _)| since.elapsed() < self.kept_for).map(|(_, key)| key.clone())
    }

    /// The person's present key.
    pub fn of(&self, subject: &Subject) -> Option<Arc<SubjectKey>> {
        self.key(*self.subjects.get(subject)?).flatten()
    }

    pub fn put(&mut self, subject: Option<Subject>, id: Uuid, key: Option<Arc<SubjectKey>>) {
        if self.keys.len() >= self.most || self.subjects.len() >= self.most {
            self.keys.clear();
            self.subjects.clear();
        }
        self.keys.insert(id, (Instant::now(), key));
        if let Some(subject) = subject {
            self.subjects.insert(subject, id);
        }
    }

    /// Forgets the person's key, as if it had never been asked for.
    pub fn drop_of(&mut self, subject: &Subject) {
        if let Some(id) = self.subjects.remove(subject) {
            self.keys.remove(&id);
        }
    }

    pub fn drop_key(&mut self, id: Uuid) {
        self.keys.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_kept_for_its_time_and_in_bounded_number() {
        let (subject, key) = (Subject::of("c-1"), Arc::new(SubjectKey::make().unwrap()));
        let mut cache = Cache::new(2, Duration::from_secs(3_600));
        cache.put(Some(subject), key.id(), Some(key.clone()));
        assert!(cache.of(&subject).is_some() && cache.key(key.id()).is_some());
        cache.drop_of(&subject);
        assert!(cache.of(&subject).is_none() && cache.key(key.id()).is_none());
        for n in 0..100 {
            cache.put(Some(Subject::of(&n.to_string())), Uuid::from_u128(n), None);
            assert!(cache.keys.len() <= 2 && cache.subjects.len() <= 2);
        }
        let mut stale = Cache::new(2, Duration::ZERO);
        stale.put(Some(subject), key.id(), Some(key.clone()));
        assert!(stale.of(&subject).is_none() && stale.key(key.id()).is_none(), "its time is over");
    }
}
