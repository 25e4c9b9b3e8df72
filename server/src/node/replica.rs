//! The services' interface to the node, a trait for which tests substitute a single-process node.
//!
//! Independent of gRPC. Every future may be dropped; a proposal may take effect nevertheless.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use tenure_statemachine::{ClusterTime, Command, Engine, LeaseId, MemberId, Outcome, Revision};
use tokio::sync::watch;

use crate::node::{
    ChangeError, Changed, Identity, Integrity, Leadership, MemberChange, ProposeError,
    ReadIndexError, Status, TransferError,
};

/// The size of the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StorageBytes {
    /// Bytes of all records that are not collected yet; compared with the quota.
    pub logical: u64,
    /// Bytes of the records in use; includes history until it is collected.
    pub in_use: u64,
}

/// Smallest size reported for a store: one block of a file. Monitoring tools divide by it.
const TOLD_BYTES_MIN: u64 = 4096;

impl StorageBytes {
    /// The sizes as reported to operators.
    pub(crate) fn told(self) -> Self {
        Self {
            logical: self.logical.max(TOLD_BYTES_MIN),
            in_use: self.in_use.max(TOLD_BYTES_MIN),
        }
    }
}

/// The operations of a node that the services use.
#[tonic::async_trait]
pub trait Replica: Send + Sync + 'static {
    /// The ids and the name of this node.
    fn identity(&self) -> &Identity;

    /// The node's current view of itself and the quorum.
    fn status(&self) -> Status;

    /// The current state. A read takes one snapshot of it and uses only that.
    fn engine(&self) -> Arc<dyn Engine>;

    /// Replicates `command` and waits until it is applied here.
    ///
    /// # Errors
    /// [`ProposeError`] says which causes leave the outcome unknown.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown.
    async fn propose(&self, command: Command) -> Result<Outcome, ProposeError>;

    /// Waits until a snapshot taken afterwards holds everything acknowledged before the call.
    ///
    /// # Errors
    /// When the quorum did not confirm in time; nothing was changed.
    async fn read_barrier(&self) -> Result<(), ReadIndexError>;

    /// The greatest possible age of the state: the time since it was last known to hold everything
    /// that was acknowledged anywhere. `None` when that was never known.
    fn staleness(&self) -> Option<Duration>;

    /// Time since a leader, including this node itself, was last known to lead.
    fn leaderless_for(&self) -> Duration;

    /// Updates the known age of the state in the background. Cheap when repeated at once.
    fn freshen(&self);

    /// Resolves once the state has reached `revision`.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    async fn reached(&self, revision: Revision);

    /// This node's estimate of cluster time; never ahead of the leader's.
    fn cluster_time(&self) -> ClusterTime;

    /// Transfers leadership to `target` and waits until it leads.
    ///
    /// # Errors
    /// When this node does not lead, or `target` cannot or does not take over.
    async fn transfer_leader(&self, target: MemberId) -> Result<(), TransferError>;

    /// What the alarms say of this member's state; yields every change.
    fn integrity(&self) -> watch::Receiver<Integrity>;

    /// Changes the membership, whichever member leads.
    ///
    /// # Errors
    /// [`ChangeError`] says which causes leave the outcome unknown.
    ///
    /// # Cancel safety
    /// The change goes on when the future is dropped.
    async fn change_members(&self, change: MemberChange) -> Result<Changed, ChangeError>;

    /// The current leader, and every change of it.
    fn leadership(&self) -> watch::Receiver<Leadership>;

    /// The positions of leases in the order of granting, as far as this node remembers them.
    fn grant_places(&self) -> HashMap<LeaseId, u64>;

    /// Resolves when background collection has passed `floor`.
    async fn collected(&self, floor: Revision);

    /// Starts to compact the files of the store in the background.
    fn compact_storage(&self);

    /// The size of the store.
    fn storage_bytes(&self) -> StorageBytes;
}

impl fmt::Debug for dyn Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Replica({})", self.identity().member_id)
    }
}
