//! Turns of the large reads, in the order in which they wait. For threads, which block here.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

#[derive(Debug)]
pub(super) struct Turns {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Debug)]
struct State {
    /// How many may begin a turn now.
    free: usize,
    /// The next ticket to issue, and the next to serve.
    next: u64,
    served: u64,
}

/// A running turn; ends when dropped.
#[derive(Debug)]
pub(super) struct Running(Arc<Turns>);

impl Turns {
    /// Turns of which `at_once` run at once.
    pub(super) const fn new(at_once: usize) -> Self {
        Self {
            state: Mutex::new(State {
                free: at_once,
                next: 0,
                served: 0,
            }),
            moved: Condvar::new(),
        }
    }

    /// How many may begin a turn now.
    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.state.lock().free
    }

    /// Waits for a turn.
    pub(super) fn wait(self: &Arc<Self>) -> Running {
        let mut state = self.state.lock();
        let ticket = state.next;
        state.next += 1;
        while state.served != ticket || state.free == 0 {
            self.moved.wait(&mut state);
        }
        state.served += 1;
        state.free -= 1;
        drop(state);
        self.moved.notify_all();
        Running(Arc::clone(self))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.state.lock().free += 1;
        self.0.moved.notify_all();
    }
}
