//! The threads that hash passwords: few, of low priority, behind one bounded queue.
//!
//! Threads of their own and not the runtime's for blocking work, which reads of the state need.
//! Invariant: the queue is bounded; who gets a place in it is decided in [`super::queue`].

use std::{fmt, io, num::NonZeroUsize, sync::Arc, thread};

use parking_lot::{Condvar, Mutex};
use tokio::{sync::oneshot, time::Instant};
use tracing::warn;

use super::queue::{Claimant, Offered, Queue};
use crate::{metrics::AuthMetrics, tasks};

/// Threads are one for so many processors. The others are left to consensus and to calls.
const PROCESSORS_PER_THREAD: usize = 4;

/// Passwords that may wait for each thread: two seconds of work at the default cost, which is less
/// than the time that clients wait.
const WAITING_PER_THREAD_MAX: usize = 32;

/// The priority of the threads (nice): a tenth of the time of a thread of the runtime, when
/// processors are short.
const NICE: i32 = 10;

/// The queue is full, or the place in it was given to another.
#[derive(Debug)]
pub(super) struct Full;

/// The threads. Dropping it ends them once they finish the job in progress.
pub(super) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    metrics: AuthMetrics,
}

struct Waiting {
    queue: Queue<Job>,
    stopped: bool,
}

type Job = Box<dyn FnOnce(&AuthMetrics) + Send>;

impl Pool {
    /// Starts one thread for every [`PROCESSORS_PER_THREAD`] processors.
    pub(super) fn start(metrics: AuthMetrics) -> io::Result<Self> {
        let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self::of((processors / PROCESSORS_PER_THREAD).max(1), metrics)
    }

    fn of(threads: usize, metrics: AuthMetrics) -> io::Result<Self> {
        let pool = Self {
            shared: Arc::new(Shared {
                waiting: Mutex::new(Waiting {
                    queue: Queue::new(threads * WAITING_PER_THREAD_MAX),
                    stopped: false,
                }),
                wake: Condvar::new(),
                metrics,
            }),
        };
        for _ in 0..threads {
            let shared = Arc::clone(&pool.shared);
            // The handle is not kept: the thread ends with the pool.
            _ = tasks::spawn_thread("passwords", move || work(&shared))?;
        }
        Ok(pool)
    }

    /// Runs `work` on one of the threads.
    ///
    /// # Cancel safety
    /// Cancel safe: work that has not begun is skipped.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        claimant: Claimant,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Full> {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(move |metrics: &AuthMetrics| {
            if reply.is_closed() {
                return;
            }
            let started = Instant::now();
            let result = work();
            metrics.hashing.observe(started.elapsed().as_secs_f64());
            // The caller may have gone in the meantime.
            _ = reply.send(result);
        });
        self.shared.push(claimant, job)?;
        // The sender is dropped unsent when another takes its place, and when the pool stops.
        answer.await.map_err(|_| Full)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl Shared {
    fn push(&self, claimant: Claimant, job: Job) -> Result<(), Full> {
        match self.waiting.lock().queue.offer(claimant, job) {
            Offered::Waits => self.metrics.waiting.inc(),
            // Dropped, which tells its caller.
            Offered::Instead(_) => {}
            Offered::Refused => return Err(Full),
        }
        self.wake.notify_one();
        Ok(())
    }

    fn stop(&self) {
        let mut waiting = self.waiting.lock();
        waiting.stopped = true;
        while waiting.queue.next().is_some() {
            self.metrics.waiting.dec();
        }
        self.wake.notify_all();
    }

    /// The next job; `None` once the pool stops.
    fn next(&self) -> Option<Job> {
        let mut waiting = self.waiting.lock();
        loop {
            if waiting.stopped {
                return None;
            }
            if let Some(job) = waiting.queue.next() {
                self.metrics.waiting.dec();
                return Some(job);
            }
            self.wake.wait(&mut waiting);
        }
    }
}

