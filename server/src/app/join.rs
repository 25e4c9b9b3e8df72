//! Joining a running cluster: the other members tell the ids, and whether this one was added.
//!
//! With `--join` they tell everything. As etcd, it takes `--initial-cluster` for what the operator
//! believes and checks it: a member that was forgotten, or an address that differs, would show up
//! as a lost message much later.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{info, warn};

use crate::{
    config::{InitialMember, Joining, Url},
    consensus::{Membership, PeerNode},
    raft::{Discovered, discover},
    transport::Transport,
};

/// How long members that do not name this node are asked again: a member that lags, or has just
/// started, hears of the latest change within that time.
const LAG_MAX: Duration = Duration::from_secs(5);
/// How long the others are waited for once one has answered: one that hangs must not delay a start.
const OTHERS_MAX: Duration = Duration::from_secs(1);
const LAG_PAUSE: Duration = Duration::from_millis(200);

/// Why this node cannot join.
#[derive(Debug, Error)]
pub enum JoinError {
    /// No other member answered.
    #[error(
        "cannot fetch cluster info from peer urls: could not retrieve cluster information from the \
         given URLs: {0}; check --initial-cluster or --join, and that the cluster runs"
    )]
    Silent(String),
    /// The cluster has another number of members.
    #[error(
        "error validating peerURLs {0}: member count is unequal: --initial-cluster lists {1}; \
         add this member first (tenurectl member add), and list every member"
    )]
    Count(String, usize),
    /// A member has other addresses.
    #[error(
        "error validating peerURLs {0}: PeerURLs: no match found for existing member ({1}); \
         correct --initial-cluster"
    )]
    Urls(String, String),
    /// The member of this node's addresses cannot be told.
    #[error(
        "couldn't find local name \"{0}\" in the initial cluster configuration; list it there, \
         with the address with which it was added"
    )]
    NoOwn(String),
    /// The cluster does not know this member.
    #[error(
        "the members at --join know no member at {0}, only {1}; add this one first (tenurectl \
         member add), with the addresses of --initial-advertise-peer-urls"
    )]
    NotAdded(String, String),
}

impl JoinError {
    /// Whether it may be due to a member that lags.
    const fn may_pass(&self) -> bool {
        match self {
            Self::Count(..) | Self::Urls(..) | Self::NotAdded(..) => true,
            Self::Silent(_) | Self::NoOwn(_) => false,
        }
    }
}

/// What the other members told.
#[derive(Clone, Debug)]
pub(super) struct Joined {
    pub(super) cluster_id: u64,
    pub(super) member_id: u64,
    /// All members by id, with the names of `--initial-cluster`.
    pub(super) members: BTreeMap<u64, PeerNode>,
}

/// Asks the other members. This node's name is `name`.
///
/// Those that answer may lag, and not name this node yet, so they are asked again for a while.
pub(super) async fn join(
    transport: &Arc<dyn Transport>,
    joining: &Joining,
    name: &str,
) -> Result<Joined, JoinError> {
    let (begun, mut told) = (Instant::now(), false);
    loop {
        match ask(transport, joining, name).await {
            Err(error) if error.may_pass() && begun.elapsed() < LAG_MAX => {
                if !told {
                    info!(%error, "the members may lag; they are asked again");
                    told = true;
                }
            }
            joined => return joined,
        }
        sleep(LAG_PAUSE).await;
    }
}

/// Asks all members at once, and takes the newest answer.
async fn ask(
    transport: &Arc<dyn Transport>,
    joining: &Joining,
    name: &str,
) -> Result<Joined, JoinError> {
    let peers: Vec<&Url> = match joining {
        Joining::Listed(members) => {
            let others = members.iter().filter(|member| member.name != name);
            others.flat_map(|member| &member.peer_urls).collect()
        }
        Joining::Told { peers, .. } => peers.iter().collect(),
    };
    let asked = peers.into_iter().map(|url| async move {
        let found = discover(transport, &url.to_string()).await;
        found.map_err(|error| format!("{url}: {error}"))
    });
    let mut asked: FuturesUnordered<_> = asked.collect();
    let (mut newest, mut silent) = (None::<Discovered>, Vec::new());
    let mut until = None;
    loop {
        let next = asked.next();
        let answer = match until {
            Some(until) => timeout_at(until, next).await.unwrap_or_default(),
            None => next.await,
        };
        match answer {
            Some(Ok(found)) => {
                until.get_or_insert_with(|| Instant::now() + OTHERS_MAX);
                if newest.as_ref().is_none_or(|it| found.index > it.index) {
                    newest = Some(found);
                }
            }
            Some(Err(error)) => {
                warn!(error, "a member did not tell who the others are");
                silent.push(error);
            }
            None => break,
        }
    }
    let Some(found) = newest else {
        return Err(JoinError::Silent(silent.join("; ")));
    };
    match joining {
        Joining::Listed(members) => matched(&found, members, name),
        Joining::Told { own, .. } => told(&found, own, name),
    }
}

