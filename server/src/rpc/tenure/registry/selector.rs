//! Selects instances of a service.
//!
//! A selector has two parts: whether an instance is a candidate, and whether its readiness passes.
//! Invariant: whether all candidates are selected, whatever their readiness, depends only on the
//! number of each.

use tenure_proto::v1 as wire;

use super::border;
use crate::rpc::answer::failure::Failure;

/// A valid selector.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Selector(wire::Selector);

/// The standing of an instance with a selector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// No candidate.
    Other,
    /// A candidate whose readiness does not pass.
    Failing,
    /// A candidate whose readiness passes.
    Passing,
}

/// The number of candidates by standing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    passing: usize,
    failing: usize,
}

impl Selector {
    /// The selector of a request.
    pub(super) fn of(selector: Option<wire::Selector>) -> Result<Self, Failure> {
        let mut selector = selector.unwrap_or_default();
        for readiness in &selector.readiness {
            border::readiness(*readiness)?;
        }
        border::tags(&selector.tags)?;
        border::metadata(selector.metadata.iter())?;
        border::label(&selector.zone, "zone")?;
        border::label(&selector.version, "version")?;
        if selector.readiness.is_empty() {
            selector.readiness.push(wire::Readiness::Ready.into());
        }
        // Repeated readiness values count once.
        selector.readiness.sort_unstable();
        selector.readiness.dedup();
        // The request may have had a million, and a stream keeps its selector.
        selector.readiness.shrink_to_fit();
        Ok(Self(selector))
    }

    /// The standing of an instance.
    pub(super) fn standing(&self, instance: &wire::Instance) -> Standing {
        let wanted = &self.0;
        let same = |wanted: &str, has: &str| wanted.is_empty() || wanted == has;
        let wants = same(&wanted.zone, &instance.zone)
            && same(&wanted.version, &instance.version)
            && wanted.tags.iter().all(|tag| instance.tags.contains(tag))
            && (wanted.metadata.iter())
                .all(|(key, value)| instance.metadata.get(key) == Some(value));
        if !wants {
            Standing::Other
        } else if wanted.readiness.contains(&instance.readiness) {
            Standing::Passing
        } else {
            Standing::Failing
        }
    }

    /// Whether so few pass that all candidates are selected.
    pub(super) fn takes_all(&self, tally: Tally) -> bool {
        self.0.passing_or_all && tally.passing < tally.failing
    }
}

impl Standing {
    /// Whether an instance with this standing is selected.
    pub(super) const fn is_selected(self, all: bool) -> bool {
        match self {
            Self::Other => false,
            Self::Failing => all,
            Self::Passing => true,
        }
    }
}

impl Tally {
    pub(super) const fn add(&mut self, standing: Standing) {
        match standing {
            Standing::Other => {}
            Standing::Failing => self.failing += 1,
            Standing::Passing => self.passing += 1,
        }
    }

    pub(super) const fn remove(&mut self, standing: Standing) {
        match standing {
            Standing::Other => {}
            Standing::Failing => self.failing = self.failing.saturating_sub(1),
            Standing::Passing => self.passing = self.passing.saturating_sub(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(wanted: wire::Selector) -> Selector {
        Selector::of(Some(wanted)).expect("valid")
    }

    fn instance(readiness: wire::Readiness) -> wire::Instance {
        wire::Instance {
            tags: vec!["blue".to_owned(), "big".to_owned()],
            zone: "a".to_owned(),
            version: "1.2".to_owned(),
            metadata: [("team".to_owned(), "x".to_owned())].into(),
            readiness: readiness.into(),
            ..wire::Instance::default()
        }
    }

    #[test]
    fn a_selector_keeps_no_more_than_it_says() {
        let selector = selector(wire::Selector {
            readiness: vec![wire::Readiness::Draining.into(); 1_500_000],
            ..wire::Selector::default()
        });
        assert_eq!(selector.0.readiness.capacity(), 1);
    }

    #[test]
    fn without_a_selector_what_is_ready_is_wanted() {
        let selector = Selector::of(None).expect("valid");
        for (readiness, standing) in [
            (wire::Readiness::Starting, Standing::Failing),
            (wire::Readiness::Ready, Standing::Passing),
            (wire::Readiness::Draining, Standing::Failing),
            (wire::Readiness::NotReady, Standing::Failing),
        ] {
            assert_eq!(selector.standing(&instance(readiness)), standing);
        }
    }

    #[test]
    fn all_that_is_set_must_hold() {
        let ready = instance(wire::Readiness::Ready);
        let all = wire::Selector {
            readiness: vec![
                wire::Readiness::Ready.into(),
                wire::Readiness::Draining.into(),
            ],
            tags: vec!["big".to_owned(), "blue".to_owned()],
            zone: "a".to_owned(),
            metadata: [("team".to_owned(), "x".to_owned())].into(),
            version: "1.2".to_owned(),
            passing_or_all: false,
        };
        assert_eq!(selector(all.clone()).standing(&ready), Standing::Passing);
        let not_ready = instance(wire::Readiness::NotReady);
        assert_eq!(
            selector(all.clone()).standing(&not_ready),
            Standing::Failing
        );
        let changes: [fn(&mut wire::Selector); 5] = [
            |it| it.tags.push("red".to_owned()),
            |it| it.zone = "b".to_owned(),
            |it| it.version = "1.20".to_owned(),
            |it| drop(it.metadata.insert("team".to_owned(), String::new())),
            |it| drop(it.metadata.insert("other".to_owned(), "x".to_owned())),
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut wanted = all.clone();
            change(&mut wanted);
            let standing = selector(wanted).standing(&ready);
            assert_eq!(standing, Standing::Other, "change {number}");
        }
    }

    #[test]
    fn all_are_taken_when_fewer_than_half_pass_and_that_was_asked_for() {
        let tally = |passing, failing| Tally { passing, failing };
        let or_all = selector(wire::Selector {
            passing_or_all: true,
            ..wire::Selector::default()
        });
        let never = Selector::of(None).expect("valid");
        for (passing, failing, all) in [(0, 0, false), (0, 1, true), (1, 1, false), (1, 2, true)] {
            assert_eq!(or_all.takes_all(tally(passing, failing)), all);
            assert!(!never.takes_all(tally(passing, failing)));
        }
    }

    #[test]
    fn a_selector_that_cannot_be_meant_is_refused() {
        let refusal = |wanted| {
            Selector::of(Some(wanted))
                .expect_err("refused")
                .message()
                .into_owned()
        };
        let standard = wire::Selector::default;
        let unknown = wire::Selector {
            readiness: vec![1, 4],
            ..standard()
        };
        assert_eq!(refusal(unknown), "tenure: readiness is unknown: 4");
        let tags = wire::Selector {
            tags: vec!["t".to_owned(); 65],
            ..standard()
        };
        assert_eq!(refusal(tags), "tenure: too many tags: 65, at most 64");
        let zone = wire::Selector {
            zone: "z".repeat(257),
            ..standard()
        };
        assert_eq!(
            refusal(zone),
            "tenure: label is invalid: zone is 257 bytes, at most 256"
        );
    }
}
