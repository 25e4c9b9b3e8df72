//! The delivery of an item to a consumer.

use bytes::Bytes;
use tokio::time::Instant;

use super::{queue::visibility_ended, state::commit};
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
    /// The key on the lease, which exists as long as the delivery lasts.
    pub(super) out: Bytes,
    pub(super) lease: LeaseId,
    /// The create revision of `out`.
    pub(super) token: Token,
}

/// An item of a [`Queue`](crate::Queue), delivered to this consumer for the visibility timeout. An
/// item that is neither acknowledged nor returned within it is delivered again.
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

    /// The pushed payload.
    #[must_use]
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The number of the item. Later ones are greater.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Number of deliveries of the item, this one included.
    #[must_use]
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// The fencing token of the delivery: greater than those of earlier deliveries of the item.
    #[must_use]
    pub fn token(&self) -> Token {
        self.keys.token
    }

    /// When the visibility timeout ends and the item may be delivered to another consumer, counted
    /// from before it was requested.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.term.sent + self.term.ttl
    }

    /// Acknowledges the item, which removes it.
    ///
    /// # Errors
    /// [`LeaseLost`](ErrorKind::LeaseLost) when the visibility timeout had ended: the item is
    /// delivered again. The errors common to all calls.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it is removed.
    pub async fn ack(self) -> Result<(), Error> {
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
    /// As for [`ack`](Self::ack).
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it is returned; at the latest it is when the
    /// visibility timeout ends.
    pub async fn nack(self) -> Result<(), Error> {
        self.end(|txn| txn).await
    }

    /// Restarts the visibility timeout.
    ///
    /// # Errors
    /// As for [`ack`](Self::ack).
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it is restarted.
    pub async fn extend(&mut self) -> Result<(), Error> {
        let sent = Instant::now();
        let renewal = match self.client.leases().keep_alive_once(self.keys.lease).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(visibility_ended()),
            outcome => outcome?,
        };
        self.term = self.term.renewed(sent, &renewal);
        Ok(())
    }

    /// Ends the delivery, if it still lasts, together with other operations in one transaction.
    async fn end(&self, rest: impl Fn(Txn<Client>) -> Txn<Client>) -> Result<(), Error> {
        let keys = &self.keys;
        let ending = || {
            let mine = Compare::create_revision(&keys.out, Relation::Equal, keys.token);
            let txn = self.client.txn().when(mine);
            rest(txn.and_then(Delete::new(&keys.out)))
        };
        if !commit(ending).await?.succeeded() {
            return Err(visibility_ended());
        }
        let (client, lease) = (self.client.clone(), keys.lease);
        // The lease has no keys left; it expires if this fails.
        _ = tokio::spawn(async move { client.leases().revoke(lease).await });
        Ok(())
    }
}
