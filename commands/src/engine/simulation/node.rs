//! One node: the real loop, its connection, and the questions that it has asked.

use std::{
    collections::{VecDeque, hash_map::Entry},
    sync::Arc,
};

use jari_domain::{Position, StreamId, Timestamp};
use jari_event_store::{Appended, Batch, BatchLimits, CommandKey, LoadRequest, LoadedStream, RecordedCommand, RecordedEvent};
use jiff::SignedDuration;
use rustc_hash::FxHashMap;
use tokio::sync::oneshot;

use super::{
    dice::Dice,
    model::{Model, Session},
};
use crate::engine::{
    cell::Cell,
    core::{Core, Reply},
    flight::AppendFailure,
    limits::CoreLimits,
    unit::{ExecuteError, Origin, Outcome, UnitOfWork},
};

enum Load {
    Asked(Vec<(LoadRequest, u64)>),
    Read(Vec<(StreamId, u64, Result<LoadedStream, String>)>),
}

enum Lookup {
    Asked(Vec<CommandKey>),
    Read(Vec<CommandKey>, Vec<(CommandKey, RecordedCommand)>),
}

pub struct Node {
    core: Core,
    pub session: Session,
    answers: VecDeque<(u64, Result<Appended, AppendFailure>)>,
    /// Sent and unanswered, in order.
    under_way: VecDeque<(u64, Arc<Batch>)>,
    loads: Vec<Load>,
    lookups: Vec<Lookup>,
    /// The connection is gone, and not yet made anew.
    cut: bool,
    seen: usize,
    pub skew: SignedDuration,
    recorded: Position,
}

impl Node {
    pub fn new(dice: &mut Dice, beforehand: usize, now: Timestamp) -> Self {
        let limits = CoreLimits {
            cells: dice.pick(&[1, 3, 1_000]),
            cell_bytes: dice.pick(&[0, 5_000, 1 << 20]),
            recent_outcomes: dice.pick(&[1, 5, 1_000]),
            attempts: dice.pick(&[3, 32, 100_000]),
            snapshot_every: dice.pick(&[1, 3, 10]),
            retention_days: 30,
            batch: BatchLimits { groups: dice.pick(&[1, 3, 1_024]), ..BatchLimits::default() },
            beforehand,
        };
        Self {
            core: Core::new(limits, now),
            session: Session::default(),
            answers: VecDeque::new(),
            under_way: VecDeque::new(),
            loads: Vec::new(),
            lookups: Vec::new(),
            cut: false,
            seen: 0,
            skew: SignedDuration::ZERO,
            recorded: Position::START,
        }
    }

    fn clock(&self, now: Timestamp) -> Timestamp {
        now + self.skew
    }

    pub fn submit(&mut self, work: Arc<dyn UnitOfWork>, origin: Origin, now: Timestamp) -> oneshot::Receiver<Result<Outcome, ExecuteError>> {
        let (to, answer) = oneshot::channel();
        let now = self.clock(now);
        self.core.submit(work, origin, Reply { to, permit: None }, now);
        answer
    }

    /// One thing happens, or nothing.
    pub fn turn(&mut self, model: &mut Model, dice: &mut Dice, now: Timestamp) {
        let now = self.clock(now);
        match dice.below(10) {
            0..=2 => self.serve(model),
            3..=4 => self.hear(now),
            5 => self.see(model, 1 + dice.index(4)),
            6 if dice.one_in(2) => self.reconnect(),
            7 if !self.loads.is_empty() => {
                let at = dice.index(self.loads.len());
                let broken = dice.one_in(150);
                self.load(at, model, broken, now);
            }
            8 if !self.lookups.is_empty() => {
                let at = dice.index(self.lookups.len());
                self.look_up(at, model, now);
            }
            _ => {}
        }
        if dice.one_in(2) {
            self.carry_out(model, now);
        }
    }

    /// The database does the next batch of this connection.
    fn serve(&mut self, model: &mut Model) {
        if self.session.queue.is_empty() {
            return;
        }
        let sent = self.session.queue.remove(0);
        let result = model.append(&mut self.session.landed, &sent);
        if !self.cut {
            self.answers.push_back((sent.number, result));
        }
    }

    fn hear(&mut self, now: Timestamp) {
        if let Some((number, result)) = self.answers.pop_front() {
            let (sent, batch) = self.under_way.pop_front().expect("what is answered was sent");
            assert_eq!(sent, number);
            drop(batch);
            self.core.appended(number, result, now);
        }
    }

    fn see(&mut self, model: &Model, most: usize) {
        for entry in model.log.iter().skip(self.seen).take(most) {
            self.core.seen(&entry.stream, entry.sequence);
            self.seen += 1;
        }
    }

    /// The connection goes: some answers are lost on their way, some batches are done later or never.
    pub fn cut(&mut self, model: &mut Model, dice: &mut Dice) {
        if self.cut {
            return;
        }
        self.cut = true;
        if dice.one_in(2) && !self.session.queue.is_empty() {
            let sent = self.session.queue.remove(0);
            let _ = model.append(&mut self.session.landed, &sent);
        }
        let heard = dice.index(self.answers.len() + 1);
        self.answers.truncate(heard);
        for (number, _) in self.under_way.iter().skip(heard) {
            self.answers.push_back((*number, Err(AppendFailure::Disconnected)));
        }
    }

