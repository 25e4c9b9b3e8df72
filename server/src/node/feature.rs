//! Raises the replicated feature level once every member of the quorum supports it.
//!
//! The state machine defines which rules a level enables. Invariant: a raise is proposed only while
//! this node leads and every member, including learners, has lately reported to support the level.

use std::{sync::Arc, time::Duration};

use openraft::async_runtime::watch::WatchReceiver;
use tenure_statemachine::{Command, FeatureLevel, MemberId, Meta};
use tokio::sync::{oneshot, watch};
use tracing::{debug, info};

use super::{batcher::Batcher, status::Leadership};
use crate::{
    raft::{Peers, Raft},
    tasks,
};

/// Dependencies of the task.
pub(super) struct Parts {
    pub(super) raft: Raft,
    pub(super) peers: Arc<Peers>,
    pub(super) own: MemberId,
    pub(super) batcher: Batcher,
    pub(super) leadership: watch::Receiver<Leadership>,
    pub(super) meta: watch::Receiver<Meta>,
    /// Time between two checks.
    pub(super) interval: Duration,
    /// Reports older than this do not count.
    pub(super) age_max: Duration,
}

/// Starts the task. It ends when the newest level is in force: levels are never lowered.
pub(super) fn spawn(parts: Parts) {
    tasks::spawn("feature", async move {
        loop {
            tokio::time::sleep(parts.interval).await;
            let present = parts.meta.borrow().level;
            if present >= FeatureLevel::NEWEST {
                return;
            }
            if !parts.leadership.borrow().is_leader {
                continue;
            }
            let Some(level) = common(&parts).filter(|level| *level > present) else {
                continue;
            };
            let command = Command::RaiseLevel(level);
            let (reply, raised) = oneshot::channel();
            if let Err(error) = parts.batcher.push(&command, reply) {
                debug!(%error, "the feature level is not raised yet");
                continue;
            }
            match raised.await {
                Ok(Ok(_)) => info!(%level, "raised the feature level"),
                Ok(Err(error)) => debug!(%error, "the feature level is not raised yet"),
                // The node is stopping.
                Err(_) => return,
            }
        }
    });
}

/// The highest level that every member supports; `None` while a member has not reported lately.
fn common(parts: &Parts) -> Option<FeatureLevel> {
    let members: Vec<_> = {
        let metrics = parts.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let nodes = metrics.membership_config.nodes();
        nodes.map(|(id, _)| MemberId(*id)).collect()
    };
    let levels = parts.peers.levels();
    let mut common = FeatureLevel::NEWEST;
    for member in members.into_iter().filter(|member| *member != parts.own) {
        common = common.min(levels.of(member, parts.age_max)?);
    }
    Some(common)
}
