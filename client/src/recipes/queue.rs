//! A work queue with at-least-once delivery: an item is delivered to one consumer at a time, and
//! again unless the consumer acknowledges it.
//!
//! Keys below the name: `items/<number>` with the payload, `tries/<number>` with the number of
//! deliveries, `out/<number>` on a lease while it is delivered, `dead/<number>` after too many
//! deliveries, and `last` with the last number. The invariant: an item is in `items` or in `dead`
//! from the push until it is acknowledged, and changes of both are one transaction.

use std::time::Duration;

use bytes::Bytes;
use rand::Rng;
use tenure_proto::limits::TTL_MIN_MS;

use super::{
    Recipes,
    counter::{Counter, CounterValue},
    delivery::{Delivery, DeliveryKeys},
    state::{commit, compete, until},
};
use crate::{
    client::Client,
    error::{Error, ErrorKind},
    id::Token,
    kv::{Delete, Get, Put},
    range::{IntoBytes, KeyRange},
    response::{GetResponse, KeyValue},
    session,
    txn::{Compare, Relation},
};

/// Default visibility timeout.
const VISIBILITY: Duration = Duration::from_secs(30);
/// Shortest visibility timeout: the shortest TTL of a lease.
const VISIBILITY_MIN: Duration = Duration::from_millis(TTL_MIN_MS);
/// Default number of deliveries before an item becomes a dead letter.
const TRIES_MAX: u32 = 5;
/// Items of one search for a free one: more than consumers usually hold, so that one search finds
/// one.
const LOOK_MAX: u32 = 64;
/// Free items among which a consumer chooses randomly after it lost a race, so that concurrent
/// consumers do not keep racing for the same item.
const CHOICE_MAX: usize = 4;

/// A work queue. Made by [`Recipes::queue`]. Delivery is in order with one consumer, approximately
/// in order with several.
#[derive(Debug, Clone)]
pub struct Queue {
    pub(super) client: Client,
    name: Bytes,
    last: Counter,
    visibility: Duration,
    tries_max: u32,
}

/// An item that was not acknowledged after the maximum number of deliveries.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Its number, for [`Queue::requeue`] and [`Queue::discard`].
    pub number: u64,
    /// The pushed payload.
    pub payload: Bytes,
}

impl Queue {
    /// Sets the visibility timeout: an item is delivered again after this time unless the consumer
    /// acknowledges it or extends the delivery; thirty seconds unless set, with millisecond
    /// precision, at least 200 milliseconds.
    #[must_use]
    pub fn visibility(mut self, timeout: Duration) -> Self {
        self.visibility = timeout.max(VISIBILITY_MIN);
        self
    }

    /// Sets the number of deliveries after which an item becomes a dead letter; five unless set, at
    /// least one.
    #[must_use]
    pub fn tries_max(mut self, tries: u32) -> Self {
        self.tries_max = tries.max(1);
        self
    }

    /// Appends an item exactly once, also across broken connections, and returns its number.
    ///
    /// # Errors
    /// The errors common to all calls.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it is pushed.
    pub async fn push(&self, payload: impl IntoBytes) -> Result<u64, Error> {
        let payload = &payload.into_bytes();
        let attempt = || async move {
            let last = self.last.get().await?;
            let number = u64::try_from(last.value).unwrap_or(0) + 1;
            let pushing = || {
                let unchanged = Relation::Equal;
                let counter = self.key("last", None);
                let txn = self.client.txn();
                txn.when(Compare::mod_revision(&counter, unchanged, last.seen))
                    .and_then(Put::new(&counter, number.to_string()))
                    .and_then(Put::new(self.key("items", Some(number)), payload))
            };
            Ok(commit(pushing).await?.succeeded().then_some(number))
        };
        compete(attempt).await
    }

    /// Waits for an item and takes it for the [visibility timeout](Self::visibility).
    ///
    /// # Errors
    /// A permanent refusal by the server. Broken connections are not errors: the wait resumes.
    ///
    /// # Cancel safety
    /// An item that was being taken when the future is dropped is delivered again after the
    /// visibility timeout.
    pub async fn receive(&self) -> Result<Delivery, Error> {
        loop {
            if let Some(delivery) = self.try_receive().await? {
                return Ok(delivery);
            }
            // There are few keys between the two prefixes, possibly many outside of them.
            let range = KeyRange::between(self.below("items/"), self.below("out0"));
            until(&self.client, range, Get::keys_only, |answer| {
                self.free(&answer).then_some(())
            })
            .await?;
        }
    }

