//! The account of the memory that answers hold, in all and per connection.
//!
//! Invariant: at most [`ANSWERS_BYTES_MAX`] are held, and by one connection at most its [`Share`],
//! or one answer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::{
    rpc::answer::{failure::Failure, status::Reason},
    share::{ANSWERS_BYTES_MAX, Share, Shared, UNIT_BYTES},
};

/// How long the account counts as short after a request for memory failed: the time until refused
/// callers may retry.
const SHORT_FOR: Duration = Duration::from_secs(10);

tokio::task_local! {
    /// The share of the connection whose call this task serves.
    pub(in crate::rpc) static CALLER: Share;
}

/// The account of the memory that answers hold.
#[derive(Clone, Debug)]
pub(in crate::rpc) struct Memory {
    free: Arc<Semaphore>,
    shortage: Arc<Shortage>,
    /// The share of the connection that it is held for, where that is known.
    share: Option<Share>,
}

/// Bytes of the account that are in use; released when dropped.
#[derive(Debug, Default)]
pub(in crate::rpc) struct Held {
    bytes: usize,
    permit: Option<OwnedSemaphorePermit>,
    shared: Shared,
    shortage: Option<Arc<Shortage>>,
}

/// Records that a request for memory failed.
#[derive(Debug, Default)]
struct Shortage {
    waiting: AtomicUsize,
    last: Mutex<Option<Instant>>,
}

/// A waiter for memory.
struct Waiting<'a>(&'a Shortage);

impl Shortage {
    fn note(&self) {
        *self.last.lock() = Some(Instant::now());
    }

    fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(self)
    }

    fn is_now(&self) -> bool {
        let last = *self.last.lock();
        self.waiting.load(Ordering::Relaxed) > 0
            || last.is_some_and(|last| last.elapsed() < SHORT_FOR)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Held {
    pub(in crate::rpc) fn none() -> Self {
        Self::default()
    }

    /// Bytes in use.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes `bytes` out of it, or all of it when it is less.
    pub(in crate::rpc) fn split(&mut self, bytes: usize) -> Self {
        let bytes = bytes.next_multiple_of(UNIT_BYTES).min(self.bytes);
        self.bytes -= bytes;
        let permits = bytes / UNIT_BYTES;
        Self {
            bytes,
            permit: self.permit.as_mut().and_then(|it| it.split(permits)),
            shared: self.shared.split(units(bytes)),
            shortage: self.shortage.clone(),
        }
    }

    /// Whether others lack the memory that is held.
    pub(in crate::rpc) fn is_wanted(&self) -> bool {
        self.shortage.as_ref().is_some_and(|it| it.is_now())
    }
}

impl Memory {
    pub(super) fn new() -> Self {
        Self {
            free: Arc::new(Semaphore::new(ANSWERS_BYTES_MAX / UNIT_BYTES)),
            shortage: Arc::default(),
            share: None,
        }
    }

    /// The account, which charges the connection whose call this task serves.
    pub(in crate::rpc) fn of_caller(&self) -> Self {
        let share = || CALLER.try_with(Clone::clone).ok();
        Self {
            share: self.share.clone().or_else(share),
            ..self.clone()
        }
    }

    /// The share that it is held for.
    pub(super) const fn share(&self) -> Option<&Share> {
        self.share.as_ref()
    }

    /// Waits until `bytes` are free, and takes them.
    ///
    /// # Errors
    /// When the account can never have as much.
    pub(in crate::rpc) async fn take(&self, bytes: usize) -> Result<Held, Failure> {
        if bytes > ANSWERS_BYTES_MAX {
            return Err(Reason::RangeTooLarge.into());
        }
        let shared = match &self.share {
            Some(share) => share.take(bytes).await,
            None => Shared::default(),
        };
        let units = units(bytes);
        let permit = match Arc::clone(&self.free).try_acquire_many_owned(units) {
            Ok(permit) => permit,
            Err(_) => {
                let _waiting = self.shortage.wait();
                let permit = Arc::clone(&self.free).acquire_many_owned(units).await;
                permit.expect("the account is never closed")
            }
        };
        Ok(Held {
            bytes: units as usize * UNIT_BYTES,
            permit: Some(permit),
            shared,
            shortage: Some(Arc::clone(&self.shortage)),
        })
    }

    /// Takes `bytes` if they are free.
    pub(in crate::rpc) fn take_now(&self, bytes: usize) -> Option<Held> {
        let mut held = Held::none();
        self.grow(&mut held, bytes).then_some(held)
    }

    /// Grows `held` to at least `bytes`. Returns whether there was enough.
    pub(super) fn grow(&self, held: &mut Held, bytes: usize) -> bool {
        if let Some(share) = &self.share
            && !share.grow(&mut held.shared, bytes)
        {
            return false;
        }
        let more = units(bytes.saturating_sub(held.bytes));
        let Ok(permit) = Arc::clone(&self.free).try_acquire_many_owned(more) else {
            self.shortage.note();
            return false;
        };
        held.bytes += more as usize * UNIT_BYTES;
        held.shortage = Some(Arc::clone(&self.shortage));
        match &mut held.permit {
            Some(held) => held.merge(permit),
            None => held.permit = Some(permit),
        }
        true
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}
