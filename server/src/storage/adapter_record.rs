//! The adapter record: the last applied log id and the membership, stored beside the data.

use std::collections::BTreeSet;

use prost::Message;
use tenure_proto::peer;
use tenure_statemachine::Fault;

use super::log_contradiction::{Contradiction, follows};
use crate::consensus::{LogId, StoredMembership, convert};

/// The last applied log id and its membership. Written in the same batch as the data it describes,
/// so the two cannot disagree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdapterRecord {
    /// The last entry applied.
    pub last_applied: Option<LogId>,
    /// The membership as of that entry.
    pub membership: StoredMembership,
    /// The ids of the members that were removed until then.
    pub removed: BTreeSet<u64>,
}

/// Encoded as a snapshot header without vote and size: a message that peers exchange already.
impl AdapterRecord {
    /// Checks that the entry at `next` is the next one to apply.
    ///
    /// # Errors
    /// When it does not follow the last applied entry.
    pub fn check_next(&self, next: LogId) -> Result<(), Contradiction> {
        match self.last_applied {
            Some(applied) if !follows(&applied, &next) => {
                Err(Contradiction::ApplyGap { applied, next })
            }
            _ => Ok(()),
        }
    }

    /// Whether it describes the same entry and membership. Consensus knows no more of a snapshot.
    #[must_use]
    pub fn is_at(&self, other: &Self) -> bool {
        self.last_applied == other.last_applied && self.membership == other.membership
    }

    /// Encodes the record for the state database.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.header().encode_to_vec()
    }

    /// Returns the record as the header of a snapshot to send to a peer.
    #[must_use]
    pub fn header(&self) -> peer::SnapshotHeader {
        peer::SnapshotHeader {
            vote: None,
            last_log_id: self.last_applied.as_ref().map(convert::log_id_to),
            membership_log_id: self.membership.log_id().as_ref().map(convert::log_id_to),
            membership: Some(convert::membership_to(self.membership.membership())),
            total_bytes: 0,
            transfer: 0,
            file_names: Vec::new(),
            removed_members: self.removed.iter().copied().collect(),
        }
    }

    /// Decodes the output of [`AdapterRecord::encode`].
    ///
    /// # Errors
    /// When the bytes are anything else: the state is damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let damaged = |e: String| Fault::Damaged(format!("adapter record: {e}"));
        let header = peer::SnapshotHeader::decode(bytes).map_err(|e| damaged(e.to_string()))?;
        Self::from_header(header).map_err(|e| damaged(e.to_string()))
    }

    /// Reads the record from the header of a snapshot.
    ///
    /// # Errors
    /// When a field is missing or contradicts another.
    pub fn from_header(header: peer::SnapshotHeader) -> Result<Self, convert::WireError> {
        Ok(Self {
            last_applied: header.last_log_id.as_ref().map(convert::log_id_from),
            membership: convert::stored_membership_from(
                header.membership_log_id.as_ref(),
                header.membership,
            )?,
            removed: header.removed_members.into_iter().collect(),
        })
    }
}

/// The adapter record as the applier keeps it. It is written with every batch, but its
/// membership rarely changes, so the encoded membership is cached.
#[derive(Debug)]
pub struct AppliedRecord {
    record: AdapterRecord,
    membership_bytes: Vec<u8>,
}

impl AppliedRecord {
    /// Continues from `record`, the record of the opened state.
    #[must_use]
    pub fn new(record: AdapterRecord) -> Self {
        let membership = AdapterRecord {
            last_applied: None,
            membership: record.membership.clone(),
            removed: record.removed.clone(),
        };
        Self {
            membership_bytes: membership.encode(),
            record,
        }
    }

    /// Returns the record.
    #[must_use]
    pub const fn get(&self) -> &AdapterRecord {
        &self.record
    }

    /// Records that the entry at `log_id` is applied.
    pub fn advance(&mut self, log_id: LogId) {
        debug_assert!(
            self.record.last_applied < Some(log_id),
            "entries are applied in their order"
        );
        self.record.last_applied = Some(log_id);
    }

    /// Records the membership of an applied entry. Members that it lacks were removed.
    pub fn set_membership(&mut self, membership: StoredMembership) {
        let last_applied = self.record.last_applied;
        let mut removed = std::mem::take(&mut self.record.removed);
        let before = self.record.membership.nodes().map(|(id, _)| *id);
        let is_gone = |id: &u64| membership.membership().get_node(id).is_none();
        removed.extend(before.filter(is_gone));
        *self = Self::new(AdapterRecord {
            last_applied,
            membership,
            removed,
        });
    }

    /// Same encoding as [`AdapterRecord::encode`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let position = peer::SnapshotHeader {
            last_log_id: self.record.last_applied.as_ref().map(convert::log_id_to),
            ..peer::SnapshotHeader::default()
        };
        // The field of the position precedes those of the membership.
        let mut bytes = position.encode_to_vec();
        bytes.extend_from_slice(&self.membership_bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::consensus::{LeaderId, PeerNode};

    fn id(term: u64, index: u64) -> LogId {
        LogId::new(LeaderId { term, node_id: 1 }, index)
    }

    #[test]
    fn the_next_entry_follows_the_last_one_applied() {
        let applied = id(2, 7);
        let record = AdapterRecord {
            last_applied: Some(applied),
            ..AdapterRecord::default()
        };
        record.check_next(id(2, 8)).unwrap();
        record.check_next(id(3, 8)).unwrap();
        for next in [id(2, 9), id(2, 7), id(1, 8)] {
            let gap = Contradiction::ApplyGap { applied, next };
            assert_eq!(record.check_next(next), Err(gap));
        }
        AdapterRecord::default().check_next(id(1, 5)).unwrap();
    }

    #[test]
    fn what_is_encoded_once_is_the_same_as_all_of_it() {
        let mut record = AdapterRecord::default();
        let mut applied = AppliedRecord::new(record.clone());
        // Nodes are encoded in no particular order, so the bytes are not comparable.
        let decoded = |applied: &AppliedRecord| AdapterRecord::decode(&applied.encode()).unwrap();
        assert_eq!(decoded(&applied), record);
        for index in 1..=3 {
            let nodes: BTreeMap<u64, PeerNode> = (1..=index)
                .map(|node| (node, PeerNode::default()))
                .collect();
            let voters = BTreeSet::from_iter(nodes.keys().copied());
            let membership = openraft::Membership::new(vec![voters], nodes).unwrap();
            record.membership = StoredMembership::new(Some(id(2, index)), membership);
            applied.set_membership(record.membership.clone());
            assert_eq!(decoded(&applied), record);
            record.last_applied = Some(id(2, index));
            applied.advance(id(2, index));
            assert_eq!(decoded(&applied), record);
        }
    }
}
