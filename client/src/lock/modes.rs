//! Locks with several holders: read-write locks and semaphores.

use bytes::Bytes;
use tenure_proto::v1::{Mode, Permits, mode::Kind};

use super::request::LockRequest;
use crate::client::Client;

/// A lock that is held by several readers or by one writer. Made by
/// [`Locks::rw_lock`](crate::Locks::rw_lock).
///
/// First come, first served: later readers wait behind a waiting writer, so writers do not starve.
#[derive(Debug, Clone)]
pub struct RwLock {
    client: Client,
    name: Bytes,
}

impl RwLock {
    pub(crate) fn new(client: Client, name: Bytes) -> Self {
        Self { client, name }
    }

    /// Requests the lock for reading, shared with other readers.
    pub fn read(&self) -> LockRequest {
        self.request(Kind::Shared(true))
    }

    /// Requests the lock for writing, exclusively.
    pub fn write(&self) -> LockRequest {
        self.request(Kind::Exclusive(true))
    }

    fn request(&self, kind: Kind) -> LockRequest {
        let mode = Mode { kind: Some(kind) };
        LockRequest::new(self.client.clone(), vec![self.name.clone()], mode)
    }
}

/// A semaphore. Made by [`Locks::semaphore`](crate::Locks::semaphore).
#[derive(Debug, Clone)]
pub struct Semaphore {
    client: Client,
    name: Bytes,
    limit: u32,
}

impl Semaphore {
    pub(crate) fn new(client: Client, name: Bytes, limit: u32) -> Self {
        Self {
            client,
            name,
            limit,
        }
    }

    /// Requests `count` permits at once. First come, first served: a request for few permits waits
    /// behind an earlier one for many, so none starves.
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