    /// Takes an item if one is free, without waiting.
    ///
    /// # Errors
    /// The errors common to all calls.
    ///
    /// # Cancel safety
    /// As for [`receive`](Self::receive).
    pub async fn try_receive(&self) -> Result<Option<Delivery>, Error> {
        let mut among = 1;
        loop {
            let free = self.look().await?;
            if free.is_empty() {
                return Ok(None);
            }
            let chosen = rand::rng().random_range(0..free.len().min(among));
            match self.take(free[chosen]).await? {
                TakeOutcome::Delivered(delivery) => return Ok(Some(*delivery)),
                // Another consumer took it first.
                TakeOutcome::Lost => among = CHOICE_MAX,
                TakeOutcome::DeadLettered => {}
            }
        }
    }

    /// Number of items, delivered ones included.
    ///
    /// # Errors
    /// The errors common to all calls.
    ///
    /// # Cancel safety
    /// Cancel safe: the call only reads.
    pub async fn len(&self) -> Result<u64, Error> {
        let items = KeyRange::prefix(self.below("items/"));
        let answer = self.client.get(items).count_only().await?;
        Ok(answer.count())
    }

    /// Whether there are no items, delivered ones included.
    ///
    /// # Errors
    /// The errors common to all calls.
    ///
    /// # Cancel safety
    /// Cancel safe: the call only reads.
    pub async fn is_empty(&self) -> Result<bool, Error> {
        Ok(self.len().await? == 0)
    }

    /// The first `letters_max` dead letters.
    ///
    /// # Errors
    /// The errors common to all calls.
    ///
    /// # Cancel safety
    /// Cancel safe: the call only reads.
    pub async fn dead_letters(&self, letters_max: u32) -> Result<Vec<DeadLetter>, Error> {
        let dead = KeyRange::prefix(self.below("dead/"));
        let answer = self.client.get(dead).limit(letters_max).await?;
        let letters = answer.into_iter().filter_map(|kv| {
            Some(DeadLetter {
                number: number_of(&kv)?,
                payload: kv.into_value(),
            })
        });
        Ok(letters.collect())
    }

    /// Returns a dead letter to its place in the queue. Returns whether it existed.
    ///
    /// # Errors
    /// The errors common to all calls.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it is returned to the queue.
    pub async fn requeue(&self, number: u64) -> Result<bool, Error> {
        let dead = self.key("dead", Some(number));
        let Some(letter) = self.client.get(&dead).await?.into_first() else {
            return Ok(false);
        };
        let reviving = || {
            let txn = self.client.txn().when(Compare::exists(&dead));
            txn.and_then(Delete::new(&dead))
                .and_then(Put::new(self.key("items", Some(number)), letter.value()))
        };
        Ok(commit(reviving).await?.succeeded())
    }

    /// Removes a dead letter. Returns whether it existed.
    ///
    /// # Errors
    /// The errors common to all calls.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it is removed.
    pub async fn discard(&self, number: u64) -> Result<bool, Error> {
        let dead = self.key("dead", Some(number));
        let discarding = || {
            let txn = self.client.txn().when(Compare::exists(&dead));
            txn.and_then(Delete::new(&dead))
        };
        Ok(commit(discarding).await?.succeeded())
    }

    /// The numbers of the first free items.
    async fn look(&self) -> Result<Vec<u64>, Error> {
        let items = KeyRange::prefix(self.below("items/"));
        let out = KeyRange::prefix(self.below("out/"));
        // One read at one revision.
        let answer = self
            .client
            .txn()
            .and_then(Get::new(items.clone()).keys_only().limit(LOOK_MAX))
            .and_then(Get::new(out).keys_only())
            .await?;
        let (Some(found), Some(out)) = (answer.get(0), answer.get(1)) else {
            return Ok(Vec::new());
        };
        let out: Vec<u64> = out.iter().filter_map(number_of).collect();
        let free = |numbers: Vec<u64>| -> Vec<u64> {
            numbers
                .into_iter()
                .filter(|number| !out.contains(number))
                .collect()
        };
        let numbers = found.iter().filter_map(number_of).collect();
        let first = free(numbers);
        if !first.is_empty() || !found.more() {
            return Ok(first);
        }
        // Consumers hold all of the first ones.
        let all = self.client.get(items).keys_only().await?;
        Ok(free(all.iter().filter_map(number_of).collect()))
    }

    /// Whether the keys of a queue contain a free item.
    fn free(&self, all: &GetResponse) -> bool {
        let numbers = |part: &str| -> Vec<u64> {
            let prefix = self.below(part);
            let inside = all.iter().filter(|kv| kv.key().starts_with(&prefix));
            inside.filter_map(number_of).collect()
        };
        let out = numbers("out/");
        numbers("items/").iter().any(|number| !out.contains(number))
    }

