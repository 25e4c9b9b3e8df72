//! Bounds how often one place in the code warns: a fault that repeats must not fill the disk.
//!
//! Counts the lines of each place in a window of time, and leaves out those beyond the bound. That
//! lines are left out is said once per window, with the place, so that nobody takes silence for
//! health. Below a warning nothing is left out: those lines are kept for the record.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tracing::{Event, Level, Metadata, callsite::Identifier};
use tracing_subscriber::layer::{Context, Filter};

use crate::clock::Clock;

/// Lines that one place may write in a window. More than a person reads, and 1 MB an hour at most
/// of a line of usual length.
const LINES_MAX: u32 = 20;

/// How long a window is.
const WINDOW: Duration = Duration::from_secs(10);

/// Told of the place whose lines are left out for the rest of the window.
type Tell = Box<dyn Fn(&Metadata<'_>) + Send + Sync>;

/// The lines of one place in its present window.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    began: Duration,
    lines: u32,
}

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Written,
    /// The first that is left out in its window.
    FirstOut,
    Out,
}

/// Counts lines by the place that writes them, of which a program has a fixed number.
pub(super) struct Repeats {
    clock: Arc<dyn Clock>,
    windows: Mutex<HashMap<Identifier, Window>>,
    tell: Tell,
}

impl fmt::Debug for Repeats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repeats").finish_non_exhaustive()
    }
}

impl Repeats {
    pub(super) fn new(clock: Arc<dyn Clock>, tell: Tell) -> Self {
        Self {
            clock,
            windows: Mutex::default(),
            tell,
        }
    }

    fn judge(&self, place: Identifier) -> Verdict {
        let now = self.clock.now();
        let mut windows = self.windows.lock();
        let window = windows.entry(place).or_default();
        if window.lines == 0 || now.saturating_sub(window.began) >= WINDOW {
            *window = Window {
                began: now,
                lines: 0,
            };
        }
        window.lines = window.lines.saturating_add(1);
        match window.lines {
            ..=LINES_MAX => Verdict::Written,
            lines if lines == LINES_MAX + 1 => Verdict::FirstOut,
            _ => Verdict::Out,
        }
    }
}

impl<S> Filter<S> for Repeats {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let place = event.metadata();
        // Levels are ordered by how much they let through.
        if *place.level() > Level::WARN {
            return true;
        }
        let verdict = self.judge(place.callsite());
        if verdict == Verdict::FirstOut {
            (self.tell)(place);
        }
        verdict == Verdict::Written
    }
}
