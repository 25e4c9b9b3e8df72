//! Compares the members' states in the background, and raises an alarm for one that differs.
//!
//! The leader names an index, every member computes the digest of its state at exactly that index,
//! and the majority's digest counts as correct. When none has a majority, the alarm names no
//! member. A single comparison decides nothing: a member is reported only after it differed at two
//! indices in a row. Invariant: no alarm without digests of one index from a majority of the
//! voters, and none for a member that did not answer.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use openraft::async_runtime::watch::WatchReceiver;
use tenure_proto::peer;
use tenure_statemachine::{AlarmChange, AlarmKind, Command, MemberId, by_system};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tracing::{debug, error, info};

use super::{node::Node, progress::Applied};
use crate::{
    consensus::PeerNode,
    node::Replica,
    raft::{DigestPoint, Lane, Peers, Raft},
    tasks,
};

/// Longest delay of a new leader's first comparison.
const FIRST_AFTER_MAX: Duration = Duration::from_secs(60);
/// Time limit for a comparison's digests: 1.5 times what two gigabytes take at their pace.
const COMPARE_MAX: Duration = Duration::from_secs(300);
/// Time limit for a busy quorum to reach the index of a comparison.
const REACH_MAX: Duration = Duration::from_secs(30);
/// How far the index lies ahead while the quorum is busy: the entries of a second or two.
const AHEAD: u64 = 1024;
/// Attempts before a comparison is skipped until the next interval.
const TRIES: u32 = 4;

/// Dependencies of the comparisons.
pub(super) struct Parts {
    pub(super) node: Arc<Node>,
    pub(super) raft: Raft,
    pub(super) peers: Arc<Peers>,
    pub(super) point: Arc<DigestPoint>,
    pub(super) applied: watch::Receiver<Applied>,
    /// Time between comparisons; zero disables them.
    pub(super) every: Duration,
}

impl Parts {
    pub(super) fn of(
        node: &Arc<Node>,
        peers: Arc<Peers>,
        point: Arc<DigestPoint>,
        every: Duration,
    ) -> Self {
        Self {
            node: Arc::clone(node),
            raft: node.raft.clone(),
            peers,
            point,
            applied: node.applied.clone(),
            every,
        }
    }
}

/// Digests by member id, all of one index.
pub(super) type Digests = BTreeMap<u64, u64>;

/// The members' answers for one index.
#[derive(Debug, Default)]
struct Answers {
    digests: Digests,
    /// Members that answered without a digest, mostly because they are past the index.
    past: usize,
}

/// Starts the comparison task; only a leader compares.
pub(super) fn spawn(parts: Parts) {
    if parts.every.is_zero() {
        return;
    }
    tasks::spawn("digests", async move {
        let mut leadership = parts.node.leadership();
        loop {
            if leadership.wait_for(|now| now.is_leader).await.is_err() {
                return;
            }
            let mut pause = parts.every.min(FIRST_AFTER_MAX);
            loop {
                let deposed = leadership.wait_for(|now| !now.is_leader);
                // Cancel-safe: a missed change is seen by the next call.
                let deposed = timeout(pause, deposed).await;
                match deposed.map(|changed| changed.map(drop)) {
                    Ok(Ok(())) => break,
                    Ok(Err(_)) => return,
                    Err(_) => check(&parts).await,
                }
                pause = parts.every;
            }
        }
    });
}

/// Compares, again if a digest differs, and raises alarms for members that differed both times.
async fn check(parts: &Parts) {
    let voters = voters(&parts.raft);
    let here = || parts.applied.borrow().index;
    let ask = |index| digests(parts, &voters, index).boxed();
    let first = differing(&compare(voters.len(), here, ask).await, voters.len());
    if first.is_empty() {
        return;
    }
    let again = differing(&compare(voters.len(), here, ask).await, voters.len());
    for member in first.into_iter().filter(|member| again.contains(member)) {
        raise(&parts.node, member).await;
    }
}

/// Raises the alarm for a member whose state differs, or for one of all.
pub(super) async fn raise(node: &Node, member: MemberId) {
    if member == MemberId::UNNAMED {
        error!("the members' states differ, and none is that of a majority: CORRUPT");
    } else {
        error!(%member, "the state of this member differs from that of the majority: CORRUPT");
    }
    let alarm = AlarmChange {
        member,
        kind: Some(AlarmKind::Corrupt),
        active: true,
    };
    if let Err(error) = node.propose(by_system(Command::Alarm(alarm))).await {
        error!(%error, %member, "the alarm was not raised; the next comparison tries again");
    }
}

/// The members whose digest differs from the majority's. When a majority answered but no digest has
/// a majority, the correct one is unknown, and so is the member that is returned.
pub(super) fn differing(digests: &Digests, voters: usize) -> Vec<MemberId> {
    let counts = counts(digests);
    if 2 * digests.len() <= voters || counts.len() < 2 {
        return Vec::new();
    }
    let Some((right, _)) = counts.iter().find(|(_, count)| **count * 2 > voters) else {
        return vec![MemberId::UNNAMED];
    };
    digests
        .iter()
        .filter(|(_, digest)| *digest != right)
        .map(|(member, _)| MemberId(*member))
        .collect()
}

/// Counts the members per digest.
fn counts(digests: &Digests) -> BTreeMap<u64, usize> {
    let mut counts = BTreeMap::new();
    for digest in digests.values() {
        *counts.entry(*digest).or_default() += 1;
    }
    counts
}

