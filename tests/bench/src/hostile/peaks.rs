//! The most memory that each node has held, also of those that end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::process;

/// The kernel keeps the maximum; what a node takes within this time before it ends is missed.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Looks at the nodes until it is stopped.
#[derive(Debug)]
pub(super) struct Peaks {
    stop: Arc<AtomicBool>,
    looking: JoinHandle<Vec<u64>>,
}

impl Peaks {
    pub(super) fn start(pids: Vec<u32>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let looking = thread::spawn(move || {
            let mut peaks = vec![0; pids.len()];
            loop {
                for (peak, pid) in peaks.iter_mut().zip(&pids) {
                    let seen = process::peak_bytes(&pid.to_string()).unwrap_or(0);
                    *peak = seen.max(*peak);
                }
                if stopped.load(Ordering::Relaxed) {
                    return peaks;
                }
                // A pause between two looks.
                thread::sleep(LOOK_EVERY);
            }
        });
        Self { stop, looking }
    }

    /// The peaks of the nodes, in bytes.
    pub(super) fn stop(self) -> Vec<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.looking.join().unwrap_or_default()
    }
}
