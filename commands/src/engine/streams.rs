//! Streams in memory: read when they are needed, read again when another writer moved them, let go when they are not used.

use jari_domain::{StreamId, Timestamp};
use jari_event_store::LoadedStream;

use super::{
    cell::Cell,
    core::{Core, Lookup},
    unit::{Access, ExecuteError, Touch},
};

impl Core {
    pub(super) fn cell(&mut self, touch: &Touch) -> &mut Cell {
        self.uses += 1;
        let cell = self.cells.entry(touch.stream.clone()).or_insert_with(|| {
            let new = if touch.access == Access::PresumedNew { Cell::presumed_new(&touch.stream) } else { None };
            new.unwrap_or_else(|| {
                let mut cell = Cell::loading();
                self.effects.loads.push(cell.reload(&touch.stream));
                cell
            })
        });
        cell.touched = self.uses;
        cell
    }

    /// Takes streams that were read; `asked` is the generation of the question.
    pub(super) fn loaded(&mut self, stream: &StreamId, asked: u64, result: Result<LoadedStream, String>, now: Timestamp) {
        let Some(cell) = self.cells.get_mut(stream).filter(|c| c.is_loading() && c.generation == asked) else { return };
        match result {
            Ok(loaded) => cell.take(loaded),
            Err(reason) => {
                let waiting: Vec<u64> = cell.queue.iter().copied().collect();
                for number in waiting {
                    let error = ExecuteError::StreamUnreadable { stream: stream.to_string(), reason: reason.clone() };
                    match self.units.get_mut(&number).filter(|unit| unit.origin.key.is_some()) {
                        // it may have landed before the stream became unreadable, or where it can be read
                        Some(unit) => {
                            unit.verdict = Some(Err(error));
                            if unit.lookup != Lookup::Pending {
                                self.ask_again(number);
                            }
                        }
                        None => self.finish(number, Err(error)),
                    }
                }
                self.cells.remove(stream);
            }
        }
        self.refresh(stream);
        self.wakeups.push_back(stream.clone());
        self.wake(now);
    }

    /// Hears of an event in the log. One that this node did not write makes its copy of the stream old.
    pub(super) fn seen(&mut self, stream: &StreamId, sequence: u64) {
        let Some(cell) = self.cells.get_mut(stream) else { return };
        if !cell.hear(sequence) {
            return;
        }
        if cell.is_idle() {
            self.cells.remove(stream);
        } else {
            cell.mark_stale();
            self.refresh(stream);
        }
    }

    /// Reads a stale stream again as soon as nothing of it is under way.
    pub(super) fn refresh(&mut self, stream: &StreamId) {
        if let Some(cell) = self.cells.get_mut(stream).filter(|c| c.is_stale() && c.in_flight == 0) {
            if cell.queue.is_empty() {
                self.cells.remove(stream);
            } else {
                self.effects.loads.push(cell.reload(stream));
            }
        }
    }

    /// A stream that was taken to be empty for a unit that came to nothing is not kept as if it were known.
    pub(super) fn forget_presumed(&mut self, touches: &[Touch]) {
        for touch in touches {
            if self.cells.get(&touch.stream).is_some_and(|cell| cell.presumed && cell.is_idle()) {
                self.cells.remove(&touch.stream);
            }
        }
    }

    /// Lets go of the streams that were used longest ago. Never of one that somebody waits for or that is under way.
    pub(super) fn evict(&mut self) {
        if self.cells.len() > self.limits.cells {
            let since = self.uses.saturating_sub(self.limits.cells as u64 / 2);
            self.cells.retain(|_, cell| cell.touched > since || !cell.is_idle());
        }
    }
}
