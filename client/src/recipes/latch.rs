//! A latch: it opens for good when it has been counted down to zero.

use bytes::Bytes;

use super::{
    Recipes,
    counter::{Counted, Counter},
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

/// A latch. Made by [`Recipes::latch`].
#[derive(Debug, Clone)]
pub struct Latch {
    client: Client,
    key: Bytes,
    counter: Counter,
}

impl Latch {
    /// Sets the latch up to be counted down `count` times. Returns whether this call did: a latch
    /// that exists already is not changed.
    ///
    /// # Errors
    /// Whatever any call can meet.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it is set up.
    pub async fn set_up(&self, count: u32) -> Result<bool, Error> {
        let setting = || {
            let txn = self.client.txn().when(Compare::missing(&self.key));
            txn.and_then(Put::new(&self.key, count.to_string()))
        };
        Ok(commit(setting).await?.succeeded())
    }

    /// Counts down, exactly once even when connections break, and returns what is left. A latch
    /// that is open stays so.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) for a latch that was not set up, and whatever any call
    /// can meet.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it was counted down.
    pub async fn count_down(&self) -> Result<u32, Error> {
        let attempt = || async move {
            let answer = self.client.get(&self.key).await?;
            let Some(record) = answer.first() else {
                return Err(not_set_up(&self.key));
            };
            let counted = Counted::read(record)?;
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

    /// What is left to count down.
    ///
    /// # Errors
    /// As for [`count_down`](Self::count_down).
    ///
    /// # Cancel safety
    /// Reads change nothing; drop the future at will.
    pub async fn left(&self) -> Result<u32, Error> {
        let answer = self.client.get(&self.key).await?;
        let record = answer.first().ok_or_else(|| not_set_up(&self.key))?;
        Ok(u32::try_from(Counted::read(record)?.value).unwrap_or(0))
    }

    /// Waits until it is open, and before that until it is set up.
    ///
    /// # Errors
    /// A refusal that will not pass. Broken connections are none.
    ///
    /// # Cancel safety
    /// Cancel safe: it only reads.
    pub async fn wait(&self) -> Result<(), Error> {
        let open = |answer: GetResponse| {
            let counted = answer.first().map(Counted::read)?;
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
    /// The latch called `name`, which is a key with what is left as decimal text.
    ///
    /// ```no_run
    /// # async fn example(client: tenure::Client) -> Result<(), tenure::Error> {
    /// let migrated = client.recipes().latch("migrations/7");
    /// migrated.set_up(3).await?;
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
