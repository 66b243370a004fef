//! The intake: commands on orders from a Kafka topic, each executed once; what is refused goes to a dead-letter topic with its reason.
//!
//! Must never know: how a command is decided, how the log is stored. It is a client of `OrderService` like any other, under the id that the sender
//! gave the command, so what it does twice happens once.
//!
//! Its steps, and what undoes each when it is interrupted there:
//!
//! | | Step | If it ends here |
//! |-|------|-----------------|
//! | 1 | sees that commands are kept for less long than their ids are remembered | it stands still and says what to change |
//! | 2 | joins the group of all nodes' intakes, and reads some records | the group gives them to another, or to the next start |
//! | 3 | executes them, those of one order one after the other | they are read again, and their ids are known: the same answers, refusals included |
//! | 4 | refusals and the place in the topic in one Kafka transaction | Kafka aborts it: as 3 |

mod command;
mod dead_letter;
mod error;
mod executor;
mod intake;
mod line;
mod record;
mod settings;
#[cfg(test)]
mod tests;

pub use dead_letter::{DeadLetter, DeadLetters, Page};
pub use error::{CODES as REFUSAL_CODES, IntakeError, RedriveError};
pub use intake::{Intake, IntakeState, IntakeStatus};
pub use settings::IntakeSettings;
