//! Determines the identity of this node from its data directory, or at the first start from the
//! configuration.

use std::{collections::BTreeMap, sync::Arc};

use tenure_statemachine::MemberId;
use tracing::{info, warn};

use super::{AppError, join::join};
use crate::{
    config::{Config, FirstStart, InitialMember},
    consensus::PeerNode,
    node::Identity,
    storage::{DataDir, Owner, fresh_instance_id},
    transport::Transport,
};

/// The identity of this node, and the members with which it forms the quorum if its log is empty.
#[derive(Clone, Debug)]
pub(super) struct Founding {
    pub(super) identity: Identity,
    pub(super) instance_id: u64,
    pub(super) members: BTreeMap<u64, PeerNode>,
    /// Whether these form the quorum, and not one that this node joins.
    pub(super) may_form: bool,
}

/// Reads the identity from the data directory, or writes it there at the first start. A node that
/// joins asks the other members, until its log holds what they know.
pub(super) async fn decide(
    config: &Config,
    dir: &DataDir,
    transport: &Arc<dyn Transport>,
) -> Result<Founding, AppError> {
    let found = dir.owner();
    let first = match (config.first_start(), found) {
        (Ok(first), _) => Some(first),
        // After the first start the data directory takes precedence over the flags.
        (Err(_), Some(_)) => None,
        (Err(faults), None) => return Err(faults.into()),
    };
    let joins = matches!(first, Some(FirstStart::Join(_)));
    // A start that ended before the log held an entry asks again: nothing else names the members.
    let is_first = found.is_none() || !dir.is_founded();
    let (configured, members) = match first {
        Some(FirstStart::Form {
            member_id,
            cluster_id,
            members,
        }) => {
            let mut members = peer_nodes(members);
            if config.discovery.is_some() {
                // Every founder writes the same first entry, and each knows its own name alone.
                members.values_mut().for_each(|node| node.name.clear());
            }
            (Some((cluster_id.0, member_id.0)), members)
        }
        Some(FirstStart::Join(joining)) if is_first => {
            let joined = join(transport, &joining, &config.name).await?;
            (Some((joined.cluster_id, joined.member_id)), joined.members)
        }
        Some(FirstStart::Join(_)) | None => (None, BTreeMap::new()),
    };
    let owner = match (found, configured) {
        (Some(owner), Some(configured)) => {
            compare(dir, owner, configured)?;
            owner
        }
        (Some(owner), None) => owner,
        (None, configured) => {
            let (cluster_id, member_id) =
                configured.expect("invariant: a first start forms a cluster or joins one");
            claim(dir, cluster_id, member_id)?
        }
    };
    let identity = Identity {
        cluster_id: owner.cluster_id,
        member_id: MemberId(owner.member_id),
        name: config.name.clone(),
    };
    // Flags that describe another quorum must not form one on this directory.
    let members = if configured == Some((owner.cluster_id, owner.member_id)) {
        members
    } else {
        BTreeMap::new()
    };
    Ok(Founding {
        identity,
        instance_id: owner.instance_id,
        members,
        may_form: !joins,
    })
}

fn peer_nodes(members: Vec<(MemberId, InitialMember)>) -> BTreeMap<u64, PeerNode> {
    let node = |(id, member): (MemberId, InitialMember)| {
        let peer_urls = member.peer_urls.iter().map(ToString::to_string).collect();
        let name = member.name;
        let node = PeerNode {
            name,
            peer_urls,
            stays_learner: false,
        };
        (id.0, node)
    };
    members.into_iter().map(node).collect()
}

fn claim(dir: &DataDir, cluster_id: u64, member_id: u64) -> Result<Owner, AppError> {
    let owner = Owner {
        cluster_id,
        member_id,
        instance_id: fresh_instance_id(),
    };
    dir.claim(owner)?;
    info!(
        member_id = format!("{member_id:x}"),
        cluster_id = format!("{cluster_id:x}"),
        "first start on this data directory"
    );
    Ok(owner)
}

/// Resolves flags that name another quorum or member. As in etcd, a directory with data takes
/// precedence. One that never held a log has none, so the contradiction is an error.
fn compare(dir: &DataDir, owner: Owner, configured: (u64, u64)) -> Result<(), AppError> {
    if configured == (owner.cluster_id, owner.member_id) {
        return Ok(());
    }
    let (cluster_id, member_id) = configured;
    if !dir.is_founded() && !dir.log().exists() {
        return Err(AppError::OtherOwner {
            cluster_id: owner.cluster_id,
            member_id: owner.member_id,
            configured_cluster_id: cluster_id,
            configured_member_id: member_id,
        });
    }
    warn!(
        member_id = format!("{:x}", owner.member_id),
        cluster_id = format!("{:x}", owner.cluster_id),
        configured_member_id = format!("{member_id:x}"),
        configured_cluster_id = format!("{cluster_id:x}"),
        "--initial-cluster, --initial-cluster-token or --initial-advertise-peer-urls describe \
         another cluster or member than the data directory; the data directory counts"
    );
    Ok(())
}
