//! Compares the hashes that the members keep of each compaction.
//!
//! etcd's `CompactHashCheck`. Every member hashes history as of a compaction before it removes it,
//! so a comparison costs a few messages. Only the leader compares. Invariant: as for digests, no
//! alarm without answers from a majority of the voters.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use tenure_statemachine::{HashKv, MemberId, Revision};
use tokio::time::{sleep, timeout};
use tracing::{debug, info};

use super::{
    digests::{self, Digests},
    initial_check,
    node::Node,
};
use crate::tasks;

/// Time limit for all answers. Members read a few rows, unless they still hash.
const ANSWERS_MAX: Duration = Duration::from_secs(10);

/// Starts the task, which compares the newest compaction every `every`; `None` disables it.
pub(super) fn spawn(node: &Arc<Node>, every: Option<Duration>) {
    let Some(every) = every else {
        return;
    };
    let node = Arc::clone(node);
    tasks::spawn("compaction-hashes", async move {
        let mut compared = Revision(0);
        loop {
            // Cancel-safe: nothing is lost when the pause is cut short.
            tokio::select! {
                () = sleep(every) => {}
                () = node.stopping.cancelled() => return,
            }
            let newest = node.meta().floor;
            let leads = node.leadership.borrow().is_leader;
            if leads && newest > compared && compare(&node, newest).await {
                compared = newest;
            }
        }
    });
}

/// Compares the members' hashes of the compaction at `revision`; returns whether all answered.
async fn compare(node: &Node, revision: Revision) -> bool {
    let voters = digests::voters(&node.raft);
    let own = node.identity.member_id;
    let mut calls: FuturesUnordered<_> = voters
        .iter()
        .map(|(member, peer)| {
            async move {
                let hash = if *member == own.0 {
                    node.hashes.at(revision).await
                } else {
                    initial_check::ask(node, MemberId(*member), peer, revision).await
                };
                (*member, hash)
            }
            .boxed()
        })
        .collect();
    let mut hashes = BTreeMap::new();
    let gather = async {
        while let Some((member, hash)) = calls.next().await {
            hashes.extend(hash.map(|hash| (member, hash)));
        }
    };
    // The answers so far count; the remaining calls are dropped.
    _ = timeout(ANSWERS_MAX, gather).await;
    drop(calls);
    debug!(%revision, answered = hashes.len(), "hashes of a compaction");
    let differing = digests::differing(&in_full(&hashes), voters.len());
    for member in &differing {
        digests::raise(node, *member).await;
    }
    let all = hashes.len() == voters.len();
    if all && differing.is_empty() {
        info!(%revision, "the members' hashes of the compaction are the same");
    }
    all
}

/// Hash and floor as one number: a member that compacted elsewhere before differs, too.
fn in_full(hashes: &BTreeMap<u64, HashKv>) -> Digests {
    let digest = |hash: &HashKv| {
        let floor = hash.compact_revision.0.cast_unsigned();
        (u64::from(hash.hash) << 32) ^ floor
    };
    let digests = hashes.iter().map(|(member, hash)| (*member, digest(hash)));
    digests.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_different_floors_differ() {
        let hash = |hash, floor| HashKv {
            hash,
            compact_revision: Revision(floor),
            hash_revision: Revision(9),
        };
        let of = |all: &[HashKv]| {
            let numbered = (1..).zip(all.iter().copied());
            digests::differing(&in_full(&numbered.collect()), all.len())
        };
        assert_eq!(of(&[hash(7, -1), hash(7, -1), hash(7, -1)]), []);
        assert_eq!(of(&[hash(7, 3), hash(7, 4), hash(7, 3)]), [MemberId(2)]);
        assert_eq!(of(&[hash(7, 3), hash(7, 3), hash(8, 3)]), [MemberId(3)]);
        assert_eq!(of(&[hash(7, 3), hash(8, 3)]), [MemberId::UNNAMED]);
    }
}
