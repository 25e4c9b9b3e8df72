//! Locks that several may hold at once: shared and counted ones.

use bytes::Bytes;
use tenure_proto::v1::{Mode, Permits, mode::Kind};

use super::request::LockRequest;
use crate::client::Client;

/// A lock that is held by several readers or by one writer. Made by [`Client::rw_lock`].
///
/// First come, first served: readers that come after a writer wait for it, so no writer starves.
#[derive(Debug, Clone)]
pub struct RwLock {
    client: Client,
    name: Bytes,
}

impl RwLock {
    pub(super) fn new(client: Client, name: Bytes) -> Self {
        Self { client, name }
    }

    /// Asks for the lock together with other readers.
    pub fn read(&self) -> LockRequest {
        self.request(Kind::Shared(true))
    }

    /// Asks for the lock alone.
    pub fn write(&self) -> LockRequest {
        self.request(Kind::Exclusive(true))
    }

    fn request(&self, kind: Kind) -> LockRequest {
        let mode = Mode { kind: Some(kind) };
        LockRequest::new(self.client.clone(), vec![self.name.clone()], mode)
    }
}

/// A number of permits. Made by [`Client::semaphore`].
#[derive(Debug, Clone)]
pub struct Semaphore {
    client: Client,
    name: Bytes,
    limit: u32,
}

impl Semaphore {
    pub(super) fn new(client: Client, name: Bytes, limit: u32) -> Self {
        Self {
            client,
            name,
            limit,
        }
    }

    /// Asks for `count` permits at once. First come, first served: who asks for few waits behind
    /// who asks for many, so nobody starves.
    pub fn acquire(&self, count: u32) -> LockRequest {
        let permits = Permits {
            count,
            limit: self.limit,
        };
        let mode = Mode {
            kind: Some(Kind::Permits(permits)),
        };
        LockRequest::new(self.client.clone(), vec![self.name.clone()], mode)
    }
}
