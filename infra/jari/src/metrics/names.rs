//! The name of every metric that is scraped, with what it counts: in one place, so that dashboards can rely on them. Those that `GetStatus` counts stand
//! in `jari_commands::names`.
//!
//! Their labels are bounded: `view` is one of the program's views, `state` one of the relay's six. Counters count since the node's start and end in
//! `_total` where they are shown. What a node does not know (the position of a relay that another runs) it leaves out.

/// A metric: its name, and what it is in a sentence.
pub type Metric = (&'static str, &'static str);

pub const LOG_HEAD: Metric = ("jari_log_head_position", "Position of the last event of the log that this node has seen");
pub const EVENTS_APPENDED: Metric = ("jari_events_appended", "Events that this node has sent to the log");
pub const APPEND_BATCHES: Metric = ("jari_append_batches", "Batches that this node has sent to the log");
pub const APPEND_GROUPS: Metric = ("jari_append_groups", "Groups of events in these batches, one a command or unit of work");
pub const CALLERS_ADMITTED: Metric = ("jari_callers_admitted", "Callers of write services that got a place in the engine");
pub const CALLERS_SENT_AWAY: Metric = ("jari_callers_sent_away", "Callers of write services that heard ENGINE_BUSY");
pub const CALLERS_WITH_A_PLACE: Metric = ("jari_callers_with_a_place", "Callers that hold a place in the engine now");
pub const CALLERS_WAITING: Metric = ("jari_callers_waiting", "Callers that wait for a place now");
pub const UNITS_UNDER_WAY: Metric = ("jari_units_under_way", "Units of work without an answer yet");
pub const STREAMS_IN_MEMORY: Metric = ("jari_streams_in_memory", "Streams whose state is kept in memory");
pub const LOG_ANSWERS: Metric = ("jari_log_answers", "1 while the log takes appends in time, else 0");
pub const SETTLEMENT_OWNED: Metric = ("jari_settlement_owned", "1 on the node that settles orders, else 0");
pub const SETTLEMENT_QUEUED: Metric = ("jari_settlement_queued_orders", "Orders accepted and not settled yet, on the node that settles");
pub const SETTLEMENT_PARKED: Metric = ("jari_settlement_parked_orders", "Orders set aside until somebody retries them");
pub const ORDERS_SETTLED: Metric = ("jari_orders_settled", "Orders that this node has settled");
pub const VIEW_POSITION: Metric = ("jari_view_position", "How far the live view has read the log");
pub const VIEW_LAG: Metric = ("jari_view_lag_events", "Events of the log that the live view has not read yet");
pub const VIEW_READY: Metric = ("jari_view_ready", "1 while the view answers queries, else 0");
pub const VIEW_QUARANTINED: Metric = ("jari_view_quarantined_streams", "Streams that the live view has set aside");
pub const VIEW_REBUILD_POSITION: Metric =
    ("jari_view_rebuild_position", "How far the build beside the live view has read the log, while there is one");
pub const RELAY_STATE: Metric =
    ("jari_relay_state", "1 for what the relay of this node is doing: off, standby, starting, running, waiting or halted");
pub const RELAY_POSITION: Metric = ("jari_relay_position", "Last position of the log that is in Kafka, on the node that relays");
pub const RELAY_LAG: Metric = ("jari_relay_lag_events", "Events of the log that are not in Kafka yet, on the node that relays");
pub const RELAY_TRANSACTIONS: Metric = ("jari_relay_transactions", "Kafka transactions that this node has committed");
pub const INTAKE_TAKES: Metric = ("jari_intake_takes", "1 while this node takes commands from Kafka, else 0");
pub const INTAKE_EXECUTED: Metric = ("jari_intake_executed", "Commands from Kafka that this node has executed, repeats among them");
pub const INTAKE_REFUSED: Metric = ("jari_intake_refused", "Commands from Kafka that this node has refused");
pub const KEYS_ANSWER: Metric =
    ("jari_keys_answer", "1 while the database of the keys of persons answers, else 0; left out where no personal data is taken");
pub const POOL_CONNECTIONS: Metric = ("jari_pool_connections", "Connections of the pool that are open, at most database.pool_connections");
pub const POOL_IN_USE: Metric = ("jari_pool_connections_in_use", "Connections of the pool that somebody has");
pub const POOL_WAITING: Metric = ("jari_pool_waiting", "Callers that wait for a connection of the pool");
