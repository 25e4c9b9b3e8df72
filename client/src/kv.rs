//! Requests to read, write and delete keys: one builder each, sent when it is awaited.
//!
//! A builder made by a [`Client`] or a [`Namespace`](crate::Namespace) can be sent; one made with
//! `new` describes an operation of a [`Txn`](crate::Txn). Both take the same options.

use std::{future::IntoFuture, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use tenure_proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, kv_client::KvClient, range_request,
};

use crate::{
    call::{Call, rpc},
    client::Client,
    conditions::{Conditions, impl_conditions},
    freshness::{Freshness, impl_at_least_revision},
    id::{LeaseId, Revision},
    prefix::Prefix,
    range::{IntoBytes, KeyRange},
    response::{DeleteResponse, GetResponse, PutResponse},
};

/// The order of the keys in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortOrder {
    /// From the smallest to the largest.
    Ascending,
    /// From the largest to the smallest.
    Descending,
}

/// The attribute that the keys of an answer are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortTarget {
    /// By key.
    Key,
    /// By the number of writes since the creation of the key.
    Version,
    /// By the revision of the creation.
    CreateRevision,
    /// By the revision of the last write.
    ModRevision,
    /// By value, in byte order.
    Value,
}

/// Request to read keys. Made by [`Client::get`], [`Namespace::get`](crate::Namespace::get) or
/// [`Get::new`].
#[derive(Debug, Clone)]
#[must_use = "a request is sent when it is awaited"]
pub struct Get<C = ()> {
    pub(crate) client: C,
    pub(crate) prefix: Prefix,
    pub(crate) request: RangeRequest,
    pub(crate) timeout: Option<Duration>,
    pub(crate) freshness: Freshness,
}

impl_at_least_revision!(Get<Client>);

impl Get<Client> {
    /// As [`serializable`](Self::serializable), but fails with
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the state of every endpoint may be older
    /// than `age`. Needs a tenure server.
    pub fn max_staleness(mut self, age: Duration) -> Self {
        self.freshness.lower_staleness(age);
        self.serializable()
    }
}

impl Get {
    /// A read operation of a transaction.
    pub fn new(range: impl Into<KeyRange>) -> Self {
        Self::of((), range.into())
    }
}

impl<C> Get<C> {
    pub(crate) fn of(client: C, range: KeyRange) -> Self {
        let (key, range_end) = range.into_parts();
        let request = RangeRequest {
            key,
            range_end,
            ..RangeRequest::default()
        };
        Self {
            client,
            prefix: Prefix::default(),
            request,
            timeout: None,
            freshness: Freshness::default(),
        }
    }

    /// Returns at most this many keys; zero for no limit. [`GetResponse::more`] tells whether there
    /// are more.
    pub fn limit(mut self, keys_max: u32) -> Self {
        self.request.limit = i64::from(keys_max);
        self
    }

    /// Reads the store as it was at `revision`.
    pub fn revision(mut self, revision: impl Into<Revision>) -> Self {
        self.request.revision = revision.into().get();
        self
    }

    /// Sorts the returned keys; by key, ascending, unless set.
    pub fn sort(mut self, target: SortTarget, order: SortOrder) -> Self {
        let target = match target {
            SortTarget::Key => range_request::SortTarget::Key,
            SortTarget::Version => range_request::SortTarget::Version,
            SortTarget::CreateRevision => range_request::SortTarget::Create,
            SortTarget::ModRevision => range_request::SortTarget::Mod,
            SortTarget::Value => range_request::SortTarget::Value,
        };
        let order = match order {
            SortOrder::Ascending => range_request::SortOrder::Ascend,
            SortOrder::Descending => range_request::SortOrder::Descend,
        };
        self.request.set_sort_target(target);
        self.request.set_sort_order(order);
        self
    }

    /// Serializable read: answers from the local state of the server, which may be stale, without
    /// confirming it with the quorum.
    pub fn serializable(mut self) -> Self {
        self.request.serializable = true;
        self
    }

    /// Returns keys without their values.
    pub fn keys_only(mut self) -> Self {
        self.request.keys_only = true;
        self
    }

    /// Returns only the number of keys.
    pub fn count_only(mut self) -> Self {
        self.request.count_only = true;
        self
    }

    /// Leaves out keys last written before this revision.
    pub fn min_mod_revision(mut self, revision: impl Into<Revision>) -> Self {
        self.request.min_mod_revision = revision.into().get();
        self
    }

    /// Leaves out keys last written after this revision.
    pub fn max_mod_revision(mut self, revision: impl Into<Revision>) -> Self {
        self.request.max_mod_revision = revision.into().get();
        self
    }

    /// Leaves out keys created before this revision.
    pub fn min_create_revision(mut self, revision: impl Into<Revision>) -> Self {
        self.request.min_create_revision = revision.into().get();
        self
    }

    /// Leaves out keys created after this revision.
    pub fn max_create_revision(mut self, revision: impl Into<Revision>) -> Self {
        self.request.max_create_revision = revision.into().get();
        self
    }
}

/// Request to write a key. Made by [`Client::put`], [`Namespace::put`](crate::Namespace::put) or
/// [`Put::new`].
#[derive(Debug, Clone)]
#[must_use = "a request is sent when it is awaited"]
pub struct Put<C = ()> {
    client: C,
    prefix: Prefix,
    pub(crate) request: PutRequest,
    timeout: Option<Duration>,
    conditions: Conditions,
}

impl_conditions!(Put<Client>);

impl Put {
    /// A write operation of a transaction.
    pub fn new(key: impl IntoBytes, value: impl IntoBytes) -> Self {
        Self::of((), key.into_bytes(), value.into_bytes())
    }
}

