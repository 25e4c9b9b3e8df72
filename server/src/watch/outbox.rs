//! The responses of one watch stream on their way to its client.
//!
//! What waits is bounded in number and in bytes. A response that was made from history also holds a
//! [`Share`] of what all streams may hold, until the transport asks for the one after it.
//!
//! Invariant: responses are passed on in the order in which they were sent, and a stream that ends
//! by itself ends with a status.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures::Stream;
use parking_lot::Mutex;
use tenure_proto::{etcdserverpb::WatchResponse, mvccpb};
use tokio::{sync::Notify, time::sleep};
use tonic::Status;

use super::share::{Account, Share};

/// Bytes of responses that wait for the transport, unless a single one is larger: some windows of
/// a connection. What a slow client leaves behind waits in history, not here.
const WAITING_BYTES_MAX: usize = 512 * 1024;
/// What an event and a response cost beside keys and values, about.
const OVERHEAD_BYTES: usize = 64;
/// How long a client may read nothing of what holds a share while others wait for one.
const UNREAD_MAX: Duration = Duration::from_secs(30);

/// The client is gone, or the stream was ended.
#[derive(Debug)]
pub(super) struct Closed;

/// The stream's side. The stream ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Outbox {
    shared: Arc<Shared>,
    len_max: usize,
}

/// The transport's side.
#[derive(Debug)]
pub(crate) struct Responses(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Something was taken, or nothing will be any more.
    moved: Notify,
    /// The client has gone.
    gone: Notify,
    /// Something with a share waits.
    charged: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// The share of what the transport took last, which it may still hold.
    passed_on: Option<Arc<Share>>,
    /// How many responses were taken.
    taken: u64,
    client_gone: bool,
    end: End,
    reader: Option<Waker>,
}

