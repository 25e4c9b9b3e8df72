//! Rate limit for warnings and errors of one call site: a repeating fault must not fill the disk.
//!
//! Counts the lines of each call site in a window of time, and drops those beyond the bound.
//! Reports once per window that lines are dropped, with the call site, so that silence is not taken
//! for health. Never drops lines below the level of a warning: they are kept as a record.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tracing::{Event, Level, Metadata, callsite::Identifier};
use tracing_subscriber::layer::{Context, Filter};

use crate::clock::Clock;

/// Lines per call site and window. More than a person reads; at most 1 MB an hour for lines of
/// usual length.
const LINES_MAX: u32 = 20;

/// Length of a window.
const WINDOW: Duration = Duration::from_secs(10);

/// Reports a call site whose lines are dropped for the rest of the window.
type Tell = Box<dyn Fn(&Metadata<'_>) + Send + Sync>;

/// The lines of one call site in its current window.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    began: Duration,
    lines: u32,
}

/// The decision about a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Written,
    /// Dropped as the first of its window.
    FirstOut,
    Out,
}

/// Counts lines by call site, of which a program has a fixed number.
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
        // A greater level is more verbose.
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
