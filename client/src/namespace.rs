//! A view of the key space below a prefix, as in etcd's `clientv3/namespace`.
//!
//! The invariant: no request through a view reads, changes or watches a key outside of its prefix,
//! and no answer shows the prefix. Keys are not empty, so the key that equals the prefix is not in
//! the view.

use bytes::Bytes;

use crate::{
    client::Client,
    kv::{Delete, Get, Put},
    prefix::{Prefix, joined},
    range::{IntoBytes, KeyRange},
    txn::Txn,
    watch::Watch,
};

/// The keys below a prefix, named without it. Made by [`Client::namespace`].
///
/// Requests take the same options as those of a [`Client`]. Ranges without an end go to the end of
/// the prefix. The prefix is not added to the names of guards, which are names of locks.
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
    prefix: Bytes,
}

impl Client {
    /// The keys that begin with `prefix`, named without it.
    #[must_use]
    pub fn namespace(&self, prefix: impl IntoBytes) -> Namespace {
        Namespace {
            client: self.clone(),
            prefix: prefix.into_bytes(),
        }
    }
}

impl Namespace {
    /// The prefix that its keys have in the store.
    #[must_use]
    pub fn prefix(&self) -> &Bytes {
        &self.prefix
    }

    /// The keys below another prefix within this one.
    #[must_use]
    pub fn namespace(&self, prefix: impl IntoBytes) -> Self {
        let prefix = joined(&self.prefix, &prefix.into_bytes());
        self.client.namespace(prefix)
    }

    /// Reads one key, or a [`KeyRange`]. See [`Client::get`].
    pub fn get(&self, range: impl Into<KeyRange>) -> Get<Client> {
        self.client.get(range).within(self.view())
    }

    /// Writes one key. See [`Client::put`].
    pub fn put(&self, key: impl IntoBytes, value: impl IntoBytes) -> Put<Client> {
        self.client.put(key, value).within(self.view())
    }

    /// Deletes one key, or a [`KeyRange`]. See [`Client::delete`].
    pub fn delete(&self, range: impl Into<KeyRange>) -> Delete<Client> {
        self.client.delete(range).within(self.view())
    }

    /// Starts a transaction, whose keys are all within the prefix. See [`Client::txn`].
    pub fn txn(&self) -> Txn<Client> {
        self.client.txn().within(self.view())
    }

    /// Watches one key, or a [`KeyRange`]. See [`Client::watch`].
    pub fn watch(&self, range: impl Into<KeyRange>) -> Watch {
        self.client.watch(range).within(self.view())
    }

    fn view(&self) -> Prefix {
        Prefix::new(self.prefix.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Fake;

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
        let mut pieces = view.get(KeyRange::all()).stream().await.unwrap();
        let piece = pieces.next().await.unwrap().unwrap();
        assert_eq!(piece.first().unwrap().key(), "k");
        view.delete("k").await.unwrap();
        assert!(client.get("p/k").await.unwrap().first().is_none());
    }
}
