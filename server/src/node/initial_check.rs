//! Compares the history of a starting member with that of the others, before it serves clients.
//!
//! etcd's `InitialCorruptCheck`. A member that does not answer, lags, or has compacted elsewhere
//! cannot be compared and is skipped, so that a quorum can start at all. Invariant: a member whose
//! history a majority shares starts.

use std::{collections::BTreeMap, time::Duration};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tenure_proto::peer;
use tenure_statemachine::{HashKv, MemberId, Revision};
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout};
use tracing::{error, info};

use super::{digests, node::Node};
use crate::{consensus::PeerNode, raft::Lane};

/// Time limit for all answers: the hash of two gigabytes takes some ten seconds.
const ANSWERS_MAX: Duration = Duration::from_secs(30);
/// How long members that do not answer are asked again: those that start at the same time.
const ASK_AGAIN_MAX: Duration = Duration::from_secs(2);
/// Pause before a member is asked again.
const ASK_PAUSE: Duration = Duration::from_millis(100);

/// The history of this member differs from that of others.
#[derive(Debug, Error)]
#[error(
    "member {own} found data inconsistency with peers: at revision {revision} its history differs \
     from that of members {peers}; replace the member: remove it and add it again with an empty \
     data directory"
)]
pub struct Inconsistent {
    own: MemberId,
    revision: Revision,
    peers: String,
}

/// Compares this member's history with that of the other voters. Returns at once on a member
/// without data.
///
/// # Errors
/// When it differs from that of a member, and no majority shares it.
pub async fn check_history(node: &Node) -> Result<(), Inconsistent> {
    if node.meta().revision <= Revision::EMPTY {
        return Ok(());
    }
    let own = node.identity.member_id;
    let Some(hash) = node.hashes.at(Revision(0)).await else {
        return Ok(());
    };
    let mut voters = digests::voters(&node.raft);
    let count = voters.len();
    voters.retain(|(member, _)| *member != own.0);
    let answers = answers(node, &voters, hash.hash_revision).await;
    let verdict = judge(&hash, &answers, count);
    let revision = hash.hash_revision;
    info!(
        %revision,
        compared = verdict.alike + verdict.differing.len(),
        others = voters.len(),
        "the history of this member was compared with that of the others"
    );
    if verdict.differing.is_empty() {
        return Ok(());
    }
    let peers: Vec<_> = verdict.differing.iter().map(ToString::to_string).collect();
    let peers = peers.join(", ");
    if verdict.is_majority {
        error!(
            peers,
            "the history of these members differs from that of the majority"
        );
        return Ok(());
    }
    Err(Inconsistent {
        own,
        revision,
        peers,
    })
}

/// A comparison's result.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    /// How many other members have the same history.
    alike: usize,
    differing: Vec<MemberId>,
    /// Whether these, with this member, are a majority of the voters.
    is_majority: bool,
}

/// Judges the answers of the other `voters`. Only histories of the same floor can be compared.
fn judge(own: &HashKv, answers: &BTreeMap<u64, HashKv>, voters: usize) -> Verdict {
    let comparable = answers
        .iter()
        .filter(|(_, hash)| hash.compact_revision == own.compact_revision);
    let (alike, differing): (Vec<_>, Vec<_>) =
        comparable.partition(|(_, hash)| hash.hash == own.hash);
    Verdict {
        alike: alike.len(),
        differing: differing.iter().map(|(id, _)| MemberId(**id)).collect(),
        is_majority: 2 * (alike.len() + 1) > voters,
    }
}

/// The hashes of the members that answer in time.
async fn answers(
    node: &Node,
    voters: &[(u64, PeerNode)],
    revision: Revision,
) -> BTreeMap<u64, HashKv> {
    let until = Instant::now() + ASK_AGAIN_MAX;
    let mut calls: FuturesUnordered<BoxFuture<'_, _>> = voters
        .iter()
        .map(|(member, peer)| {
            async move {
                loop {
                    let answer = ask(node, MemberId(*member), peer, revision).await;
                    if answer.is_some() || Instant::now() >= until {
                        return (*member, answer);
                    }
                    sleep(ASK_PAUSE).await;
                }
            }
            .boxed()
        })
        .collect();
    let mut answers = BTreeMap::new();
    let gather = async {
        while let Some((member, answer)) = calls.next().await {
            answers.extend(answer.map(|hash| (member, hash)));
        }
    };
    // The answers so far count; the remaining calls are dropped.
    _ = timeout(ANSWERS_MAX, gather).await;
    answers
}

/// The hash of one member's history; `None` when it does not answer or cannot tell.
pub(super) async fn ask(
    node: &Node,
    member: MemberId,
    peer: &PeerNode,
    revision: Revision,
) -> Option<HashKv> {
    let mut client = node.founding.peers.client(member, peer, Lane::Forward);
    let request = peer::HistoryHashRequest {
        revision: revision.0,
    };
    let answer = client.history_hash(request).await.ok()?.into_inner();
    Some(HashKv {
        hash: answer.hash?,
        compact_revision: Revision(answer.compact_revision),
        hash_revision: revision,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(hash: u32, floor: i64) -> HashKv {
        HashKv {
            hash,
            compact_revision: Revision(floor),
            hash_revision: Revision(9),
        }
    }

    fn judged(others: &[(u64, HashKv)], voters: usize) -> (usize, Vec<u64>, bool) {
        let answers = others.iter().map(|(id, hash)| (*id, *hash)).collect();
        let verdict = judge(&hash(7, 3), &answers, voters);
        let differing = verdict.differing.iter().map(|member| member.0);
        (verdict.alike, differing.collect(), verdict.is_majority)
    }

    #[test]
    fn a_member_differs_from_others_of_the_same_floor_unless_a_majority_is_like_it() {
        assert_eq!(
            judged(&[(2, hash(7, 3)), (3, hash(7, 3))], 3),
            (2, vec![], true)
        );
        assert_eq!(
            judged(&[(2, hash(8, 3)), (3, hash(8, 3))], 3),
            (0, vec![2, 3], false)
        );
        assert_eq!(judged(&[(2, hash(8, 3))], 3), (0, vec![2], false));
        assert_eq!(
            judged(&[(2, hash(8, 4))], 3),
            (0, vec![], false),
            "another floor"
        );
        assert_eq!(
            judged(&[(2, hash(7, 3)), (3, hash(8, 3))], 3),
            (1, vec![3], true)
        );
        assert_eq!(judged(&[], 3), (0, vec![], false));
    }
}
