//! Converts an outcome into the typed reply of its operation.
//!
//! Commands and replies travel as enums; only this module converts a reply into the type that its
//! operation names. Invariant: a reply of another kind is never returned. It contradicts the node's
//! own proposal, so nothing that the node reports could be trusted, and the process ends.

use tenure_statemachine::{Operation, OtherReply, Outcome, Refusal, Revision};

use crate::fatal;

/// Returns the revision after an operation, and its typed reply or the refusal. Ends the process
/// when the reply belongs to another operation.
pub(crate) fn reply_to<O: Operation>(outcome: Outcome) -> (Revision, Result<O::Reply, Refusal>) {
    match typed::<O>(outcome) {
        Ok(reply) => reply,
        Err(other) => fatal::stop(&other),
    }
}

fn typed<O: Operation>(
    outcome: Outcome,
) -> Result<(Revision, Result<O::Reply, Refusal>), OtherReply> {
    let Outcome {
        reply,
        revision,
        events: _,
        signals: _,
        facts: _,
    } = outcome;
    let reply = match reply {
        Ok(reply) => Ok(O::reply(reply)?),
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
    fn a_reply_is_of_the_type_of_its_operation_or_none() {
        let put = typed::<Put>(outcome(Ok(Reply::Put(None))));
        assert_eq!(put, Ok((Revision(7), Ok(None))));
        let refused = typed::<Put>(outcome(Err(Refusal::KeyNotFound)));
        assert_eq!(refused, Ok((Revision(7), Err(Refusal::KeyNotFound))));
        let other = typed::<LeaseRevoke>(outcome(Ok(Reply::Put(None))));
        assert!(other.is_err());
    }
}
