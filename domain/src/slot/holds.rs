//! The open holds of a slot, found by id and by expiry.

use imbl::{HashMap, OrdSet};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Quantity, ids::HoldId};

/// For whom units are held, and by whose commands the hold is sold or given back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Holder {
    /// Whoever chose its id. An order's hold reads as this, too, when its event is from before events said whose a hold is; it lasts a day at most.
    #[default]
    Caller,
    /// The order whose id it bears: it goes the way of the order, on all of its slots at once.
    Order,
}

impl Holder {
    /// Whether it is a caller's own.
    #[must_use]
    pub fn is_caller(&self) -> bool {
        *self == Self::Caller
    }
}

/// Units taken for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// Units.
    pub quantity: Quantity,
    /// Good before this instant.
    pub expires_at: Timestamp,
    /// For whom.
    pub holder: Holder,
}

impl Hold {
    /// Whether it is good at `now`: it has not lapsed.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        now < self.expires_at
    }
}

/// About what a hold takes in memory, in both of the indexes below and with its id.
pub(super) const HOLD_BYTES: usize = 256;

/// Two indexes over the same holds: by id, and oldest expiry first. Both share what they can with their clones, so that a state with a
/// million holds is cloned (for a snapshot, for what is decided ahead of the log) at no cost. Hold ids come from callers, so the map keeps
/// the standard library's keyed hash: with a fast unkeyed one a caller could choose ids that collide.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Holds {
    by_id: HashMap<HoldId, Hold>,
    by_expiry: OrdSet<(Timestamp, HoldId)>,
}

impl Holds {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn get(&self, id: &HoldId) -> Option<Hold> {
        self.by_id.get(id).copied()
    }

    /// Puts a hold in, in place of one with the same id.
    pub(super) fn insert(&mut self, id: HoldId, hold: Hold) {
        if let Some(before) = self.by_id.insert(id.clone(), hold) {
            self.by_expiry.remove(&(before.expires_at, id.clone()));
        }
        self.by_expiry.insert((hold.expires_at, id));
    }

    pub(super) fn remove(&mut self, id: &HoldId) -> Option<Hold> {
        let hold = self.by_id.remove(id)?;
        self.by_expiry.remove(&(hold.expires_at, id.clone()));
        Some(hold)
    }

    pub(super) fn extend(&mut self, id: &HoldId, expires_at: Timestamp) {
        if let Some(hold) = self.get(id) {
            self.insert(id.clone(), Hold { expires_at, ..hold });
        }
    }

    /// All of them, the one that ends first before the others.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&HoldId, Hold)> {
        self.by_expiry.iter().filter_map(|(_, id)| Some((id, self.get(id)?)))
    }

    /// Those whose end has come, oldest first.
    pub(super) fn lapsed(&self, now: Timestamp) -> impl Iterator<Item = (&HoldId, Hold)> {
        self.iter().take_while(move |(_, hold)| !hold.is_live(now))
    }

    pub(super) fn earliest_expiry(&self) -> Option<Timestamp> {
        self.by_expiry.get_min().map(|(expires_at, _)| *expires_at)
    }
}

/// A hold in a snapshot. The order by expiry is not stored: it is made again from these.
#[derive(Serialize, Deserialize)]
struct Stored<I> {
    hold_id: I,
    quantity: Quantity,
    expires_at: Timestamp,
    #[serde(default, skip_serializing_if = "Holder::is_caller")]
    holder: Holder,
}

impl Serialize for Holds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(|(hold_id, h)| Stored { hold_id, quantity: h.quantity, expires_at: h.expires_at, holder: h.holder }))
    }
}

impl<'de> Deserialize<'de> for Holds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut holds = Self::default();
        for stored in Vec::<Stored<HoldId>>::deserialize(deserializer)? {
            holds.insert(stored.hold_id, Hold { quantity: stored.quantity, expires_at: stored.expires_at, holder: stored.holder });
        }
        Ok(holds)
    }
}
