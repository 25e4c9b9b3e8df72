//! Members of which this node's log has not heard yet: a member that lags must accept a leader that
//! was added meanwhile, or a cluster that depends on it would have none.
//!
//! A caller that no membership here names is looked up with the other members. Invariant: a member
//! counts as a newcomer only if a member that is known names it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

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

/// Newcomers by id.
#[derive(Debug)]
pub struct Newcomers {
    transport: Arc<dyn Transport>,
    cluster_id: u64,
    ids: Mutex<BTreeSet<u64>>,
    looked: Mutex<Option<Instant>>,
}

impl Newcomers {
    /// Knows none.
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>, cluster_id: u64) -> Self {
        Self {
            transport,
            cluster_id,
            ids: Mutex::default(),
            looked: Mutex::default(),
        }
    }

    pub(super) fn is_known(&self, id: MemberId) -> bool {
        self.ids.lock().contains(&id.0)
    }

    /// Asks the members in `membership` for `id`, unless some were asked a moment ago.
    pub(super) fn look_for(self: &Arc<Self>, id: MemberId, membership: &StoredMembership) {
        let now = Instant::now();
        {
            let mut looked = self.looked.lock();
            if looked.is_some_and(|at| now.duration_since(at) < LOOKUP_INTERVAL) {
                return;
            }
            *looked = Some(now);
        }
        let urls = membership
            .nodes()
            .flat_map(|(_, node)| node.peer_urls.clone());
        let (urls, it) = (urls.collect::<Vec<_>>(), Arc::clone(self));
        tasks::spawn("newcomer", async move {
            for url in urls {
                let found = discover(&it.transport, &url).await;
                let names = found.is_ok_and(|found| {
                    found.cluster_id == it.cluster_id && found.membership.get_node(&id.0).is_some()
                });
                if names {
                    let mut ids = it.ids.lock();
                    if ids.len() < NEWCOMERS_MAX {
                        info!(member = %id, "a member was added that this log does not name yet");
                        ids.insert(id.0);
                    }
                    return;
                }
            }
        });
    }
}
