//! A double barrier: a given number of participants enter together and leave together, as etcd's
//! `recipe.DoubleBarrier`.
//!
//! Each participant is a key on its own lease below `<name>/in/`; `<name>/ready` exists during a
//! round. Invariant: no participant is inside before the agreed number have entered, and no round
//! begins before all participants of the last one have left.

use std::{fmt, time::Duration};

use bytes::Bytes;

use super::{
    Recipes,
    state::{commit, compete, until},
};
use crate::{
    claim::{ClaimSession, SessionChoice},
    client::Client,
    error::{Error, ErrorKind},
    id::LeaseId,
    kv::{Delete, Get, Put},
    lease::LeaseLoss,
    range::{IntoBytes, KeyRange},
    response::{GetResponse, KeyValue},
    txn::{Compare, Relation, Txn},
};

/// A double barrier. Made by [`Recipes::double_barrier`].
#[derive(Debug, Clone)]
pub struct DoubleBarrier {
    client: Client,
    keys: Keys,
    count: u32,
    session: SessionChoice,
}

#[derive(Debug, Clone)]
struct Keys {
    all: KeyRange,
    members: KeyRange,
    ready: Bytes,
}

impl DoubleBarrier {
    /// Sets the TTL of the participant's lease; ten seconds unless set.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.session = SessionChoice::Own(ttl);
        self
    }

    /// Enters, and waits until the agreed number of participants have entered.
    ///
    /// # Errors
    /// [`SessionLost`](ErrorKind::SessionLost) when the lease ran out before, and the errors common
    /// to all calls.
    ///
    /// # Cancel safety
    /// Dropping the future leaves in the background. If the round has started for others, they do
    /// not wait for this participant to leave.
    pub async fn enter(&self) -> Result<DoubleBarrierGuard, Error> {
        let session = ClaimSession::open(&self.client, self.session.clone()).await?;
        let inside = DoubleBarrierGuard {
            client: session.attach(&self.client),
            plain: self.client.clone(),
            keys: self.keys.clone(),
            me: session.lease(),
            session: Some(session),
        };
        // Cancel safe: both arms may be dropped at any await, because dropping the handle leaves.
        let lost = tokio::select! {
            biased;
            outcome = inside.begin(self.count) => {
                outcome?;
                None
            }
            loss = inside.lost() => Some(loss),
        };
        match lost {
            None => Ok(inside),
            Some(loss) => Err(session_lost(loss)),
        }
    }
}

fn session_lost(loss: LeaseLoss) -> Error {
    Error::local(ErrorKind::SessionLost, format!("stopped waiting: {loss}"))
}

/// Participation in a round. Dropping it leaves in the background, without waiting for the others.
#[must_use = "the part ends when it is dropped"]
pub struct DoubleBarrierGuard {
    /// Its writes belong to the session of the participant.
    client: Client,
    plain: Client,
    keys: Keys,
    me: LeaseId,
    /// `None` once the participant has left.
    session: Option<ClaimSession>,
}

impl DoubleBarrierGuard {
    /// Leaves, and waits until all other participants have left or their leases ended.
    ///
    /// # Errors
    /// [`SessionLost`](ErrorKind::SessionLost) when the lease ran out before: the others may be in
    /// the next round. The errors common to all calls.
    ///
    /// # Cancel safety
    /// Dropping the future leaves in the background, without waiting for the others.
    pub async fn leave(self) -> Result<(), Error> {
        // Cancel safe: both arms may be dropped at any await, because dropping the handle leaves.
        tokio::select! {
            biased;
            outcome = self.finish() => outcome,
            loss = self.lost() => Err(session_lost(loss)),
        }
    }

    /// Waits until the lease of the participant is lost: the others no longer wait for it.
    ///
    /// # Cancel safety
    /// Cancel safe: a loss is final and is reported to every later call.
    pub async fn lost(&self) -> LeaseLoss {
        match &self.session {
            Some(session) => session.lost().await,
            None => LeaseLoss::Closed,
        }
    }

