//! Rows that a run of events touches, each once, in the order of their first event.

use std::{collections::HashMap, hash::Hash, time::SystemTime};

use jiff::Timestamp;

/// By key. Rows keep the order in which they first came, so that they land beside their neighbours in time.
pub(crate) struct Rows<K, V> {
    entries: Vec<(K, V)>,
    index: HashMap<K, usize>,
}

impl<K: Copy + Eq + Hash, V> Rows<K, V> {
    pub fn new() -> Self {
        Self { entries: Vec::new(), index: HashMap::new() }
    }

    /// The row of `key`, made by `fresh` when it is the first time.
    pub fn row(&mut self, key: K, fresh: impl FnOnce() -> V) -> &mut V {
        let at = *self.index.entry(key).or_insert_with(|| {
            self.entries.push((key, fresh()));
            self.entries.len() - 1
        });
        &mut self.entries[at].1
    }

    /// All of them that `pick` finds something in.
    pub fn pick<'s, T>(&'s self, pick: impl Fn(&'s K, &'s V) -> Option<T>) -> Vec<T> {
        self.entries.iter().filter_map(|(key, value)| pick(key, value)).collect()
    }
}

/// As a `timestamptz` parameter.
pub(crate) fn instant(at: Timestamp) -> SystemTime {
    SystemTime::try_from(at).expect("a system's time reaches further than the calendar")
}
