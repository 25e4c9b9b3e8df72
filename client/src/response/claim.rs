//! Claims on locks and elections, and the responses that contain them.

use std::{fmt, time::Duration};

use bytes::Bytes;
use tenure_proto::v1::{
    self, CheckTokenResponse, ForceReleaseResponse, InspectResponse, ListResponse, mode::Kind,
};

use super::{Header, List, impl_header, impl_iter};
use crate::id::{LeaseId, Token};

/// A claim on a lock or an election, granted or waiting.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Claim(v1::Claim);

/// The mode of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClaimMode {
    /// Exclusive: the only holder of the lock.
    Exclusive,
    /// Shared with other shared claims.
    Shared,
    /// Permits of a semaphore.
    Permits {
        /// The permits of this claim.
        count: u32,
        /// All permits of the semaphore.
        limit: u32,
    },
}

impl Claim {
    pub(crate) fn of(message: v1::Claim) -> Self {
        Self(message)
    }

    pub(super) fn list_of(messages: Vec<v1::Claim>) -> Vec<Self> {
        messages.into_iter().map(Self).collect()
    }

    /// The lock or the election.
    #[must_use]
    pub fn name(&self) -> &Bytes {
        &self.0.name
    }

    /// The key of the claim.
    #[must_use]
    pub fn key(&self) -> &Bytes {
        &self.0.key
    }

    /// The lease of the claim.
    #[must_use]
    pub fn lease(&self) -> LeaseId {
        LeaseId::new(self.0.lease)
    }

    /// The fencing token; of a leader, its epoch.
    #[must_use]
    pub fn token(&self) -> Token {
        Token::new(self.0.token)
    }

    /// The mode of the claim.
    #[must_use]
    pub fn mode(&self) -> ClaimMode {
        match self.0.mode.as_ref().and_then(|mode| mode.kind.as_ref()) {
            None | Some(Kind::Exclusive(_)) => ClaimMode::Exclusive,
            Some(Kind::Shared(_)) => ClaimMode::Shared,
            Some(Kind::Permits(permits)) => ClaimMode::Permits {
                count: permits.count,
                limit: permits.limit,
            },
        }
    }

    /// Whether it is granted; otherwise it waits.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.0.held
    }

    /// Time since it was granted or started to wait, in milliseconds of cluster time.
    #[must_use]
    pub fn since(&self) -> Duration {
        Duration::from_millis(self.0.since_ms)
    }

    /// The name given by the claimant; empty when it gave none.
    #[must_use]
    pub fn principal(&self) -> &str {
        &self.0.principal
    }

    /// The value of the key; for an election, what the candidate proclaims.
    #[must_use]
    pub fn value(&self) -> &Bytes {
        &self.0.value
    }

    /// Number of claims ahead of this one; zero for a granted one. Capped at a thousand, except by
    /// [`Locks::inspect`](crate::Locks::inspect).
    #[must_use]
    pub fn position(&self) -> u32 {
        self.0.position
    }

    /// Converts into the generated protobuf message.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> v1::Claim {
        self.0
    }

    #[cfg(feature = "wire")]
    pub(super) fn list_into_wire(list: Vec<Self>) -> Vec<v1::Claim> {
        list.into_iter().map(Self::into_wire).collect()
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim")
            .field("name", self.name())
            .field("key", self.key())
            .field("lease", &self.lease())
            .field("token", &self.token())
            .field("mode", &self.mode())
            .field("held", &self.is_held())
            .field("since", &self.since())
            .field("principal", &self.principal())
            .field("value", self.value())
            .field("position", &self.position())
            .finish()
    }
}

/// The result of a token check. Made by [`Locks::check_token`](crate::Locks::check_token).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenCheck {
    header: Option<Header>,
    valid: bool,
    current_token: i64,
    holder: Option<Claim>,
    remaining_ms: u64,
}

impl TokenCheck {
    pub(crate) fn of(message: CheckTokenResponse) -> Self {
        Self {
            header: Header::of_tenure(message.header),
            valid: message.valid,
            current_token: message.current_token,
            holder: message.holder.map(Claim::of),
            remaining_ms: message.remaining_ms,
        }
    }

