//! What the services need of the node, as a trait: the seam where tests put a node of one process.
//!
//! Nothing here knows gRPC. Every future may be dropped; a proposal whose future was dropped may
//! still take effect.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use tenure_statemachine::{ClusterTime, Command, Engine, LeaseId, MemberId, Outcome, Revision};
use tokio::sync::watch;

use crate::node::{Identity, Leadership, ProposeError, ReadIndexError, Status, TransferError};

/// How large the store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StorageBytes {
    /// Bytes of all records that are not collected yet; what the quota is compared with.
    pub logical: u64,
    /// Bytes of those that are in use: history, too, until it is collected.
    pub in_use: u64,
}

/// The size that is told of a store with next to nothing in it: one block of a file. Tools divide
/// by it.
const TOLD_BYTES_MIN: u64 = 4096;

impl StorageBytes {
    /// As operators are told.
    pub(crate) fn told(self) -> Self {
        Self {
            logical: self.logical.max(TOLD_BYTES_MIN),
            in_use: self.in_use.max(TOLD_BYTES_MIN),
        }
    }
}

/// Everything the services need of the node.
#[tonic::async_trait]
pub trait Replica: Send + Sync + 'static {
    /// Who this node is.
    fn identity(&self) -> &Identity;

    /// The node's view at this moment.
    fn status(&self) -> Status;

    /// The present state. A read takes one snapshot of it and stays with that.
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

    /// How old the state here is at most: the time since it was last known to hold everything
    /// that was acknowledged anywhere. `None` when that was never known.
    fn staleness(&self) -> Option<Duration>;

    /// How long ago a leader was last known to lead, this node itself included.
    fn leaderless_for(&self) -> Duration;

    /// Lets this node find out how fresh its state is, in the background. Costs little when it was
    /// asked a moment ago.
    fn freshen(&self);

    /// Resolves when the state here is of `revision` or a later one.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    async fn reached(&self, revision: Revision);

    /// This node's estimate of cluster time; never ahead of the leader's.
    fn cluster_time(&self) -> ClusterTime;

    /// Hands leadership to `target` and waits until it leads.
    ///
    /// # Errors
    /// When this node does not lead, or `target` cannot or does not take over.
    async fn transfer_leader(&self, target: MemberId) -> Result<(), TransferError>;

    /// Who leads, and every change of it.
    fn leadership(&self) -> watch::Receiver<Leadership>;

    /// The places of leases in the order of granting, of those that this node remembers.
    fn grant_places(&self) -> HashMap<LeaseId, u64>;

    /// Resolves when background collection has passed `floor`.
    async fn collected(&self, floor: Revision);

    /// Starts to compact the files of the store, in the background.
    fn compact_storage(&self);

    /// How large the store is.
    fn storage_bytes(&self) -> StorageBytes;
}

impl fmt::Debug for dyn Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Replica({})", self.identity().member_id)
    }
}
