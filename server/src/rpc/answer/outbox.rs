//! The responses of one stream of changes on their way to its client.
//!
//! What waits is bounded in number and in bytes. A response that was made from history, or is not
//! small, also holds a [`Share`] of what all streams may hold, until the transport asks for the one
//! after it.
//!
//! Invariant: responses are passed on in the order in which they were sent, and a stream that ends
//! by itself ends with a status.

use std::{
    collections::VecDeque,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures::Stream;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::sleep};
use tonic::Status;

use super::share::{Account, Share};

/// Bytes of responses that wait for the transport, unless a single one is larger: some windows of
/// a connection. What a slow client leaves behind waits in history, not here.
const WAITING_BYTES_MAX: usize = 512 * 1024;
/// Bytes of responses without a share that wait for the transport: what a stream may hold whose
/// client does not read, however many such streams there are.
const UNCHARGED_BYTES_MAX: usize = 64 * 1024;
/// How long a client may read nothing of what holds a share while others wait for one.
const UNREAD_MAX: Duration = Duration::from_secs(30);

/// The client is gone, or the stream was ended.
#[derive(Debug)]
pub(crate) struct Closed;

/// The stream's side. The stream ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Outbox<R> {
    shared: Arc<Shared<R>>,
    len_max: usize,
}

/// The transport's side.
#[derive(Debug)]
pub(crate) struct Responses<R>(Arc<Shared<R>>);

#[derive(Debug)]
struct Shared<R> {
    state: Mutex<State<R>>,
    /// Something was taken, or nothing will be any more.
    moved: Notify,
    /// The client has gone.
    gone: Notify,
    /// Something with a share waits, or something waits for room.
    charged: Notify,
}

#[derive(Debug)]
struct State<R> {
    waiting: VecDeque<Waiting<R>>,
    waiting_bytes: usize,
    /// Of those without a share.
    uncharged_bytes: usize,
    /// Whether the stream waits for room. It may hold a share for what it sends, or for what it
    /// will look at afterwards.
    is_full: bool,
    /// The share of what the transport took last, which it may still hold.
    passed_on: Option<Arc<Share>>,
    /// How many responses were taken.
    taken: u64,
    client_gone: bool,
    end: End,
    reader: Option<Waker>,
}

#[derive(Debug)]
struct Waiting<R> {
    response: R,
    bytes: usize,
    share: Option<Arc<Share>>,
}

#[derive(Debug, Default)]
enum End {
    #[default]
    Open,
    Due(Status),
    Over,
}

/// Both sides of a stream of which at most `len_max` responses wait.
pub(crate) fn outbox<R>(len_max: usize) -> (Outbox<R>, Responses<R>) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State::new()),
        moved: Notify::new(),
        gone: Notify::new(),
        charged: Notify::new(),
    });
    let responses = Responses(Arc::clone(&shared));
    (Outbox { shared, len_max }, responses)
}

impl<R> Outbox<R> {
    /// Waits for room, and hands on a response that takes so many bytes in memory, keys and values
    /// included.
    ///
    /// # Cancel safety
    /// A response whose future was dropped was not sent.
    pub(crate) async fn send(
        &self,
        response: R,
        bytes: usize,
        share: Option<Arc<Share>>,
    ) -> Result<(), Closed> {
        let mut waiting = Some(Waiting {
            response,
            bytes,
            share,
        });
        loop {
            if self.offer(&mut waiting)? {
                return Ok(());
            }
            self.shared.moved.notified().await;
        }
    }

    /// Whether so many bytes may be sent without a share.
    pub(crate) fn takes_uncharged(&self, bytes: usize) -> bool {
        // As many of these as may wait.
        if bytes <= UNCHARGED_BYTES_MAX / self.len_max {
            return true;
        }
        let uncharged = self.shared.state.lock().uncharged_bytes;
        uncharged.saturating_add(bytes) <= UNCHARGED_BYTES_MAX
    }

