//! The relay: every public event of the log to Kafka, exactly once, in log order per key.
//!
//! Must never know: what an event says (the contract maps it), how the log is stored, who decides.
//!
//! Its steps, and what undoes each when it is interrupted there:
//!
//! | | Step | If it ends here |
//! |-|------|-----------------|
//! | 1 | takes the lease `relay` in the database | the lease runs out, another node takes it |
//! | 2 | makes the topics that are missing | the next one finds them |
//! | 3 | reads the checkpoint and compares it with the log: same log, not behind it, the same event there | it stops and says why, and disturbs nobody |
//! | 4 | `init_transactions` under the topics' two transactional ids | Kafka fences whoever had them, and aborts what they had open |
//! | 5 | reads and compares again, now that it cannot change; topics that nobody has claimed get a first checkpoint | it stops and says why; it never skips |
//! | 6 | events and the new checkpoint in one transaction, again and again | Kafka aborts the transaction: the next relay starts at step 3 and finds the checkpoint before it |
//!
//! An event that its topic does not take, for its size or its time, stops step 6 at its place: it then has a transaction of its own, each time that it is tried.
//! An error in step 6 leaves open whether the commit was made: the relay then knows nothing and begins again at step 3.

mod audit;
mod checkpoint;
mod claim;
mod cluster;
mod error;
mod filling;
mod refused;
mod relay;
mod settings;
mod status;
mod topics;
mod transaction;

pub use audit::{TopicAudit, audit};
pub use checkpoint::Checkpoint;
pub use claim::Claim;
pub use cluster::{Cluster, Quiet, blocking};
pub use error::RelayError;
pub use refused::Deliveries;
pub use relay::Relay;
pub use settings::{KafkaSettings, RelaySettings};
pub use status::{RelayState, RelayStatus};
pub use transaction::{Message, Transactions};
