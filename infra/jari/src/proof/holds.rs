//! The holds of a slot whose end is not recorded, found by id, and how many units of them lapse when.

use std::collections::{BTreeMap, HashMap};

use jari_domain::{Timestamp, ids::HoldId, slot::Hold};

#[derive(Debug, Default)]
pub(super) struct Holds {
    by_id: HashMap<HoldId, Hold>,
    /// Units that lapse at an instant.
    lapsing: BTreeMap<Timestamp, u64>,
}

impl Holds {
    pub fn get(&self, id: &HoldId) -> Option<Hold> {
        self.by_id.get(id).copied()
    }

    pub fn count(&self) -> usize {
        self.by_id.len()
    }

    /// Gives back the one that it takes the place of.
    pub fn insert(&mut self, id: HoldId, hold: Hold) -> Option<Hold> {
        let before = self.remove(&id);
        *self.lapsing.entry(hold.expires_at).or_default() += u64::from(hold.quantity);
        self.by_id.insert(id, hold);
        before
    }

    pub fn remove(&mut self, id: &HoldId) -> Option<Hold> {
        let hold = self.by_id.remove(id)?;
        let left = self.lapsing.get(&hold.expires_at).map_or(0, |units| units - u64::from(hold.quantity));
        match left {
            0 => self.lapsing.remove(&hold.expires_at),
            left => self.lapsing.insert(hold.expires_at, left),
        };
        Some(hold)
    }

    /// Units that have lapsed at `now`. O(holds that lapsed): their ends are mostly recorded soon.
    pub fn lapsed(&self, now: Timestamp) -> u64 {
        self.lapsing.range(..=now).map(|(_, units)| units).sum()
    }
}
