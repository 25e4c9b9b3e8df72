//! Turns a started process into a member: finds the other members, checks whether this node may
//! take part, and forms the quorum.
//!
//! # Invariants
//! A node without entries takes no part, neither votes nor appends, before it knows that it never
//! had any. It forms the quorum only when *every* founder reports that it has no entries either: a
//! silent founder may hold what this node, or another that answered, has lost. A node with entries
//! asks every member that answers whether its log went back.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use futures::future::join_all;
use openraft::async_runtime::watch::WatchReceiver;
use tenure_statemachine::MemberId;
use tokio::time::{sleep, timeout};
use tracing::{debug, info};

use super::{node::Node, start::StartError};
use crate::{
    consensus::PeerNode,
    fatal,
    raft::{Met, PeerAccess, Peers, Raft, Unmet, introduce},
    storage::DataDir,
    tasks,
};

/// How long a node with entries waits for the other members before it takes part. Running members
/// answer within milliseconds; one that hangs must not delay a restart.
const FIRST_ROUND_MAX: Duration = Duration::from_millis(300);
/// Time limit for a member's answer otherwise. It reads nothing and writes at most a small file.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// Pause before silent members are asked again: short while no quorum serves clients, then longer.
const FOUNDING_PAUSE: Duration = Duration::from_millis(50);
const LATER_PAUSE: Duration = Duration::from_secs(1);
/// Rounds between two log lines that list the missing founders: ten seconds.
const ROUNDS_PER_LINE: u32 = 200;

/// Dependencies of founding.
#[derive(Debug)]
pub(super) struct Founding {
    pub(super) own: MemberId,
    pub(super) raft: Raft,
    pub(super) peers: Arc<Peers>,
    pub(super) access: PeerAccess,
    pub(super) dir: Arc<DataDir>,
    /// The members that form the quorum, or those of the quorum that this node joins.
    pub(super) founders: BTreeMap<u64, PeerNode>,
    /// Whether these form it.
    pub(super) may_form: bool,
}

/// Starts consensus, and forms the quorum when the log is empty and this node is one of its
/// founders. Returns once every other member was met.
///
/// # Errors
/// When this node must not take part: see [`StartError`].
pub async fn run(node: &Node) -> Result<(), StartError> {
    let founding = &node.founding;
    tasks::spawn(
        "founded",
        mark_founded(founding.raft.clone(), Arc::clone(&founding.dir)),
    );
    if founding.peers.roster().is_founded() {
        founding.resume().await
    } else {
        founding.found().await
    }
}

/// Persists that the log holds an entry, once that entry is durable.
async fn mark_founded(raft: Raft, dir: Arc<DataDir>) {
    let mut flushed = raft.watch_log_progress();
    let holds =
        flushed.wait_until(|point| point.as_ref().is_some_and(|it| it.last_log_id.is_some()));
    // Fails only when the node is stopping.
    if holds.await.is_err() || dir.is_founded() {
        return;
    }
    let marked = tasks::spawn_blocking(move || dir.mark_founded()).await;
    if let Ok(Err(failure)) = marked {
        fatal::stop(&failure);
    }
}

fn failed(error: &dyn fmt::Display) -> StartError {
    StartError::Raft(error.to_string())
}

impl Founding {
    /// Faults of the other members, as text.
    pub(super) fn faults(&self) -> Vec<String> {
        let faults = self.peers.roster().faults();
        faults.iter().map(ToString::to_string).collect()
    }

    /// Starts a node whose log holds entries.
    async fn resume(&self) -> Result<(), StartError> {
        // No election before the other members had a chance to object.
        self.raft.runtime_config().elect(false);
        self.raft.run();
        let mut others = self.look().await?.members;
        let is_named = others.remove(&self.own.0).is_some();
        if !is_named {
            if self.peers.roster().removed().contains(self.own) {
                return Err(StartError::Removed(self.own));
            }
            // A member that joined takes no part until its log names it.
            info!("the log does not name this member yet: it ended while it was catching up");
        }
        let alone = is_named && others.is_empty();
        for (peer, met) in self.ask(&others, FIRST_ROUND_MAX).await {
            if self.accept(peer, met).await?.is_some() {
                others.remove(&peer.0);
            }
        }
        self.access.open();
        self.raft.runtime_config().elect(true);
        if alone {
            // No other member could lead, so an election timeout would only delay the start.
            let elected = self.raft.trigger().elect(false).await;
            elected.map_err(|e| failed(&e))?;
        }
        self.meet(others).await
    }

    /// Starts a node whose log is empty and, as far as it can tell, always was.
    async fn found(&self) -> Result<(), StartError> {
        self.raft.run();
        let mut others = self.founders.clone();
        if others.remove(&self.own.0).is_none() {
            return Err(StartError::NoMember(self.own));
        }
        let mut round: u32 = 0;
        loop {
            let answers = self.answers(&others).await?;
            if answers.values().any(|met| met.founded) {
                // It formed the quorum after meeting this node, whose log will come from it.
                self.access.open();
                if self.look().await?.last.is_some() {
                    self.peers.roster().set_founded();
                    return self.meet(others).await;
                }
            } else if self.may_form && answers.len() == others.len() {
                return self.form().await;
            } else if round.is_multiple_of(ROUNDS_PER_LINE) {
                self.tell_missing(&others, &answers);
            }
            round = round.wrapping_add(1);
            sleep(FOUNDING_PAUSE).await;
        }
    }

