//! Tests of what the service manager receives, with a socket in its place.

use std::{
    collections::BTreeMap,
    os::unix::net::UnixDatagram,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use tempfile::TempDir;
use tokio::time::{Instant, advance};

use super::*;
use crate::admin::Alarm;

const WATCHDOG: Duration = Duration::from_secs(60);

/// A node in a given state.
#[derive(Debug, Default)]
struct Node {
    ready: AtomicBool,
    hangs: AtomicBool,
    fails: AtomicBool,
}

impl Health for Node {
    fn has_leader(&self) -> bool {
        true
    }

    fn is_learner(&self) -> bool {
        false
    }

    fn alarms(&self) -> Vec<Alarm> {
        Vec::new()
    }

    fn disk(&self) -> Result<(), String> {
        Ok(())
    }

    fn cluster_version(&self) -> Option<String> {
        None
    }

    fn linearizable_read(&self) -> ProbeFuture<'_> {
        let ready = self.ready.load(Ordering::Relaxed);
        Box::pin(async move {
            ready
                .then_some(())
                .ok_or_else(|| "etcdserver: no leader\nwait".to_owned())
        })
    }

    fn serializable_read(&self) -> ProbeFuture<'_> {
        Box::pin(async { Ok(()) })
    }
}

impl Signs for Arc<Node> {
    fn health(&self) -> &dyn Health {
        &**self
    }

    fn alive(&self) -> ProbeFuture<'_> {
        if self.hangs.load(Ordering::Relaxed) {
            return Box::pin(std::future::pending());
        }
        let fails = self.fails.load(Ordering::Relaxed);
        Box::pin(async move {
            if fails {
                return Err("as told".to_owned());
            }
            Ok(())
        })
    }
}

/// The service manager's end.
struct Manager {
    socket: UnixDatagram,
    dir: TempDir,
}

impl Manager {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, dir }
    }

    fn path(&self) -> String {
        self.dir.path().join("notify").display().to_string()
    }

    fn supervisor(&self, more: &[(&str, &str)]) -> Supervisor {
        let path = self.path();
        supervisor(&[&[("NOTIFY_SOCKET", path.as_str())], more].concat())
    }

    /// What was received since the last call.
    fn heard(&self) -> Vec<String> {
        let mut buffer = [0; 1024];
        let next = || {
            let length = self.socket.recv(&mut buffer).ok()?;
            Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
        };
        std::iter::from_fn(next).collect()
    }

    /// How many signs of life were received in a time, and the longest pause between two.
    async fn signs_within(&self, time: Duration) -> (usize, Duration) {
        let begin = Instant::now();
        let (mut count, mut last, mut pause) = (0, begin, Duration::ZERO);
        while begin.elapsed() < time {
            advance(Duration::from_millis(500)).await;
            tokio::task::yield_now().await;
            for notice in self.heard() {
                assert_eq!(notice, "WATCHDOG=1");
                count += 1;
                pause = pause.max(last.elapsed());
                last = Instant::now();
            }
        }
        (count, pause.max(last.elapsed()))
    }
}

fn supervisor(pairs: &[(&str, &str)]) -> Supervisor {
    let pairs: BTreeMap<_, _> = pairs.iter().copied().collect();
    Supervisor::described_by(|name| pairs.get(name).map(OsString::from), 7)
}

async fn settle() {
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_manager_is_told_why_the_node_is_not_ready_and_when_it_is() {
    let (manager, node) = (Manager::new(), Arc::new(Node::default()));
    manager.supervisor(&[]).watch(Arc::clone(&node));
    settle().await;
    let said = "STATUS=not ready: linearizable_read: etcdserver: no leader; wait";
    assert_eq!(manager.heard(), [said]);
    advance(LOOK_PAUSE * 3).await;
    settle().await;
    assert_eq!(manager.heard(), [""; 0], "the reason is the same");
    node.ready.store(true, Ordering::Relaxed);
    advance(LOOK_PAUSE * 2).await;
    settle().await;
    assert_eq!(manager.heard(), ["READY=1\nSTATUS=ready"]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_works_is_never_late_for_the_watchdog() {
    let (manager, node) = (Manager::new(), Arc::new(Node::default()));
    node.ready.store(true, Ordering::Relaxed);
    let micros = WATCHDOG.as_micros().to_string();
    let supervisor = manager.supervisor(&[("WATCHDOG_USEC", &micros), ("WATCHDOG_PID", "7")]);
    supervisor.watch(Arc::clone(&node));
    settle().await;
    assert_eq!(manager.heard()[0], "READY=1\nSTATUS=ready");
    let (count, pause) = manager.signs_within(WATCHDOG * 5).await;
    assert!(count >= 15, "{count} signs");
    assert!(pause <= WATCHDOG / 2, "{pause:?} without one");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_hangs_or_fails_gives_no_sign_of_life() {
    let (manager, node) = (Manager::new(), Arc::new(Node::default()));
    node.ready.store(true, Ordering::Relaxed);
    let micros = WATCHDOG.as_micros().to_string();
    let supervisor = manager.supervisor(&[("WATCHDOG_USEC", &micros)]);
    supervisor.watch(Arc::clone(&node));
    settle().await;
    for flag in [&node.hangs, &node.fails] {
        flag.store(true, Ordering::Relaxed);
        advance(WATCHDOG).await;
        settle().await;
        _ = manager.heard();
        let (count, _) = manager.signs_within(WATCHDOG * 2).await;
        assert_eq!(count, 0);
        flag.store(false, Ordering::Relaxed);
        let (count, _) = manager.signs_within(WATCHDOG).await;
        assert!(count > 0, "it works again");
    }
}

#[tokio::test]
async fn the_manager_is_told_that_the_node_stops() {
    let manager = Manager::new();
    manager.supervisor(&[]).stopping();
    assert_eq!(manager.heard(), ["STOPPING=1\nSTATUS=stopping"]);
}

#[test]
fn without_a_manager_or_with_an_unusable_one_nothing_is_sent() {
    for pairs in [
        &[][..],
        &[("NOTIFY_SOCKET", "")],
        &[("NOTIFY_SOCKET", "vsock:2:1")],
        &[("WATCHDOG_USEC", "1000000")],
    ] {
        let supervisor = supervisor(pairs);
        assert!(supervisor.notices.is_none(), "{pairs:?}");
        assert_eq!(supervisor.watchdog, None, "{pairs:?}");
        supervisor.stopping();
    }
}

#[test]
fn the_watchdog_of_another_process_is_not_fed() {
    let manager = Manager::new();
    assert!(Path::new(&manager.path()).exists());
    for (more, expected) in [
        (&[("WATCHDOG_USEC", "30000000")][..], Some(30)),
        (
            &[("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", "7")],
            Some(30),
        ),
        (
            &[("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", "8")],
            None,
        ),
        (&[("WATCHDOG_USEC", "0")], None),
        (&[("WATCHDOG_USEC", "soon")], None),
    ] {
        let expected = expected.map(Duration::from_secs);
        assert_eq!(manager.supervisor(more).watchdog, expected, "{more:?}");
    }
}

#[test]
fn a_status_is_one_short_line() {
    let long = "ä".repeat(STATUS_BYTES_MAX);
    let line = status(&format!("a\nb {long}"));
    assert!(line.starts_with("STATUS=not ready: a; b ä"));
    assert!(line.len() <= STATUS_BYTES_MAX + 20 && !line.contains('\n'));
}
