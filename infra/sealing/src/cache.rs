//! Keys kept in memory for a moment, to open with: whoever reads an order twice asks once. Sealing never takes a key from here: another node may
//! have destroyed it, and what is sealed under a destroyed key nobody reads, though its sender was told that it was taken.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rustc_hash::FxHashMap;
use uuid::Uuid;

use crate::key::SubjectKey;

/// Keys, each for a bounded time, and at most so many of them. When it is full it is emptied: that costs a look-up for each, once.
pub(crate) struct Cache {
    keys: FxHashMap<Uuid, (Instant, Option<Arc<SubjectKey>>)>,
    most: usize,
    kept_for: Duration,
    /// Raised whenever a key is destroyed: what was looked up before that must not come back behind it.
    destroyed: u64,
}

impl Cache {
    pub fn new(most: usize, kept_for: Duration) -> Self {
        Self { keys: FxHashMap::default(), most, kept_for, destroyed: 0 }
    }

    /// The key; inside, `None` when it is known to be erased.
    pub fn key(&self, id: Uuid) -> Option<Option<Arc<SubjectKey>>> {
        self.keys.get(&id).filter(|(since, _)| since.elapsed() < self.kept_for).map(|(_, key)| key.clone())
    }

    /// The moment before a look-up, for [`Cache::put`].
    pub fn before(&self) -> u64 {
        self.destroyed
    }

    /// Keeps what was looked up after `before`, unless a key was destroyed since: it may be this one.
    pub fn put(&mut self, before: u64, id: Uuid, key: Option<Arc<SubjectKey>>) {
        if before != self.destroyed {
            return;
        }
        if self.keys.len() >= self.most {
            self.keys.clear();
        }
        self.keys.insert(id, (Instant::now(), key));
    }

    /// Forgets the keys whose time is over: a key that another node has destroyed stays in no memory.
    pub fn sweep(&mut self) {
        let kept_for = self.kept_for;
        self.keys.retain(|_, (since, _)| since.elapsed() < kept_for);
    }

    /// Forgets a key that was destroyed.
    pub fn destroyed(&mut self, id: Uuid) {
        self.destroyed += 1;
        self.keys.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_kept_for_its_time_and_in_bounded_number() {
        let key = Arc::new(SubjectKey::make().unwrap());
        let mut cache = Cache::new(2, Duration::from_secs(3_600));
        cache.put(0, key.id(), Some(key.clone()));
        assert!(cache.key(key.id()).is_some());
        for n in 0..100 {
            cache.put(0, Uuid::from_u128(n), None);
            assert!(cache.keys.len() <= 2);
        }
        let mut stale = Cache::new(2, Duration::ZERO);
        stale.put(0, key.id(), Some(key.clone()));
        assert!(stale.key(key.id()).is_none(), "its time is over");
        stale.sweep();
        assert_eq!(Arc::strong_count(&key), 1, "nobody has it any more but this test");
    }

    #[test]
    fn a_key_that_was_looked_up_before_its_destruction_does_not_come_back() {
        let key = Arc::new(SubjectKey::make().unwrap());
        let mut cache = Cache::new(2, Duration::from_secs(3_600));
        let before = cache.before();
        cache.put(before, key.id(), Some(key.clone()));
        cache.destroyed(key.id());
        assert!(cache.key(key.id()).is_none());
        cache.put(before, key.id(), Some(key.clone()));
        assert!(cache.key(key.id()).is_none(), "a look-up that ends late");
        cache.put(cache.before(), key.id(), None);
        assert!(cache.key(key.id()).is_some_and(|known| known.is_none()), "known to be erased");
    }
}
