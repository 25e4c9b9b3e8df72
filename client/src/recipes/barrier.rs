//! A barrier: clients wait while it is closed, as etcd's `recipe.Barrier`.

use bytes::Bytes;

use super::{
    Recipes,
    state::{commit, exact, until},
};
use crate::{
    client::Client,
    error::Error,
    kv::{Delete, Put},
    range::{IntoBytes, KeyRange},
    response::GetResponse,
    txn::Compare,
};

/// A barrier that any client may close and open. Made by [`Recipes::barrier`].
#[derive(Debug, Clone)]
pub struct Barrier {
    client: Client,
    key: Bytes,
}

impl Barrier {
    /// Closes the barrier, so that [`wait`](Self::wait) blocks. Returns whether it was open.
    ///
    /// # Errors
    /// The errors common to all calls.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the barrier is closed.
    pub async fn close(&self) -> Result<bool, Error> {
        let closing = || {
            let txn = self.client.txn().when(Compare::missing(&self.key));
            txn.and_then(Put::new(&self.key, ""))
        };
        Ok(commit(closing).await?.succeeded())
    }

    /// Opens the barrier, which ends all waits. Returns whether it was closed.
    ///
    /// # Errors
    /// The errors common to all calls.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the barrier is open.
    pub async fn open(&self) -> Result<bool, Error> {
        let opening = || {
            let txn = self.client.txn().when(Compare::exists(&self.key));
            txn.and_then(Delete::new(&self.key))
        };
        Ok(commit(opening).await?.succeeded())
    }

    /// Whether the barrier is closed.
    ///
    /// # Errors
    /// The errors common to all calls.
    ///
    /// # Cancel safety
    /// Cancel safe: the call only reads.
    pub async fn is_closed(&self) -> Result<bool, Error> {
        Ok(self.client.get(&self.key).count_only().await?.count() > 0)
    }

    /// Waits until it is open, however long that takes.
    ///
    /// # Errors
    /// A permanent refusal by the server. Broken connections are not errors: the wait resumes.
    ///
    /// # Cancel safety
    /// Cancel safe: it only reads.
    pub async fn wait(&self) -> Result<(), Error> {
        let open = |answer: GetResponse| (answer.count() == 0).then_some(());
        until(
            &self.client,
            KeyRange::key(&self.key),
            |get| get.count_only(),
            open,
        )
        .await
    }
}

impl Recipes<'_> {
    /// The barrier named `name`. It is closed while the key `name` exists.
    ///
    /// ```no_run
    /// # async fn example(client: tenure::Client) -> Result<(), tenure::Error> {
    /// let maintenance = client.recipes().barrier("maintenance");
    /// maintenance.close().await?;
    /// // All others: maintenance.wait().await?
    /// maintenance.open().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn barrier(self, name: impl IntoBytes) -> Barrier {
        Barrier {
            client: exact(self.client),
            key: name.into_bytes(),
        }
    }
}
