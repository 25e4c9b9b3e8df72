//! Why a body is not the JSON of a message.

use thiserror::Error;

/// Why a body is not the JSON of a message. The texts are shown to the client.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// The text is not JSON, or not of the message's form.
    #[error("{0}")]
    Syntax(String),
    /// A field has a value that its type does not allow.
    #[error("field {field}: {cause}")]
    Field {
        /// The names that lead to the field, separated by dots.
        field: String,
        /// What was expected, and the place in the text.
        cause: String,
    },
    /// Something other than an object stands where a message must begin.
    #[error("expected an object")]
    NotAnObject,
    /// The body ends within a message.
    #[error("the text ends within an object")]
    Unfinished,
    /// Objects and arrays are nested too deep.
    #[error("objects and arrays are nested more than {0} deep")]
    TooDeep(usize),
    /// A message is larger than a message may be.
    #[error("a message is larger than {0} bytes")]
    TooLarge(usize),
}
