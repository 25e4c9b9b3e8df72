//! The node as one handle: proposals, linearizable reads, status.

use std::{collections::HashMap, sync::Arc, time::Duration};

use openraft::async_runtime::watch::WatchReceiver;
use parking_lot::Mutex;
use tenure_statemachine::{
    ClusterTime, Command, FeatureLevel, LeaseId, MemberId, Meta, Outcome, Revision, codec,
    level_lowest, level_needed, worded_for,
};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    batcher::Batcher,
    cluster_clock::ClusterClock,
    collection::Collected,
    error::{ProposeError, ReadIndexError, TransferError},
    founding::Founding,
    history_hashes::HistoryHashes,
    integrity::Integrity,
    leadership::Contact,
    member_calls::MemberCalls,
    membership,
    progress::Applied,
    read_index::ReadIndex,
    reconfiguration::{ChangeError, Changed, LEVEL_MAX, MemberChange},
    status::{Identity, Leadership, Status},
    successors,
};
use crate::{
    events::LeaseFeed,
    metrics::ProposalMetrics,
    node::{Replica, StorageBytes},
    raft::Raft,
    storage::{LogBacklog, StateStore},
    tasks,
};

/// How long a stopping leader waits for one successor, and how recently that member must have
/// answered. A transfer takes two round trips; soon afterwards the others elect a leader.
const HAND_OVER_MAX: Duration = Duration::from_secs(1);

/// How long a leader waits for the first answer of its intended successor: several heartbeats.
const FIRST_ANSWER_MAX: Duration = Duration::from_millis(500);

/// A running node.
#[derive(Debug)]
pub struct Node {
    pub(super) identity: Identity,
    pub(super) raft: Raft,
    pub(super) store: Arc<StateStore>,
    pub(super) batcher: Batcher,
    pub(super) reads: ReadIndex,
    pub(super) clock: Arc<ClusterClock>,
    pub(super) leadership: watch::Receiver<Leadership>,
    pub(super) contact: Arc<Contact>,
    pub(super) applied: watch::Receiver<Applied>,
    pub(super) meta: watch::Receiver<Meta>,
    pub(super) integrity: watch::Receiver<Integrity>,
    pub(super) hashes: Arc<HistoryHashes>,
    pub(super) collected: watch::Receiver<Collected>,
    pub(super) request_timeout: Duration,
    pub(super) proposals: ProposalMetrics,
    pub(super) leases: Arc<LeaseFeed>,
    pub(super) compacting: Arc<Mutex<bool>>,
    pub(super) backlog: Arc<LogBacklog>,
    pub(super) member_calls: MemberCalls,
    /// Cancelled before consensus is stopped.
    pub(super) stopping: CancellationToken,
    /// Turns the node into a member; holds the lock on the data directory.
    pub(super) founding: Founding,
}

impl Node {
    /// The consensus handle, for serving the peers.
    #[must_use]
    pub const fn raft(&self) -> &Raft {
        &self.raft
    }

    /// The log writes in flight to the disk.
    #[must_use]
    pub fn log_backlog(&self) -> &LogBacklog {
        &self.backlog
    }

    /// The counters of the state as last applied.
    #[must_use]
    pub fn meta(&self) -> Meta {
        *self.meta.borrow()
    }

