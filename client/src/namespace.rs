//! A view of the key space below a prefix, as `clientv3/namespace` of etcd has it.
//!
//! The invariant: no request through a view reads, changes or watches a key outside of its prefix,
//! and no answer shows the prefix. Keys within a view are not empty, as everywhere: the key that is
//! the prefix itself belongs to no view of it.

use std::{future::IntoFuture, time::Duration};

use bytes::Bytes;
use futures::{Stream, future::BoxFuture, stream};
use tenure_proto::{
    etcdserverpb::{
        Compare, RequestOp, ResponseOp, TxnRequest, TxnResponse as TxnMessage, kv_client::KvClient,
        request_op::Request, response_op::Response,
    },
    mvccpb::KeyValue,
};

use crate::{
    call::ask,
    client::Client,
    conditions::conditional,
    error::{Error, ErrorKind},
    freshness::at_least,
    id::Revision,
    kv::{Delete, Get, Put},
    range::{IntoBytes, KeyRange, prefix_end},
    response::{DeleteResponse, Event, GetResponse, PutResponse, TxnResponse},
    txn::Txn,
    watch::{Update, Watch, WatchControl, Watcher},
};

/// The end of a range that has no end.
const UNBOUNDED: &[u8] = &[0];

/// The keys below a prefix, named without it. Made by [`Client::namespace`].
///
/// Requests have the options they have on a [`Client`]. Ranges without an end go to the end of the
/// prefix. Names of guards are not prefixed: they are names of locks.
///
/// ```no_run
/// # async fn example(client: tenure::Client) -> Result<(), tenure::Error> {
/// use tenure::{Compare, KeyRange, Put};
///
/// let billing = client.namespace("billing/");
/// billing.put("mode", "fast").await?; // writes billing/mode
/// for kv in billing.get(KeyRange::all()).await? {
///     println!("{:?}", kv.key()); // mode
/// }
/// billing
///     .txn()
///     .when(Compare::missing("owner"))
///     .and_then(Put::new("owner", "me"))
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Namespace {
    client: Client,
    prefix: Prefix,
}

/// What is put before keys and taken off them.
#[derive(Debug, Clone)]
struct Prefix(Bytes);

impl Client {
    /// The keys that begin with `prefix`, named without it.
    #[must_use]
    pub fn namespace(&self, prefix: impl IntoBytes) -> Namespace {
        Namespace {
            client: self.clone(),
            prefix: Prefix(prefix.into_bytes()),
        }
    }
}

impl Namespace {
    /// What its keys begin with in the store.
    #[must_use]
    pub fn prefix(&self) -> &Bytes {
        &self.prefix.0
    }

    /// The keys below another prefix within this one.
    #[must_use]
    pub fn namespace(&self, prefix: impl IntoBytes) -> Self {
        let prefix = self.prefix.before(&prefix.into_bytes());
        Self {
            client: self.client.clone(),
            prefix: Prefix(prefix),
        }
    }

    /// Reads one key, or a [`KeyRange`]. See [`Client::get`].
    pub fn get(&self, range: impl Into<KeyRange>) -> Get<Self> {
        Get::of(self.clone(), range.into())
    }

    /// Writes one key. See [`Client::put`].
    pub fn put(&self, key: impl IntoBytes, value: impl IntoBytes) -> Put<Self> {
        Put::of(self.clone(), key.into_bytes(), value.into_bytes())
    }

    /// Deletes one key, or a [`KeyRange`]. See [`Client::delete`].
    pub fn delete(&self, range: impl Into<KeyRange>) -> Delete<Self> {
        Delete::of(self.clone(), range.into())
    }

    /// Starts a transaction, whose keys are all within the prefix. See [`Client::txn`].
    pub fn txn(&self) -> Txn<Self> {
        Txn::of(self.clone())
    }

    /// Watches one key, or a [`KeyRange`]. See [`Client::watch`].
    pub fn watch(&self, range: impl Into<KeyRange>) -> Watch<Self> {
        Watch::of(self.clone(), range.into())
    }
}

conditional!(Put<Namespace>);
conditional!(Delete<Namespace>);
conditional!(Txn<Namespace>);
at_least!(Get<Namespace>);
at_least!(Txn<Namespace>);

impl Get<Namespace> {
    /// Refuses when the state of the server may be older than this; see the same option of a read
    /// through a [`Client`]. Needs a tenure server.
    pub fn max_staleness(mut self, age: Duration) -> Self {
        self.freshness.lower_staleness(age);
        self.serializable()
    }
}

impl Prefix {
    fn before(&self, key: &[u8]) -> Bytes {
        Bytes::from([&self.0[..], key].concat())
    }