    /// The answers of the founders. A founder whose log holds entries and that does not know this
    /// node's instance knew another one in its place; unless this node has got its first entries
    /// since, and the question, which said that it had none, was late.
    async fn answers(
        &self,
        others: &BTreeMap<u64, PeerNode>,
    ) -> Result<BTreeMap<u64, Met>, StartError> {
        let mut answers = BTreeMap::new();
        for (peer, met) in self.ask(others, ANSWER_MAX).await {
            let Some(met) = self.accept(peer, met).await? else {
                continue;
            };
            if met.founded && !met.knows_caller {
                if self.look().await?.last.is_some() {
                    continue;
                }
                let own = self.own;
                return Err(StartError::AlreadyBootstrapped { own, peer });
            }
            answers.insert(peer.0, met);
        }
        Ok(answers)
    }

    async fn form(&self) -> Result<(), StartError> {
        self.peers.roster().set_founded();
        self.access.open();
        // Every founder does this with the same members, so the order does not matter.
        match self.raft.initialize(self.founders.clone()).await {
            Ok(()) => info!(founders = self.founders.len(), "forming the quorum"),
            // Another founder was first, and its vote or its entries have arrived.
            Err(error) if error.api_error().is_some() => debug!(%error, "the quorum is formed"),
            Err(error) => return Err(failed(&error)),
        }
        Ok(())
    }

    fn tell_missing(&self, others: &BTreeMap<u64, PeerNode>, answers: &BTreeMap<u64, Met>) {
        let missing: Vec<_> = others
            .iter()
            .filter(|(id, _)| !answers.contains_key(id))
            .map(|(id, node)| format!("{} ({id:x}) at {}", node.name, node.peer_urls.join(",")))
            .collect();
        info!(
            missing = missing.join("; "),
            "the quorum is formed once every founder has answered"
        );
    }

    /// Asks until every one of `others` was met.
    async fn meet(&self, mut others: BTreeMap<u64, PeerNode>) -> Result<(), StartError> {
        while !others.is_empty() {
            for (peer, met) in self.ask(&others, ANSWER_MAX).await {
                if self.accept(peer, met).await?.is_some() {
                    others.remove(&peer.0);
                }
            }
            sleep(LATER_PAUSE).await;
        }
        Ok(())
    }

    /// Asks all of `others` concurrently, each for at most `limit`.
    async fn ask(
        &self,
        others: &BTreeMap<u64, PeerNode>,
        limit: Duration,
    ) -> Vec<(MemberId, Result<Met, Unmet>)> {
        let asked = others.iter().map(|(id, node)| async move {
            let peer = MemberId(*id);
            let met = introduce(&self.peers, peer, node, self.is_voter(peer));
            let met = timeout(limit, met).await;
            let late = |_| Err(Unmet::Silent("no answer in time".to_owned()));
            (peer, met.unwrap_or_else(late))
        });
        join_all(asked).await
    }

    /// Whether the membership that this node knows gives `peer` a vote. Founders have one.
    fn is_voter(&self, peer: MemberId) -> bool {
        let metrics = self.raft.server_metrics();
        let membership = Arc::clone(&metrics.borrow_watched().membership_config);
        let mut voters = membership.voter_ids().peekable();
        voters.peek().is_none() || voters.any(|voter| voter == peer.0)
    }

    /// The answer, if this node may continue; `None` when the member is silent or faulty.
    async fn accept(
        &self,
        peer: MemberId,
        met: Result<Met, Unmet>,
    ) -> Result<Option<Met>, StartError> {
        let own = self.own;
        match met {
            Ok(met) => {
                let Some(acknowledged) = met.vouched else {
                    return Ok(Some(met));
                };
                // Read from the core: its log contains everything acknowledged before.
                match self.look().await?.last {
                    Some(last) if last >= acknowledged => Ok(Some(met)),
                    last => Err(StartError::LogWentBack {
                        own,
                        peer,
                        acknowledged,
                        last: last.unwrap_or_default(),
                    }),
                }
            }
            Err(Unmet::Replaced) => Err(StartError::AlreadyBootstrapped { own, peer }),
            Err(Unmet::Removed) => {
                self.peers.roster().removed().set_own();
                Ok(None)
            }
            // The roster has logged it.
            Err(Unmet::Fault(_)) => Ok(None),
            Err(error @ Unmet::Silent(_)) => {
                debug!(%peer, %error, "a member was not met yet");
                Ok(None)
            }
        }
    }

    /// Reads the log and membership from the consensus core, whose metrics may lag.
    async fn look(&self) -> Result<View, StartError> {
        let look = self.raft.with_raft_state(|state| {
            let nodes = state.membership_state.effective().nodes();
            View {
                last: state.log_ids.last().map(|id| id.index),
                members: nodes.map(|(id, node)| (*id, node.clone())).collect(),
            }
        });
        look.await.map_err(|e| failed(&e))
    }
}

/// The consensus core's log and membership.
struct View {
    /// The index of the last entry.
    last: Option<u64>,
    /// All members, including learners, by id.
    members: BTreeMap<u64, PeerNode>,
}
