//! The queue of responses between a stream of changes and its client.
//!
//! It is bounded in number and in bytes. A response that was read from history, or is not small,
//! also holds a [`Share`] of the memory of all streams until the transport asks for the next
//! response.
//!
//! Invariant: responses are delivered in the order in which they were sent, and a stream that the
//! server ends has a status.

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

/// Bytes of responses that wait for the transport, unless a single one is larger: some windows of a
/// connection. The backlog of a slow client stays in history, not here.
const WAITING_BYTES_MAX: usize = 512 * 1024;
/// Bytes of responses without a share that wait for the transport: the memory of a stream whose
/// client does not read. Half of what a call is charged for; the transport may hold another
/// response.
const UNCHARGED_BYTES_MAX: usize = 16 * 1024;
/// How long a client may not read a response with a share while others wait for one.
const UNREAD_MAX: Duration = Duration::from_secs(30);

/// The client is gone, or the stream was ended.
#[derive(Debug)]
pub(crate) struct Closed;

/// The sending side. The stream ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Outbox<R> {
    shared: Arc<Shared<R>>,
    len_max: usize,
}

/// The receiving side, for the transport.
#[derive(Debug)]
pub(crate) struct Responses<R>(Arc<Shared<R>>);

#[derive(Debug)]
struct Shared<R> {
    state: Mutex<State<R>>,
    /// A response was taken, or none will be any more.
    moved: Notify,
    /// The client is gone.
    gone: Notify,
    /// A response with a share waits, or a sender waits for room.
    charged: Notify,
}

#[derive(Debug)]
struct State<R> {
    waiting: VecDeque<Waiting<R>>,
    waiting_bytes: usize,
    /// Bytes without a share.
    uncharged_bytes: usize,
    /// Whether the stream waits for room. It may hold a share for the response that it sends, or
    /// for its next read.
    is_full: bool,
    /// The share of the response that the transport took last and may still hold.
    passed_on: Option<Arc<Share>>,
    /// Number of responses taken.
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

/// Both sides of a stream, with at most `len_max` waiting responses.
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
    /// Waits for room, and sends a response that takes `bytes` of memory, keys and values included.
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

    /// Whether a response of this size may be sent without a share.
    pub(crate) fn takes_uncharged(&self, bytes: usize) -> bool {
        // As many of these as may wait.
        if bytes <= UNCHARGED_BYTES_MAX / self.len_max {
            return true;
        }
        let uncharged = self.shared.state.lock().uncharged_bytes;
        uncharged.saturating_add(bytes) <= UNCHARGED_BYTES_MAX
    }

    /// Whether it was queued.
    fn offer(&self, offered: &mut Option<Waiting<R>>) -> Result<bool, Closed> {
        let mut state = self.shared.state.lock();
        if state.client_gone || !matches!(state.end, End::Open) {
            return Err(Closed);
        }
        let bytes = offered.as_ref().map_or(0, |waiting| waiting.bytes);
        let fits = state.waiting.len() < self.len_max
            && state.waiting_bytes.saturating_add(bytes) <= WAITING_BYTES_MAX;
        // One response always fits; one larger than the bound could otherwise never be sent.
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

    /// Ends the stream after the waiting responses.
    pub(crate) fn end(&self, status: Status) {
        self.finish(End::Due(status));
    }

    /// Ends the stream in place of the waiting responses.
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

    /// Resolves when the client is gone. For one caller.
    pub(crate) async fn closed(&self) {
        while !self.shared.state.lock().client_gone {
            self.shared.gone.notified().await;
        }
    }

    /// Resolves when the client has read nothing for long while others wait for a share, and this
    /// stream holds one, or waits for room and may hold one. Costs nothing otherwise. For one
    /// caller.
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

    /// Number of responses taken, if a share may be held.
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
    /// Bytes that wait for the client.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.0.state.lock().waiting_bytes
    }
}

#[cfg(test)]
mod tests;
