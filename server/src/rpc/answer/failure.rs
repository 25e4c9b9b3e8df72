//! Why a call failed: the reason, and the detail of the case where there is one.
//!
//! Invariant: a failure has one reason and at most one detail; neither holds another failure.

use std::borrow::Cow;

use tenure_statemachine::{ReadError, Revision};

use super::status::Reason;
use crate::{backup::SnapshotError, fatal};

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    reason: Reason,
    /// Boxed, because most failures have none and results carry the failure by value.
    detail: Option<Box<Detail>>,
}

/// What is particular to one case of a reason.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Detail {
    /// A fragment that follows the reason's text.
    text: String,
    /// The token that holds, or zero; only for a stale token.
    current_token: Option<Revision>,
}

impl Failure {
    /// The reason, without the detail.
    pub(crate) const fn reason(&self) -> Reason {
        self.reason
    }

    /// The status message.
    pub(crate) fn message(&self) -> Cow<'static, str> {
        match &self.detail {
            Some(detail) => format!("{}: {}", self.reason.text(), detail.text).into(),
            None => self.reason.text().into(),
        }
    }

    /// The token that holds, or zero, when the failure is a stale token.
    pub(in crate::rpc) fn current_token(&self) -> Option<Revision> {
        self.detail.as_ref()?.current_token
    }
}

impl Reason {
    /// A failure for this reason with a detail: a fragment that follows the text.
    pub(crate) fn with(self, detail: impl Into<String>) -> Failure {
        self.detailed(detail.into(), None)
    }

    /// As [`Reason::with`], for a token that does not hold; `current` holds, or none when it is
    /// zero.
    pub(crate) fn stale(self, detail: impl Into<String>, current: Revision) -> Failure {
        self.detailed(detail.into(), Some(current))
    }

    fn detailed(self, text: String, current_token: Option<Revision>) -> Failure {
        Failure {
            reason: self,
            detail: Some(Box::new(Detail {
                text,
                current_token,
            })),
        }
    }
}

impl<E: Into<Reason>> From<E> for Failure {
    /// A reason without a detail.
    fn from(error: E) -> Self {
        Self {
            reason: error.into(),
            detail: None,
        }
    }
}

impl From<ReadError> for Failure {
    /// A fault is not reported to the client: the state of this node cannot be trusted, so it
    /// stops.
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Refused(refusal) => refusal.into(),
            ReadError::Fault(fault) => fatal::stop(&fault),
        }
    }
}

/// A snapshot that was not made, or not to its end. The client wants to know why.
pub(in crate::rpc) fn of_snapshot(error: SnapshotError) -> Failure {
    match error {
        SnapshotError::TooMany => Reason::TooManyRequests.with(error.to_string()),
        SnapshotError::State(fault) => ReadError::Fault(fault).into(),
        SnapshotError::Stalled
        | SnapshotError::Gone
        | SnapshotError::Row(_)
        | SnapshotError::Record(_)
        | SnapshotError::Changed(_)
        | SnapshotError::Thread(_) => Reason::SnapshotBroken.with(fatal::chain(&error)),
    }
}
