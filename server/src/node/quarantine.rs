//! Passes leadership on while an alarm says that this member's state differs.
//!
//! A leader decides which leases have ended by its own state. The member still votes and may be
//! elected, because its log is as good as any: without it, an entry that only it and a member that
//! is down hold would leave the quorum without a leader. Invariant: it passes leadership to voters
//! that no alarm names only.

use std::{sync::Arc, time::Duration};

use tenure_statemachine::{AlarmKind, MemberId, Reader};
use tokio::time::sleep;
use tracing::{info, warn};

use super::{integrity::Integrity, node::Node, replica::Replica, successors};
use crate::{fatal, tasks};

/// Time between two attempts, and how recently a successor must have answered: a transfer to a
/// member that does not answer would only interrupt the quorum.
const PAUSE: Duration = Duration::from_secs(1);

/// Starts the task. It ends when the node stops.
pub(super) fn spawn(node: &Arc<Node>) {
    let node = Arc::clone(node);
    tasks::spawn("quarantine", async move {
        let mut integrity = node.integrity();
        let mut is_kept = false;
        loop {
            let named = integrity.wait_for(|now| *now == Integrity::Differs);
            if named.await.is_err() || node.stopping.is_cancelled() {
                return;
            }
            if !is_kept {
                is_kept = true;
                keep_alarm(&node).await;
            }
            if node.leadership.borrow().is_leader {
                hand_over(&node).await;
            }
            // Cancel-safe: nothing is lost when the pause is cut short.
            tokio::select! {
                () = sleep(PAUSE) => {}
                () = node.stopping.cancelled() => return,
            }
        }
    });
}

/// Makes the state durable, with the alarm, so that after a crash it is found before the log is
/// applied again.
async fn keep_alarm(node: &Node) {
    let store = Arc::clone(&node.store);
    let flushed = tasks::spawn_blocking(move || store.engine().flush()).await;
    if let Ok(Err(error)) = flushed {
        warn!(%error, "the state was not flushed; the alarm is found again in the log");
    }
}

async fn hand_over(node: &Node) {
    let corrupt = corrupt_members(node);
    let own = node.identity.member_id;
    let successors = successors::find(&node.raft, own, PAUSE);
    for target in successors {
        if corrupt.contains(&target) {
            continue;
        }
        match node.transfer_leader(target).await {
            Ok(()) => return info!(%target, "leadership passed on: this member's state differs"),
            Err(error) => warn!(%error, %target, "leadership was not handed over"),
        }
    }
}

fn corrupt_members(node: &Node) -> Vec<MemberId> {
    let engine = node.store.engine();
    let alarms = Reader::new(&*engine).and_then(|reader| reader.alarms());
    let alarms = alarms.unwrap_or_else(|fault| fatal::stop(&fault));
    let corrupt = alarms.into_iter();
    let corrupt = corrupt.filter(|(_, kind)| *kind == AlarmKind::Corrupt);
    corrupt.map(|(member, _)| member).collect()
}