    async fn begin(&self, count: u32) -> Result<(), Error> {
        let me = self.member();
        let entering = || async {
            let entering = || {
                let txn = self.client.txn().when(Compare::missing(&self.keys.ready));
                txn.and_then(Put::new(&me, "").lease(self.me))
            };
            if commit(entering).await?.succeeded() {
                return Ok(Some(()));
            }
            // The last round has not ended, or the leases of all its participants have.
            let over = |answer: GetResponse| {
                let ready = |kv: &KeyValue| *kv.key() == self.keys.ready;
                let rest = answer.iter().filter(|kv| !ready(kv)).count();
                (rest == 0 || !answer.iter().any(ready)).then_some(())
            };
            until(
                &self.client,
                self.keys.all.clone(),
                |get| get.keys_only(),
                over,
            )
            .await?;
            commit(|| end_round(&self.client, &self.keys)).await?;
            Ok(None)
        };
        compete(entering).await?;
        // The participant that completes the number starts the round; several may try.
        let members = self
            .client
            .get(self.keys.members.clone())
            .count_only()
            .await?;
        if members.count() >= u64::from(count) {
            let beginning = || {
                let txn = self.client.txn();
                let txn = txn.when(Compare::exists(&me));
                let txn = txn.when(Compare::missing(&self.keys.ready));
                txn.and_then(Put::new(&self.keys.ready, ""))
            };
            if commit(beginning).await?.succeeded() {
                return Ok(());
            }
            // Another participant started it, or this lease is lost, which `lost` reports.
        }
        let started = |answer: GetResponse| (answer.count() > 0).then_some(());
        let ready = KeyRange::key(&self.keys.ready);
        until(&self.client, ready, |get| get.count_only(), started).await
    }

    async fn finish(&self) -> Result<(), Error> {
        let me = self.member();
        let ready = KeyRange::key(&self.keys.ready);
        let leaving = || {
            let txn = self.client.txn().and_then(Delete::new(&me));
            txn.and_then(Get::new(ready.clone()))
        };
        let left = commit(leaving).await?;
        // The round lasted until now, because this participant was in it.
        let ready_then = left.gets().find_map(GetResponse::first);
        let round = ready_then.map(KeyValue::create_revision);
        // A participant that sees this late may find others in the next round, or entering it.
        let gone = |answer: GetResponse| {
            let ready = |kv: &&KeyValue| *kv.key() == self.keys.ready;
            let now = answer.iter().find(ready).map(KeyValue::create_revision);
            let members = answer.kvs().len() - usize::from(now.is_some());
            (members == 0 || now.is_none() || now != round).then_some(())
        };
        until(
            &self.client,
            self.keys.all.clone(),
            |get| get.keys_only(),
            gone,
        )
        .await?;
        commit(|| end_round(&self.client, &self.keys))
            .await
            .map(drop)
    }

    fn member(&self) -> Bytes {
        let mut key = self.keys.members.start().to_vec();
        key.extend_from_slice(format!("{:x}", self.me.get()).as_bytes());
        Bytes::from(key)
    }
}

/// Ends the round if it has no participants. A later round has participants and is not affected.
fn end_round(client: &Client, keys: &Keys) -> Txn<Client> {
    let empty = Compare::version(keys.members.clone(), Relation::Equal, 0);
    client.txn().when(empty).and_then(Delete::new(&keys.ready))
}

impl Drop for DoubleBarrierGuard {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else {
            return;
        };
        let (plain, keys) = (self.plain.clone(), self.keys.clone());
        let closing = session.clone();
        session.in_background(async move {
            // The key of the participant is deleted with the lease.
            closing.close().await;
            if let Err(error) = end_round(&plain, &keys).await {
                tracing::debug!(%error, "a round of a double barrier is left to who comes next");
            }
        });
    }
}

impl fmt::Debug for DoubleBarrierGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DoubleBarrierGuard")
            .field("ready", &self.keys.ready)
            .finish_non_exhaustive()
    }
}

impl Recipes<'_> {
    /// The double barrier named `name` for `count` participants, which must all pass the same
    /// count.
    ///
    /// ```no_run
    /// # async fn example(client: tenure::Client) -> Result<(), tenure::Error> {
    /// let barrier = client.recipes().double_barrier("shuffles/3", 4);
    /// let inside = barrier.enter().await?;
    /// // All four are here.
    /// inside.leave().await?;
    /// // All four are done.
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn double_barrier(self, name: impl IntoBytes, count: u32) -> DoubleBarrier {
        let name = name.into_bytes();
        let below = |part: &str| Bytes::from([&name[..], part.as_bytes()].concat());
        DoubleBarrier {
            client: self.client.clone(),
            keys: Keys {
                all: KeyRange::prefix(below("/")),
                members: KeyRange::prefix(below("/in/")),
                ready: below("/ready"),
            },
            count,
            session: SessionChoice::default(),
        }
    }
}