/// Collects the digests of the `voters` at one index, in up to [`TRIES`] attempts. `here` returns
/// the applied index of this node, and `ask` requests the digests at an index.
async fn compare<'a>(
    voters: usize,
    here: impl Fn() -> u64,
    mut ask: impl FnMut(u64) -> BoxFuture<'a, Answers>,
) -> Digests {
    for attempt in 0..TRIES {
        // Idle members are all at the current index; busy ones reach one slightly ahead.
        let busy = attempt % 2 == 1;
        let index = if busy { here() + AHEAD } else { here() };
        let Answers { digests, past } = ask(index).await;
        let answered = digests.len();
        debug!(index, answered, past, "digests of the members' states");
        if answered == voters {
            info!(index, "the members' states were compared");
            return digests;
        }
        // A member that did not answer will not answer the next attempt either, and the others
        // would read their whole states again.
        let can_gain = past > 0 && attempt == 0;
        if attempt + 1 == TRIES || (has_alike_majority(&digests, voters) && !can_gain) {
            return digests;
        }
    }
    Digests::new()
}

fn has_alike_majority(digests: &Digests, voters: usize) -> bool {
    counts(digests).values().any(|count| count * 2 > voters)
}

async fn digests(parts: &Parts, voters: &[(u64, PeerNode)], index: u64) -> Answers {
    let own = parts.node.identity().member_id.0;
    let mut calls: FuturesUnordered<_> = voters
        .iter()
        .map(|(member, node)| {
            async move {
                let digest = if *member == own {
                    parts.point.at(index).await
                } else {
                    let lane = Lane::Forward;
                    let mut client = parts.peers.client(MemberId(*member), node, lane);
                    let request = peer::DigestRequest { index };
                    let response = client.digest(request).await;
                    response.ok()?.into_inner().digest
                };
                Some((*member, digest))
            }
            .boxed()
        })
        .collect();
    let mut found = Answers::default();
    let gather = async {
        while let Some(answer) = calls.next().await {
            match answer {
                Some((member, Some(digest))) => drop(found.digests.insert(member, digest)),
                Some((_, None)) => found.past += 1,
                None => {}
            }
        }
    };
    let mut applied = parts.applied.clone();
    let stuck = async {
        let reached = applied.wait_for(|applied| applied.index >= index);
        if timeout(REACH_MAX, reached).await.is_ok() {
            sleep(COMPARE_MAX).await;
        }
    };
    tokio::select! {
        // The digests found so far count; the remaining calls are dropped.
        () = gather => {}
        () = stuck => {}
    }
    found
}

/// The voters and their addresses.
pub(super) fn voters(raft: &Raft) -> Vec<(u64, PeerNode)> {
    let metrics = raft.server_metrics();
    let metrics = metrics.borrow_watched();
    let membership = &metrics.membership_config;
    membership
        .voter_ids()
        .filter_map(|id| Some((id, membership.get_node(&id)?.clone())))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::ready};

    use super::*;

    const NONE: [u64; 0] = [];

    fn named(digests: &[(u64, u64)], voters: usize) -> Vec<u64> {
        let differing = differing(&digests.iter().copied().collect(), voters);
        differing.into_iter().map(|member| member.0).collect()
    }

    #[test]
    fn a_member_that_differs_from_the_majority_is_named_and_none_without_a_majority() {
        assert_eq!(named(&[(1, 7), (2, 7), (3, 7)], 3), NONE);
        assert_eq!(named(&[(1, 7), (2, 8), (3, 7)], 3), [2]);
        assert_eq!(named(&[(1, 7), (2, 8)], 3), [0], "one of them is wrong");
        assert_eq!(named(&[(1, 7), (2, 7)], 3), NONE);
        assert_eq!(named(&[(1, 7)], 3), NONE);
        assert_eq!(named(&[(1, 7), (2, 8)], 5), NONE, "too few answered");
        assert_eq!(named(&[(1, 7), (2, 8), (3, 9)], 3), [0]);
    }

    /// Compares three members with these answers; returns the number of attempts and the result.
    fn asked(answers: impl Fn(u64) -> (Digests, usize)) -> (usize, Digests) {
        let times = Cell::new(0);
        let ask = |index| {
            times.set(times.get() + 1);
            let (digests, past) = answers(index);
            ready(Answers { digests, past }).boxed()
        };
        let found = compare(3, || 7, ask).now_or_never().unwrap();
        (times.get(), found)
    }

    /// Regression: with one of three members down, the others read their whole states four times.
    #[test]
    fn a_member_that_is_down_does_not_have_the_others_asked_again() {
        let two = || Digests::from([(1, 7), (2, 7)]);
        assert_eq!(asked(|_| (two(), 0)), (1, two()));
    }

    #[test]
    fn members_that_were_past_the_index_are_asked_for_one_ahead() {
        let (two, three) = (
            || Digests::from([(1, 7), (2, 7)]),
            || Digests::from([(1, 7), (2, 7), (3, 8)]),
        );
        let busy = |index| if index == 7 { (two(), 1) } else { (three(), 0) };
        assert_eq!(asked(busy), (2, three()));
        assert_eq!(asked(|_| (two(), 1)), (2, two()), "and not for ever");
        let nobody = asked(|_| (Digests::new(), 2));
        assert_eq!(nobody, (TRIES as usize, Digests::new()));
    }
}
