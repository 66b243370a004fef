//! Reads the log and maps it while a transaction is on its way, so that the next one takes all that has come by the time it begins.

use std::{pin::Pin, sync::Arc};

use jari_contract::{LogHeadSigned, Publisher, Topic};
use jari_event_store::{LogError, LogTail, Position, RecordedEvent};
use rustc_hash::FxHashMap;
use tokio::sync::{mpsc, watch};

use crate::{
    Checkpoint, RelayError,
    transaction::{Batch, Message},
};

type Reading = Pin<Box<dyn Future<Output = Result<Vec<Arc<RecordedEvent>>, LogError>> + Send>>;

/// Fills batches, one after the other.
pub(crate) struct Filling {
    tail: LogTail,
    publisher: Publisher,
    heads: watch::Receiver<Option<LogHeadSigned>>,
    /// Events of a batch, at most.
    most: usize,
    /// The position of an event that its topic did not take: it goes alone, so that all before it are told, and none behind it is sent again and again.
    alone: Option<Position>,
    /// Behind the last event that is in the batch.
    checkpoint: Checkpoint,
    messages: Vec<Message>,
    /// Events that are in the batch.
    events: usize,
    /// Where the messages of compacted topics stand: of those, nobody needs what the same transaction replaces.
    latest: FxHashMap<(Topic, Arc<str>), usize>,
}

impl Filling {
    /// Begins behind `checkpoint`, with at most so many events a batch, and the one at the position that is named in one of its own.
    pub fn new(
        tail: LogTail,
        publisher: Publisher,
        heads: watch::Receiver<Option<LogHeadSigned>>,
        (most, alone): (usize, Option<Position>),
        checkpoint: Checkpoint,
    ) -> Self {
        Self { tail, publisher, heads, most, alone, checkpoint, messages: Vec::new(), events: 0, latest: FxHashMap::default() }
    }

    /// Gives a batch each time that one is wanted, as soon as there is something in it. It goes on being filled until then: an event waits for the
    /// transaction that is on its way, and for its own, and for no other.
    ///
    /// # Errors
    /// [`RelayError::Log`]; [`RelayError::Unpublishable`] once all events before it are given away and committed.
    pub async fn run(mut self, mut wanted: mpsc::Receiver<()>, batches: mpsc::Sender<Batch>) -> Result<(), RelayError> {
        let (mut is_wanted, mut failed) = (false, None);
        let mut reading = self.read();
        // Ends with an error, or when nobody wants batches any more.
        loop {
            if is_wanted && (self.events > 0 || !self.messages.is_empty()) {
                is_wanted = false;
                if batches.send(self.take()).await.is_err() {
                    return Ok(());
                }
            }
            if let Some(error) = failed.take_if(|_| is_wanted) {
                return Err(error);
            }
            let has_room = failed.is_none() && self.room(self.events) > 0;
            tokio::select! {
                // an answer to whoever wants a batch comes first; more may be added while they are at it
                biased;
                more = wanted.recv(), if !is_wanted => match more {
                    Some(()) => is_wanted = true,
                    None => return Ok(()),
                },
                events = &mut reading, if has_room => {
                    failed = self.add(&events?).err();
                    self.add_head();
                    reading = self.read();
                }
                () = until_due(&mut self.heads, &self.checkpoint), if has_room => self.add_head(),
            }
        }
    }

    /// What follows in the log. It is let go on while a batch is given away: nothing that was read is read again.
    fn read(&self) -> Reading {
        let room = match self.room(self.events) {
            // not polled before the batch is given away
            0 => self.room(0),
            room => room,
        };
        let (tail, after) = (self.tail.clone(), self.checkpoint.position);
        Box::pin(async move { tail.read(after, room).await })
    }

    /// How many of the next events a batch takes that has so many already.
    fn room(&self, events: usize) -> usize {
        let room = self.most.saturating_sub(events);
        let here = self.checkpoint.position;
        let Some(alone) = self.alone.filter(|alone| *alone >= here) else { return room };
        match (alone.since(here), events) {
            (0, 0) => room,
            // the batch is that event, or it ends before it
            (0, _) | (1, 1..) => 0,
            (1, 0) => 1,
            (left, _) => room.min(usize::try_from(left - 1).unwrap_or(usize::MAX)),
        }
    }

    fn take(&mut self) -> Batch {
        self.events = 0;
        self.latest.clear();
        let is_doubtful = self.alone == Some(self.checkpoint.position);
        Batch { messages: std::mem::take(&mut self.messages), checkpoint: self.checkpoint.clone(), is_doubtful }
    }

    fn add(&mut self, events: &[Arc<RecordedEvent>]) -> Result<(), RelayError> {
        for event in events {
            let recorded_ms = event.recorded_at.as_millisecond();
            let published = self.publisher.publish(event).map_err(|source| RelayError::Unpublishable { position: event.position, source })?;
            for public in published {
                let message = Message { public, recorded_ms };
                if message.public.topic.settings().compacted {
                    let place = *self.latest.entry((message.public.topic, message.public.key.clone())).or_insert(self.messages.len());
                    if place < self.messages.len() {
                        self.messages[place] = message;
                        continue;
                    }
                }
                self.messages.push(message);
            }
            self.checkpoint.pass(event);
            self.events += 1;
        }
        Ok(())
    }

    /// A head that is due goes behind the events that it stands for, in the same transaction as the note that it was told. Its record has the time of the event
    /// before it: so no clock but the database's dates what is told, and one of a node's that is wrong has no record refused.
    fn add_head(&mut self) {
        let due = self.heads.borrow().clone().filter(|head| is_due(head, &self.checkpoint));
        if let Some(head) = due {
            self.checkpoint.head = head.position.to_position();
            self.messages.push(Message { public: self.publisher.publish_head(&head), recorded_ms: self.checkpoint.recorded_ms });
        }
    }
}

/// Whether a head was not told yet, and everything that it stands for was.
fn is_due(head: &LogHeadSigned, checkpoint: &Checkpoint) -> bool {
    (checkpoint.head.next()..=checkpoint.position).contains(&head.position.to_position())
}

async fn until_due(heads: &mut watch::Receiver<Option<LogHeadSigned>>, checkpoint: &Checkpoint) {
    let due = heads.wait_for(|head| head.as_ref().is_some_and(|head| is_due(head, checkpoint))).await.is_ok();
    // nobody signs any more: there is nothing to wait for
    if !due {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use jari_contract::value::Int64;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_head_is_due_once_behind_the_last_event_that_it_stands_for() {
        let signed = |number| LogHeadSigned {
            log_id: String::new(),
            position: Int64::position(Position::new(number)),
            head: String::new(),
            signed_at: String::new(),
            public_key: String::new(),
            signature: String::new(),
        };
        let told = |position, head| Checkpoint { position: Position::new(position), head: Position::new(head), ..Checkpoint::begin(Uuid::nil()) };
        let due = |checkpoint: &Checkpoint| (0..=8).filter(|number| is_due(&signed(*number), checkpoint)).collect::<Vec<_>>();
        assert_eq!(due(&told(5, 2)), [3, 4, 5], "not one that was told, and none before its events");
        assert_eq!(due(&told(5, 4)), [5]);
        assert_eq!(due(&told(5, 5)), [0; 0]);
        assert_eq!(due(&Checkpoint::begin(Uuid::nil())), [0; 0], "of a log without events there is no head to tell");
    }
}
