//! The decision loop's state, without any I/O: what comes in, what is decided, what must go out.
//!
//! One owner calls it, so there is no lock and no lock order. A unit of work enters the queue of every stream that it uses, all at once and
//! in the order of arrival; it is decided when it is first in all of them. The oldest unit is first everywhere, so somebody can always go on.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use jari_domain::{Position, Refusal, StreamId, Timestamp};
use jari_event_store::{CommandKey, CommandRow, Group, LoadRequest, Metadata, RecordedEvent, StateSnapshot, StreamUse};
use rustc_hash::FxHashMap;
use tokio::sync::oneshot;

use super::{
    admission::Permit,
    cell::Cell,
    digest,
    flight::Flight,
    limits::CoreLimits,
    recent::{RecentOutcomes, repeat, uuid_time},
    unit::{Access, ExecuteError, Origin, Outcome, States, Touch, UnitOfWork},
};

/// Where an answer goes, and the place in the engine that is held until it has gone.
pub(super) struct Reply {
    pub to: oneshot::Sender<Result<Outcome, ExecuteError>>,
    pub permit: Option<Permit>,
}

/// How far ahead of the engine's clock an id's own time may lie: clocks of callers are wrong, by hours at most. Outcomes are kept for
/// [`crate::engine::OUTCOMES_KEPT_BEYOND_DAYS`] longer than ids are remembered, so that such an id is refused for its age before its outcome is forgotten.
const ID_AHEAD: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);

/// What the loop's owner must do after a turn.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// Streams to read; the number tells the answer from an older one.
    pub loads: Vec<(LoadRequest, u64)>,
    /// Command ids to look up.
    pub lookups: Vec<CommandKey>,
    /// Events that have landed, in order.
    pub recorded: Vec<Arc<RecordedEvent>>,
    /// States worth writing down.
    pub snapshots: Vec<StateSnapshot>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lookup {
    Needless,
    Pending,
    Done,
}

pub(super) struct Unit {
    pub work: Arc<dyn UnitOfWork>,
    pub origin: Arc<Origin>,
    /// First those that are known beforehand, `own` of them; then those that their states name.
    pub touches: Vec<Touch>,
    own: usize,
    pub lookup: Lookup,
    pub attempts: u32,
    /// It is not decided again, only looked up once more: what its callers are told when its id was never recorded.
    pub verdict: Option<Result<Outcome, ExecuteError>>,
    /// The refusal of a unit of the engine's own: without an id there is no record of it to carry it.
    pub refusal: Option<Refusal>,
    pub replies: Vec<Reply>,
    /// How many of them came before its id was last looked up.
    pub asked: usize,
    /// What it needs beforehand is on its way: it stands first in its queues, and is not decided before that has landed.
    pub prepares: bool,
}

/// The loop's state.
pub(super) struct Core {
    pub limits: CoreLimits,
    pub cells: FxHashMap<StreamId, Cell>,
    /// What the states in them take: the sum of their `bytes`.
    pub bytes: usize,
    /// At more bytes than these some of them are let go.
    pub heavy: usize,
    /// Every unit that has come and has no answer yet, by its number in the order of arrival.
    pub units: FxHashMap<u64, Unit>,
    pub by_key: FxHashMap<CommandKey, u64>,
    pub recent: RecentOutcomes,
    next_unit: u64,
    pub uses: u64,
    /// The last position of the log that was heard of: no state is older than that, or it is stale.
    pub known: Position,
    /// Decided, not sent; with the number of its unit.
    pub pending: VecDeque<(u64, Group)>,
    pub flight: Flight,
    pub effects: Effects,
    /// Streams whose first waiting unit may be able to go on.
    pub wakeups: VecDeque<StreamId>,
}

impl Core {
    pub fn new(limits: CoreLimits, now: Timestamp) -> Self {
        Self {
            limits,
            cells: FxHashMap::default(),
            bytes: 0,
            heavy: limits.cell_bytes,
            units: FxHashMap::default(),
            by_key: FxHashMap::default(),
            recent: RecentOutcomes::new(limits.recent_outcomes, now),
            next_unit: 0,
            uses: 0,
            known: Position::START,
            pending: VecDeque::new(),
            flight: Flight::default(),
            effects: Effects::default(),
            wakeups: VecDeque::new(),
        }
    }

    /// Takes a unit of work. Whatever happens next, `reply` hears of it once.
    pub fn submit(&mut self, work: Arc<dyn UnitOfWork>, origin: Origin, reply: Reply, now: Timestamp) {
        let mut lookup = Lookup::Needless;
        if let Some(key) = &origin.key {
            if let Some(running) = self.by_key.get(key).and_then(|number| self.units.get_mut(number)) {
                if digest::is_same(&running.origin.digest, &origin) {
                    running.replies.push(reply);
                } else {
                    answer(reply, Err(ExecuteError::CommandIdReused));
                }
                return;
            }
            if let Some(known) = self.recent.get(key) {
                answer(reply, repeat(known, &origin));
                return;
            }
            if let Err(error) = self.in_time(key, now) {
                answer(reply, Err(error));
                return;
            }
            if self.recent.may_be_older(key.id) {
                lookup = Lookup::Pending;
                self.effects.lookups.push(key.clone());
            }
        }
        let number = self.next_unit;
        self.next_unit += 1;
        if let Some(key) = &origin.key {
            self.by_key.insert(key.clone(), number);
        }
        let touches = work.touches();
        let own = touches.len();
        let unit = Unit {
            work,
            origin: Arc::new(origin),
            touches,
            own,
            lookup,
            attempts: 0,
            verdict: None,
            refusal: None,
            replies: vec![reply],
            asked: 1,
            prepares: false,
        };
        self.units.insert(number, unit);
        self.line_up(number, now);
        self.wake(now);
    }

