//! Freshness bounds of reads: least revision and greatest age of the state.
//!
//! Bounds travel as metadata, which servers other than tenure ignore: as with guards, the client
//! checks that the server is tenure before it sends any (see `run.rs`), so that a bound is
//! enforced, or the read is not sent.

use std::time::Duration;

use tenure_proto::metadata::{AT_LEAST_REVISION_METADATA, MAX_STALENESS_METADATA};
use tonic::metadata::MetadataMap;

use crate::{duration::millis, id::Revision};

/// Bounds on the state that a read sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Freshness {
    at_least: Option<Revision>,
    staleness_max: Option<Duration>,
}

impl Freshness {
    /// Raises the revision that the state must have reached.
    pub(crate) fn raise_at_least(&mut self, revision: Revision) {
        self.at_least = self.at_least.max(Some(revision));
    }

    /// Lowers the greatest age of the state.
    pub(crate) fn lower_staleness(&mut self, age: Duration) {
        self.staleness_max = Some(self.staleness_max.map_or(age, |known| known.min(age)));
    }

    /// Whether no bound is set.
    pub(crate) fn is_unbounded(self) -> bool {
        self == Self::default()
    }

    /// Adds the bounds to the metadata of a call.
    pub(crate) fn attach(self, metadata: &mut MetadataMap) {
        // A revision below zero is reached by every state, as zero is.
        if let Some(revision) = self.at_least {
            let number = u64::try_from(revision.get()).unwrap_or(0);
            metadata.insert(AT_LEAST_REVISION_METADATA, number.into());
        }
        if let Some(age) = self.staleness_max {
            metadata.insert(MAX_STALENESS_METADATA, millis(age).into());
        }
    }
}

/// Implements the method that sets the least revision of a read request.
macro_rules! impl_at_least_revision {
    ($request:ty) => {
        impl $request {
            /// Makes the server wait until it has reached this revision, for example that of an
            /// earlier answer of another server. Needs a tenure server.
            pub fn at_least_revision(mut self, revision: impl Into<$crate::Revision>) -> Self {
                self.freshness.raise_at_least(revision.into());
                self
            }
        }
    };
}
pub(crate) use impl_at_least_revision;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stricter_of_two_bounds_counts() {
        let mut freshness = Freshness::default();
        assert!(freshness.is_unbounded());
        for (revision, age) in [(7, 20), (9, 10), (8, 30)] {
            freshness.raise_at_least(Revision::new(revision));
            freshness.lower_staleness(Duration::from_millis(age));
        }
        let mut metadata = MetadataMap::new();
        freshness.attach(&mut metadata);
        assert_eq!(metadata.get(AT_LEAST_REVISION_METADATA).unwrap(), "9");
        assert_eq!(metadata.get(MAX_STALENESS_METADATA).unwrap(), "10");
    }

    #[test]
    fn what_is_not_asked_for_is_not_sent() {
        let mut metadata = MetadataMap::new();
        Freshness::default().attach(&mut metadata);
        assert!(metadata.is_empty());
    }
}
