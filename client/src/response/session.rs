//! The response to the inspection of a session.

use std::time::Duration;

use tenure_proto::v1::InspectSessionResponse;

use super::{Claim, Header, impl_header};

/// The state of a session. Made by [`Sessions::inspect`](crate::Sessions::inspect).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionState {
    header: Option<Header>,
    ttl_ms: u64,
    remaining_ms: u64,
    remembered: u32,
    forgotten: u64,
    claims: Vec<Claim>,
}

impl SessionState {
    pub(crate) fn of(message: InspectSessionResponse) -> Self {
        Self {
            header: Header::of_tenure(message.header),
            ttl_ms: message.ttl_ms,
            remaining_ms: message.remaining_ms,
            remembered: message.remembered,
            forgotten: message.forgotten,
            claims: Claim::list_of(message.claims),
        }
    }

    /// The TTL of the session.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl_ms)
    }

    /// The remaining time unless the session is renewed.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        Duration::from_millis(self.remaining_ms)
    }

    /// Number of write outcomes that the server remembers for the session.
    #[must_use]
    pub fn remembered(&self) -> u32 {
        self.remembered
    }

    /// The sequence number of the last write whose outcome the server has forgotten.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// The claims of the session.
    #[must_use]
    pub fn claims(&self) -> &[Claim] {
        &self.claims
    }

    /// Converts into the generated protobuf message.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> InspectSessionResponse {
        InspectSessionResponse {
            header: self.header.map(Header::into_tenure_wire),
            ttl_ms: self.ttl_ms,
            remaining_ms: self.remaining_ms,
            remembered: self.remembered,
            forgotten: self.forgotten,
            claims: Claim::list_into_wire(self.claims),
        }
    }
}

impl_header!(SessionState);