#[derive(Debug)]
struct Waiting {
    response: WatchResponse,
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
pub(crate) fn outbox(len_max: usize) -> (Outbox, Responses) {
    let shared = Arc::<Shared>::default();
    let responses = Responses(Arc::clone(&shared));
    (Outbox { shared, len_max }, responses)
}

impl Outbox {
    /// Waits for room, and hands the response on.
    ///
    /// # Cancel safety
    /// A response whose future was dropped was not sent.
    pub(super) async fn send(
        &self,
        response: WatchResponse,
        share: Option<Arc<Share>>,
    ) -> Result<(), Closed> {
        let bytes = bytes_of(&response);
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

    /// Whether it was taken.
    fn offer(&self, offered: &mut Option<Waiting>) -> Result<bool, Closed> {
        let mut state = self.shared.state.lock();
        if state.client_gone || !matches!(state.end, End::Open) {
            return Err(Closed);
        }
        let bytes = offered.as_ref().map_or(0, |waiting| waiting.bytes);
        let fits = state.waiting.len() < self.len_max
            && state.waiting_bytes.saturating_add(bytes) <= WAITING_BYTES_MAX;
        // One always fits, or one that is larger than the bound could never be told.
        if !fits && !state.waiting.is_empty() {
            return Ok(false);
        }
        let Some(waiting) = offered.take() else {
            return Ok(true);
        };
        let is_charged = waiting.share.is_some();
        state.waiting_bytes += bytes;
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
    pub(super) fn end(&self, status: Status) {
        self.finish(End::Due(status));
    }

    /// Ends the stream in place of what waits.
    pub(super) fn abandon(&self, status: Status) {
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
    pub(super) async fn closed(&self) {
        while !self.shared.state.lock().client_gone {
            self.shared.gone.notified().await;
        }
    }

    /// Resolves when the client has read nothing for long of what holds a share, while others
    /// wait for one. Costs nothing while nothing holds one. For one caller.
    pub(super) async fn overdue(&self, account: &Account) {
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

    /// How many responses were taken, if something holds a share.
    fn unread(&self) -> Option<u64> {
        let state = self.shared.state.lock();
        let waits = state.waiting.iter().any(|waiting| waiting.share.is_some());
        (waits || state.passed_on.is_some()).then_some(state.taken)
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.finish(End::Over);
    }
}

impl State {
    fn forget(&mut self) {
        self.waiting.clear();
        self.waiting_bytes = 0;
        self.passed_on = None;
    }
}

impl Stream for Responses {
    type Item = Result<WatchResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.0.state.lock();
        state.passed_on = None;
        if let Some(waiting) = state.waiting.pop_front() {
            state.waiting_bytes -= waiting.bytes;
            state.taken += 1;
            state.passed_on = waiting.share;
            drop(state);
            self.0.moved.notify_one();
            return Poll::Ready(Some(Ok(waiting.response)));
        }
        match std::mem::replace(&mut state.end, End::Over) {
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

impl Drop for Responses {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.client_gone = true;
        state.forget();
        drop(state);
        self.0.moved.notify_one();
        self.0.gone.notify_one();
    }
}

fn bytes_of(response: &WatchResponse) -> usize {
    let record = |kv: &mvccpb::KeyValue| kv.key.len() + kv.value.len();
    let events = response.events.iter().map(|event| {
        let (kv, previous) = (event.kv.as_ref(), event.prev_kv.as_ref());
        OVERHEAD_BYTES + kv.map_or(0, record) + previous.map_or(0, record)
    });
    OVERHEAD_BYTES + events.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::{FutureExt, StreamExt};

    use super::*;

    fn response(number: i64, bytes: usize) -> WatchResponse {
        let kv = mvccpb::KeyValue {
            value: Bytes::from(vec![b'x'; bytes]),
            ..mvccpb::KeyValue::default()
        };
        WatchResponse {
            watch_id: number,
            events: vec![mvccpb::Event {
                kv: Some(kv),
                ..mvccpb::Event::default()
            }],
            ..WatchResponse::default()
        }
    }

    #[tokio::test]
    async fn what_waits_is_bounded_in_number_and_bytes_and_one_always_fits() {
        let (outbox, mut responses) = outbox(2);
        let large = WAITING_BYTES_MAX * 2;
        assert!(
            outbox
                .send(response(1, large), None)
                .now_or_never()
                .is_some()
        );
        assert!(outbox.send(response(2, 1), None).now_or_never().is_none());
        assert_eq!(responses.next().await.unwrap().unwrap().watch_id, 1);
        for number in 3..5 {
            let sent = outbox.send(response(number, 1), None).now_or_never();
            assert!(sent.is_some());
        }
        assert!(outbox.send(response(5, 1), None).now_or_never().is_none());
        outbox.end(Status::unavailable("stopping"));
        let told: Vec<_> = responses.collect().await;
        assert_eq!(told.len(), 3);
        assert_eq!(told[1].as_ref().unwrap().watch_id, 4);
        assert!(told[2].is_err(), "the status comes last");
    }

    #[tokio::test]
    async fn a_client_that_goes_gives_everything_back_and_is_noticed() {
        let account = Account::new(1 << 20);
        let (outbox, responses) = outbox(2);
        let share = Arc::new(account.take(1 << 20).await);
        outbox.send(response(1, 1), Some(share)).await.unwrap();
        assert!(account.is_short());
        assert!(outbox.closed().now_or_never().is_none());
        drop(responses);
        outbox.closed().await;
        assert!(!account.is_short());
        assert!(outbox.send(response(2, 1), None).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_read_for_long_is_overdue_only_while_others_wait_for_a_share() {
        let account = Account::new(1 << 20);
        let (outbox, mut responses) = outbox(2);
        let share = Arc::new(account.take(1024).await);
        outbox.send(response(1, 1), Some(share)).await.unwrap();
        let wait = UNREAD_MAX * 4;
        let overdue = tokio::time::timeout(wait, outbox.overdue(&account));
        assert!(overdue.await.is_err(), "there is enough for all");
        let rest = account.take((1 << 20) - 1024).await;
        outbox.overdue(&account).await;
        outbox.abandon(Status::unavailable("unread"));
        drop(rest);
        assert!(!account.is_short());
        assert!(responses.next().await.unwrap().is_err());
        assert!(responses.next().await.is_none());
    }
}
