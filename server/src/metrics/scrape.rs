//! The hook that runs before each scrape.

use std::{fmt, sync::OnceLock};

type Refresh = Box<dyn Fn() + Send + Sync>;

/// Refreshes gauges before a scrape.
#[derive(Default)]
pub(super) struct Scrape(OnceLock<Refresh>);

impl Scrape {
    pub(super) fn set(&self, refresh: impl Fn() + Send + Sync + 'static) {
        // There is one server per process; its hook, set first, stays.
        _ = self.0.set(Box::new(refresh));
    }

    pub(super) fn run(&self) {
        if let Some(refresh) = self.0.get() {
            refresh();
        }
    }
}

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrape")
            .field("set", &self.0.get().is_some())
            .finish()
    }
}