    /// An id is refused when what was done under it may have been forgotten. One from far ahead would be forgotten before its own time says so.
    fn in_time(&self, key: &CommandKey, now: Timestamp) -> Result<(), ExecuteError> {
        let Some(made) = uuid_time(key.id) else { return Ok(()) };
        let retention_days = self.limits.retention_days;
        let kept = jiff::SignedDuration::from_hours(24 * i64::from(retention_days));
        if made.saturating_add(kept).is_ok_and(|until| until < now) {
            return Err(ExecuteError::CommandIdExpired { retention_days });
        }
        if now.saturating_add(ID_AHEAD).is_ok_and(|latest| latest < made) {
            return Err(ExecuteError::CommandIdAhead { made });
        }
        Ok(())
    }

    /// Lets the unit be decided at once when nothing is in its way, or puts it in line.
    pub fn line_up(&mut self, number: u64, now: Timestamp) {
        let Some(unit) = self.units.get_mut(&number) else { return };
        let touches = std::mem::take(&mut unit.touches);
        let mut free = unit.lookup != Lookup::Pending;
        for touch in &touches {
            let cell = self.cell(touch);
            free &= cell.is_ready() && cell.queue.is_empty();
        }
        if !free {
            self.queue_up(number, &touches);
        }
        if let Some(unit) = self.units.get_mut(&number) {
            unit.touches = touches;
        }
        if free {
            self.go_on(number, now);
        }
    }

    /// Puts a unit that fell back in line, without deciding it yet. What it took to be new is read this time.
    pub fn stand_in_line(&mut self, number: u64) {
        let Some(unit) = self.units.get_mut(&number) else { return };
        unit.touches.iter_mut().for_each(|touch| touch.access = Access::Existing);
        let touches = unit.touches.clone();
        for touch in &touches {
            self.cell(touch);
        }
        self.queue_up(number, &touches);
        self.turn_goes_on(number);
    }

    /// Enters the unit where it belongs by its number: a unit that fell comes back before those that came after it.
    pub fn queue_up(&mut self, number: u64, touches: &[Touch]) {
        for touch in touches {
            if let Some(cell) = self.cells.get_mut(&touch.stream)
                && let Err(place) = cell.queue.binary_search(&number)
            {
                cell.queue.insert(place, number);
                if place == 0 {
                    self.wakeups.push_back(touch.stream.clone());
                }
            }
        }
    }

    /// Looks at streams that have become free until nobody more can go on.
    pub fn wake(&mut self, now: Timestamp) {
        // Ends: each round takes one wake-up, and a wake-up makes more only when a unit leaves its queues, for good or until an append is answered.
        while let Some(stream) = self.wakeups.pop_front() {
            let Some(first) = self.cells.get(&stream).filter(|c| c.is_ready()).and_then(|c| c.queue.front().copied()) else { continue };
            let Some(unit) = self.units.get(&first) else { continue };
            let its_turn = unit.lookup != Lookup::Pending
                && !unit.prepares
                && unit.touches.iter().all(|t| self.cells.get(&t.stream).is_some_and(|c| c.is_ready() && c.queue.front() == Some(&first)));
            if its_turn {
                self.leave_queues(first);
                self.go_on(first, now);
            }
        }
    }

    fn leave_queues(&mut self, number: u64) {
        let Some(unit) = self.units.get(&number) else { return };
        for touch in &unit.touches {
            if let Some(cell) = self.cells.get_mut(&touch.stream)
                && let Ok(place) = cell.queue.binary_search(&number)
            {
                cell.queue.remove(place);
                self.wakeups.push_back(touch.stream.clone());
            }
        }
    }

    /// The unit's turn: finds out whether it needs other streams, else decides.
    ///
    /// Asked anew at each turn: what its first streams name may have changed while it waited for the others, or when it fell. An order
    /// that was thought to be absent names no slots, and would be confirmed without them. Ends: it goes back in line only when the answer changed.
    pub fn go_on(&mut self, number: u64, now: Timestamp) {
        let Some(unit) = self.units.get(&number) else { return };
        let known = States(self.states(&unit.touches[..unit.own]));
        // as in `decide`
        let Ok(more) = catch_unwind(AssertUnwindSafe(|| unit.work.discover(&known))) else {
            let name = unit.work.name();
            self.finish(number, Err(ExecuteError::DecisionFailed { name }));
            return;
        };
        if more.iter().map(|t| &t.stream).eq(unit.touches[unit.own..].iter().map(|t| &t.stream)) {
            self.decide(number, now);
        } else if let Some(unit) = self.units.get_mut(&number) {
            unit.touches.truncate(unit.own);
            unit.touches.extend(more);
            self.line_up(number, now);
        }
    }