    /// Resolves when this node is known to be removed from its cluster.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn removed(&self) {
        self.founding.peers.roster().removed().own_removed().await;
    }

    /// Whether the core of consensus answers a question; waits until it does, or has ended.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn consensus_answers(&self) -> bool {
        self.raft.with_raft_state(|_| ()).await.is_ok()
    }

    /// The current voters.
    fn voters(&self) -> Vec<u64> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.voter_ids().collect()
    }

    /// Whether another voter answered this leader lately. A new leader waits for its first answers.
    async fn answers(&self, target: MemberId) -> bool {
        let mut changes = self.raft.data_metrics();
        // Cancel-safe: a missed change is seen by the next iteration.
        let answered = async {
            loop {
                let own = self.identity.member_id;
                if successors::find(&self.raft, own, HAND_OVER_MAX).contains(&target) {
                    return true;
                }
                let heard_before = {
                    let metrics = changes.borrow_watched();
                    let beats = metrics.heartbeat.as_ref();
                    beats.is_some_and(|beats| beats.get(&target.0).is_some_and(Option::is_some))
                };
                if heard_before || changes.changed().await.is_err() {
                    return false;
                }
            }
        };
        tokio::time::timeout(FIRST_ANSWER_MAX, answered)
            .await
            .unwrap_or(false)
    }

    /// Transfers leadership to another voter before the node stops, if it leads and there is one.
    pub async fn step_down(&self) {
        if !self.leadership.borrow().is_leader {
            return;
        }
        for target in successors::find(&self.raft, self.identity.member_id, HAND_OVER_MAX) {
            match tokio::time::timeout(HAND_OVER_MAX, self.transfer_leader(target)).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => warn!(%error, %target, "leadership was not handed over"),
                Err(_) => warn!(%target, "leadership was not taken over in time"),
            }
        }
    }

    /// Waits until every member can decode some form of a command. A new cluster serves before its
    /// members have told each other what they know.
    async fn wait_for_level(&self, lowest: FeatureLevel) -> Result<(), ProposeError> {
        if self.meta().level >= lowest {
            return Ok(());
        }
        let mut meta = self.meta.clone();
        let reached = meta.wait_for(|meta| meta.level >= lowest);
        match tokio::time::timeout(LEVEL_MAX, reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(ProposeError::Stopping),
            Err(_) => Err(ProposeError::LevelNotReached),
        }
    }

    /// Stops consensus and makes the state durable.
    pub async fn stop(&self) {
        self.stopping.cancel();
        if let Err(error) = self.raft.shutdown().await {
            warn!(%error, "consensus did not stop cleanly");
        }
        let store = Arc::clone(&self.store);
        let flushed = tasks::spawn_blocking(move || store.engine().flush()).await;
        if let Ok(Err(error)) = flushed {
            warn!(%error, "the state was not flushed; the next start replays the log");
        }
    }
}

#[tonic::async_trait]
impl Replica for Node {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn status(&self) -> Status {
        let leadership = *self.leadership.borrow();
        let own = self.identity.member_id;
        let (members, has_vote) = {
            let metrics = self.raft.server_metrics();
            let metrics = metrics.borrow_watched();
            let membership = metrics.membership_config.membership();
            let has_vote = membership.voter_ids().any(|voter| voter == own.0);
            (membership::members_of(membership), has_vote)
        };
        let (last_log, committed_index) = {
            let metrics = self.raft.data_metrics();
            let metrics = metrics.borrow_watched();
            let committed = metrics.cluster_committed;
            (metrics.last_log, committed.map_or(0, |id| id.index))
        };
        Status {
            term: leadership.term,
            leader: leadership.leader,
            is_leader: leadership.is_leader,
            is_learner: members
                .iter()
                .any(|member| member.id == own && member.is_learner),
            has_vote,
            last_log_term: last_log.map_or(0, |id| id.leader_id.term),
            last_log_index: last_log.map_or(0, |id| id.index),
            committed_index,
            applied_index: self.applied.borrow().index,
            members,
            removed: {
                let removed = self.founding.peers.roster().removed().get();
                removed.into_iter().map(MemberId).collect()
            },
            faults: self.founding.faults(),
        }
    }

    fn engine(&self) -> Arc<dyn tenure_statemachine::Engine> {
        self.store.engine()
    }