/// Takes what the members told.
fn told(found: &Discovered, own: &[Url], name: &str) -> Result<Joined, JoinError> {
    let membership = &found.membership;
    let nodes = membership.nodes().map(|(id, node)| (*id, node.clone()));
    let mut members: BTreeMap<u64, PeerNode> = nodes.collect();
    let found_own = members.iter_mut().find(|(_, it)| same(own, &it.peer_urls));
    let Some((&member_id, node)) = found_own else {
        let own: Vec<_> = own.iter().map(ToString::to_string).collect();
        return Err(JoinError::NotAdded(own.join(","), described(membership)));
    };
    name.clone_into(&mut node.name);
    Ok(Joined {
        cluster_id: found.cluster_id,
        member_id,
        members,
    })
}

fn matched(found: &Discovered, listed: &[InitialMember], name: &str) -> Result<Joined, JoinError> {
    let membership = &found.membership;
    if membership.nodes().count() != listed.len() {
        return Err(JoinError::Count(described(membership), listed.len()));
    }
    let mut members = BTreeMap::new();
    let mut own = None;
    for (id, node) in membership.nodes() {
        let of = listed
            .iter()
            .find(|it| same(&it.peer_urls, &node.peer_urls));
        let Some(of) = of else {
            let member = format!("{id:x}, {}", node.peer_urls.join(","));
            return Err(JoinError::Urls(described(membership), member));
        };
        if of.name == name {
            own = Some(*id);
        }
        let node = PeerNode {
            name: of.name.clone(),
            ..node.clone()
        };
        members.insert(*id, node);
    }
    Ok(Joined {
        cluster_id: found.cluster_id,
        member_id: own.ok_or_else(|| JoinError::NoOwn(name.to_owned()))?,
        members,
    })
}

fn same(listed: &[Url], recorded: &[String]) -> bool {
    let texts = || listed.iter().map(ToString::to_string);
    texts().count() == recorded.len() && texts().all(|text| recorded.contains(&text))
}

fn described(membership: &Membership) -> String {
    let member = |(id, node): (&u64, &PeerNode)| format!("{id:x} at {}", node.peer_urls.join(","));
    let members: Vec<_> = membership.nodes().map(member).collect();
    members.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(members: &[(&str, u16)]) -> Vec<InitialMember> {
        let member = |(name, port): &(&str, u16)| InitialMember {
            name: (*name).to_owned(),
            peer_urls: Url::parse_list(&format!("http://h:{port}")).unwrap(),
        };
        members.iter().map(member).collect()
    }

    fn found(ports: &[(u64, u16)]) -> Discovered {
        let node = |(id, port): &(u64, u16)| {
            let node = PeerNode {
                peer_urls: vec![format!("http://h:{port}")],
                ..PeerNode::default()
            };
            (*id, node)
        };
        let nodes: BTreeMap<u64, PeerNode> = ports.iter().map(node).collect();
        Discovered {
            cluster_id: 9,
            index: 1,
            membership: Membership::new(vec![[1].into()], nodes).unwrap(),
        }
    }

    #[test]
    fn a_member_takes_the_ids_of_the_cluster_that_it_joins() {
        let listed = listed(&[("a", 1), ("new", 2)]);
        let joined = matched(&found(&[(1, 1), (7, 2)]), &listed, "new").unwrap();
        assert_eq!((joined.cluster_id, joined.member_id), (9, 7));
        assert_eq!(joined.members[&1].name, "a");
    }

    #[test]
    fn a_member_that_is_told_the_others_was_added_with_its_addresses() {
        let found = found(&[(1, 1), (7, 2)]);
        let joined = told(&found, &listed(&[("x", 2)])[0].peer_urls, "new").unwrap();
        assert_eq!((joined.cluster_id, joined.member_id), (9, 7));
        assert_eq!(joined.members[&7].name, "new");
        let stranger = told(&found, &listed(&[("x", 3)])[0].peer_urls, "new").unwrap_err();
        let text = stranger.to_string();
        assert!(
            text.contains("know no member at http://h:3, only 1 at http://h:1"),
            "{text}"
        );
    }

    #[test]
    fn what_the_operator_lists_is_what_the_cluster_has() {
        let found = found(&[(1, 1), (7, 2)]);
        let refused = |members: &[(&str, u16)], name| {
            matched(&found, &listed(members), name)
                .unwrap_err()
                .to_string()
        };
        assert!(refused(&[("a", 1)], "new").contains("member count is unequal"));
        let forgotten = refused(&[("a", 1), ("b", 3), ("new", 2)], "new");
        assert!(forgotten.contains("member count is unequal"), "{forgotten}");
        let other = refused(&[("a", 3), ("new", 2)], "new");
        assert!(
            other.contains("no match found for existing member (1, http://h:1)"),
            "{other}"
        );
        assert!(refused(&[("a", 1), ("b", 2)], "new").contains("couldn't find local name \"new\""));
    }
}