    /// Whether the token held the lock when the answer was made.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.valid
    }

    /// The first token that holds the lock, if any does.
    #[must_use]
    pub fn current_token(&self) -> Option<Token> {
        (self.current_token != 0).then(|| Token::new(self.current_token))
    }

    /// The claim of that token.
    #[must_use]
    pub fn holder(&self) -> Option<&Claim> {
        self.holder.as_ref()
    }

    /// The remaining time of the holder's lease unless it is renewed.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        Duration::from_millis(self.remaining_ms)
    }

    /// Converts into the generated protobuf message.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> CheckTokenResponse {
        CheckTokenResponse {
            header: self.header.map(Header::into_tenure_wire),
            valid: self.valid,
            current_token: self.current_token,
            holder: self.holder.map(Claim::into_wire),
            remaining_ms: self.remaining_ms,
        }
    }
}

/// The queue of a lock or an election: its holders and waiters. Made by
/// [`Locks::inspect`](crate::Locks::inspect).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockQueue {
    header: Option<Header>,
    holders: Vec<Claim>,
    waiters: Vec<Claim>,
    waiting: u32,
    delay_ms: u64,
}

impl LockQueue {
    pub(crate) fn of(message: InspectResponse) -> Self {
        Self {
            header: Header::of_tenure(message.header),
            holders: Claim::list_of(message.holders),
            waiters: Claim::list_of(message.waiters),
            waiting: message.waiting,
            delay_ms: message.delay_ms,
        }
    }

    /// The granted claims; several for shared claims and permits.
    #[must_use]
    pub fn holders(&self) -> &[Claim] {
        &self.holders
    }

    /// The granted claims, by value.
    #[must_use]
    pub fn into_holders(self) -> Vec<Claim> {
        self.holders
    }

    /// The first waiting claims, in the order of the queue, up to the limit of the request.
    #[must_use]
    pub fn waiters(&self) -> &[Claim] {
        &self.waiters
    }

    /// Number of all waiting claims.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.waiting
    }

    /// Remaining lock delay after the loss of the last holder, see
    /// [`LockRequest::lock_delay`](crate::LockRequest::lock_delay).
    #[must_use]
    pub fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms)
    }

    /// Converts into the generated protobuf message.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> InspectResponse {
        InspectResponse {
            header: self.header.map(Header::into_tenure_wire),
            holders: Claim::list_into_wire(self.holders),
            waiters: Claim::list_into_wire(self.waiters),
            waiting: self.waiting,
            delay_ms: self.delay_ms,
        }
    }
}

/// Locks and elections that have claims. Made by [`Locks::list`](crate::Locks::list).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockList {
    header: Option<Header>,
    claims: Vec<Claim>,
    more: bool,
}

impl LockList {
    pub(crate) fn of(message: ListResponse) -> Self {
        Self {
            header: Header::of_tenure(message.header),
            claims: Claim::list_of(message.claims),
            more: message.more,
        }
    }

    /// One claim of each lock: a granted one, or else the first waiting one.
    #[must_use]
    pub fn claims(&self) -> &[Claim] {
        &self.claims
    }

    /// Whether there are more locks than the limit of the request.
    #[must_use]
    pub fn more(&self) -> bool {
        self.more
    }

    /// Converts into the generated protobuf message.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> ListResponse {
        ListResponse {
            header: self.header.map(Header::into_tenure_wire),
            claims: Claim::list_into_wire(self.claims),
            more: self.more,
        }
    }
}

impl_iter! {
    /// Iterates over the claims.
    LockList.claims: Claim
}

impl List<Claim> {
    pub(crate) fn released(message: ForceReleaseResponse) -> Self {
        let header = Header::of_tenure(message.header);
        Self::of(header, Claim::list_of(message.released))
    }

    /// Converts into the generated message of a forced release.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> ForceReleaseResponse {
        let (header, released) = self.into_messages(Header::into_tenure_wire, Claim::into_wire);
        ForceReleaseResponse { header, released }
    }
}

impl_header!(TokenCheck, LockQueue, LockList);
