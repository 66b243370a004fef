//! The log as the database keeps it: `append_batch` in a few lines, and the proof that what lands was decided on what is there.

use std::sync::Arc;

use jari_domain::{AnyEvent, AnyState, Position, StreamId, Timestamp, ids::SlotId, order::OrderEvent, registry::AsAggregate, slot::InventorySlot};
use jari_event_store::{Appended, Batch, CommandKey, Group, LoadRequest, LoadedStream, RecordedCommand};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::engine::{
    flight::{AppendFailure, Departure},
    unit::{Changes, States, UnitOfWork},
};

/// An event of the log.
pub struct Entry {
    pub stream: StreamId,
    pub sequence: u64,
    pub event: AnyEvent,
    pub decided_at: Timestamp,
}

/// What a connection's session remembers, and what it was sent and has not done.
#[derive(Default)]
pub struct Session {
    pub landed: Option<u64>,
    pub queue: Vec<Departure>,
}

#[derive(Default)]
pub struct Model {
    pub log: Vec<Entry>,
    pub streams: FxHashMap<StreamId, Vec<usize>>,
    pub states: FxHashMap<StreamId, (AnyState, Timestamp)>,
    pub commands: FxHashMap<CommandKey, RecordedCommand>,
    pub epoch: u64,
    /// [`crate::engine::CoreLimits::beforehand`] of every node.
    pub beforehand: usize,
    /// Every unit that was submitted; a group's trace names it.
    pub works: Vec<Arc<dyn UnitOfWork>>,
    /// Units that the database refuses, with all their neighbours.
    pub poisoned: FxHashSet<usize>,
    /// Orders whose settlement was given up: they may be settled out of line.
    pub given_up: FxHashSet<Arc<str>>,
    pub placed_at: FxHashMap<Arc<str>, usize>,
    pub settled_to: FxHashMap<SlotId, usize>,
}

/// Which unit a group comes from.
pub fn unit_of(group: &Group) -> usize {
    group.metadata.trace.as_deref().and_then(|t| t.parse().ok()).expect("every unit of the simulation brings its number as its trace")
}

impl Model {
    pub fn head(&self) -> Position {
        Position::new(self.log.len() as u64)
    }

    pub fn version(&self, stream: &StreamId) -> u64 {
        self.streams.get(stream).map_or(0, |s| s.len() as u64)
    }

    pub fn state(&self, stream: &StreamId) -> AnyState {
        self.states.get(stream).map_or_else(|| AnyState::new(stream.aggregate_type).unwrap(), |(state, _)| state.clone())
    }

    pub fn last_time(&self, stream: &StreamId) -> Timestamp {
        self.states.get(stream).map_or(Timestamp::UNIX_EPOCH, |(_, at)| *at)
    }

    /// The state after the first `version` events.
    pub fn state_at(&self, stream: &StreamId, version: u64) -> AnyState {
        let mut state = AnyState::new(stream.aggregate_type).unwrap();
        let places = self.streams.get(stream).map_or(&[][..], Vec::as_slice);
        places.iter().take(usize::try_from(version).unwrap()).for_each(|at| state.apply(&self.log[*at].event));
        state
    }

    pub fn load(&self, request: LoadRequest) -> LoadedStream {
        let LoadRequest { stream, from } = request;
        let (mut state, mut version, mut last_time) =
            from.unwrap_or_else(|| (AnyState::new(stream.aggregate_type).unwrap(), 0, Timestamp::UNIX_EPOCH));
        for at in self.streams.get(&stream).into_iter().flatten().skip(usize::try_from(version).unwrap()) {
            state.apply(&self.log[*at].event);
            version += 1;
            last_time = last_time.max(self.log[*at].decided_at);
        }
        LoadedStream { stream, state, version, last_time, snapshot_sequence: 0 }
    }

    /// Adds one event, by whoever it is, and checks what must hold of the log after each.
    pub fn push(&mut self, stream: &StreamId, sequence: u64, event: AnyEvent, decided_at: Timestamp) {
        assert_eq!(sequence, self.version(stream) + 1, "{stream}: sequences are unbroken");
        assert!(decided_at >= self.last_time(stream), "{stream}: time ran backwards from {} to {decided_at}", self.last_time(stream));
        let mut state = self.state(stream);
        state.apply(&event);
        if let Some(slot) = InventorySlot::of(&state) {
            let counts = slot.counts();
            assert!(counts.held.saturating_add(counts.confirmed) <= counts.capacity, "{stream}: sold above capacity: {counts:?}");
        }
        self.check_line(stream, &event);
        self.states.insert(stream.clone(), (state, decided_at));
        self.streams.entry(stream.clone()).or_default().push(self.log.len());
        self.log.push(Entry { stream: stream.clone(), sequence, event, decided_at });
    }

    /// For every slot, orders are settled in the order in which they were placed.
    fn check_line(&mut self, stream: &StreamId, event: &AnyEvent) {
        let AnyEvent::Order(event) = event else { return };
        match event {
            OrderEvent::OrderPlaced { .. } => {
                self.placed_at.insert(stream.aggregate_id.clone(), self.log.len());
            }
            OrderEvent::OrderHeld { .. } | OrderEvent::OrderRejected { .. } if !self.given_up.contains(&stream.aggregate_id) => {
                let placed = self.placed_at[&stream.aggregate_id];
                let state = self.state(stream);
                for slot in jari_domain::order::Order::of(&state).unwrap().draws().into_keys() {
                    let before = self.settled_to.insert(slot.clone(), placed).unwrap_or(0);
                    assert!(before <= placed, "{stream} (placed at {placed}) was settled at {slot} after the order placed at {before}");
                }
            }
            _ => {}
        }
    }

