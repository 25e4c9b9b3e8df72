//! A bounded queue of pieces from a thread to a task, which ends when the task takes nothing for
//! too long.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use parking_lot::{Condvar, Mutex};

/// Pieces that wait to be sent. Two are enough to keep both ends busy, the rest covers jitter.
const WAITING_MAX: usize = 8;

/// Creates a pipe. Its sender gives up when nothing was received for `stall_max`.
pub(super) fn pipe<T>(stall_max: Duration) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            waiting: VecDeque::new(),
            receiver: None,
            is_sending: true,
            is_receiving: true,
        }),
        room: Condvar::new(),
    });
    let sender = Sender {
        shared: Arc::clone(&shared),
        stall_max,
    };
    (sender, Receiver { shared })
}

/// Why a piece was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsent {
    /// Nobody receives any more.
    Gone,
    /// Nothing was received for too long.
    Stalled,
}

/// The end of the thread.
#[derive(Debug)]
pub(super) struct Sender<T> {
    shared: Arc<Shared<T>>,
    stall_max: Duration,
}

/// The end of the task.
#[derive(Debug)]
pub(super) struct Receiver<T> {
    shared: Arc<Shared<T>>,
}

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    room: Condvar,
}

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<T>,
    receiver: Option<Waker>,
    is_sending: bool,
    is_receiving: bool,
}

impl<T> Sender<T> {
    /// Sends a piece, once there is room for it. Blocks the thread.
    pub(super) fn send(&self, piece: T) -> Result<(), Unsent> {
        let mut state = self.shared.state.lock();
        while state.is_receiving && state.waiting.len() >= WAITING_MAX {
            // Each piece that is taken begins the wait anew.
            let waited = self.shared.room.wait_for(&mut state, self.stall_max);
            if waited.timed_out() {
                return Err(Unsent::Stalled);
            }
        }
        if !state.is_receiving {
            return Err(Unsent::Gone);
        }
        state.waiting.push_back(piece);
        if let Some(receiver) = state.receiver.take() {
            receiver.wake();
        }
        Ok(())
    }

    /// Sends a last piece in place of those that wait.
    pub(super) fn fail(self, piece: T) {
        let mut state = self.shared.state.lock();
        state.waiting.clear();
        state.waiting.push_back(piece);
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.is_sending = false;
        if let Some(receiver) = state.receiver.take() {
            receiver.wake();
        }
    }
}

impl<T> futures::Stream for Receiver<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.shared.state.lock();
        if let Some(piece) = state.waiting.pop_front() {
            self.shared.room.notify_one();
            return Poll::Ready(Some(piece));
        }
        if !state.is_sending {
            return Poll::Ready(None);
        }
        state.receiver = Some(context.waker().clone());
        Poll::Pending
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.state.lock().is_receiving = false;
        self.shared.room.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use futures::StreamExt;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(1);

    #[tokio::test]
    async fn pieces_arrive_in_order_and_then_the_end() {
        let (sender, receiver) = pipe(LONG);
        let sending = thread::spawn(move || {
            for number in 0..100 {
                sender.send(number).unwrap();
            }
        });
        let received: Vec<i32> = receiver.collect().await;
        assert_eq!(received, (0..100).collect::<Vec<_>>());
        sending.join().unwrap();
    }

    #[tokio::test]
    async fn a_sender_gives_up_when_nothing_is_taken() {
        let (sender, receiver) = pipe(SHORT);
        let stalled = (0..100).find_map(|number| sender.send(number).err());
        assert_eq!(stalled, Some(Unsent::Stalled));
        sender.fail(-1);
        let received: Vec<i32> = receiver.collect().await;
        assert_eq!(received, [-1], "the failure, in place of what waited");
    }

    #[tokio::test]
    async fn a_sender_learns_that_nobody_receives() {
        let (sender, receiver) = pipe(LONG);
        for number in 0..WAITING_MAX {
            sender.send(number).unwrap();
        }
        let dropping = thread::spawn(move || drop(receiver));
        assert_eq!(sender.send(0), Err(Unsent::Gone));
        dropping.join().unwrap();
    }
}