    /// Takes an item that was free.
    async fn take(&self, number: u64) -> Result<TakeOutcome, Error> {
        let (item, tries) = (
            self.key("items", Some(number)),
            self.key("tries", Some(number)),
        );
        let reading = self.client.txn();
        let reading = reading.and_then(Get::new(&item)).and_then(Get::new(&tries));
        let answer = reading.await?;
        let mut records = answer.into_gets().map(GetResponse::into_first);
        let (Some(Some(record)), Some(tried)) = (records.next(), records.next()) else {
            return Ok(TakeOutcome::Lost);
        };
        let tried = tried
            .as_ref()
            .map_or(Ok(CounterValue::UNSET), CounterValue::read)?;
        let try_number = u32::try_from(tried.value).unwrap_or(0).saturating_add(1);
        if try_number > self.tries_max {
            return self.move_to_dead_letters(number, &record, &tried).await;
        }
        let (lease, term) = session::lease(&self.client.bare(), self.visibility).await?;
        let out = self.key("out", Some(number));
        let taking = || {
            let txn = self.client.txn();
            txn.when(Compare::mod_revision(
                &item,
                Relation::Equal,
                record.mod_revision(),
            ))
            .when(Compare::mod_revision(&tries, Relation::Equal, tried.seen))
            .when(Compare::missing(&out))
            .and_then(Put::new(&out, "").lease(lease))
            .and_then(Put::new(&tries, try_number.to_string()))
        };
        let answer = commit(taking).await?;
        if !answer.succeeded() {
            // The lease expires if this fails.
            _ = self.client.leases().revoke(lease).await;
            return Ok(TakeOutcome::Lost);
        }
        let keys = DeliveryKeys {
            item,
            tries,
            out,
            lease,
            token: Token::from(answer.revision()),
        };
        let delivery = Delivery::new(
            &self.client,
            keys,
            number,
            record.into_value(),
            try_number,
            term,
        );
        Ok(TakeOutcome::Delivered(Box::new(delivery)))
    }

    /// Moves an item that was delivered too often to the dead letters.
    async fn move_to_dead_letters(
        &self,
        number: u64,
        item: &KeyValue,
        tried: &CounterValue,
    ) -> Result<TakeOutcome, Error> {
        let moving = || {
            let (tries, out) = (
                self.key("tries", Some(number)),
                self.key("out", Some(number)),
            );
            let txn = self.client.txn();
            txn.when(Compare::mod_revision(
                item.key(),
                Relation::Equal,
                item.mod_revision(),
            ))
            .when(Compare::mod_revision(&tries, Relation::Equal, tried.seen))
            .when(Compare::missing(out))
            .and_then(Put::new(self.key("dead", Some(number)), item.value()))
            .and_then(Delete::new(item.key()))
            .and_then(Delete::new(&tries))
        };
        if commit(moving).await?.succeeded() {
            tracing::warn!(queue = ?self.name, number, "an item was put aside as a dead letter");
        }
        Ok(TakeOutcome::DeadLettered)
    }

    fn below(&self, part: &str) -> Bytes {
        Bytes::from([&self.name[..], b"/", part.as_bytes()].concat())
    }

    fn key(&self, part: &str, number: Option<u64>) -> Bytes {
        match number {
            Some(number) => self.below(&format!("{part}/{number:016x}")),
            None => self.below(part),
        }
    }
}

/// The result of taking an item.
enum TakeOutcome {
    Delivered(Box<Delivery>),
    Lost,
    DeadLettered,
}

/// The item number at the end of a key.
fn number_of(record: &KeyValue) -> Option<u64> {
    let digits = record.key().rsplit(|&byte| byte == b'/').next()?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// The error for a delivery whose visibility timeout has ended.
pub(super) fn visibility_ended() -> Error {
    let text = "the visibility timeout has ended: the item is delivered again";
    Error::local(ErrorKind::LeaseLost, text)
}

impl Recipes<'_> {
    /// The queue named `name`, which is the prefix of its keys.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// # async fn example(client: tenure::Client) -> Result<(), tenure::Error> {
    /// let queue = client.recipes().queue("mails").visibility(Duration::from_secs(60));
    /// queue.push("to: a@example.org").await?;
    ///
    /// let delivery = queue.receive().await?;
    /// println!("{:?}, delivered the {}th time", delivery.payload(), delivery.tries());
    /// // Until this, it is delivered again after a minute.
    /// delivery.ack().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn queue(self, name: impl IntoBytes) -> Queue {
        let name = name.into_bytes();
        let last = self.counter([&name[..], b"/last"].concat());
        Queue {
            client: last.client().clone(),
            name,
            last,
            visibility: VISIBILITY,
            tries_max: TRIES_MAX,
        }
    }
}
