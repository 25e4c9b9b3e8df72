//! Checks at start-up that the log, the state and the newest snapshot are consistent.
//!
//! Runs before consensus, which assumes that they are.

use std::io;

use openraft::{RaftSnapshotBuilder, storage::RaftStateMachine};
use tracing::warn;

use crate::{consensus::LogId, raft::Machine, storage::LogStore};

/// Checks the three against each other, and builds a snapshot where that repairs them. `own` is
/// this member; `snapshot` is the last log id in the newest snapshot.
///
/// # Errors
/// When one of them is older than the others allow, or on a disk error.
pub(super) async fn check(
    log: &LogStore,
    machine: &mut Machine,
    snapshot: Option<LogId>,
    own: u64,
) -> io::Result<()> {
    let applied = machine.last_applied();
    log.agree_with_state(applied, snapshot)?;
    let reached = log.reach(applied);
    if machine.is_alone(own) {
        reached?;
    } else if reached.is_err() && snapshot < applied {
        // An entry is applied once the disks of the other members hold it, so a crash may leave the
        // state ahead of this log. Consensus discards the log before the state, and needs a
        // snapshot of the state to do so.
        return build(machine).await;
    }
    let purged = log.purged();
    if snapshot < purged {
        // Damage may leave a snapshot older than the one up to which the log was purged. The state
        // is whole, but consensus panics when the newest snapshot ends before the log begins.
        warn!(
            ?snapshot,
            ?purged,
            "the newest snapshot ends before the log begins; another is made"
        );
        return build(machine).await;
    }
    Ok(())
}

async fn build(machine: &mut Machine) -> io::Result<()> {
    let mut builder = machine.get_snapshot_builder().await;
    builder.build_snapshot().await.map(drop)
}
