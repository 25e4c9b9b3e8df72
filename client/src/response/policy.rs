//! Fence policies as the server keeps them.

use bytes::Bytes;
use tenure_proto::v1::{ListPoliciesResponse, Policy};

use super::{Header, headed};

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

/// All fence policies, by prefix. Made by
/// [`FencePolicies::list`](crate::fence::FencePolicies::list).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FencePolicyList {
    header: Option<Header>,
    policies: Vec<FencePolicy>,
}

impl FencePolicyList {
    pub(crate) fn of(message: ListPoliciesResponse) -> Self {
        Self {
            header: Header::of_tenure(message.header),
            policies: message.policies.into_iter().map(FencePolicy).collect(),
        }
    }

    /// The policies.
    #[must_use]
    pub fn policies(&self) -> &[FencePolicy] {
        &self.policies
    }

    /// The message of the wire.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> ListPoliciesResponse {
        let policies = self.policies.into_iter();
        ListPoliciesResponse {
            header: self.header.map(Header::into_tenure_wire),
            policies: policies.map(FencePolicy::into_wire).collect(),
        }
    }
}

headed!(FencePolicyList);
