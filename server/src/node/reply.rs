//! Where an outcome meets the operation that it is of.
//!
//! Commands and replies travel as enums; here, and nowhere else, a reply becomes one of the type
//! that its operation names. Invariant: a reply of another kind is an error, never a panic.

use tenure_statemachine::{Operation, Outcome, Refusal, Revision};
use tracing::error;

use super::ProposeError;

/// The revision after an operation, and its own reply or the refusal.
///
/// # Errors
/// [`ProposeError::Contradiction`] when the reply is one to another operation.
pub(crate) fn reply_to<O: Operation>(
    outcome: Outcome,
) -> Result<(Revision, Result<O::Reply, Refusal>), ProposeError> {
    let Outcome {
        reply,
        revision,
        events: _,
        signals: _,
        facts: _,
    } = outcome;
    let reply = match reply {
        Ok(reply) => Ok(O::reply(reply).inspect_err(|other| {
            error!(%other, %revision, "an outcome is not that of its command");
        })?),
        Err(refusal) => Err(refusal),
    };
    Ok((revision, reply))
}

#[cfg(test)]
mod tests {
    use tenure_statemachine::{Facts, LeaseRevoke, Put, Reply};

    use super::*;

    fn outcome(reply: Result<Reply, Refusal>) -> Outcome {
        Outcome {
            reply,
            revision: Revision(7),
            events: Vec::new(),
            signals: Vec::new(),
            facts: Facts::default(),
        }
    }

    #[test]
    fn a_reply_is_of_its_operations_type_or_an_error() {
        let put = reply_to::<Put>(outcome(Ok(Reply::Put(None))));
        assert_eq!(put, Ok((Revision(7), Ok(None))));
        let refused = reply_to::<Put>(outcome(Err(Refusal::KeyNotFound)));
        assert_eq!(refused, Ok((Revision(7), Err(Refusal::KeyNotFound))));
        let other = reply_to::<LeaseRevoke>(outcome(Ok(Reply::Put(None))));
        assert!(matches!(other, Err(ProposeError::Contradiction(_))));
    }
}
