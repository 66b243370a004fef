//! When an event was decided, as far as its writer says.

use jari_domain::Timestamp;
use jari_event_store::RecordedEvent;
use jiff::SignedDuration;

/// How far the decision of a writer that does not say its time may lie beside the recording: its way to the log, and what its clock is wrong by.
/// Without it whoever decides just before a hold lapses, and is recorded just after, would be found broken.
const UNSAID: SignedDuration = SignedDuration::from_mins(1);

/// The first and the last instant at which it may have been. Of this program's own events they are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decided {
    earliest: Timestamp,
    latest: Timestamp,
}

impl Decided {
    pub fn of(event: &RecordedEvent) -> Self {
        let recorded = event.recorded_at;
        // a time that no clock says is none: nobody else decides by it, either
        match event.metadata.decided_at.filter(|said| *said == event.reaches()) {
            Some(said) => Self { earliest: said, latest: said },
            None => Self {
                earliest: recorded.saturating_sub(UNSAID).unwrap_or(Timestamp::MIN),
                latest: recorded.saturating_add(UNSAID).unwrap_or(Timestamp::MAX),
            },
        }
    }

    /// The instant, where the writer says it.
    pub fn said(self) -> Option<Timestamp> {
        (self.earliest == self.latest).then_some(self.earliest)
    }

    /// Whether that instant had come for certain.
    pub fn is_at_or_after(self, instant: Timestamp) -> bool {
        instant <= self.earliest
    }

    /// Whether it was to come for certain.
    pub fn is_before(self, instant: Timestamp) -> bool {
        self.latest < instant
    }
}
