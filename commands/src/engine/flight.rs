//! Batches on their way to the log, and what their answers do to the loop's state.

use std::{collections::VecDeque, sync::Arc};

use jari_domain::{Position, StreamId, Timestamp};
use jari_event_store::{Appended, Batch, Group, RecordedCommand, StateSnapshot};
use rustc_hash::FxHashSet;

use super::{
    core::Core,
    unit::{ExecuteError, Outcome},
};

/// Batches on their way at once. Two keep the server busy while the answer travels; a third would find nothing to do, and the order in
/// which batches that did nothing are put back relies on there being one at most.
const PIPELINE: usize = 2;
/// A second batch is at least such a part of the one before it, or its commit costs more than the wait that it saves.
const PART: usize = 4;

/// A batch that was sent.
struct Sent {
    number: u64,
    batch: Arc<Batch>,
    units: Vec<u64>,
    careful: bool,
}

/// What is on its way.
#[derive(Default)]
pub(super) struct Flight {
    sent: VecDeque<Sent>,
    /// Hit a unique key, or was refused with its neighbours: to be sent again alone, carefully, in pieces of so many groups.
    again: VecDeque<(Vec<(u64, Group)>, usize)>,
    /// Units that fell, to be decided again.
    fallen: Vec<u64>,
    /// Something that was decided in memory is void.
    pub rollback_needed: bool,
    /// The connection is gone: nothing is sent until [`Core::reconnected`].
    pub disconnected: bool,
    /// Everybody has come who was about to: a turn in which others had time to come brought nobody.
    pub is_lull: bool,
    last_number: u64,
}

/// How an append failed.
#[derive(Debug)]
pub(super) enum AppendFailure {
    /// Another writer has one of its keys: certainly nothing landed.
    UniqueKey,
    /// The connection ended: nobody knows whether it landed.
    Disconnected,
    /// The database refused it: certainly nothing landed.
    Refused(String),
}

/// A batch to be sent.
pub(super) struct Departure {
    pub number: u64,
    pub after: Option<u64>,
    pub careful: bool,
    pub batch: Arc<Batch>,
}

impl Flight {
    pub fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }
}

impl Core {
    /// The next batch, when one can go.
    ///
    /// While something is being mended (a batch did not land whole), nothing goes before everything that was sent has been answered.
    pub fn depart(&mut self, now: Timestamp) -> Option<Departure> {
        let flight = &self.flight;
        if flight.disconnected || flight.sent.iter().any(|s| s.careful) {
            return None;
        }
        if (flight.rollback_needed || !flight.again.is_empty()) && !flight.is_empty() {
            return None;
        }
        if flight.rollback_needed {
            self.roll_back(now);
        }
        if let Some((groups, piece)) = self.flight.again.pop_front() {
            let mut groups = VecDeque::from(groups);
            let rest = groups.split_off(piece.min(groups.len()));
            if !rest.is_empty() {
                self.flight.again.push_front((rest.into(), piece));
            }
            return Some(self.send(groups.into(), true));
        }
        let flight = &self.flight;
        let under_way = flight.sent.back().map_or(0, |before| before.units.len());
        if flight.sent.len() >= PIPELINE || self.pending.len() < self.company(under_way) {
            return None;
        }
        let groups = self.fill();
        Some(self.send(groups, false))
    }

    /// How many leave together, at least, behind a batch of `before` that is under way.
    ///
    /// Callers who are answered soon ask again, all of them at about the same time. Who leaves behind a batch waits until they have come, or would leave
    /// them a batch of their own later, and with it the server an idle moment. Where they never cease to come, twice as many are enough.
    fn company(&self, before: usize) -> usize {
        let wanted = if self.flight.is_lull { before.div_ceil(PART) } else { 2 * before };
        wanted.clamp(1, self.limits.batch.groups.max(1))
    }

    /// Whether some wait only for others who may come.
    pub fn awaits_company(&self) -> bool {
        !self.pending.is_empty() && self.flight.sent.len() == 1 && !self.flight.disconnected
    }

    /// Takes from the line what fits into one batch; groups under two epochs of a lease never share one.
    fn fill(&mut self) -> Vec<(u64, Group)> {
        let limits = self.limits.batch;
        let (mut events, mut bytes, mut lease) = (0, 0, None);
        let mut groups = Vec::new();
        while let Some((_, group)) = self.pending.front() {
            events += group.event_count();
            bytes += group.bytes();
            let other_lease = group.lease.is_some() && lease.is_some() && lease != group.lease;
            if !groups.is_empty() && (groups.len() >= limits.groups || events > limits.events || bytes > limits.bytes || other_lease) {
                break;
            }
            if group.lease.is_some() {
                lease.clone_from(&group.lease);
            }
            groups.extend(self.pending.pop_front());
        }
        groups
    }

