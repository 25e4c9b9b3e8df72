//! Fault injection: faults planned for single calls, and modes that last.

use std::sync::Arc;

use parking_lot::Mutex;
use tonic::Status;

/// A fault of one call.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// The connection breaks before the request has any effect.
    CutBefore,
    /// The request is executed, then the connection breaks.
    CutAfter,
    /// The request is executed, then all leases end and the connection breaks.
    ForgetAfter,
    /// The request is executed and answered, then all leases end.
    EndLeasesAfter,
    /// The request is executed and not answered.
    MuteAfter,
    /// The request is neither executed nor answered.
    Mute,
    /// The request is executed, and the answer reports an unknown outcome.
    LoseAnswer,
    /// The request is not executed, and this is the answer.
    Answer(Status),
    /// The request is executed once [`Modes::held`] ends.
    Hold,
    /// The request is executed once [`Modes::held`] ends, even if its caller gave up, and not
    /// answered.
    Late,
}

/// Faults that last for as long as they are set.
#[derive(Debug, Clone, Default)]
pub(crate) struct Modes {
    /// Renewals are not answered.
    pub(crate) mute: bool,
    /// Requests with [`Fault::Hold`] or [`Fault::Late`] wait.
    pub(crate) held: bool,
    /// Repeats of acquisitions are refused as forgotten.
    pub(crate) forgetful: bool,
    /// Claims are granted under another name.
    pub(crate) misname: bool,
    /// Streams break after their first message.
    pub(crate) brief: bool,
    /// Watches of endpoints are refused with this.
    pub(crate) endpoints_refused: Option<Status>,
    /// By how much the revisions of endpoint watches are behind.
    pub(crate) behind: i64,
}

#[derive(Debug)]
struct Planned {
    /// Any node unless given.
    node: Option<usize>,
    calls: &'static [&'static str],
    fault: Fault,
}

/// The faults that are planned. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults(Arc<Mutex<Vec<Planned>>>);

impl Faults {
    pub(super) fn plan(
        &self,
        node: Option<usize>,
        calls: &'static [&'static str],
        faults: impl IntoIterator<Item = Fault>,
    ) {
        let planned = faults
            .into_iter()
            .map(|fault| Planned { node, calls, fault });
        self.0.lock().extend(planned);
    }

    pub(super) fn planned(&self, node: Option<usize>) -> usize {
        let planned = self.0.lock();
        planned
            .iter()
            .filter(|planned| planned.node == node)
            .count()
    }

    /// Removes and returns the fault planned for a call that arrives.
    pub(super) fn take(&self, node: usize, call: &str) -> Option<Fault> {
        let mut planned = self.0.lock();
        let hit = planned.iter().position(|planned| {
            planned.node.is_none_or(|at| at == node) && planned.calls.contains(&call)
        });
        hit.map(|index| planned.remove(index).fault)
    }
}
