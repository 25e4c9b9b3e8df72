//! Whether the log, the state and the snapshot that a node found are of one time.
//!
//! Runs before consensus, which takes for granted that they are.

use std::io;

use openraft::{RaftSnapshotBuilder, storage::RaftStateMachine};
use tracing::warn;

use crate::{consensus::LogId, raft::Machine, storage::LogStore};

/// Compares them. `own` is this member, `snapshot` the last entry in the newest snapshot.
///
/// # Errors
/// When one of them is older than the others allow, or the disk fails.
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
        // The others' disks suffice for an entry to be applied, so a crash may leave the state
        // ahead of this log. Consensus lets the log before it go, and needs a snapshot of it.
        return build(machine).await;
    }
    let purged = log.purged();
    if snapshot < purged {
        // Damage may leave an older snapshot than the log was purged by. The state is whole, and
        // consensus ends with a panic when the newest snapshot ends before the log begins.
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
