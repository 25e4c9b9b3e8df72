//! Whether the log, the state and the snapshot that a node found are of one time.
//!
//! Runs before consensus, which takes for granted that they are.

use std::io;

use openraft::{RaftSnapshotBuilder, storage::RaftStateMachine};

use crate::{
    raft::{LogId, Machine},
    storage::LogStore,
};

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
    if machine.is_alone(own) {
        return log.reach(applied);
    }
    if log.reach(applied).is_err() && snapshot < applied {
        // The others' disks suffice for an entry to be applied, so a crash may leave the state
        // ahead of this log. Consensus lets the log before it go, and needs a snapshot of it.
        machine
            .get_snapshot_builder()
            .await
            .build_snapshot()
            .await?;
    }
    Ok(())
}
