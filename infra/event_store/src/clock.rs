//! The time by which is decided and answered: this machine's, held back to the database's.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use jari_domain::Timestamp;

use crate::{LogError, Reader};

/// How far ahead of the database's clock a decision may be. A machine whose clock is further ahead would date what it writes into the future, and the time
/// of those streams, and of every stream that is decided with them, would stand still until then: holds would last longer, and slots would have begun.
const AHEAD: Duration = Duration::from_millis(500);
/// The database's clock was set back when it is so far behind what was made of its last word, and further than its answer was on its way.
const SET_BACK: Duration = Duration::from_secs(30);
/// Between two questions to the database. For so long a machine that slept, or was paused, goes on where it was: the clock that nobody sets stood still, too.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// What a node goes by: decisions, timers and answers of a node that is ahead of its database would contradict each other by different clocks.
/// Cloning shares it.
#[derive(Debug, Clone)]
pub struct Clock(Arc<RwLock<Heard>>);

impl Clock {
    /// The database said that it was `database` just now.
    #[must_use]
    pub fn new(database: Timestamp) -> Self {
        Self(Arc::new(RwLock::new(Heard::new(database))))
    }

    /// Asks the database what time it is. Its clock alone says so: what it stamps on a batch is never before the batch before, whatever its clock says.
    ///
    /// # Errors
    /// [`LogError::Database`]; then it goes on from what it was told last.
    pub async fn ask(&self, reader: &Reader) -> Result<(), LogError> {
        let asked = Instant::now();
        let database = reader.clock().await?;
        self.0.write().unwrap_or_else(PoisonError::into_inner).hear(database, asked.elapsed());
        Ok(())
    }

    /// Asks again and again, for as long as it is polled: in a shop that is only read, nothing else tells what time it is.
    pub(crate) async fn keep(self, reader: Reader) {
        let mut rounds = tokio::time::interval(ASK_EVERY);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // Ended by who started it.
        loop {
            rounds.tick().await;
            if let Err(error) = reader.database().in_time(self.ask(&reader)).await {
                tracing::debug!(%error, "the database did not say what time it is; it is asked again");
            }
        }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.read().unwrap_or_else(PoisonError::into_inner).now(Timestamp::now())
    }

    /// How long until then; zero when it has come.
    #[must_use]
    pub fn until(&self, then: Timestamp) -> Duration {
        Duration::try_from(then.duration_since(self.now())).unwrap_or_default()
    }
}

/// Knows the database's clock from what it said last, and goes on from there by a clock that nobody sets.
#[derive(Debug, Clone, Copy)]
struct Heard {
    database: Timestamp,
    heard: Instant,
}

impl Heard {
    /// The database said that it was `database` just now.
    fn new(database: Timestamp) -> Self {
        Self { database, heard: Instant::now() }
    }

    /// It said so again, to a question that took so long. What it says is old by the way that it came, at most by that; so the later of this and what the
    /// last word has become counts. Time that has been told would else be taken back after each slow answer.
    fn hear(&mut self, database: Timestamp, took: Duration) {
        let behind = Duration::try_from(self.database().duration_since(database)).unwrap_or_default();
        let is_set_back = behind > SET_BACK.saturating_add(took);
        if behind.is_zero() || is_set_back {
            *self = Self::new(database);
        }
    }

    fn database(&self) -> Timestamp {
        self.database.saturating_add(self.heard.elapsed()).unwrap_or(Timestamp::MAX)
    }

    /// Now, when this machine's clock says `machine`.
    fn now(&self, machine: Timestamp) -> Timestamp {
        machine.min(self.database().saturating_add(AHEAD).unwrap_or(Timestamp::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;

    #[test]
    fn a_machine_that_is_ahead_is_held_back_and_one_that_is_behind_is_believed() {
        let database = Timestamp::from_second(1_800_000_000).unwrap();
        let mut clock = Heard::new(database);
        let hour = SignedDuration::from_hours(1);
        assert!(clock.now(database + hour) < database + SignedDuration::from_secs(60), "an hour ahead is not believed");
        assert_eq!(clock.now(database - hour), database - hour);
        clock.hear(database + hour, Duration::ZERO);
        assert_eq!(clock.now(database + hour), database + hour, "the database says so, too");
        clock.hear(database + hour - SignedDuration::from_secs(2), Duration::ZERO);
        assert_eq!(clock.now(database + hour), database + hour, "an answer that was long on its way sets nothing back");
        clock.hear(database, Duration::ZERO);
        assert!(clock.now(database + hour) < database + SignedDuration::from_secs(60), "the database's clock was set right");
    }

    #[test]
    fn an_answer_that_was_a_minute_on_its_way_takes_no_time_back_that_was_told() {
        let database = Timestamp::from_second(1_800_000_000).unwrap();
        let (minute, hour) = (SignedDuration::from_mins(1), SignedDuration::from_hours(1));
        let mut clock = Heard::new(database + minute);
        clock.hear(database, Duration::from_mins(1));
        assert!(clock.now(database + hour) >= database + minute, "it was stamped a minute ago");
        clock.hear(database - minute, Duration::from_mins(1));
        assert!(clock.now(database + hour) < database, "a minute more than that is a clock that was set back");
    }

    #[test]
    fn a_machine_that_is_ahead_dates_nothing_further_than_half_a_second_beyond_its_database() {
        let database = Timestamp::from_second(1_800_000_000).unwrap();
        let begun = Instant::now();
        let now = Heard::new(database).now(database + SignedDuration::from_hours(1));
        let latest = database + SignedDuration::from_millis(500) + SignedDuration::try_from(begun.elapsed()).unwrap();
        assert!(now > database && now <= latest, "{now}, and at most {latest}");
    }
}
