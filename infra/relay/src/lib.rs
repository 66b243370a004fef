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
//! | 3 | `init_transactions` under the log's two transactional ids | Kafka fences whoever had it, and aborts what they had open |
//! | 4 | reads its checkpoint, as committed | nothing was done yet |
//! | 5 | compares the checkpoint with the log: same log, not behind it, the same event there | it stops and says why; it never skips |
//! | 6 | events and the new checkpoint in one transaction, again and again | Kafka aborts the transaction: the next relay starts at step 3 and finds the checkpoint before it |
//!
//! An error in step 6 leaves open whether the commit was made: the relay then knows nothing and begins again at step 3.

mod audit;
mod checkpoint;
mod cluster;
mod error;
mod filling;
mod relay;
mod settings;
mod status;
mod transaction;

pub use audit::{TopicAudit, audit};
pub use checkpoint::Checkpoint;
pub use cluster::{Cluster, Quiet, blocking};
pub use error::RelayError;
pub use relay::Relay;
pub use settings::{KafkaSettings, RelaySettings};
pub use status::{RelayState, RelayStatus};
pub use transaction::{Deliveries, Message, Transactions};