    async fn propose(&self, command: Command) -> Result<Outcome, ProposeError> {
        self.wait_for_level(level_lowest(&command)).await?;
        let command = worded_for(command, self.meta().level);
        if !codec::is_encodable(&command) {
            return Err(ProposeError::TooLarge);
        }
        if level_needed(&command) > self.meta().level {
            return Err(ProposeError::LevelNotReached);
        }
        let _pending = self.proposals.begin();
        let (reply, outcome) = oneshot::channel();
        let proposed = async {
            self.batcher.push(&command, reply)?;
            // The decoded command may be many times as large as its encoding.
            drop(command);
            match tokio::time::timeout(self.request_timeout, outcome).await {
                Ok(Ok(outcome)) => outcome,
                // The node is stopping, and the command may have been sent before.
                Ok(Err(_)) => Err(ProposeError::LeaderLost),
                Err(_) => Err(ProposeError::TimedOut),
            }
        };
        proposed.await.inspect_err(|_| self.proposals.failed.inc())
    }

    async fn read_barrier(&self) -> Result<(), ReadIndexError> {
        tokio::time::timeout(self.request_timeout, self.reads.barrier())
            .await
            .unwrap_or(Err(ReadIndexError::TimedOut))
    }

    fn staleness(&self) -> Option<Duration> {
        self.reads.fresh().age(self.applied.borrow().index)
    }

    fn leaderless_for(&self) -> Duration {
        self.contact.silent_for()
    }

    fn freshen(&self) {
        self.reads.freshen();
    }

    async fn reached(&self, revision: Revision) {
        let mut meta = self.meta.clone();
        // Fails only when the node is stopping; the answer no longer matters.
        _ = meta.wait_for(|meta| meta.revision >= revision).await;
    }

    fn cluster_time(&self) -> ClusterTime {
        self.clock.now()
    }

    async fn transfer_leader(&self, target: MemberId) -> Result<(), TransferError> {
        let leadership = *self.leadership.borrow();
        if !leadership.is_leader {
            return Err(TransferError::NotLeader);
        }
        if !self.voters().contains(&target.0) {
            return Err(TransferError::BadTarget);
        }
        if target == self.identity.member_id {
            return Ok(());
        }
        if !self.answers(target).await {
            return Err(TransferError::SilentTarget);
        }
        let stopping = |_| TransferError::Stopping;
        self.raft
            .trigger()
            .transfer_leader(target.0)
            .await
            .map_err(stopping)?;
        let mut changes = self.leadership.clone();
        let arrived = changes.wait_for(|now| now.leader == Some(target));
        match tokio::time::timeout(self.request_timeout, arrived).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(TransferError::Stopping),
            Err(_) => Err(TransferError::TimedOut),
        }
    }

    async fn change_members(&self, change: MemberChange) -> Result<Changed, ChangeError> {
        let made = self.member_calls.change(change);
        let made = tokio::time::timeout(self.request_timeout, made).await;
        made.unwrap_or(Err(ChangeError::TimedOut))
    }

    fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    fn integrity(&self) -> watch::Receiver<Integrity> {
        self.integrity.clone()
    }

    fn grant_places(&self) -> HashMap<LeaseId, u64> {
        self.leases.places()
    }

    async fn collected(&self, floor: Revision) {
        let mut collected = self.collected.clone();
        // Fails only when the node is stopping; the answer no longer matters.
        _ = collected
            .wait_for(|collected| collected.through >= floor)
            .await;
    }

    fn compact_storage(&self) {
        let mut compacting = self.compacting.lock();
        if *compacting {
            return;
        }
        *compacting = true;
        let (store, done) = (Arc::clone(&self.store), Arc::clone(&self.compacting));
        _ = tasks::spawn_blocking(move || {
            store.engine().compact();
            *done.lock() = false;
        });
    }

    fn storage_bytes(&self) -> StorageBytes {
        let meta = self.meta();
        let collected = self.collected.borrow().bytes;
        let logical = meta.history_bytes.saturating_sub(collected);
        // Collected bytes are free at once, so both sizes are the same.
        StorageBytes {
            logical,
            in_use: logical,
        }
    }
}