    fn send(&mut self, groups: Vec<(u64, Group)>, careful: bool) -> Departure {
        let after = self.flight.sent.back().map(|s| s.number);
        self.flight.last_number += 1;
        let number = self.flight.last_number;
        let (units, groups) = groups.into_iter().unzip();
        let batch = Arc::new(Batch { groups });
        self.flight.sent.push_back(Sent { number, batch: batch.clone(), units, careful });
        Departure { number, after, careful, batch }
    }

    /// Takes the answer to the oldest batch that was sent.
    pub fn appended(&mut self, number: u64, result: Result<Appended, AppendFailure>, now: Timestamp) {
        let Some(sent) = self.flight.sent.pop_front_if(|s| s.number == number) else { return };
        match result {
            Ok(appended) if appended.stale => self.put_back(sent),
            Ok(appended) => self.arrived(sent, &appended, now),
            Err(AppendFailure::UniqueKey) => self.try_again(sent, usize::MAX),
            Err(AppendFailure::Refused(reason)) if sent.units.len() == 1 => {
                self.release(&sent.batch.groups[0]);
                self.finish(sent.units[0], Err(ExecuteError::LogRefused { reason }));
                self.flight.rollback_needed = true;
            }
            Err(AppendFailure::Refused(reason)) => {
                tracing::error!(groups = sent.units.len(), %reason, "the log refused a batch; its groups are sent one by one to find which");
                self.try_again(sent, 1);
            }
            Err(AppendFailure::Disconnected) => {
                self.flight.disconnected = true;
                self.flight.rollback_needed = true;
                for (number, group) in sent.units.iter().zip(&sent.batch.groups) {
                    self.release(group);
                    self.ask_again(*number);
                    self.flight.fallen.push(*number);
                }
            }
        }
    }

    /// The connection is back, and what was under way on the old one is over.
    pub fn reconnected(&mut self) {
        self.flight.disconnected = false;
    }

    /// A batch that did nothing goes back to the head of the line.
    fn put_back(&mut self, sent: Sent) {
        let groups = Arc::unwrap_or_clone(sent.batch).groups;
        for pair in sent.units.into_iter().zip(groups).rev() {
            self.pending.push_front(pair);
        }
    }

    fn try_again(&mut self, sent: Sent, piece: usize) {
        let groups = Arc::unwrap_or_clone(sent.batch).groups;
        self.flight.again.push_back((sent.units.into_iter().zip(groups).collect(), piece));
    }

    fn arrived(&mut self, sent: Sent, appended: &Appended, now: Timestamp) {
        let heads = appended.heads(&sent.batch);
        let groups = Arc::unwrap_or_clone(sent.batch).groups;
        // what the groups that fell would have moved: who stood on it fell with them, and was beaten by nobody
        let mut void = FxHashSet::default();
        for (index, ((number, group), head)) in sent.units.iter().copied().zip(groups).zip(heads).enumerate() {
            match head {
                Some(head) => self.landed(number, group, head, appended, now),
                None => {
                    self.release(&group);
                    self.flight.rollback_needed = true;
                    let is_beaten = !group.uses.iter().any(|used| void.contains(&used.stream));
                    if appended.lease_lost && group.lease.is_some() {
                        self.finish(number, Err(ExecuteError::LeaseLost));
                    } else if appended.repeated.contains(&index) {
                        self.ask_again(number);
                        self.flight.fallen.push(number);
                    } else {
                        self.fell(number, is_beaten);
                    }
                    void.extend(group.uses.into_iter().filter(|used| used.claims).map(|used| used.stream));
                }
            }
        }
        self.wake(now);
        self.evict();
    }