impl<C> Put<C> {
    pub(crate) fn of(client: C, key: Bytes, value: Bytes) -> Self {
        let request = PutRequest {
            key,
            value,
            ..PutRequest::default()
        };
        Self {
            client,
            prefix: Prefix::default(),
            request,
            timeout: None,
            conditions: Conditions::default(),
        }
    }

    /// Attaches the key to a lease: it is deleted when the lease ends. Unless set, the write
    /// detaches the key from its lease.
    pub fn lease(mut self, lease: LeaseId) -> Self {
        self.request.lease = lease.get();
        self
    }

    /// Returns the previous value and revisions of the key.
    pub fn prev_kv(mut self) -> Self {
        self.request.prev_kv = true;
        self
    }

    /// Keeps the current value and ignores the one given; fails when the key does not exist.
    pub fn ignore_value(mut self) -> Self {
        self.request.ignore_value = true;
        self.request.value = Bytes::new();
        self
    }

    /// Keeps the current lease; fails when the key does not exist.
    pub fn ignore_lease(mut self) -> Self {
        self.request.ignore_lease = true;
        self
    }
}

/// Request to delete keys. Made by [`Client::delete`],
/// [`Namespace::delete`](crate::Namespace::delete) or [`Delete::new`].
#[derive(Debug, Clone)]
#[must_use = "a request is sent when it is awaited"]
pub struct Delete<C = ()> {
    client: C,
    prefix: Prefix,
    pub(crate) request: DeleteRangeRequest,
    timeout: Option<Duration>,
    conditions: Conditions,
}

impl_conditions!(Delete<Client>);

impl Delete {
    /// A delete operation of a transaction.
    pub fn new(range: impl Into<KeyRange>) -> Self {
        Self::of((), range.into())
    }
}

impl<C> Delete<C> {
    pub(crate) fn of(client: C, range: KeyRange) -> Self {
        let (key, range_end) = range.into_parts();
        let request = DeleteRangeRequest {
            key,
            range_end,
            prev_kv: false,
        };
        Self {
            client,
            prefix: Prefix::default(),
            request,
            timeout: None,
            conditions: Conditions::default(),
        }
    }

    /// Returns the deleted keys with their values.
    pub fn prev_kv(mut self) -> Self {
        self.request.prev_kv = true;
        self
    }
}

impl Client {
    /// Reads one key, or a [`KeyRange`].
    ///
    /// # Errors
    /// When awaited: [`Compacted`](crate::ErrorKind::Compacted) or
    /// [`FutureRevision`](crate::ErrorKind::FutureRevision) for a revision that cannot be read, and
    /// the errors common to all calls.
    ///
    /// # Cancel safety
    /// Cancel safe: the call only reads.
    pub fn get(&self, range: impl Into<KeyRange>) -> Get<Self> {
        Get::of(self.clone(), range.into())
    }

    /// Writes one key.
    ///
    /// # Errors
    /// When awaited: [`NotFound`](crate::ErrorKind::NotFound) for an unknown lease,
    /// [`NoSpace`](crate::ErrorKind::NoSpace) at the quota, and the errors common to all calls.
    /// [`Error::outcome_unknown`](crate::Error::outcome_unknown) tells whether the write may have
    /// been executed.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the write is executed.
    pub fn put(&self, key: impl IntoBytes, value: impl IntoBytes) -> Put<Self> {
        Put::of(self.clone(), key.into_bytes(), value.into_bytes())
    }

    /// Deletes one key, or a [`KeyRange`].
    ///
    /// # Errors
    /// When awaited: the errors common to all calls.
    /// [`Error::outcome_unknown`](crate::Error::outcome_unknown) tells whether the deletion may
    /// have been executed.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the deletion is executed.
    pub fn delete(&self, range: impl Into<KeyRange>) -> Delete<Self> {
        Delete::of(self.clone(), range.into())
    }
}

/// Implements deadline, namespace and sending for a request builder.
macro_rules! impl_request {
    ($request:ident, $method:ident, $response:ident) => {
        impl<C> $request<C> {
            /// Deadline of this call, in place of the client's.
            pub fn timeout(mut self, timeout: Duration) -> Self {
                self.timeout = Some(timeout);
                self
            }

            /// Names keys relative to `prefix`.
            pub(crate) fn within(mut self, prefix: $crate::prefix::Prefix) -> Self {
                self.prefix = prefix;
                self
            }
        }

        impl IntoFuture for $request<Client> {
            type Output = Result<$response, $crate::Error>;
            type IntoFuture = BoxFuture<'static, Self::Output>;

            fn into_future(self) -> Self::IntoFuture {
                Box::pin(async move {
                    let call = self.call();
                    let (client, prefix, mut request) = (self.client, self.prefix, self.request);
                    prefix.add_to(&mut request)?;
                    let mut message = rpc!(client, call, KvClient.$method(request)).await?;
                    prefix.strip_from(&mut message);
                    Ok($response::of(message))
                })
            }
        }
    };
}
pub(crate) use impl_request;

impl Get<Client> {
    fn call(&self) -> Call {
        Call::read(self.timeout).with_freshness(self.freshness)
    }
}

impl Put<Client> {
    fn call(&self) -> Call {
        Call::conditional(self.timeout, self.conditions.clone())
    }
}

impl Delete<Client> {
    fn call(&self) -> Call {
        Call::conditional(self.timeout, self.conditions.clone())
    }
}

impl_request!(Get, range, GetResponse);
impl_request!(Put, put, PutResponse);
impl_request!(Delete, delete_range, DeleteResponse);
