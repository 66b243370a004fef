//! Memory that leaves the process by no core dump: it holds master keys, the keys of persons, contacts in the clear and passwords of databases.

use anyhow::Context;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// From now on a crash writes no core, and no other process of this account reads this one's memory or its environment: that is how Linux takes it,
/// so debuggers and profilers need root, and what `/proc` shows of the process is root's. A server that is started as a child is not concerned.
///
/// # Errors
/// When the system says no.
pub fn refuse() -> anyhow::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("core dumps cannot be turned off")
}

/// Takes it back, for whoever must look into a process.
///
/// # Errors
/// When the system says no.
pub fn allow() -> anyhow::Result<()> {
    set_dumpable_behavior(DumpableBehavior::Dumpable).context("core dumps cannot be turned on")
}