    /// What `append_batch` does.
    pub fn append(&mut self, landed: &mut Option<u64>, sent: &Departure) -> Result<Appended, AppendFailure> {
        let Departure { number, after, careful, ref batch } = *sent;
        let recorded_at = Timestamp::UNIX_EPOCH;
        let mut appended = Appended { base: self.head(), recorded_at, fallen: vec![], repeated: vec![], lease_lost: false, stale: false };
        if after.is_some() && *landed != after {
            return Ok(Appended { base: Position::START, stale: true, ..appended });
        }
        appended.lease_lost = batch.groups.iter().filter_map(|g| g.lease.as_ref()).any(|lease| lease.epoch != self.epoch);
        let mut dead = FxHashSet::default();
        let mut known = FxHashSet::default();
        for used in batch.groups.iter().flat_map(|g| &g.uses) {
            if known.insert(&used.stream) && (careful || used.events.is_empty()) && used.expected != self.version(&used.stream) {
                dead.insert(&used.stream);
            }
        }
        let mut falls = vec![false; batch.groups.len()];
        for (fell, group) in falls.iter_mut().zip(&batch.groups).filter(|_| careful) {
            *fell = key_of(group).is_some_and(|key| self.commands.contains_key(&key));
        }
        appended.repeated = (0..falls.len()).filter(|g| falls[*g]).collect();
        for (fell, group) in falls.iter_mut().zip(&batch.groups) {
            *fell |= (appended.lease_lost && group.lease.is_some()) || group.uses.iter().any(|u| dead.contains(&u.stream));
            if *fell {
                dead.extend(group.uses.iter().filter(|u| u.claims || !u.events.is_empty()).map(|u| &u.stream));
            }
        }
        self.insert(batch, &falls)?;
        appended.fallen = (0..falls.len()).filter(|g| falls[*g]).collect();
        if appended.fallen.is_empty() {
            *landed = Some(number);
        }
        Ok(appended)
    }

    /// All of it, or nothing when a unique key is hit or the database refuses.
    fn insert(&mut self, batch: &Batch, falls: &[bool]) -> Result<(), AppendFailure> {
        let lands = || batch.groups.iter().zip(falls).filter(|(_, fell)| !**fell).map(|(group, _)| group);
        let mut taken = FxHashSet::default();
        for group in lands() {
            if key_of(group).is_some_and(|key| self.commands.contains_key(&key) || !taken.insert(key)) {
                return Err(AppendFailure::UniqueKey);
            }
            if group.uses.iter().any(|u| !u.events.is_empty() && u.expected < self.version(&u.stream)) {
                return Err(AppendFailure::UniqueKey);
            }
        }
        if lands().any(|group| self.poisoned.contains(&unit_of(group))) {
            return Err(AppendFailure::Refused("poisoned".into()));
        }
        for group in batch.groups.iter().zip(falls).filter(|(_, fell)| !**fell).map(|(group, _)| group) {
            self.justify(group);
            let at = group.metadata.decided_at.unwrap();
            for used in &group.uses {
                for (event, sequence) in used.events.iter().zip(used.expected + 1..) {
                    self.push(&used.stream, sequence, event.clone(), at);
                }
            }
            if let (Some(key), Some(row)) = (key_of(group), &group.command) {
                let outcome = RecordedCommand { digest: row.digest, position: self.head(), refusal: row.refusal.clone() };
                assert!(self.commands.insert(key, outcome).is_none(), "a command landed twice");
            }
        }
        Ok(())
    }

    /// What lands, refusals too, is what follows from what is durable, at the time that it bears: as if nobody else had been there.
    fn justify(&self, group: &Group) {
        let work = &self.works[unit_of(group)];
        let mut touches = work.touches();
        let own: Vec<AnyState> = touches.iter().map(|t| self.state(&t.stream)).collect();
        touches.extend(work.discover(&States(own.iter().collect())));
        let used: Vec<&StreamId> = group.uses.iter().map(|u| &u.stream).collect();
        assert_eq!(used, touches.iter().map(|t| &t.stream).collect::<Vec<_>>(), "{work:?} uses the streams that its own durable state names");
        for used in &group.uses {
            assert_eq!(used.expected, self.version(&used.stream), "{work:?} landed on another version of {}", used.stream);
        }
        let states: Vec<AnyState> = touches.iter().map(|t| self.state(&t.stream)).collect();
        let now = group.metadata.decided_at.unwrap();
        let follow = |changes: Changes| {
            for (index, used) in group.uses.iter().enumerate() {
                let follows = changes.iter().find(|(at, _)| *at == index).map_or(&[][..], |(_, events)| events);
                assert_eq!(used.events, follows, "{work:?}: what landed does not follow from what is durable");
            }
        };
        let needed = work.beforehand(&States(states.iter().collect()), self.beforehand, now);
        if !needed.is_empty() {
            assert!(group.command.is_none() && group.event_count() <= self.beforehand, "{work:?} has no outcome before it is decided");
            follow(needed);
            return;
        }
        match work.decide(&States(states.iter().collect()), now) {
            Ok(changes) => {
                assert!(group.command.as_ref().is_none_or(|c| c.refusal.is_none()), "{work:?} was refused and should not have been");
                follow(changes);
            }
            Err(refusal) => {
                assert_eq!(group.event_count(), 0, "{work:?} landed and should have been refused: {refusal:?}");
                let recorded = group.command.as_ref().and_then(|c| c.refusal.as_ref());
                assert!(group.command.is_none() || recorded == Some(&refusal), "{work:?}: {recorded:?} was recorded for {refusal:?}");
            }
        }
    }
}

pub fn key_of(group: &Group) -> Option<CommandKey> {
    group.command.as_ref().filter(|row| row.is_recorded()).map(|row| CommandKey { caller: row.caller.clone(), id: row.id })
}
