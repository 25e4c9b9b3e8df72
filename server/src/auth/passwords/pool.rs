//! The threads that hash passwords: few, of low priority, behind one bounded queue.
//!
//! Threads of their own and not the runtime's for blocking work, which reads of the state need.
//! Invariant: the queue is bounded, and one peer holds at most a part of it, so that its log-ins
//! cannot keep those of others out.

use std::{collections::VecDeque, fmt, io, net::IpAddr, num::NonZeroUsize, sync::Arc, thread};

use parking_lot::{Condvar, Mutex};
use tokio::{sync::oneshot, time::Instant};
use tracing::warn;

use crate::{metrics::AuthMetrics, tasks};

/// Threads are one for so many processors. The others are left to consensus and to calls.
const PROCESSORS_PER_THREAD: usize = 4;

/// Passwords that may wait for each thread: two seconds of work at the default cost, which is less
/// than the time that clients wait.
const WAITING_PER_THREAD_MAX: usize = 32;

/// The part of the queue that one peer may fill.
const PARTS_PER_PEER: usize = 4;

/// The priority of the threads (nice): a tenth of the time of a thread of the runtime, when
/// processors are short.
const NICE: i32 = 10;

/// The queue is full.
#[derive(Debug)]
pub(super) struct Full;

/// The threads. Dropping it ends them once they finish the job in progress.
pub(super) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    waiting_max: usize,
    metrics: AuthMetrics,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    stopped: bool,
}

struct Job {
    peer: Option<IpAddr>,
    run: Box<dyn FnOnce(&AuthMetrics) + Send>,
}

impl Pool {
    /// Starts one thread for every [`PROCESSORS_PER_THREAD`] processors.
    pub(super) fn start(metrics: AuthMetrics) -> io::Result<Self> {
        let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self::of((processors / PROCESSORS_PER_THREAD).max(1), metrics)
    }

    fn of(threads: usize, metrics: AuthMetrics) -> io::Result<Self> {
        let pool = Self {
            shared: Arc::new(Shared {
                queue: Mutex::default(),
                wake: Condvar::new(),
                waiting_max: threads * WAITING_PER_THREAD_MAX,
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
        peer: Option<IpAddr>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Full> {
        let (reply, answer) = oneshot::channel();
        self.shared.push(Job {
            peer,
            run: Box::new(move |metrics| {
                if reply.is_closed() {
                    return;
                }
                let started = Instant::now();
                let result = work();
                metrics.hashing.observe(started.elapsed().as_secs_f64());
                // The caller may have gone in the meantime.
                _ = reply.send(result);
            }),
        })?;
        // The sender is dropped unsent only when the pool stops, with the queue.
        answer.await.map_err(|_| Full)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl Shared {
    fn push(&self, job: Job) -> Result<(), Full> {
        let mut queue = self.queue.lock();
        let of_peer = queue.jobs.iter().filter(|other| other.peer == job.peer);
        let of_peer = of_peer.count();
        if queue.jobs.len() >= self.waiting_max || of_peer >= self.waiting_max / PARTS_PER_PEER {
            return Err(Full);
        }
        queue.jobs.push_back(job);
        self.metrics.waiting.inc();
        self.wake.notify_one();
        Ok(())
    }

    fn stop(&self) {
        let mut queue = self.queue.lock();
        queue.stopped = true;
        for _ in queue.jobs.drain(..) {
            self.metrics.waiting.dec();
        }
        self.wake.notify_all();
    }

    /// The next job; `None` once the pool stops.
    fn next(&self) -> Option<Job> {
        let mut queue = self.queue.lock();
        loop {
            if queue.stopped {
                return None;
            }
            if let Some(job) = queue.jobs.pop_front() {
                self.metrics.waiting.dec();
                return Some(job);
            }
            self.wake.wait(&mut queue);
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
        (job.run)(&shared.metrics);
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.shared.queue.lock().jobs.len();
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

    use super::*;

    fn pool() -> Pool {
        Pool::of(1, AuthMetrics::unregistered()).unwrap()
    }

    fn peer(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, last]))
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
        pool.shared.push(Job { peer: None, run }).unwrap();
        began.await.unwrap();
        release
    }

    #[tokio::test]
    async fn work_runs_on_a_thread_of_low_priority() {
        let pool = pool();
        let ran = pool.run(None, || {
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
            pool.run(peer, move || done.fetch_add(1, Ordering::Relaxed))
        };
        let mut waiting = Vec::new();
        for number in 1..=4 {
            for _ in 0..per_peer {
                let mut run = Box::pin(push(peer(number)));
                assert!(futures::poll!(&mut run).is_pending());
                waiting.push(run);
            }
            assert!(push(peer(number)).await.is_err(), "its part is used up");
        }
        assert!(push(peer(9)).await.is_err(), "the queue is full");
        assert_eq!(pool.shared.metrics.waiting.get(), 32);
        drop(release);
        let results = join_all(waiting).await;
        assert!(results.iter().all(Result::is_ok));
        assert_eq!(done.load(Ordering::Relaxed), WAITING_PER_THREAD_MAX);
        assert_eq!(pool.shared.metrics.waiting.get(), 0);
    }

    #[tokio::test]
    async fn work_whose_caller_is_gone_is_skipped() {
        let pool = pool();
        let release = occupy(&pool).await;
        let done = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&done);
        let mut abandoned = Box::pin(pool.run(None, move || {
            count.fetch_add(1, Ordering::Relaxed);
        }));
        assert!(futures::poll!(&mut abandoned).is_pending());
        drop(abandoned);
        drop(release);
        pool.run(None, || {}).await.unwrap();
        assert_eq!(done.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_pool_that_stops_refuses_what_waits() {
        let pool = pool();
        let release = occupy(&pool).await;
        let waiting = pool.run(None, || {});
        let mut waiting = Box::pin(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        pool.shared.stop();
        assert!(waiting.await.is_err());
        assert_eq!(pool.shared.metrics.waiting.get(), 0);
        drop(release);
    }
}
