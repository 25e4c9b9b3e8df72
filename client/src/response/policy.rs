//! Fence policies.

use bytes::Bytes;
use tenure_proto::v1::{ListPoliciesResponse, Policy};

use super::{Header, List};

/// A fence policy: only the holder of a lock can write below a prefix.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FencePolicy(Policy);

impl FencePolicy {
    /// The prefix of the fenced keys.
    #[must_use]
    pub fn prefix(&self) -> &Bytes {
        &self.0.prefix
    }

    /// The lock or election whose guard is required.
    #[must_use]
    pub fn lock(&self) -> &Bytes {
        &self.0.lock
    }

    /// Converts into the generated protobuf message.
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

    /// Converts into the generated protobuf message.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> ListPoliciesResponse {
        let (header, policies) =
            self.into_messages(Header::into_tenure_wire, FencePolicy::into_wire);
        ListPoliciesResponse { header, policies }
    }
}
