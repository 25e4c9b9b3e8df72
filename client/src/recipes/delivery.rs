//! The delivery of an item to a consumer.

use bytes::Bytes;
use tokio::time::Instant;

use super::{queue::taken_back, state::commit};
use crate::{
    client::Client,
    error::{Error, ErrorKind},
    id::{LeaseId, Token},
    kv::Delete,
    lease::Term,
    txn::{Compare, Relation, Txn},
};

/// The keys and the lease of a delivery.
#[derive(Debug, Clone)]
pub(super) struct DeliveryKeys {
    pub(super) item: Bytes,
    pub(super) tries: Bytes,
    /// On the lease, as long as the delivery lasts.
    pub(super) out: Bytes,
    pub(super) lease: LeaseId,
    /// The create revision of `out`.
    pub(super) token: Token,
}

/// An item of a [`Queue`](crate::Queue), taken for some time. An item that is neither acknowledged
/// nor given back is delivered again when its time is over.
#[derive(Debug)]
#[must_use = "the item is delivered again unless it is said to be done"]
pub struct Delivery {
    client: Client,
    keys: DeliveryKeys,
    number: u64,
    payload: Bytes,
    tries: u32,
    term: Term,
}

impl Delivery {
    pub(super) fn new(
        client: &Client,
        keys: DeliveryKeys,
        number: u64,
        payload: Bytes,
        tries: u32,
        term: Term,
    ) -> Self {
        Self {
            client: client.clone(),
            keys,
            number,
            payload,
            tries,
            term,
        }
    }

    /// What was pushed.
    #[must_use]
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The number of the item. Later ones are greater.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How often it was delivered, this time included.
    #[must_use]
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// The fencing token of the delivery: greater than that of every delivery of the item before.
    #[must_use]
    pub fn token(&self) -> Token {
        self.keys.token
    }

    /// When it may be delivered to another, counted from before it was asked for.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.term.sent + self.term.ttl
    }

    /// Acknowledges the item, which removes it.
    ///
    /// # Errors
    /// [`LeaseLost`](ErrorKind::LeaseLost) when its time was over before: it is delivered to
    /// another. Whatever any call can meet.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it is gone.
    pub async fn done(self) -> Result<(), Error> {
        let keys = &self.keys;
        self.end(|txn| {
            txn.and_then(Delete::new(&keys.item))
                .and_then(Delete::new(&keys.tries))
        })
        .await
    }

    /// Returns the item to the queue, to be delivered again at once.
    ///
    /// # Errors
    /// As for [`done`](Self::done).
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it is returned; it is when its time is over.
    pub async fn give_back(self) -> Result<(), Error> {
        self.end(|txn| txn).await
    }

    /// Restarts its time.
    ///
    /// # Errors
    /// As for [`done`](Self::done).
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether there is more time.
    pub async fn extend(&mut self) -> Result<(), Error> {
        let sent = Instant::now();
        let renewal = match self.client.leases().keep_alive_once(self.keys.lease).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(taken_back()),
            outcome => outcome?,
        };
        self.term = self.term.renewed(sent, &renewal);
        Ok(())
    }

    /// Ends the delivery, if it still lasts, with something else in the same transaction.
    async fn end(&self, rest: impl Fn(Txn<Client>) -> Txn<Client>) -> Result<(), Error> {
        let keys = &self.keys;
        let ending = || {
            let mine = Compare::create_revision(&keys.out, Relation::Equal, keys.token);
            let txn = self.client.txn().when(mine);
            rest(txn.and_then(Delete::new(&keys.out)))
        };
        if !commit(ending).await?.succeeded() {
            return Err(taken_back());
        }
        let (client, lease) = (self.client.clone(), keys.lease);
        // Nothing is attached to it any more; it ends by itself if this fails.
        drop(tokio::spawn(
            async move { client.leases().revoke(lease).await },
        ));
        Ok(())
    }
}