/// Runs jobs until the pool stops.
fn work(shared: &Shared) {
    // On Linux this is the priority of the calling thread alone.
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        warn!(%error, "the threads that hash passwords keep the usual priority");
    }
    while let Some(job) = shared.next() {
        job(&shared.metrics);
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.shared.waiting.lock().queue.len();
        formatter
            .debug_struct("Pool")
            .field("waiting", &waiting)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use futures::future::join_all;

    use super::{super::queue::PARTS_PER_PEER, *};

    fn pool() -> Pool {
        Pool::of(1, AuthMetrics::unregistered()).unwrap()
    }

    fn claimant(last: u8) -> Claimant {
        Claimant {
            peer: Some([10, 0, 0, last].into()),
            user: [last; 16],
            is_known: false,
        }
    }

    /// Occupies the thread of the pool until the sender is dropped.
    async fn occupy(pool: &Pool) -> oneshot::Sender<()> {
        let (release, released) = oneshot::channel::<()>();
        let (begun, began) = oneshot::channel();
        let run = Box::new(move |_: &AuthMetrics| {
            begun.send(()).unwrap();
            // An error, because the sender is dropped to release the thread.
            _ = released.blocking_recv();
        });
        pool.shared.push(claimant(0), run).unwrap();
        began.await.unwrap();
        release
    }

    #[tokio::test]
    async fn work_runs_on_a_thread_of_low_priority() {
        let pool = pool();
        let ran = pool.run(claimant(1), || {
            let stat = fs::read_to_string("/proc/thread-self/stat").unwrap();
            let (name, rest) = stat.rsplit_once(") ").unwrap();
            // The state is the third field, the nice value the nineteenth.
            let nice = rest.split(' ').nth(16).unwrap().to_owned();
            (name.to_owned(), nice)
        });
        let (name, nice) = ran.await.unwrap();
        assert!(name.ends_with("(passwords"), "{name}");
        assert_eq!(nice, NICE.to_string());
        let own = fs::read_to_string("/proc/thread-self/stat").unwrap();
        let (_, own) = own.rsplit_once(") ").unwrap();
        assert_ne!(own.split(' ').nth(16).unwrap(), nice, "only that thread");
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_one_peer_cannot_fill_it() {
        let pool = pool();
        let release = occupy(&pool).await;
        let per_peer = WAITING_PER_THREAD_MAX / PARTS_PER_PEER;
        let done = Arc::new(AtomicUsize::new(0));
        let push = |peer| {
            let done = Arc::clone(&done);
            pool.run(claimant(peer), move || done.fetch_add(1, Ordering::Relaxed))
        };
        let mut waiting = Vec::new();
        for number in 1..=4 {
            for _ in 0..per_peer {
                let mut run = Box::pin(push(number));
                assert!(futures::poll!(&mut run).is_pending());
                waiting.push(run);
            }
            assert!(push(number).await.is_err(), "its part is used up");
        }
        let mut other = Box::pin(push(9));
        assert!(futures::poll!(&mut other).is_pending(), "it takes a place");
        assert_eq!(pool.shared.metrics.waiting.get(), 32);
        drop(release);
        let results = join_all(waiting).await;
        let refused = results.iter().filter(|result| result.is_err()).count();
        assert_eq!(refused, 1, "of the greediest");
        assert!(other.await.is_ok());
        assert_eq!(done.load(Ordering::Relaxed), WAITING_PER_THREAD_MAX);
        assert_eq!(pool.shared.metrics.waiting.get(), 0);
    }

    #[tokio::test]
    async fn work_whose_caller_is_gone_is_skipped() {
        let pool = pool();
        let release = occupy(&pool).await;
        let done = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&done);
        let mut abandoned = Box::pin(pool.run(claimant(1), move || {
            count.fetch_add(1, Ordering::Relaxed);
        }));
        assert!(futures::poll!(&mut abandoned).is_pending());
        drop(abandoned);
        drop(release);
        pool.run(claimant(1), || {}).await.unwrap();
        assert_eq!(done.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_pool_that_stops_refuses_what_waits() {
        let pool = pool();
        let release = occupy(&pool).await;
        let waiting = pool.run(claimant(1), || {});
        let mut waiting = Box::pin(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        pool.shared.stop();
        assert!(waiting.await.is_err());
        assert_eq!(pool.shared.metrics.waiting.get(), 0);
        drop(release);
    }
}
