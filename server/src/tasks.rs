//! The only place that spawns: named tasks on the runtime, named threads beside it.
//!
//! A panic anywhere ends the process (release builds abort; the hook set here covers the rest), so
//! no task is ever silently missing.

use std::{future::Future, io, panic, process, thread};

use tokio::task::JoinHandle;
use tracing::error;

/// Makes a panic of any thread or task end the process, after the message is logged.
pub fn abort_on_panic() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        before(info);
        error!(panic = %info, "fatal: a panic, the node stops");
        process::abort();
    }));
}

/// Runs `future` on the present runtime. Dropping the handle leaves the task running.
pub fn spawn<F>(_name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future)
}

/// Runs `work`, which blocks, on the runtime's blocking threads.
pub fn spawn_blocking<F, T>(work: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    tokio::task::spawn_blocking(work)
}

/// Runs `work` on a thread of its own.
///
/// # Errors
/// When the operating system gives no thread.
pub fn spawn_thread<F>(name: &str, work: F) -> io::Result<thread::JoinHandle<()>>
where
    F: FnOnce() + Send + 'static,
{
    thread::Builder::new().name(name.to_owned()).spawn(work)
}
