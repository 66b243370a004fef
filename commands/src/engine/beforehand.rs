//! What a unit needs to be in the log before it is decided, such as the ends of the lapsed holds whose units it takes.
//!
//! It may be more than one append should carry: the log's head is locked meanwhile, for all nodes. So it goes in groups of a bounded size, each when the
//! one before it has landed; those of others ride between them. The unit stands first in its queues all the while: nobody who came later is decided on its streams
//! before it is, and nobody is refused what it is about to take.

use super::core::Core;

impl Core {
    /// A group of what the unit needs beforehand is on its way: it waits for that where it stood when its turn came, first in its queues.
    pub fn keep_turn(&mut self, number: u64) {
        let Some(unit) = self.units.get_mut(&number) else { return };
        unit.prepares = true;
        let touches = unit.touches.clone();
        self.queue_up(number, &touches);
    }

    /// A group of the unit has landed. Says whether it was one of those, after which its turn goes on; so far nobody was before it.
    pub fn came_beforehand(&mut self, number: u64) -> bool {
        let came = self.turn_goes_on(number);
        if came && let Some(unit) = self.units.get_mut(&number) {
            unit.attempts = 0;
        }
        came
    }

    /// It waits no longer for what it needs beforehand. Says whether it did.
    pub fn turn_goes_on(&mut self, number: u64) -> bool {
        let Some(unit) = self.units.get_mut(&number).filter(|unit| unit.prepares) else { return false };
        unit.prepares = false;
        self.wakeups.extend(unit.touches.first().map(|touch| touch.stream.clone()));
        true
    }
}
