//! Who this node is: from its data directory, or at the first start from the configuration.

use std::collections::BTreeMap;

use tenure_statemachine::MemberId;
use tracing::info;

use super::AppError;
use crate::{
    config::{Config, FirstStart},
    node::Identity,
    raft::PeerNode,
    storage::{DataDir, Owner},
};

/// Who this node is, and with whom it forms the quorum should its log be empty.
#[derive(Clone, Debug)]
pub(super) struct Founding {
    pub(super) identity: Identity,
    pub(super) members: BTreeMap<u64, PeerNode>,
}

/// Reads the identity, or settles it for good.
pub(super) fn decide(config: &Config, dir: &DataDir) -> Result<Founding, AppError> {
    let found = dir.owner()?;
    let first = match (config.first_start(), found) {
        (Ok(first), _) => Some(first),
        // A node that has started before knows better than its flags.
        (Err(_), Some(_)) => None,
        (Err(faults), None) => return Err(faults.into()),
    };
    let (configured, members) = match first {
        Some(FirstStart::Form {
            member_id,
            cluster_id,
            members,
        }) => {
            let members = members
                .into_iter()
                .map(|(id, member)| {
                    let peer_urls = member.peer_urls.iter().map(ToString::to_string).collect();
                    (
                        id.0,
                        PeerNode {
                            name: member.name,
                            peer_urls,
                        },
                    )
                })
                .collect();
            (
                Some(Owner {
                    cluster_id: cluster_id.0,
                    member_id: member_id.0,
                }),
                members,
            )
        }
        Some(FirstStart::Join { .. }) | None => (None, BTreeMap::new()),
    };
    let owner = match (found, configured) {
        (Some(owner), _) => owner,
        (None, Some(owner)) => {
            dir.claim(owner)?;
            info!(
                member_id = format!("{:x}", owner.member_id),
                cluster_id = format!("{:x}", owner.cluster_id),
                "first start on this data directory"
            );
            owner
        }
        (None, None) => return Err(AppError::JoinNotBuilt),
    };
    let identity = Identity {
        cluster_id: owner.cluster_id,
        member_id: MemberId(owner.member_id),
        name: config.name.clone(),
    };
    // Flags that describe another quorum must not found one on this directory.
    let members = if configured == Some(owner) {
        members
    } else {
        BTreeMap::new()
    };
    Ok(Founding { identity, members })
}
