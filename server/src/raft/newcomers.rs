//! Members of which this node's log has not heard yet: a member that lags must accept a leader that
//! was added meanwhile, or a cluster that depends on it would have none.
//!
//! A caller that no membership here names is looked up with the members that this node knows. A log
//! that catches up names members of long ago, all of which may be gone: those that this node was
//! told when it joined, and those of its configuration, are asked too. Invariant: a member counts
//! as a newcomer only if a member that is known names it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use parking_lot::Mutex;
use tenure_statemachine::MemberId;
use tokio::time::Instant;
use tracing::info;

use super::discovery::discover;
use crate::{consensus::StoredMembership, tasks, transport::Transport};

/// Most newcomers. A cluster has a handful of members, and strangers are none.
const NEWCOMERS_MAX: usize = 64;
/// Shortest time between two lookups, whoever calls.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(1);
/// Most URLs that one lookup asks: those of the members of a large cluster, twice.
const ASKED_MAX: usize = 32;

/// Newcomers by id.
#[derive(Debug)]
pub struct Newcomers {
    transport: Arc<dyn Transport>,
    cluster_id: u64,
    /// URLs of members beside those that the log names.
    others: Vec<String>,
    ids: Mutex<BTreeSet<u64>>,
    lookup: Mutex<Lookup>,
}

/// The latest lookup. There is one at a time: members that are gone take long not to answer.
#[derive(Debug, Default)]
struct Lookup {
    begun: Option<Instant>,
    is_running: bool,
}

impl Lookup {
    fn may_begin(&mut self, now: Instant) -> bool {
        let is_recent = |at| now.duration_since(at) < LOOKUP_INTERVAL;
        if self.is_running || self.begun.is_some_and(is_recent) {
            return false;
        }
        (self.begun, self.is_running) = (Some(now), true);
        true
    }
}

impl Newcomers {
    /// Knows none. `others` are URLs of members beside those that the log names.
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>, cluster_id: u64, others: Vec<String>) -> Self {
        Self {
            transport,
            cluster_id,
            others,
            ids: Mutex::default(),
            lookup: Mutex::default(),
        }
    }

    pub(super) fn is_known(&self, id: MemberId) -> bool {
        self.ids.lock().contains(&id.0)
    }

    /// Asks the members in `membership` and the others for `id`, unless some were asked a moment
    /// ago or are still to answer.
    pub(super) fn look_for(self: &Arc<Self>, id: MemberId, membership: &StoredMembership) {
        if !self.lookup.lock().may_begin(Instant::now()) {
            return;
        }
        let named = membership.nodes().flat_map(|(_, node)| &node.peer_urls);
        let urls: BTreeSet<_> = named.chain(&self.others).cloned().collect();
        let it = Arc::clone(self);
        tasks::spawn("newcomer", async move {
            if it.is_named(id, urls).await {
                let mut ids = it.ids.lock();
                if ids.len() < NEWCOMERS_MAX {
                    info!(member = %id, "a member was added that this log does not name yet");
                    ids.insert(id.0);
                }
            }
            it.lookup.lock().is_running = false;
        });
    }

    /// Whether a member at one of `urls` names `id`.
    async fn is_named(&self, id: MemberId, urls: BTreeSet<String>) -> bool {
        let asked = urls.into_iter().take(ASKED_MAX).map(|url| async move {
            let found = discover(&self.transport, &url).await;
            found.is_ok_and(|found| {
                found.cluster_id == self.cluster_id && found.membership.get_node(&id.0).is_some()
            })
        });
        let mut answers: FuturesUnordered<_> = asked.collect();
        while let Some(names) = answers.next().await {
            if names {
                return true;
            }
        }
        false
    }
}
