//! The only module that spawns: named tasks on the runtime, and named threads.
//!
//! A panic anywhere ends the process (release builds abort; the hook set here covers the rest), so
//! a task never ends unnoticed.

use std::{future::Future, io, panic, process, thread};

use tokio::task::JoinHandle;
use tracing::{Instrument as _, debug_span, error};

tokio::task_local! {
    /// Name of the current task, for the message of a panic.
    ///
    /// Set for each poll, which costs a swap of one word. A span that is always enabled would work
    /// as well, but at a measurable cost in tasks that are spawned for every write.
    static NAME: &'static str;
}

/// Installs a hook that logs the message of any panic and then aborts the process.
pub fn abort_on_panic() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        before(info);
        error!(panic = %info, of = %place(), "fatal: a panic, the node stops");
        process::abort();
    }));
}

/// The name of the current task, or of the thread outside of tasks.
fn place() -> String {
    match NAME.try_with(|name| *name) {
        Ok(task) => format!("task {task}"),
        Err(_) => format!(
            "thread {}",
            thread::current().name().unwrap_or("without a name")
        ),
    }
}

/// Spawns `future` on the current runtime. Its log lines and the message of a panic carry `name`.
/// Dropping the handle detaches the task.
pub fn spawn<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let span = debug_span!("task", name);
    tokio::spawn(NAME.scope(name, future.instrument(span)))
}

/// Runs blocking `work` on the runtime's thread pool for it.
pub fn spawn_blocking<F, T>(work: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    tokio::task::spawn_blocking(work)
}

/// Runs `work` on a new thread.
///
/// # Errors
/// When the operating system cannot create a thread.
pub fn spawn_thread<F>(name: &str, work: F) -> io::Result<thread::JoinHandle<()>>
where
    F: FnOnce() + Send + 'static,
{
    thread::Builder::new().name(name.to_owned()).spawn(work)
}

#[cfg(test)]
mod tests {
    use std::{env, io::Write, process::Command, sync::Arc};

    use parking_lot::Mutex;
    use tracing::{info, subscriber::with_default};

    use super::*;

    const CHILD: &str = "TENURE_TASK_PANIC_TEST_CHILD";

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(future)
    }

    #[test]
    fn the_message_of_a_panic_names_the_task() {
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "tasks::tests::child_panics_in_a_task"])
            .arg("--nocapture")
            .env(CHILD, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(!child.status.success(), "a panic ends the process");
        assert!(said.contains("of=task doomed"), "{said}");
    }

    /// The child process of the test above: does nothing otherwise.
    #[test]
    fn child_panics_in_a_task() {
        if env::var_os(CHILD).is_none() {
            return;
        }
        tracing_subscriber::fmt().with_ansi(false).init();
        abort_on_panic();
        block_on(async { spawn("doomed", async { panic!("as told") }).await.unwrap() });
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_of_a_task_carry_its_name() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        with_default(subscriber, || {
            block_on(async {
                spawn("worker", async { info!("here") }).await.unwrap();
            });
        });
        let text = String::from_utf8(lines.0.lock().clone()).unwrap();
        assert!(text.contains(r#"task{name="worker"}"#), "{text}");
    }
}