    /// Moves a range of the view to where it is in the store.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for an empty key, which would be the prefix itself.
    fn place(&self, key: &mut Bytes, end: &mut Bytes) -> Result<(), Error> {
        if key.is_empty() {
            let text = "a key of a namespace is not empty";
            return Err(Error::local(ErrorKind::InvalidArgument, text));
        }
        *key = self.before(key);
        if &end[..] == UNBOUNDED {
            *end = prefix_end(&self.0);
        } else if !end.is_empty() {
            *end = self.before(end);
        }
        Ok(())
    }

    fn place_key(&self, key: &mut Bytes) -> Result<(), Error> {
        self.place(key, &mut Bytes::new())
    }

    fn place_op(&self, op: &mut RequestOp) -> Result<(), Error> {
        match &mut op.request {
            Some(Request::RequestRange(range)) => self.place(&mut range.key, &mut range.range_end),
            Some(Request::RequestPut(put)) => self.place_key(&mut put.key),
            Some(Request::RequestDeleteRange(range)) => {
                self.place(&mut range.key, &mut range.range_end)
            }
            Some(Request::RequestTxn(txn)) => self.place_txn(txn),
            None => Ok(()),
        }
    }

    fn place_txn(&self, txn: &mut TxnRequest) -> Result<(), Error> {
        for Compare { key, range_end, .. } in &mut txn.compare {
            self.place(key, range_end)?;
        }
        let mut branches = txn.success.iter_mut().chain(&mut txn.failure);
        branches.try_for_each(|op| self.place_op(op))
    }

    /// Takes the prefix off the keys of an answer.
    fn strip<'a>(&self, kvs: impl IntoIterator<Item = &'a mut KeyValue>) {
        for kv in kvs {
            self.strip_key(&mut kv.key);
        }
    }

    fn strip_key(&self, key: &mut Bytes) {
        if key.starts_with(&self.0) {
            *key = key.slice(self.0.len()..);
        }
    }

    fn strip_txn(&self, txn: &mut TxnMessage) {
        for ResponseOp { response } in &mut txn.responses {
            match response {
                Some(Response::ResponseRange(range)) => self.strip(&mut range.kvs),
                Some(Response::ResponsePut(put)) => self.strip(&mut put.prev_kv),
                Some(Response::ResponseDeleteRange(range)) => self.strip(&mut range.prev_kvs),
                Some(Response::ResponseTxn(txn)) => self.strip_txn(txn),
                None => {}
            }
        }
    }
}

impl IntoFuture for Get<Namespace> {
    type Output = Result<GetResponse, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let call = self.call();
            let (Namespace { client, prefix }, mut request) = (self.client, self.request);
            prefix.place(&mut request.key, &mut request.range_end)?;
            let mut found = ask!(client, call, KvClient.range(request)).await?;
            prefix.strip(&mut found.kvs);
            Ok(GetResponse::of(found))
        })
    }
}

impl IntoFuture for Put<Namespace> {
    type Output = Result<PutResponse, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let call = self.call();
            let (Namespace { client, prefix }, mut request) = (self.client, self.request);
            prefix.place_key(&mut request.key)?;
            let mut written = ask!(client, call, KvClient.put(request)).await?;
            prefix.strip(&mut written.prev_kv);
            Ok(PutResponse::of(written))
        })
    }
}

impl IntoFuture for Delete<Namespace> {
    type Output = Result<DeleteResponse, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let call = self.call();
            let (Namespace { client, prefix }, mut request) = (self.client, self.request);
            prefix.place(&mut request.key, &mut request.range_end)?;
            let mut deleted = ask!(client, call, KvClient.delete_range(request)).await?;
            prefix.strip(&mut deleted.prev_kvs);
            Ok(DeleteResponse::of(deleted))
        })
    }
}

impl IntoFuture for Txn<Namespace> {
    type Output = Result<TxnResponse, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let call = self.call();
            let (Namespace { client, prefix }, mut request) = (self.client, self.request);
            prefix.place_txn(&mut request)?;
            let mut done = ask!(client, call, KvClient.txn(request)).await?;
            prefix.strip_txn(&mut done);
            Ok(TxnResponse::of(done))
        })
    }
}

impl IntoFuture for Watch<Namespace> {
    type Output = Result<NamespaceWatcher, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let (watch, Namespace { client, prefix }) = self.through(());
            let (mut watch, ()) = watch.through(client);
            let request = &mut watch.request;
            prefix.place(&mut request.key, &mut request.range_end)?;
            let watcher = watch.await?;
            Ok(NamespaceWatcher { watcher, prefix })
        })
    }
}

/// A running watch within a [`Namespace`]. Dropping it ends the watch.
#[derive(Debug)]
#[must_use = "a watch ends when its watcher is dropped"]
pub struct NamespaceWatcher {
    watcher: Watcher,
    prefix: Prefix,
}

