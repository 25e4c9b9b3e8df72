//! The state that `watch-endpoints` has printed, so that it prints only changes.

use std::collections::BTreeMap;

use tenure::{EndpointChange, RegisteredInstance};

use crate::output::Answer;

/// The instances as they were printed.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    known: BTreeMap<String, RegisteredInstance>,
    /// Whether all instances were selected; `None` before the first snapshot.
    all: Option<bool>,
}

impl Endpoints {
    /// The answer to print for a change, if any.
    pub(super) fn take(&mut self, change: EndpointChange) -> Option<Answer> {
        match change {
            EndpointChange::Snapshot { registrations, all } => self.replace(registrations, all),
            EndpointChange::Delta { updated, removed } => {
                for id in &removed {
                    self.known.remove(id);
                }
                self.known.extend(updated.iter().cloned().map(named));
                Some(Answer::Delta { updated, removed })
            }
            // Nothing changed.
            _ => None,
        }
    }

    fn replace(&mut self, registrations: Vec<RegisteredInstance>, all: bool) -> Option<Answer> {
        let present = registrations.iter().cloned().map(named).collect();
        let before = std::mem::replace(&mut self.known, present);
        if self.all.replace(all) != Some(all) {
            return Some(Answer::Snapshot { registrations, all });
        }
        let present = &self.known;
        let is_new = |(id, now): &(&String, &RegisteredInstance)| before.get(*id) != Some(*now);
        let updated = present.iter().filter(is_new);
        let updated: Vec<_> = updated.map(|(_, now)| now.clone()).collect();
        let gone = before.into_keys().filter(|id| !present.contains_key(id));
        let removed: Vec<_> = gone.collect();
        let nothing = updated.is_empty() && removed.is_empty();
        (!nothing).then_some(Answer::Delta { updated, removed })
    }
}

fn named(instance: RegisteredInstance) -> (String, RegisteredInstance) {
    (instance.id().to_owned(), instance)
}

#[cfg(test)]
mod tests {
    use tenure::wire::v1::{Instance, Registration};

    use super::*;

    fn instance(id: &str, revision: i64) -> RegisteredInstance {
        RegisteredInstance::from_wire(Registration {
            instance: Some(Instance {
                id: id.to_owned(),
                ..Instance::default()
            }),
            revision,
            ..Registration::default()
        })
    }

    fn snapshot(registrations: Vec<RegisteredInstance>) -> EndpointChange {
        EndpointChange::Snapshot {
            registrations,
            all: false,
        }
    }

    #[test]
    fn a_snapshot_after_a_break_prints_what_is_new_and_nothing_twice() {
        let mut it = Endpoints::default();
        let (a, b) = (instance("a", 1), instance("b", 2));
        let first = it.take(snapshot(vec![a.clone(), b.clone()]));
        assert!(matches!(first, Some(Answer::Snapshot { .. })));
        assert!(it.take(snapshot(vec![a.clone(), b.clone()])).is_none());
        let (b, c) = (instance("b", 4), instance("c", 5));
        let news = it.take(snapshot(vec![b.clone(), c.clone()]));
        let Some(Answer::Delta { updated, removed }) = news else {
            panic!("what is different: {news:?}");
        };
        assert_eq!(
            (updated, removed),
            (vec![b.clone(), c], vec!["a".to_owned()])
        );
        it.take(EndpointChange::Delta {
            updated: vec![a.clone()],
            removed: vec!["c".to_owned()],
        });
        assert!(it.take(snapshot(vec![a, b])).is_none());
    }
}
