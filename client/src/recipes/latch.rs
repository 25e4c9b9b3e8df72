//! A countdown latch: it opens permanently once it has been counted down to zero.

use bytes::Bytes;

use super::{
    Recipes,
    counter::{Counter, CounterValue},
    state::{commit, compete, until},
};
use crate::{
    client::Client,
    error::{Error, ErrorKind},
    kv::Put,
    range::{IntoBytes, KeyRange},
    response::GetResponse,
    txn::Compare,
};

/// A countdown latch. Made by [`Recipes::latch`].
#[derive(Debug, Clone)]
pub struct Latch {
    client: Client,
    key: Bytes,
    counter: Counter,
}

impl Latch {
    /// Creates the latch with a count of `count`. Returns whether this call created it: an existing
    /// latch is not changed.
    ///
    /// # Errors
    /// The errors common to all calls.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it is created.
    pub async fn create(&self, count: u32) -> Result<bool, Error> {
        let setting = || {
            let txn = self.client.txn().when(Compare::missing(&self.key));
            txn.and_then(Put::new(&self.key, count.to_string()))
        };
        Ok(commit(setting).await?.succeeded())
    }

    /// Counts down exactly once, also across broken connections, and returns the remaining count.
    /// An open latch stays open.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) for a latch that was not created, and the errors common to
    /// all calls.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it was counted down.
    pub async fn count_down(&self) -> Result<u32, Error> {
        let attempt = || async move {
            let answer = self.client.get(&self.key).await?;
            let Some(record) = answer.first() else {
                return Err(not_set_up(&self.key));
            };
            let counted = CounterValue::read(record)?;
            let left = u32::try_from(counted.value).unwrap_or(0).saturating_sub(1);
            if counted.value <= 0 {
                return Ok(Some(0));
            }
            let set = self
                .counter
                .compare_and_set(counted.seen, i64::from(left))
                .await?;
            Ok(set.map(|_| left))
        };
        compete(attempt).await
    }

    /// The remaining count.
    ///
    /// # Errors
    /// As for [`count_down`](Self::count_down).
    ///
    /// # Cancel safety
    /// Cancel safe: the call only reads.
    pub async fn remaining(&self) -> Result<u32, Error> {
        let answer = self.client.get(&self.key).await?;
        let record = answer.first().ok_or_else(|| not_set_up(&self.key))?;
        Ok(u32::try_from(CounterValue::read(record)?.value).unwrap_or(0))
    }

    /// Waits until the latch is created and open.
    ///
    /// # Errors
    /// A permanent refusal by the server. Broken connections are not errors: the wait resumes.
    ///
    /// # Cancel safety
    /// Cancel safe: it only reads.
    pub async fn wait(&self) -> Result<(), Error> {
        let open = |answer: GetResponse| {
            let counted = answer.first().map(CounterValue::read)?;
            match counted {
                Ok(counted) if counted.value > 0 => None,
                other => Some(other.map(drop)),
            }
        };
        until(&self.client, KeyRange::key(&self.key), |get| get, open).await?
    }
}

fn not_set_up(key: &Bytes) -> Error {
    let text = format!("the latch {key:?} is not set up");
    Error::local(ErrorKind::NotFound, text)
}

impl Recipes<'_> {
    /// The latch named `name`, a key whose value is the decimal text of the remaining count.
    ///
    /// ```no_run
    /// # async fn example(client: tenure::Client) -> Result<(), tenure::Error> {
    /// let migrated = client.recipes().latch("migrations/7");
    /// migrated.create(3).await?;
    /// // Each of three: migrated.count_down().await?
    /// migrated.wait().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn latch(self, name: impl IntoBytes) -> Latch {
        let key = name.into_bytes();
        let counter = self.counter(&key);
        Latch {
            client: counter.client().clone(),
            key,
            counter,
        }
    }
}