    fn landed(&mut self, number: u64, mut group: Group, head: Position, appended: &Appended, now: Timestamp) {
        let decided_at = group.metadata.decided_at.unwrap_or(appended.recorded_at);
        for used in &group.uses {
            let Some(cell) = self.cells.get_mut(&used.stream) else { continue };
            cell.in_flight -= 1;
            cell.landed(&used.events, decided_at);
            if !used.events.is_empty() {
                cell.weigh(&mut self.bytes);
            }
            let stale = cell.is_stale();
            if let Some(durable) = cell.durable()
                && durable.number >= cell.snapshot_sequence + self.limits.snapshot_every.max(durable.state.weight() as u64)
            {
                let snapshot = StateSnapshot {
                    stream: used.stream.clone(),
                    state: durable.state.clone(),
                    version: durable.number,
                    last_time: durable.last_time,
                };
                cell.snapshot_sequence = snapshot.version;
                self.effects.snapshots.push(snapshot);
            }
            if stale {
                self.refresh(&used.stream);
            }
        }
        if self.came_beforehand(number) {
            self.effects.recorded.extend(appended.recorded(group, head).map(Arc::new));
            return;
        }
        let mut refusal = self.units.get_mut(&number).and_then(|unit| unit.refusal.take());
        if let Some(row) = group.command.take() {
            if !row.is_recorded() {
                self.refuse_unrecorded(number, Outcome { position: head, refusal: row.refusal, events: Vec::new() });
                return;
            }
            refusal.clone_from(&row.refusal);
            let key = jari_event_store::CommandKey { caller: row.caller, id: row.id };
            self.recent.put(key, RecordedCommand { digest: row.digest, position: head, refusal: row.refusal }, now);
        }
        let before = self.effects.recorded.len();
        self.effects.recorded.extend(appended.recorded(group, head).map(Arc::new));
        let events = self.effects.recorded[before..].to_vec();
        self.finish(number, Ok(Outcome { position: head, refusal, events }));
    }

    /// Bad input leaves no row, so the append has not looked whether its id was used: what makes no sense now may have made some when it was
    /// done, at another node or before an answer was lost. It is refused after a look.
    fn refuse_unrecorded(&mut self, number: u64, outcome: Outcome) {
        if let Some(unit) = self.units.get_mut(&number) {
            unit.verdict = Some(Ok(outcome));
            self.ask_again(number);
        }
    }

    /// A unit that did not land is decided again: a caller's until it was beaten to its own streams too often, the engine's own until it lands, for
    /// nobody would send it again, and it must not lose its place to those behind it.
    fn fell(&mut self, number: u64, is_beaten: bool) {
        let Some(unit) = self.units.get_mut(&number) else { return };
        unit.attempts += u32::from(is_beaten);
        let attempts = unit.attempts;
        let is_beaten_again = is_beaten && attempts.is_multiple_of(self.limits.attempts);
        if !is_beaten_again {
            self.flight.fallen.push(number);
        } else if unit.origin.key.is_some() {
            // "nothing was done" is said only after a look: another node, or an earlier try whose answer was lost, may have done it
            unit.verdict = Some(Err(ExecuteError::Contention { attempts }));
            self.ask_again(number);
        } else {
            let streams = unit.touches.iter().map(|touch| touch.stream.to_string()).collect::<Vec<_>>().join(", ");
            tracing::warn!(unit = unit.work.name(), attempts, streams, "other writers were first each time; it is decided again until it lands");
            self.flight.fallen.push(number);
        }
    }

    /// The group's streams are no longer under way by it, and must be read again.
    fn release(&mut self, group: &Group) {
        for used in &group.uses {
            if let Some(cell) = self.cells.get_mut(&used.stream) {
                cell.in_flight -= 1;
                cell.mark_stale();
            }
        }
    }

    /// Everything that was decided on void ground is decided again, in the order in which it came.
    ///
    /// Only called when nothing is on its way, so that every group that is not durable is in `fallen`, `again` or `pending`.
    fn roll_back(&mut self, now: Timestamp) {
        self.flight.rollback_needed = false;
        let mut redo = std::mem::take(&mut self.flight.fallen);
        let waiting = std::mem::take(&mut self.pending);
        let again = std::mem::take(&mut self.flight.again).into_iter().flat_map(|(groups, _)| groups);
        for (number, group) in again.chain(waiting) {
            for used in &group.uses {
                if let Some(cell) = self.cells.get_mut(&used.stream) {
                    cell.in_flight -= 1;
                    cell.forget_undurable();
                }
            }
            redo.push(number);
        }
        redo.sort_unstable();
        // All of them stand in line before the first is decided: none overtakes an older one.
        for number in &redo {
            self.stand_in_line(*number);
        }
        let stale: Vec<StreamId> = self.cells.iter().filter(|(_, c)| c.is_stale()).map(|(s, _)| s.clone()).collect();
        for stream in &stale {
            self.refresh(stream);
        }
        self.wake(now);
    }
}
