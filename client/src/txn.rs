//! Transactions: compare keys, then apply one of two lists of operations, all in one revision.
//!
//! The server evaluates the comparisons and applies the operations.

use std::{future::IntoFuture, time::Duration};

use futures::future::BoxFuture;
use tenure_proto::etcdserverpb::{
    Compare as WireCompare, RequestOp, TxnRequest,
    compare::{CompareResult, CompareTarget, TargetUnion},
    kv_client::KvClient,
    request_op::Request,
};

use crate::{
    call::{Call, rpc},
    client::Client,
    conditions::{Conditions, impl_conditions},
    freshness::{Freshness, impl_at_least_revision},
    id::{LeaseId, Revision},
    kv::{Delete, Get, Put, impl_request},
    prefix::Prefix,
    range::{IntoBytes, KeyRange},
    response::TxnResponse,
};

/// The relation of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// The stored value equals the given one.
    Equal,
    /// The stored value differs from the given one.
    NotEqual,
    /// The stored value is greater than the given one.
    Greater,
    /// The stored value is less than the given one.
    Less,
}

/// A comparison of a [`Txn`].
///
/// A key that does not exist has version, revisions and lease zero, and no value: comparing its
/// value is false for every relation.
#[derive(Debug, Clone, PartialEq)]
pub struct Compare(WireCompare);

impl Compare {
    /// Compares the number of writes since the key was created; zero when it does not exist.
    #[must_use]
    pub fn version(range: impl Into<KeyRange>, relation: Relation, version: i64) -> Self {
        Self::of(
            range,
            relation,
            CompareTarget::Version,
            TargetUnion::Version(version),
        )
    }

    /// Compares the revision at which the key was created; zero when it does not exist.
    #[must_use]
    pub fn create_revision(
        range: impl Into<KeyRange>,
        relation: Relation,
        revision: impl Into<Revision>,
    ) -> Self {
        let given = TargetUnion::CreateRevision(revision.into().get());
        Self::of(range, relation, CompareTarget::Create, given)
    }

    /// Compares the revision of the last write; zero when the key does not exist.
    #[must_use]
    pub fn mod_revision(
        range: impl Into<KeyRange>,
        relation: Relation,
        revision: impl Into<Revision>,
    ) -> Self {
        let given = TargetUnion::ModRevision(revision.into().get());
        Self::of(range, relation, CompareTarget::Mod, given)
    }

    /// Compares the value, in byte order.
    #[must_use]
    pub fn value(range: impl Into<KeyRange>, relation: Relation, value: impl IntoBytes) -> Self {
        let given = TargetUnion::Value(value.into_bytes());
        Self::of(range, relation, CompareTarget::Value, given)
    }

    /// Compares the lease of the key; [`LeaseId::NONE`] when it has none.
    #[must_use]
    pub fn lease(range: impl Into<KeyRange>, relation: Relation, lease: LeaseId) -> Self {
        let given = TargetUnion::Lease(lease.get());
        Self::of(range, relation, CompareTarget::Lease, given)
    }

    /// Requires that the key exists.
    #[must_use]
    pub fn exists(key: impl IntoBytes) -> Self {
        Self::version(KeyRange::key(key), Relation::Greater, 0)
    }

    /// Requires that the key does not exist.
    #[must_use]
    pub fn missing(key: impl IntoBytes) -> Self {
        Self::version(KeyRange::key(key), Relation::Equal, 0)
    }

    fn of(
        range: impl Into<KeyRange>,
        relation: Relation,
        target: CompareTarget,
        given: TargetUnion,
    ) -> Self {
        let (key, range_end) = range.into().into_parts();
        let result = match relation {
            Relation::Equal => CompareResult::Equal,
            Relation::NotEqual => CompareResult::NotEqual,
            Relation::Greater => CompareResult::Greater,
            Relation::Less => CompareResult::Less,
        };
        Self(WireCompare {
            result: result.into(),
            target: target.into(),
            key,
            range_end,
            target_union: Some(given),
        })
    }
}

/// One operation of a [`Txn`]: a [`Get`], [`Put`], [`Delete`] or another [`Txn`].
///
/// Operations are made with `new`, and name keys as the transaction does. A request of a client or
/// of a namespace is sent by itself and is no operation, because its keys may lie below another
/// prefix than those of the transaction:
///
/// ```compile_fail,E0277
/// # fn example(client: tenure::Client) {
/// let billing = client.namespace("billing/");
/// client.txn().and_then(billing.put("mode", "fast"));
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Op(Request);

impl From<Get> for Op {
    fn from(get: Get) -> Self {
        Self(Request::RequestRange(get.request))
    }
}

impl From<Put> for Op {
    fn from(put: Put) -> Self {
        Self(Request::RequestPut(put.request))
    }
}

