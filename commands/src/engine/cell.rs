//! A stream's state in memory: what is durable, and what will be once its events on their way to disk have landed.

use std::collections::VecDeque;

use jari_domain::{AnyEvent, AnyState, StreamId, Timestamp};
use jari_event_store::{LoadRequest, LoadedStream};

/// A state, its version, and the decision time of its last event.
#[derive(Debug, Clone)]
pub(super) struct Version {
    pub state: AnyState,
    pub number: u64,
    pub last_time: Timestamp,
}

impl Version {
    fn advance(&mut self, events: &[AnyEvent], decided_at: Timestamp) {
        for event in events {
            self.state.apply(event);
            self.number += 1;
        }
        if !events.is_empty() {
            self.last_time = self.last_time.max(decided_at);
        }
    }
}

#[derive(Debug)]
enum Phase {
    /// The database has been asked; `generation` tells its answer from an older one.
    Loading,
    Ready,
    /// Another writer moved the stream: no new decision until what is under way is settled and the stream is read again.
    Stale,
}

/// What a cell takes in memory beside what its state holds: itself, its id, its place in the map, and the same state once more with what is on its way, which
/// shares with the durable one whatever can be large.
pub(super) const CELL_BYTES: usize = 1_024;

/// A stream in memory.
#[derive(Debug)]
pub(super) struct Cell {
    phase: Phase,
    /// From durable events only; absent until first read.
    durable: Option<Version>,
    /// Present once this node has written to the stream: `durable` and the events on their way.
    ahead: Option<Version>,
    /// Groups that were decided on it and are not settled: it is neither evicted nor read again meanwhile.
    pub in_flight: u32,
    /// Units that wait for it, in the order in which they came.
    pub queue: VecDeque<u64>,
    /// When it was last used, in uses.
    pub touched: u64,
    /// What its durable state was last found to take, in bytes: see [`jari_domain::Decider::bytes`].
    pub bytes: usize,
    /// Raised with each read that is asked for.
    pub generation: u64,
    pub snapshot_sequence: u64,
    /// The greatest sequence that the log was seen to have: what was read before it is old.
    heard: u64,
    /// Taken to be empty, and neither read nor proved by a group that landed on it: what the log was heard to have before is not known here.
    pub presumed: bool,
}

impl Cell {
    /// A stream to be read.
    pub fn loading() -> Self {
        Self {
            phase: Phase::Loading,
            durable: None,
            ahead: None,
            in_flight: 0,
            queue: VecDeque::new(),
            touched: 0,
            bytes: 0,
            generation: 0,
            snapshot_sequence: 0,
            heard: 0,
            presumed: false,
        }
    }

    /// A stream that is taken to be empty.
    pub fn presumed_new(stream: &StreamId) -> Option<Self> {
        let state = AnyState::new(stream.aggregate_type)?;
        let durable = Some(Version { state, number: 0, last_time: Timestamp::UNIX_EPOCH });
        Some(Self { phase: Phase::Ready, durable, presumed: true, ..Self::loading() })
    }

    pub fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready)
    }
    pub fn is_loading(&self) -> bool {
        matches!(self.phase, Phase::Loading)
    }
    pub fn is_stale(&self) -> bool {
        matches!(self.phase, Phase::Stale)
    }
    /// Takes note of an event in the log. Says whether this copy is behind it.
    pub fn hear(&mut self, sequence: u64) -> bool {
        self.heard = self.heard.max(sequence);
        !self.is_loading() && self.durable.as_ref().is_none_or(|v| v.number < self.heard)
    }
    /// Nobody waits for it and nothing of it is under way.
    pub fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.queue.is_empty() && !self.is_loading()
    }

    /// The newest version, events on their way included.
    pub fn newest(&self) -> Option<&Version> {
        self.ahead.as_ref().or(self.durable.as_ref())
    }
    /// The version that is durable.
    pub fn durable(&self) -> Option<&Version> {
        self.durable.as_ref()
    }

    /// Adds events that are about to be sent.
    pub fn decided(&mut self, events: &[AnyEvent], decided_at: Timestamp) {
        if events.is_empty() {
            return;
        }
        if self.ahead.is_none() {
            self.ahead.clone_from(&self.durable);
        }
        if let Some(ahead) = &mut self.ahead {
            ahead.advance(events, decided_at);
        }
    }

    /// Adds events that have landed.
    pub fn landed(&mut self, events: &[AnyEvent], decided_at: Timestamp) {
        self.presumed = false;
        if let Some(durable) = &mut self.durable {
            durable.advance(events, decided_at);
        }
    }

    /// Looks anew what its state takes, and moves `sum`, which is that of all cells.
    pub fn weigh(&mut self, sum: &mut usize) {
        let bytes = self.durable.as_ref().map_or(0, |version| version.state.bytes());
        *sum = *sum + bytes - self.bytes;
        self.bytes = bytes;
    }

    /// Forgets what was decided and has not landed.
    pub fn forget_undurable(&mut self) {
        self.ahead = None;
    }

    pub fn mark_stale(&mut self) {
        if self.is_ready() {
            self.phase = Phase::Stale;
        }
    }

    /// Asks for the events after what is durable here.
    pub fn reload(&mut self, stream: &StreamId) -> (LoadRequest, u64) {
        self.phase = Phase::Loading;
        self.ahead = None;
        self.generation += 1;
        let from = self.durable.clone().map(|v| (v.state, v.number, v.last_time));
        (LoadRequest { stream: stream.clone(), from }, self.generation)
    }

    /// Takes what was read. It is stale at once when the log was meanwhile seen to have gone on.
    pub fn take(&mut self, loaded: LoadedStream) {
        if loaded.snapshot_sequence > 0 || self.durable.is_none() {
            self.snapshot_sequence = loaded.snapshot_sequence;
        }
        self.phase = if loaded.version < self.heard { Phase::Stale } else { Phase::Ready };
        self.durable = Some(Version { state: loaded.state, number: loaded.version, last_time: loaded.last_time });
        self.ahead = None;
        self.presumed = false;
    }
}