    fn states(&self, touches: &[Touch]) -> Vec<&jari_domain::AnyState> {
        touches.iter().filter_map(|t| self.cells.get(&t.stream).and_then(Cell::newest)).map(|v| &v.state).collect()
    }

    /// Decides against the newest states, and puts what follows in the line for the log.
    fn decide(&mut self, number: u64, now: Timestamp) {
        let Some(unit) = self.units.get(&number) else { return };
        // Time in a stream never runs backwards, whatever this machine's clock says.
        let newest = unit.touches.iter().filter_map(|t| self.cells.get(&t.stream).and_then(Cell::newest));
        let now = to_microseconds(newest.map(|v| v.last_time).fold(now, Timestamp::max));
        let states = States(self.states(&unit.touches));
        // A mistake in one decision must not take the loop down, and with it everybody else's; it is answered like any other failure.
        let decided = catch_unwind(AssertUnwindSafe(|| match unit.work.beforehand(&states, self.limits.beforehand, now) {
            needed if needed.is_empty() => (unit.work.decide(&states, now), false),
            needed => (Ok(needed), true),
        }));
        let Ok((decision, is_beforehand)) = decided else {
            let name = unit.work.name();
            self.finish(number, Err(ExecuteError::DecisionFailed { name }));
            return;
        };
        let (mut changes, refusal) = match decision {
            Ok(changes) => (changes, None),
            Err(refusal) => (Vec::new(), Some(refusal)),
        };
        let mut uses = Vec::with_capacity(unit.touches.len());
        for (index, touch) in unit.touches.iter().enumerate() {
            let events = changes.iter_mut().find(|(at, _)| *at == index).map(|(_, events)| std::mem::take(events)).unwrap_or_default();
            let expected = self.cells.get(&touch.stream).and_then(Cell::newest).map_or(0, |v| v.number);
            uses.push(StreamUse { stream: touch.stream.clone(), expected, claims: touch.claims || !events.is_empty(), events });
        }
        let own = refusal.clone().filter(|_| unit.origin.key.is_none());
        match group(unit, uses, refusal, now) {
            Ok(mut group) => {
                if is_beforehand {
                    // its outcome is still to come
                    group.command = None;
                }
                for used in &group.uses {
                    if let Some(cell) = self.cells.get_mut(&used.stream) {
                        cell.decided(&used.events, now);
                        cell.in_flight += 1;
                    }
                }
                self.pending.push_back((number, group.knowing(self.known)));
                if is_beforehand {
                    self.keep_turn(number);
                }
                if let Some(unit) = self.units.get_mut(&number) {
                    unit.refusal = own;
                }
            }
            Err(error) => self.finish(number, Err(ExecuteError::LogRefused { reason: error.to_string() })),
        }
    }

    /// Answers everybody who asked for the unit, and forgets it.
    pub fn finish(&mut self, number: u64, result: Result<Outcome, ExecuteError>) {
        self.leave_queues(number);
        let Some(unit) = self.units.remove(&number) else { return };
        self.forget_presumed(&unit.touches);
        if let Some(key) = &unit.origin.key {
            self.by_key.remove(key);
        }
        for reply in unit.replies {
            answer(reply, result.clone());
        }
    }
}

/// What PostgreSQL keeps of a time. Rounded up, so that time in a stream does not run backwards by less than that.
fn to_microseconds(now: Timestamp) -> Timestamp {
    let ceiling = now.as_nanosecond().div_euclid(1_000) + i128::from(now.as_nanosecond().rem_euclid(1_000) != 0);
    i64::try_from(ceiling).ok().and_then(|micros| Timestamp::from_microsecond(micros).ok()).unwrap_or(now)
}

pub(super) fn answer(reply: Reply, result: Result<Outcome, ExecuteError>) {
    // A caller that went away hears nothing; its command is settled all the same.
    let _ = reply.to.send(result);
    drop(reply.permit);
}

fn group(unit: &Unit, uses: Vec<StreamUse>, refusal: Option<Refusal>, now: Timestamp) -> Result<Group, serde_json::Error> {
    let origin = &unit.origin;
    let command_id = origin.key.as_ref().map(|key| key.id.to_string());
    let metadata = Metadata {
        correlation_id: origin.correlation_id.clone().or_else(|| command_id.clone()),
        command_id,
        causation: origin.causation.map(|position| position.to_string()),
        actor: origin.actor.as_deref().map(str::to_owned),
        trace: origin.trace.clone(),
        decided_at: Some(now),
        other: Default::default(),
    };
    let row = origin.key.as_ref().map(|key| CommandRow { id: key.id, caller: key.caller.clone(), digest: origin.digest, refusal });
    Group::new(uses, row, Arc::new(metadata), unit.work.lease())
}
