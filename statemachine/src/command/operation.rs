//! Operations: the mapping from commands to the types of their replies.
//!
//! Commands travel as one enum and replies as another. An operation is the type of one kind of
//! command, and names the type of its reply. `operation!` declares it beside its type.

use thiserror::Error;

use super::Command;
use crate::outcome::Reply;

/// A command of one kind, with a reply type.
pub trait Operation: Into<Command> {
    /// The type of the reply.
    type Reply;

    /// Extracts the reply to this operation from the enum.
    ///
    /// # Errors
    /// When it is the reply to another operation. The machine replies to each command with a reply
    /// of its kind, so the operation or the reply is not what the caller takes it for.
    fn reply(reply: Reply) -> Result<Self::Reply, OtherReply>;

    /// Whether `reply` is of the kind that this operation gets.
    fn is_answered_by(reply: &Reply) -> bool;
}

/// The error for a reply that does not belong to its command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the reply is not one to {operation}")]
pub struct OtherReply {
    /// The type name of the operation.
    pub operation: &'static str,
}

/// Declares an operation: its command, its type of reply, and where that is in [`Reply`].
macro_rules! operation {
    ($type:ident: $operation:pat => $command:expr;
        $answer:ty: $kind:ident $(($($item:ident),+))? => $reply:expr) => {
        impl From<$type> for $crate::command::Command {
            fn from(operation: $type) -> Self {
                let $operation = operation;
                $command
            }
        }

        impl $crate::command::Operation for $type {
            type Reply = $answer;

            fn reply(
                reply: $crate::outcome::Reply,
            ) -> Result<Self::Reply, $crate::command::OtherReply> {
                if let $crate::outcome::Reply::$kind $(($($item),+))? = reply {
                    Ok($reply)
                } else {
                    let operation = stringify!($type);
                    Err($crate::command::OtherReply { operation })
                }
            }

            fn is_answered_by(reply: &$crate::outcome::Reply) -> bool {
                matches!(reply, $crate::outcome::Reply::$kind { .. })
            }
        }
    };
}

pub(crate) use operation;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{LeaseRevoke, Put};

    #[test]
    fn a_reply_to_another_operation_is_an_error_that_names_the_operation() {
        assert_eq!(Put::reply(Reply::Put(None)), Ok(None));
        assert!(Put::is_answered_by(&Reply::Put(None)));
        let error = Put::reply(Reply::LeaseRevoke).expect_err("not a put's");
        assert!(!Put::is_answered_by(&Reply::LeaseRevoke));
        assert_eq!(error.to_string(), "the reply is not one to Put");
        assert_eq!(LeaseRevoke::reply(Reply::LeaseRevoke), Ok(()));
    }
}
