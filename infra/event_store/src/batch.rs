//! What is appended at once: groups of events, each whole or not at all.

use std::sync::Arc;

use jari_domain::{AnyEvent, Position, Refusal, RefusalKind, StreamId};
use rustc_hash::FxHashMap;
use uuid::Uuid;

use crate::{
    record::Metadata,
    seal::{DIGEST_BYTES, StoredEvent, event_digest},
};

/// Bounds of one batch: what waits beyond them rides in the next one.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// Groups in a batch.
    pub groups: usize,
    /// Events in a batch.
    pub events: usize,
    /// Bytes of payload and metadata in a batch.
    pub bytes: usize,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { groups: 1_024, events: 8_192, bytes: 8 << 20 }
    }
}

/// A lease under which a group stands: it lands only while that epoch is the newest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseStamp {
    /// Of the role.
    pub name: Arc<str>,
    /// Of the owner.
    pub epoch: u64,
}

/// A group's use of a stream.
#[derive(Debug, Clone)]
pub struct StreamUse {
    /// Which.
    pub stream: StreamId,
    /// The version on which the group was decided, in-flight events included.
    pub expected: u64,
    /// What it adds, in order; empty when it only read the stream.
    pub events: Vec<AnyEvent>,
    /// Whether groups after it that use the stream fall with it even if it adds nothing: it keeps its turn. Adding events implies it.
    pub claims: bool,
}

/// The row that makes a command exactly-once.
#[derive(Debug, Clone)]
pub struct CommandRow {
    /// The caller's id for it.
    pub id: Uuid,
    /// Who; ids are scoped to them.
    pub caller: Arc<str>,
    /// Keyed digest of the typed command.
    pub digest: [u8; 16],
    /// Present when the outcome is a refusal.
    pub refusal: Option<Refusal>,
}

impl CommandRow {
    /// Whether the outcome is kept under the id. Bad input is not: nothing was done, and whoever mends it may come back under the same id.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.refusal.as_ref().is_none_or(|refusal| refusal.kind != RefusalKind::InvalidArgument)
    }
}

/// What one decision came to: events on its streams, or a refusal; and the streams that it was decided on.
#[derive(Debug, Clone)]
pub struct Group {
    /// Every stream that the decision wrote or read, each once.
    pub uses: Vec<StreamUse>,
    /// Absent for writers that bring no command id, such as the adapter for cqrs-es.
    pub command: Option<CommandRow>,
    /// One for all its events.
    pub metadata: Arc<Metadata>,
    /// See [`LeaseStamp`].
    pub lease: Option<LeaseStamp>,
    /// Payloads as JSON, in the order of the events of `uses`; made once, when the group is.
    payloads: Vec<String>,
    metadata_json: String,
    /// [`event_digest`] of each event, one after the other.
    digests: Vec<u8>,
    /// A position up to which its decider knew every event of its streams. [`Position::START`], which is always safe, makes the database look for
    /// itself.
    known: Position,
}

impl Group {
    /// Makes a group and serialises its events.
    ///
    /// # Errors
    /// None in practice: events and metadata are plain data.
    pub fn new(
        uses: Vec<StreamUse>,
        command: Option<CommandRow>,
        metadata: Arc<Metadata>,
        lease: Option<LeaseStamp>,
    ) -> Result<Self, serde_json::Error> {
        let mut payloads = Vec::with_capacity(uses.iter().map(|used| used.events.len()).sum());
        let mut digests = Vec::with_capacity(payloads.capacity() * DIGEST_BYTES);
        let metadata_json = serde_json::to_string(&*metadata)?;
        for used in &uses {
            for (event, sequence) in used.events.iter().zip(used.expected + 1..) {
                let payload = event.to_payload()?;
                digests.extend_from_slice(&event_digest(&StoredEvent {
                    aggregate_type: used.stream.aggregate_type,
                    aggregate_id: &used.stream.aggregate_id,
                    sequence,
                    event_type: event.event_type(),
                    event_version: event.event_version(),
                    payload: &payload,
                    metadata: &metadata_json,
                }));
                payloads.push(payload);
            }
        }
        Ok(Self { uses, command, metadata, lease, payloads, metadata_json, digests, known: Position::START })
    }
    /// Says up to which position its decider knew every event of its streams.
    #[must_use]
    pub fn knowing(self, known: Position) -> Self {
        Self { known, ..self }
    }

    /// How many events it adds.
    #[must_use]
    pub fn event_count(&self) -> usize {
        self.payloads.len()
    }
    /// Bytes of payload and metadata.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.payloads.iter().map(|p| p.len() + self.metadata_json.len()).sum()
    }
}

/// Groups in the order of their decisions.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// See [`Group`].
    pub groups: Vec<Group>,
}

