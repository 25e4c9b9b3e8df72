//! Reading and writing keys: one builder per request, sent when it is awaited.
//!
//! A builder made by [`Client`] knows where to go; one made with `new` is a description only, for
//! use inside a [`Txn`](crate::Txn). Both take the same options.

use std::{future::IntoFuture, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use tenure_proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, kv_client::KvClient, range_request,
};

use crate::{
    call::{Call, ask},
    client::Client,
    conditions::{Conditions, conditional},
    freshness::{Freshness, at_least},
    id::{LeaseId, Revision},
    prefix::Prefix,
    range::{IntoBytes, KeyRange},
    response::{DeleteResponse, GetResponse, PutResponse},
};

/// The order of the keys in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortOrder {
    /// Smallest first.
    Ascending,
    /// Largest first.
    Descending,
}

/// What the keys of an answer are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortTarget {
    /// The key.
    Key,
    /// The number of writes since the key was created.
    Version,
    /// The revision of creation.
    CreateRevision,
    /// The revision of the last write.
    ModRevision,
    /// The value.
    Value,
}

/// Reads keys. Made by [`Client::get`], [`Namespace::get`](crate::Namespace::get) or [`Get::new`].
#[derive(Debug, Clone)]
#[must_use = "a request is sent when it is awaited"]
pub struct Get<C = ()> {
    pub(crate) client: C,
    pub(crate) prefix: Prefix,
    pub(crate) request: RangeRequest,
    pub(crate) timeout: Option<Duration>,
    pub(crate) freshness: Freshness,
}

at_least!(Get<Client>);

impl Get<Client> {
    /// As [`serializable`](Self::serializable), but refuses when the state of the server may be
    /// older than this: [`Unavailable`](crate::ErrorKind::Unavailable) when that is so at every
    /// endpoint. Needs a tenure server.
    pub fn max_staleness(mut self, age: Duration) -> Self {
        self.freshness.lower_staleness(age);
        self.serializable()
    }
}

impl Get {
    /// A description of a read, for a transaction.
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

    /// Returns at most this many keys; zero for all. The answer says whether there are `more`.
    pub fn limit(mut self, keys_max: u32) -> Self {
        self.request.limit = i64::from(keys_max);
        self
    }

    /// Reads the store as it was at `revision`.
    pub fn revision(mut self, revision: impl Into<Revision>) -> Self {
        self.request.revision = revision.into().get();
        self
    }

    /// Sorts the answer.
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

    /// Answers from the state of the server that is asked, which may be behind, instead of making
    /// sure that it is the latest.
    pub fn serializable(mut self) -> Self {
        self.request.serializable = true;
        self
    }

    /// Leaves the values out.
    pub fn keys_only(mut self) -> Self {
        self.request.keys_only = true;
        self
    }

    /// Returns the number of keys and nothing else.
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

/// Writes a key. Made by [`Client::put`], [`Namespace::put`](crate::Namespace::put) or [`Put::new`].
#[derive(Debug, Clone)]
#[must_use = "a request is sent when it is awaited"]
pub struct Put<C = ()> {
    client: C,
    prefix: Prefix,
    pub(crate) request: PutRequest,
    timeout: Option<Duration>,
    conditions: Conditions,
}

conditional!(Put<Client>);

impl Put {
    /// A description of a write, for a transaction.
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

    /// Attaches the key to a lease: it is deleted when the lease ends. Without this, a key that was
    /// attached is detached.
    pub fn lease(mut self, lease: LeaseId) -> Self {
        self.request.lease = lease.get();
        self
    }

    /// Returns what the key held before.
    pub fn prev_kv(mut self) -> Self {
        self.request.prev_kv = true;
        self
    }

    /// Keeps the value as it is and drops the one given; fails when the key does not exist.
    pub fn ignore_value(mut self) -> Self {
        self.request.ignore_value = true;
        self.request.value = Bytes::new();
        self
    }

    /// Keeps the lease as it is; fails when the key does not exist.
    pub fn ignore_lease(mut self) -> Self {
        self.request.ignore_lease = true;
        self
    }
}

/// Deletes keys. Made by [`Client::delete`], [`Namespace::delete`](crate::Namespace::delete) or
/// [`Delete::new`].
#[derive(Debug, Clone)]
#[must_use = "a request is sent when it is awaited"]
pub struct Delete<C = ()> {
    client: C,
    prefix: Prefix,
    pub(crate) request: DeleteRangeRequest,
    timeout: Option<Duration>,
    conditions: Conditions,
}

conditional!(Delete<Client>);

impl Delete {
    /// A description of a deletion, for a transaction.
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

    /// Returns what the deleted keys held.
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
    /// [`FutureRevision`](crate::ErrorKind::FutureRevision) for a revision out of reach, and
    /// whatever any call can meet.
    ///
    /// # Cancel safety
    /// Reads change nothing; drop the future at will.
    pub fn get(&self, range: impl Into<KeyRange>) -> Get<Self> {
        Get::of(self.clone(), range.into())
    }

    /// Writes one key.
    ///
    /// # Errors
    /// When awaited: [`NotFound`](crate::ErrorKind::NotFound) for an unknown lease,
    /// [`NoSpace`](crate::ErrorKind::NoSpace) at the quota, and whatever any call can meet.
    /// [`Error::outcome_unknown`](crate::Error::outcome_unknown) tells whether the write may have
    /// happened in spite of it.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the write happens.
    pub fn put(&self, key: impl IntoBytes, value: impl IntoBytes) -> Put<Self> {
        Put::of(self.clone(), key.into_bytes(), value.into_bytes())
    }

    /// Deletes one key, or a [`KeyRange`].
    ///
    /// # Errors
    /// When awaited: whatever any call can meet.
    /// [`Error::outcome_unknown`](crate::Error::outcome_unknown) tells whether the deletion may
    /// have happened in spite of it.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the deletion happens.
    pub fn delete(&self, range: impl Into<KeyRange>) -> Delete<Self> {
        Delete::of(self.clone(), range.into())
    }
}

/// Lets a request carry its own deadline, belong to a namespace, and be sent when it is awaited.
macro_rules! sent {
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
                    let mut message = ask!(client, call, KvClient.$method(request)).await?;
                    prefix.strip_from(&mut message);
                    Ok($response::of(message))
                })
            }
        }
    };
}
pub(crate) use sent;

impl Get<Client> {
    fn call(&self) -> Call {
        Call::read(self.timeout).fresh(self.freshness)
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

sent!(Get, range, GetResponse);
sent!(Put, put, PutResponse);
sent!(Delete, delete_range, DeleteResponse);
