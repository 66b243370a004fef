//! Command ids that are looked up in the log, and what their callers are told then.

use jari_domain::Timestamp;
use jari_event_store::{CommandKey, RecordedCommand};
use rustc_hash::FxHashMap;

use super::{
    core::{Core, Lookup, answer},
    recent::repeat,
    unit::ExecuteError,
};

impl Core {
    /// Takes what became of ids that were looked up; those that are not in `found` were never recorded.
    pub fn looked_up(&mut self, asked: &[CommandKey], found: Vec<(CommandKey, RecordedCommand)>, now: Timestamp) {
        let found: FxHashMap<CommandKey, RecordedCommand> = found.into_iter().collect();
        for key in asked {
            let Some(number) = self.by_key.get(key).copied() else { continue };
            let Some(unit) = self.units.get_mut(&number).filter(|u| u.lookup == Lookup::Pending) else { continue };
            unit.lookup = Lookup::Done;
            if let Some(known) = found.get(key).cloned().or_else(|| self.recent.get(key)) {
                let result = repeat(known, &unit.origin);
                self.finish(number, result);
                continue;
            }
            if let Some(verdict) = unit.verdict.clone() {
                // who came since may have heard from another node that it was done there meanwhile: for them it is looked up once more
                let since = unit.replies.split_off(unit.asked);
                for reply in std::mem::replace(&mut unit.replies, since) {
                    answer(reply, verdict.clone());
                }
                if unit.replies.is_empty() {
                    self.finish(number, verdict);
                } else {
                    self.ask_again(number);
                }
                continue;
            }
            match unit.touches.first() {
                Some(first) => self.wakeups.push_back(first.stream.clone()),
                None => self.go_on(number, now),
            }
        }
        self.wake(now);
        // after the answers: more may have been found than are remembered
        for (key, outcome) in found {
            self.recent.put(key, outcome, now);
        }
    }

    /// The record of this command cannot be read: whether it was done is not known, so it is not done now.
    pub fn unreadable(&mut self, key: &CommandKey, reason: &str) {
        let Some(number) = self.by_key.get(key).copied() else { return };
        if self.units.get(&number).is_some_and(|unit| unit.lookup == Lookup::Pending) {
            self.finish(number, Err(ExecuteError::StreamUnreadable { stream: format!("commands/{}", key.id), reason: reason.to_owned() }));
        }
    }

    /// Sends units whose outcome is unknown back into line; their ids are looked up first.
    pub fn ask_again(&mut self, number: u64) {
        if let Some(unit) = self.units.get_mut(&number)
            && let Some(key) = &unit.origin.key
        {
            unit.lookup = Lookup::Pending;
            unit.asked = unit.replies.len();
            self.effects.lookups.push(key.clone());
        }
    }
}