    /// Whether it was taken.
    fn offer(&self, offered: &mut Option<Waiting<R>>) -> Result<bool, Closed> {
        let mut state = self.shared.state.lock();
        if state.client_gone || !matches!(state.end, End::Open) {
            return Err(Closed);
        }
        let bytes = offered.as_ref().map_or(0, |waiting| waiting.bytes);
        let fits = state.waiting.len() < self.len_max
            && state.waiting_bytes.saturating_add(bytes) <= WAITING_BYTES_MAX;
        // One always fits, or one that is larger than the bound could never be told.
        if !fits && !state.waiting.is_empty() {
            let was_full = mem::replace(&mut state.is_full, true);
            drop(state);
            if !was_full {
                self.shared.charged.notify_one();
            }
            return Ok(false);
        }
        state.is_full = false;
        let Some(waiting) = offered.take() else {
            return Ok(true);
        };
        let is_charged = waiting.share.is_some();
        state.waiting_bytes += bytes;
        if !is_charged {
            state.uncharged_bytes += bytes;
        }
        state.waiting.push_back(waiting);
        let reader = state.reader.take();
        drop(state);
        if is_charged {
            self.shared.charged.notify_one();
        }
        if let Some(reader) = reader {
            reader.wake();
        }
        Ok(true)
    }

    /// Ends the stream after what waits.
    pub(crate) fn end(&self, status: Status) {
        self.finish(End::Due(status));
    }

    /// Ends the stream in place of what waits.
    pub(crate) fn abandon(&self, status: Status) {
        {
            let mut state = self.shared.state.lock();
            state.forget();
        }
        self.finish(End::Due(status));
    }

    fn finish(&self, end: End) {
        let mut state = self.shared.state.lock();
        if matches!(state.end, End::Open) {
            state.end = end;
        }
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Resolves when the client has gone. For one caller.
    pub(crate) async fn closed(&self) {
        while !self.shared.state.lock().client_gone {
            self.shared.gone.notified().await;
        }
    }

    /// Resolves when the client has read nothing for long while others wait for a share, and this
    /// stream holds one, or waits for room and may. Costs nothing otherwise. For one caller.
    pub(crate) async fn overdue(&self, account: &Account) {
        loop {
            let before = self.unread();
            let Some(taken) = before else {
                self.shared.charged.notified().await;
                continue;
            };
            sleep(UNREAD_MAX).await;
            if self.unread() == Some(taken) && account.is_short() {
                return;
            }
        }
    }

    /// How many responses were taken, if something may hold a share.
    fn unread(&self) -> Option<u64> {
        let state = self.shared.state.lock();
        let waits = state.waiting.iter().any(|waiting| waiting.share.is_some());
        (waits || state.is_full || state.passed_on.is_some()).then_some(state.taken)
    }
}

impl<R> Drop for Outbox<R> {
    fn drop(&mut self) {
        self.finish(End::Over);
    }
}

impl<R> State<R> {
    const fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            uncharged_bytes: 0,
            is_full: false,
            passed_on: None,
            taken: 0,
            client_gone: false,
            end: End::Open,
            reader: None,
        }
    }

    fn forget(&mut self) {
        self.waiting.clear();
        (self.waiting_bytes, self.uncharged_bytes) = (0, 0);
        self.passed_on = None;
    }
}

impl<R> Stream for Responses<R> {
    type Item = Result<R, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.0.state.lock();
        state.passed_on = None;
        if let Some(waiting) = state.waiting.pop_front() {
            state.waiting_bytes -= waiting.bytes;
            if waiting.share.is_none() {
                state.uncharged_bytes -= waiting.bytes;
            }
            state.taken += 1;
            state.passed_on = waiting.share;
            let waits_for_room = state.is_full;
            drop(state);
            if waits_for_room {
                self.0.moved.notify_one();
            }
            return Poll::Ready(Some(Ok(waiting.response)));
        }
        match mem::replace(&mut state.end, End::Over) {
            End::Due(status) => Poll::Ready(Some(Err(status))),
            End::Over => Poll::Ready(None),
            End::Open => {
                state.end = End::Open;
                state.reader = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<R> Drop for Responses<R> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.client_gone = true;
        state.forget();
        drop(state);
        self.0.moved.notify_one();
        self.0.gone.notify_one();
    }
}

#[cfg(test)]
impl<R> Responses<R> {
    /// What waits for the client, in bytes.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.0.state.lock().waiting_bytes
    }
}

#[cfg(test)]
mod tests;
