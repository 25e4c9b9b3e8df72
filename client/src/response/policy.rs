//! Fence policies as the server keeps them.

use bytes::Bytes;
use tenure_proto::v1::{ListPoliciesResponse, Policy};

use super::{Header, List};

/// A prefix below which only the holder of a lock writes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FencePolicy(Policy);

impl FencePolicy {
    /// The keys that are fenced: those that begin with this.
    #[must_use]
    pub fn prefix(&self) -> &Bytes {
        &self.0.prefix
    }

    /// The lock or the election whose holder writes them.
    #[must_use]
    pub fn lock(&self) -> &Bytes {
        &self.0.lock
    }

    /// The message of the wire.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> Policy {
        self.0
    }
}

impl List<FencePolicy> {
    pub(crate) fn policies(message: ListPoliciesResponse) -> Self {
        let policies = message.policies.into_iter().map(FencePolicy);
        Self::of(Header::of_tenure(message.header), policies.collect())
    }

    /// The message of the wire.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> ListPoliciesResponse {
        let (header, policies) =
            self.into_messages(Header::into_tenure_wire, FencePolicy::into_wire);
        ListPoliciesResponse { header, policies }
    }
}