    /// The old backend is ended, whatever it still had to do, before anything is sent on a new one.
    fn reconnect(&mut self) {
        if self.core.flight.disconnected {
            self.cut = false;
            self.session = Session::default();
            self.core.reconnected();
        }
    }

    fn load(&mut self, at: usize, model: &Model, broken: bool, now: Timestamp) {
        match self.loads.swap_remove(at) {
            Load::Asked(requests) => {
                let read = requests.into_iter().map(|(request, asked)| {
                    let stream = request.stream.clone();
                    (stream, asked, if broken { Err("broken".into()) } else { Ok(model.load(request)) })
                });
                self.loads.push(Load::Read(read.collect()));
            }
            Load::Read(streams) => {
                for (stream, asked, result) in streams {
                    self.core.loaded(&stream, asked, result, now);
                }
            }
        }
    }

    fn look_up(&mut self, at: usize, model: &Model, now: Timestamp) {
        match self.lookups.swap_remove(at) {
            Lookup::Asked(keys) => {
                let found = keys.iter().filter_map(|key| Some((key.clone(), model.commands.get(key)?.clone()))).collect();
                self.lookups.push(Lookup::Read(keys, found));
            }
            Lookup::Read(keys, found) => self.core.looked_up(&keys, found, now),
        }
    }

    fn carry_out(&mut self, model: &Model, now: Timestamp) {
        // turns of both kinds
        self.core.flight.is_lull = model.log.len().is_multiple_of(2);
        while let Some(departure) = self.core.depart(now) {
            self.under_way.push_back((departure.number, departure.batch.clone()));
            if self.cut {
                self.answers.push_back((departure.number, Err(AppendFailure::Disconnected)));
            } else {
                self.session.queue.push(departure);
            }
        }
        let effects = std::mem::take(&mut self.core.effects);
        for event in effects.recorded {
            self.check_recorded(&event, model);
        }
        for snapshot in effects.snapshots {
            assert_eq!(snapshot.state, model.state_at(&snapshot.stream, snapshot.version), "a snapshot is folded from durable events only");
        }
        if !effects.loads.is_empty() {
            self.loads.push(Load::Asked(effects.loads));
        }
        if !effects.lookups.is_empty() {
            self.lookups.push(Lookup::Asked(effects.lookups));
        }
    }

    fn check_recorded(&mut self, event: &RecordedEvent, model: &Model) {
        let entry = &model.log[usize::try_from(event.position.previous().get()).unwrap()];
        assert_eq!((event.stream().as_ref(), event.sequence, event.event()), (Some(&entry.stream), entry.sequence, Some(&entry.event)));
        assert!(event.position > self.recorded, "what landed is told in order");
        self.recorded = event.position;
    }

    /// A cell with something under way stays, and knows of it; what cells take is known without a look at them.
    pub fn check(&self) {
        let takes = |cell: &Cell| cell.durable().map_or(0, |version| version.state.bytes());
        assert_eq!(self.core.bytes, self.core.cells.values().map(takes).sum::<usize>());
        let mut counted: FxHashMap<&StreamId, u32> = FxHashMap::default();
        let sent = self.under_way.iter().flat_map(|(_, batch)| &batch.groups);
        for used in sent.chain(self.core.pending.iter().map(|(_, group)| group)).flat_map(|g| &g.uses) {
            match counted.entry(&used.stream) {
                Entry::Occupied(mut count) => *count.get_mut() += 1,
                Entry::Vacant(place) => drop(place.insert(1)),
            }
        }
        for (stream, count) in counted {
            let cell = self.core.cells.get(stream).unwrap_or_else(|| panic!("{stream} was evicted with events under way"));
            assert!(cell.in_flight >= count, "{stream}: {} counted, {count} under way", cell.in_flight);
        }
    }

    /// Everything goes on, in the most ordinary order. Says whether there was anything to do.
    pub fn rest(&mut self, model: &mut Model, now: Timestamp) -> bool {
        let now = self.clock(now);
        let busy = !self.core.units.is_empty()
            || !self.core.flight.is_empty()
            || !self.session.queue.is_empty()
            || !self.loads.is_empty()
            || !self.lookups.is_empty()
            || self.seen < model.log.len();
        self.serve(model);
        self.hear(now);
        self.reconnect();
        self.see(model, 100);
        for _ in 0..self.loads.len() {
            self.load(0, model, false, now);
        }
        for _ in 0..self.lookups.len() {
            self.look_up(0, model, now);
        }
        self.carry_out(model, now);
        busy
    }

    /// Nobody waits, nothing is under way, and what is in memory is what is in the log.
    pub fn check_rest(&self, model: &Model) {
        assert!(self.core.units.is_empty() && self.core.pending.is_empty() && self.core.flight.is_empty());
        for (stream, cell) in &self.core.cells {
            assert!(cell.in_flight == 0 && cell.queue.is_empty(), "{stream}: {} under way, {} wait", cell.in_flight, cell.queue.len());
            let known = cell.durable().map_or(0, |v| v.number);
            assert_eq!(known, model.version(stream), "{stream}: what others wrote has been told, and is not known");
            for version in [cell.durable(), cell.newest()].into_iter().flatten() {
                assert_eq!(version.state, model.state_at(stream, version.number), "{stream} in memory is not what it is in the log");
            }
        }
    }
}