impl From<Delete> for Op {
    fn from(delete: Delete) -> Self {
        Self(Request::RequestDeleteRange(delete.request))
    }
}

impl From<Txn> for Op {
    fn from(txn: Txn) -> Self {
        Self(Request::RequestTxn(txn.request))
    }
}

/// A transaction. Made by [`Client::txn`], [`Namespace::txn`](crate::Namespace::txn), or by
/// [`Txn::new`] for nesting in another.
///
/// ```no_run
/// use tenure::{Client, Compare, Get, Put};
///
/// # async fn example(client: Client) -> Result<(), tenure::Error> {
/// let answer = client
///     .txn()
///     .when(Compare::missing("owner"))
///     .and_then(Put::new("owner", "me"))
///     .or_else(Get::new("owner"))
///     .await?;
/// if let Some(owner) = answer.get(0).and_then(|found| found.first()) {
///     println!("owned by {:?} since revision {}", owner.value(), owner.create_revision());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "a request is sent when it is awaited"]
pub struct Txn<C = ()> {
    client: C,
    prefix: Prefix,
    pub(crate) request: TxnRequest,
    timeout: Option<Duration>,
    freshness: Freshness,
    conditions: Conditions,
}

impl_conditions!(Txn<Client>);
impl_at_least_revision!(Txn<Client>);

impl Txn<Client> {
    /// Fails when the state of the server may be older than `age`. For a transaction that consists
    /// of [serializable](Get::serializable) reads: any other one is answered from the latest state.
    /// Needs a tenure server.
    pub fn max_staleness(mut self, age: Duration) -> Self {
        self.freshness.lower_staleness(age);
        self
    }
}

impl Txn {
    /// An empty transaction, for nesting in another.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<C> Txn<C> {
    fn of(client: C) -> Self {
        Self {
            client,
            prefix: Prefix::default(),
            request: TxnRequest::default(),
            timeout: None,
            freshness: Freshness::default(),
            conditions: Conditions::default(),
        }
    }

    /// Properties of the call.
    fn call(&self) -> Call {
        let conditions = self.conditions.clone();
        let call = if self.is_read() {
            // The server refuses conditions of a read-only transaction.
            Call::read(self.timeout).with_conditions(conditions)
        } else {
            Call::conditional(self.timeout, conditions)
        };
        // The server applies the bounds also to a nested transaction that only reads.
        call.with_freshness(self.freshness)
    }

    /// Adds a comparison; all of them must be true.
    pub fn when(mut self, compare: Compare) -> Self {
        self.request.compare.push(compare.0);
        self
    }

    /// Adds an operation that is applied if all comparisons are true.
    pub fn and_then(mut self, op: impl Into<Op>) -> Self {
        self.request.success.push(RequestOp {
            request: Some(op.into().0),
        });
        self
    }

    /// Adds an operation that is applied if a comparison is false.
    pub fn or_else(mut self, op: impl Into<Op>) -> Self {
        self.request.failure.push(RequestOp {
            request: Some(op.into().0),
        });
        self
    }

    /// Whether both branches only read, so that the transaction may be repeated.
    fn is_read(&self) -> bool {
        let branches = self.request.success.iter().chain(&self.request.failure);
        branches
            .map(|op| &op.request)
            .all(|request| matches!(request, Some(Request::RequestRange(_))))
    }
}

impl Client {
    /// Starts a transaction.
    ///
    /// # Errors
    /// When awaited: [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for too many operations
    /// or a key written twice, and the errors common to all calls. A comparison that is false is
    /// not an error: see [`TxnResponse::succeeded`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the transaction is executed.
    pub fn txn(&self) -> Txn<Self> {
        Txn::of(self.clone())
    }
}

impl_request!(Txn, txn, TxnResponse);

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_transaction_counts_as_a_read_only_when_no_branch_can_write() {
        assert!(
            Txn::new()
                .when(Compare::exists("a"))
                .and_then(Get::new("a"))
                .is_read()
        );
        assert!(
            !Txn::new()
                .and_then(Get::new("a"))
                .or_else(Put::new("a", "1"))
                .is_read()
        );
        assert!(!Txn::new().and_then(Delete::new("a")).is_read());
        // Nested transactions count as writes.
        assert!(
            !Txn::new()
                .and_then(Txn::new().and_then(Get::new("a")))
                .is_read()
        );
    }

    #[test]
    fn compares_over_a_range_carry_its_end() {
        let Compare(wire) =
            Compare::lease(KeyRange::prefix("a/"), Relation::NotEqual, LeaseId::new(7));
        assert_eq!(wire.range_end, Bytes::from_static(b"a0"));
        assert_eq!(wire.target_union, Some(TargetUnion::Lease(7)));
        assert_eq!(wire.result(), CompareResult::NotEqual);
    }
}
