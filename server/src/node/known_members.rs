//! Determines the other members for a member whose state is damaged.
//!
//! A membership found on disk takes precedence over the flags, which may describe the first start,
//! a joining member, or another quorum. The roster decides which members may be met.
//!
//! # Invariants
//! A member considers itself alone only when a membership says so, or when it never met another
//! member and its flags say so: only a lone member may continue with a damaged state.

use std::collections::BTreeMap;

use openraft::{EntryPayload, RaftLogReader};

use super::start::StartError;
use crate::{
    consensus::{PeerNode, StoredMembership},
    raft::Roster,
    storage::{AdapterRecord, DataDir, LogStore, last_record},
};

/// Returns the other members; none when this one is alone. `newest` describes the newest snapshot.
///
/// # Errors
/// When nothing names another member although there is one, or the log cannot be read.
pub(super) async fn others(
    dir: &DataDir,
    log: &LogStore,
    newest: Option<&AdapterRecord>,
    roster: &Roster,
    founders: &BTreeMap<u64, PeerNode>,
) -> Result<BTreeMap<u64, PeerNode>, StartError> {
    let found = [
        latest_in(log).await?,
        newest.map(|record| record.membership.clone()),
        // One bad block does not prevent reading the others.
        last_record(&dir.state()).map(|record| record.membership),
    ];
    let own = roster.owner().member_id;
    let others = chosen(found, founders, own, roster.has_met_others());
    others.ok_or_else(|| StartError::NobodyToAsk(dir.path().to_owned()))
}

/// The members beside `own`: those of the latest membership found, or else the founders. `None`
/// when neither names another member and that does not prove that there is none.
fn chosen(
    found: [Option<StoredMembership>; 3],
    founders: &BTreeMap<u64, PeerNode>,
    own: u64,
    has_met_others: bool,
) -> Option<BTreeMap<u64, PeerNode>> {
    let beside = |mut members: BTreeMap<u64, PeerNode>| {
        members.remove(&own);
        members
    };
    let named = found.into_iter().flatten();
    let named = named.filter(|membership| membership.membership().nodes().next().is_some());
    if let Some(latest) = named.max_by_key(|membership| *membership.log_id()) {
        let nodes = latest.membership().nodes();
        return Some(beside(
            nodes.map(|(id, node)| (*id, node.clone())).collect(),
        ));
    }
    let is_founder = founders.contains_key(&own);
    let others = beside(founders.clone());
    (!others.is_empty() || (is_founder && !has_met_others)).then_some(others)
}

/// The last membership in the remaining log.
async fn latest_in(log: &LogStore) -> Result<Option<StoredMembership>, StartError> {
    let (mut log, held) = (log.clone(), log.held());
    let (mut next, mut latest) = (held.start, None);
    while next < held.end {
        let entries = log.limited_get_log_entries(next, held.end).await;
        let entries = entries.map_err(StartError::Log)?;
        let Some(last) = entries.last() else { break };
        next = last.log_id.index + 1;
        for entry in entries {
            if let EntryPayload::Membership(membership) = entry.payload {
                latest = Some(StoredMembership::new(Some(entry.log_id), membership));
            }
        }
    }
    Ok(latest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::{LeaderId, LogId, Membership};

    const OWN: u64 = 1;

    fn nodes(ids: &[u64]) -> BTreeMap<u64, PeerNode> {
        let node = |id: &u64| {
            let name = format!("m{id}");
            let node = PeerNode {
                name,
                ..PeerNode::default()
            };
            (*id, node)
        };
        ids.iter().map(node).collect()
    }

    fn stored(index: u64, ids: &[u64]) -> Option<StoredMembership> {
        let leader = LeaderId {
            term: 1,
            node_id: 1,
        };
        let voters = vec![ids.iter().copied().collect()];
        let membership = Membership::new(voters, nodes(ids)).unwrap();
        Some(StoredMembership::new(
            Some(LogId::new(leader, index)),
            membership,
        ))
    }

    fn ids(others: Option<BTreeMap<u64, PeerNode>>) -> Option<Vec<u64>> {
        others.map(|others| others.into_keys().collect())
    }

    #[test]
    fn the_latest_membership_counts_for_more_than_the_flags() {
        let three = [stored(5, &[1, 2, 3]), stored(1, &[1]), None];
        for founders in [nodes(&[]), nodes(&[1]), nodes(&[1, 7])] {
            let others = chosen(three.clone(), &founders, OWN, true);
            assert_eq!(ids(others), Some(vec![2, 3]));
        }
        let alone = [stored(1, &[1, 2]), None, stored(5, &[1])];
        let others = chosen(alone, &nodes(&[1, 2]), OWN, true);
        assert_eq!(ids(others), Some(vec![]));
    }

    /// Regression: with flags that name no others, a member of three continued with a damaged
    /// state.
    #[test]
    fn a_member_that_met_others_is_not_alone_because_nothing_names_them() {
        let nothing = || [None, Some(StoredMembership::default()), None];
        let others = |founders: &[u64], met| ids(chosen(nothing(), &nodes(founders), OWN, met));
        assert_eq!(others(&[1, 2, 3], true), Some(vec![2, 3]));
        assert_eq!(others(&[], true), None);
        assert_eq!(others(&[1], true), None);
        assert_eq!(others(&[], false), None);
        assert_eq!(others(&[1], false), Some(vec![]));
    }
}
