//! A counter: a number in a key, changed by comparing and setting.

use bytes::Bytes;

use super::{
    Recipes,
    state::{commit, compete, exact},
};
use crate::{
    client::Client,
    error::{Error, ErrorKind},
    id::Revision,
    kv::Put,
    range::IntoBytes,
    response::KeyValue,
    txn::{Compare, Relation},
};

/// A shared counter. Made by [`Recipes::counter`].
#[derive(Debug, Clone)]
pub struct Counter {
    client: Client,
    key: Bytes,
}

/// The value of a counter at one revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CounterValue {
    /// The number; zero for a counter that was never set.
    pub value: i64,
    /// The revision of its last change; zero when there was none. Pass it to
    /// [`Counter::compare_and_set`].
    pub seen: Revision,
}

impl Counter {
    /// Reads the counter.
    ///
    /// # Errors
    /// [`FailedPrecondition`](ErrorKind::FailedPrecondition) when the key holds no number, and the
    /// errors common to all calls.
    ///
    /// # Cancel safety
    /// Cancel safe: the call only reads.
    pub async fn get(&self) -> Result<CounterValue, Error> {
        let answer = self.client.get(&self.key).await?;
        answer
            .first()
            .map_or(Ok(CounterValue::UNSET), CounterValue::read)
    }

    /// Adds `delta` exactly once, also across broken connections, and returns the new value. Set a
    /// timeout around it under heavy contention.
    ///
    /// # Errors
    /// [`OutOfRange`](ErrorKind::OutOfRange) when the sum does not fit, and as for
    /// [`get`](Self::get).
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it was added.
    pub async fn add(&self, delta: i64) -> Result<i64, Error> {
        let attempt = || async move {
            let seen = self.get().await?;
            let sum = seen.value.checked_add(delta).ok_or_else(|| {
                let text = format!("{} and {delta} are more than a counter holds", seen.value);
                Error::local(ErrorKind::OutOfRange, text)
            })?;
            let set = self.compare_and_set(seen.seen, sum).await?;
            Ok(set.map(|_| sum))
        };
        compete(attempt).await
    }

    /// Sets the value unless it was changed after `seen`. Returns the new state, or `None` after a
    /// conflict.
    ///
    /// # Errors
    /// The errors common to all calls.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it is set.
    pub async fn compare_and_set(
        &self,
        seen: Revision,
        value: i64,
    ) -> Result<Option<CounterValue>, Error> {
        let setting = || {
            let unchanged = Compare::mod_revision(&self.key, Relation::Equal, seen);
            let txn = self.client.txn().when(unchanged);
            txn.and_then(Put::new(&self.key, value.to_string()))
        };
        let answer = commit(setting).await?;
        Ok(answer.succeeded().then_some(CounterValue {
            value,
            seen: answer.revision(),
        }))
    }

    /// The client of its writes.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }
}

impl CounterValue {
    pub(super) const UNSET: Self = Self {
        value: 0,
        seen: Revision::LATEST,
    };

    pub(super) fn read(record: &KeyValue) -> Result<Self, Error> {
        let text = record.value_str().ok();
        let value = text.and_then(|text| text.parse().ok()).ok_or_else(|| {
            let text = format!("{:?} holds no number: {:?}", record.key(), record.value());
            Error::local(ErrorKind::FailedPrecondition, text)
        })?;
        Ok(Self {
            value,
            seen: record.mod_revision(),
        })
    }
}

impl Recipes<'_> {
    /// The counter named `name`, a key whose value is the decimal text of the number. Through a
    /// [guarded](Client::guarded) client, only the holder of the lock can change it.
    ///
    /// ```no_run
    /// # async fn example(client: tenure::Client) -> Result<(), tenure::Error> {
    /// let counter = client.recipes().counter("orders/placed");
    /// println!("{} so far", counter.add(1).await?);
    ///
    /// let seen = counter.get().await?;
    /// if counter.compare_and_set(seen.seen, 0).await?.is_none() {
    ///     println!("another client placed one meanwhile");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn counter(self, name: impl IntoBytes) -> Counter {
        Counter {
            client: exact(self.client),
            key: name.into_bytes(),
        }
    }
}