impl NamespaceWatcher {
    /// The next update; see [`Watcher::next`].
    ///
    /// # Errors
    /// As of [`Watcher::next`].
    ///
    /// # Cancel safety
    /// Cancel safe: no update is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Result<Update, Error>> {
        let update = self.watcher.next().await?;
        Some(update.map(|update| update.map_events(|event| self.strip(event))))
    }

    fn strip(&self, event: Event) -> Event {
        event.map_keys(|key| self.prefix.strip_key(key))
    }

    /// The updates as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Result<Update, Error>> {
        stream::unfold(self, |mut watcher| async move {
            watcher.next().await.map(|update| (update, watcher))
        })
    }

    /// A handle that asks for progress or ends the watch.
    #[must_use]
    pub fn control(&self) -> WatchControl {
        self.watcher.control()
    }

    /// The first revision that has not been delivered: where another watch would go on.
    #[must_use]
    pub fn next_revision(&self) -> Revision {
        self.watcher.next_revision()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Compare, fake::Fake};

    fn placed(prefix: &str, range: KeyRange) -> (Bytes, Bytes) {
        let (mut key, mut end) = range.into_parts();
        Prefix(prefix.into_bytes())
            .place(&mut key, &mut end)
            .unwrap();
        (key, end)
    }

    fn pair(key: &[u8], end: &[u8]) -> (Bytes, Bytes) {
        (Bytes::copy_from_slice(key), Bytes::copy_from_slice(end))
    }

    #[test]
    fn ranges_stay_within_the_prefix() {
        for (range, expected) in [
            (KeyRange::key("a"), pair(b"p/a", b"")),
            (KeyRange::prefix("a"), pair(b"p/a", b"p/b")),
            (KeyRange::between("a", "c"), pair(b"p/a", b"p/c")),
            (KeyRange::from_key("a"), pair(b"p/a", b"p0")),
            (KeyRange::all(), pair(b"p/\0", b"p0")),
            // A prefix that has no end of its own ends where the namespace does.
            (KeyRange::prefix(b"\xff"), pair(b"p/\xff", b"p0")),
        ] {
            assert_eq!(placed("p/", range.clone()), expected, "{range:?}");
        }
        let everything = KeyRange::all().into_parts();
        assert_eq!(placed("", KeyRange::all()), everything);
    }

    #[test]
    fn the_prefix_itself_is_no_key_of_the_view() {
        let prefix = Prefix(Bytes::from_static(b"p/"));
        for end in ["", "b", "\0"] {
            let mut end = end.into_bytes();
            let error = prefix.place(&mut Bytes::new(), &mut end).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        }
    }

    #[test]
    fn every_part_of_a_transaction_is_placed_and_stripped() {
        let nested = Txn::new()
            .when(Compare::missing("n"))
            .or_else(Delete::new(KeyRange::from_key("m")));
        let txn = Txn::new()
            .when(Compare::exists("c"))
            .and_then(Put::new("k", "v"))
            .and_then(Get::new(KeyRange::all()))
            .or_else(nested);
        let mut request = txn.request;
        let prefix = Prefix(Bytes::from_static(b"p/"));
        prefix.place_txn(&mut request).unwrap();
        let text = format!("{request:?}");
        for key in [
            r#"b"p/c""#,
            r#"b"p/k""#,
            r#"b"p/\0""#,
            r#"b"p/n""#,
            r#"b"p/m""#,
            r#"b"p0""#,
        ] {
            assert!(text.contains(key), "{key} is not in {text}");
        }
        assert!(
            !text.contains(r#""c""#) && !text.contains(r#""m""#),
            "{text}"
        );
    }

    #[tokio::test]
    async fn what_is_written_through_a_view_is_read_and_watched_through_it_without_the_prefix() {
        let (_fake, client) = Fake::start().await;
        let view = client.namespace("p/");
        let mut watcher = view.watch(KeyRange::all()).await.unwrap();
        client.put("q", "outside").await.unwrap();
        view.put("k", "v").await.unwrap();
        let found = view.get("k").await.unwrap();
        assert_eq!(found.first().unwrap().key(), "k");
        let stored = client.get("p/k").await.unwrap();
        assert_eq!(stored.value().unwrap(), "v");
        let all = view.get(KeyRange::all()).await.unwrap();
        assert_eq!(all.kvs().len(), 1, "{all:?}");
        let update = watcher.next().await.unwrap().unwrap();
        assert_eq!(update.events()[0].key(), "k");
        let deeper = client.namespace("p").namespace("/");
        assert_eq!(deeper.get("k").await.unwrap().value().unwrap(), "v");
        view.delete("k").await.unwrap();
        assert!(client.get("p/k").await.unwrap().first().is_none());
    }
}