/// The arguments of `append_batch`, column by column: an array for each column, all arrays of one table equally long.
///
/// `s_`: the streams that the batch uses, each once, with the version that its first use expects. `u_`: who uses which stream, in the order of the groups;
/// a use `writes` when it adds events or claims its turn, so that those after it fall with it. `g_`: the groups. `c_`: the rows of commands;
/// `c_offset` counts the batch's events up to the end of the command's group. `e_`: the events in their order. Groups and streams are counted from 1.
///
/// What the function does with them: (1) nothing, when the batch before it was to land first and did not; (2) takes the log's lock; (3) looks at those
/// streams and ids that no unique key would look at; (4) if all is well inserts commands, events and the chained row of the batch; (5) otherwise walks
/// the groups to see which fall, inserts the rest, and says so. What a unique key refuses comes back as an error, and the batch is sent again `careful`.
#[derive(Default)]
pub(crate) struct Columns<'a> {
    pub lease: Option<&'a str>,
    pub lease_epoch: i64,
    pub s_type: Vec<&'a str>,
    pub s_id: Vec<&'a str>,
    pub s_expected: Vec<i64>,
    pub s_check: Vec<bool>,
    pub u_group: Vec<i32>,
    pub u_stream: Vec<i32>,
    pub u_writes: Vec<bool>,
    pub g_events: Vec<i32>,
    pub g_leased: Vec<bool>,
    pub c_group: Vec<i32>,
    pub c_id: Vec<Uuid>,
    pub c_caller: Vec<&'a str>,
    pub c_digest: Vec<&'a [u8]>,
    pub c_offset: Vec<i32>,
    pub c_refusal: Vec<Option<String>>,
    pub e_group: Vec<i32>,
    pub e_aggregate_type: Vec<&'a str>,
    pub e_aggregate_id: Vec<&'a str>,
    pub e_sequence: Vec<i64>,
    pub e_event_type: Vec<&'static str>,
    pub e_event_version: Vec<&'static str>,
    pub e_payload: Vec<&'a str>,
    pub e_metadata: Vec<&'a str>,
    pub e_digest: Vec<u8>,
    pub known: i64,
}

fn ordinal(index: usize) -> i32 {
    i32::try_from(index).unwrap_or(i32::MAX)
}

impl Batch {
    /// Lays the batch out for the database. A stream's expected version is its first group's; it must be checked there when its first
    /// use inserts nothing that the primary key could refuse.
    pub(crate) fn columns(&self) -> Columns<'_> {
        let known = self.groups.iter().map(|group| group.known).min().unwrap_or_default();
        let mut columns = Columns { known: known.to_i64(), ..Columns::default() };
        let mut index: FxHashMap<&StreamId, usize> = FxHashMap::default();
        let mut events = 0;
        for (g, group) in self.groups.iter().enumerate() {
            let g = ordinal(g + 1);
            let mut payloads = group.payloads.iter();
            for used in &group.uses {
                let s = *index.entry(&used.stream).or_insert_with(|| {
                    columns.s_type.push(used.stream.aggregate_type);
                    columns.s_id.push(&used.stream.aggregate_id);
                    columns.s_expected.push(crate::record::signed(used.expected));
                    columns.s_check.push(used.events.is_empty());
                    columns.s_id.len() - 1
                });
                columns.u_group.push(g);
                columns.u_stream.push(ordinal(s + 1));
                columns.u_writes.push(used.claims || !used.events.is_empty());
                for (n, event) in used.events.iter().enumerate() {
                    columns.e_group.push(g);
                    columns.e_aggregate_type.push(used.stream.aggregate_type);
                    columns.e_aggregate_id.push(&used.stream.aggregate_id);
                    columns.e_sequence.push(crate::record::signed(used.expected) + i64::from(ordinal(n + 1)));
                    columns.e_event_type.push(event.event_type());
                    columns.e_event_version.push(event.event_version());
                    columns.e_payload.push(payloads.next().expect("a group is prepared with a payload for each of its events"));
                    columns.e_metadata.push(&group.metadata_json);
                    events += 1;
                }
            }
            columns.e_digest.extend_from_slice(&group.digests);
            columns.g_events.push(ordinal(group.event_count()));
            columns.g_leased.push(group.lease.is_some());
            if let Some(lease) = &group.lease {
                columns.lease = Some(&lease.name);
                columns.lease_epoch = crate::record::signed(lease.epoch);
            }
            if let Some(command) = group.command.as_ref().filter(|row| row.is_recorded()) {
                columns.c_group.push(g);
                columns.c_id.push(command.id);
                columns.c_caller.push(&command.caller);
                columns.c_digest.push(&command.digest);
                columns.c_offset.push(ordinal(events));
                columns
                    .c_refusal
                    .push(command.refusal.as_ref().map(|r| serde_json::to_string(r).expect("a refusal is texts by name, which JSON can tell")));
            }
        }
        columns
    }
}
