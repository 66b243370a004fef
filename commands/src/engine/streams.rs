//! Streams in memory: read when they are needed, read again when another writer moved them, let go when they are not used.

use jari_domain::{StreamId, Timestamp};
use jari_event_store::LoadedStream;

use super::{
    cell::{CELL_BYTES, Cell},
    core::{Core, Lookup},
    unit::{Access, ExecuteError, Touch},
};

/// A stream among those of the last so many uses is not let go for its size: it would soon be read again, and a slot with a million holds takes seconds to
/// read. No more than a batch has groups, so that they stay a small part of what there is room for; fewer where few streams are kept.
const OF_LATE: usize = 1_024;

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
            Ok(loaded) => {
                cell.take(loaded);
                cell.weigh(&mut self.bytes);
            }
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
                self.let_go(stream);
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
            self.let_go(stream);
        } else {
            cell.mark_stale();
            self.refresh(stream);
        }
    }

    /// Reads a stale stream again as soon as nothing of it is under way.
    pub(super) fn refresh(&mut self, stream: &StreamId) {
        if let Some(cell) = self.cells.get_mut(stream).filter(|c| c.is_stale() && c.in_flight == 0) {
            if cell.queue.is_empty() {
                self.let_go(stream);
            } else {
                self.effects.loads.push(cell.reload(stream));
            }
        }
    }

    /// A stream that was taken to be empty for a unit that came to nothing is not kept as if it were known.
    pub(super) fn forget_presumed(&mut self, touches: &[Touch]) {
        for touch in touches {
            if self.cells.get(&touch.stream).is_some_and(|cell| cell.presumed && cell.is_idle()) {
                self.let_go(&touch.stream);
            }
        }
    }

    fn let_go(&mut self, stream: &StreamId) {
        self.bytes -= self.cells.remove(stream).map_or(0, |cell| cell.bytes);
    }

    /// What all cells take in memory, about.
    pub(super) fn cell_bytes(&self) -> usize {
        self.bytes + self.cells.len() * CELL_BYTES
    }

    /// Lets go of the streams that were used longest ago, when there are too many of them or they are too large. Never of one that somebody waits for
    /// or that is under way.
    pub(super) fn evict(&mut self) {
        if self.cells.len() > self.limits.cells {
            self.let_go_until(self.uses.saturating_sub(self.limits.cells as u64 / 2));
        }
        let (bytes, most) = (self.cell_bytes(), self.limits.cell_bytes);
        if bytes <= most {
            self.heavy = most;
        } else if bytes > self.heavy {
            // half of it at once, so that cells are seldom looked through
            self.let_go_until(self.used_before(bytes - most / 2));
            // where it is those in use that are so large, they are not looked through again before more has come
            self.heavy = self.cell_bytes() + most / 4;
        }
    }

    /// Until which use the streams have so many bytes that were used longest ago and nobody needs now; those of late are not among them.
    fn used_before(&self, mut bytes: usize) -> u64 {
        let late = self.uses.saturating_sub(OF_LATE.min(self.limits.cells / 2) as u64);
        let idle = self.cells.values().filter(|cell| cell.touched <= late && cell.is_idle());
        let mut idle: Vec<(u64, usize)> = idle.map(|cell| (cell.touched, cell.bytes + CELL_BYTES)).collect();
        idle.sort_unstable();
        let mut until = 0;
        for (touched, more) in idle {
            if bytes == 0 {
                break;
            }
            bytes = bytes.saturating_sub(more);
            until = touched;
        }
        until
    }

    fn let_go_until(&mut self, use_of: u64) {
        let bytes = &mut self.bytes;
        self.cells.retain(|_, cell| {
            let stays = cell.touched > use_of || !cell.is_idle();
            *bytes -= if stays { 0 } else { cell.bytes };
            stays
        });
    }
}
