//! Bounds of the loop.

/// Bounds of the loop.
#[derive(Debug, Clone, Copy)]
pub struct CoreLimits {
    /// Streams kept in memory.
    pub cells: usize,
    /// What they take together, in bytes, about: an order of many lines takes hundreds of kilobytes, and a slot some 250 bytes for each of its open holds.
    pub cell_bytes: usize,
    /// Outcomes kept in memory, about 100 bytes each, and some hundred more for a refusal.
    pub recent_outcomes: usize,
    /// Times that a unit is decided again after another writer was first.
    pub attempts: u32,
    /// Events after which a new snapshot of a stream is offered.
    pub snapshot_every: u64,
    /// Days for which command ids are remembered.
    pub retention_days: u32,
    /// See [`jari_event_store::BatchLimits`].
    pub batch: jari_event_store::BatchLimits,
    /// Events that a unit records at once of what it needs beforehand. With none of them it would never be decided: at least 1.
    pub beforehand: usize,
}

impl Default for CoreLimits {
    fn default() -> Self {
        Self {
            cells: 100_000,
            cell_bytes: 256 << 20,
            recent_outcomes: 100_000,
            attempts: 32,
            snapshot_every: 2_000,
            retention_days: 30,
            batch: jari_event_store::BatchLimits::default(),
            // a quarter of a full batch, some 700 kB: its append holds the log's head no longer than others do, and half a million ends of holds
            // come to 245 commits
            beforehand: 2_048,
        }
    }
}
