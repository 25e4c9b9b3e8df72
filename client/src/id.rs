//! Newtypes of identifiers and revisions.
//!
//! They are made from integers by `new` only, so that one cannot be passed for another. Lease and
//! member ids are written in hexadecimal, as every tool that speaks etcd v3 writes them.

use std::{fmt, str::FromStr};

/// A lease, as numbered by the server or chosen by the caller. Zero means *no lease*.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LeaseId(i64);

impl LeaseId {
    /// The absence of a lease; in a grant, the request that the server chooses the id.
    pub const NONE: Self = Self(0);

    /// The lease with this id, as stored before or chosen by the caller.
    #[must_use]
    pub const fn new(id: i64) -> Self {
        Self(id)
    }

    /// The value as an integer.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A member of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(u64);

impl MemberId {
    /// The member with this id.
    #[must_use]
    pub const fn new(id: u64) -> Self {
        Self(id)
    }

    /// The value as an integer.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// A point in the history of the whole store. Zero means *the latest* where a request takes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(i64);

impl Revision {
    /// The latest revision when the request is executed.
    pub const LATEST: Self = Self(0);

    /// The revision with this number.
    #[must_use]
    pub const fn new(revision: i64) -> Self {
        Self(revision)
    }

    /// The value as an integer.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The revision after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A fencing token: the create revision of the key of a claim, and so unique and increasing across
/// the whole store. A later holder of a name has a greater token.
///
/// ```
/// use tenure::Token;
///
/// let old: Token = "17".parse()?;
/// assert!(old < Token::new(23));
/// assert_eq!(old.to_string(), "17");
/// # Ok::<(), tenure::TokenError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(i64);

impl Token {
    /// The token with this number, as stored or received from its holder.
    #[must_use]
    pub const fn new(token: i64) -> Self {
        Self(token)
    }

    /// The value as an integer.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl From<Revision> for Token {
    fn from(revision: Revision) -> Self {
        Self(revision.get())
    }
}

impl From<Token> for Revision {
    fn from(token: Token) -> Self {
        Self(token.0)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The error for a text that is not a [`Token`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a token: expected a whole number above zero")]
pub struct TokenError {
    text: String,
}

impl FromStr for Token {
    type Err = TokenError;

    /// Reads the decimal text that `Display` writes, and nothing else: no sign, no blanks.
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| digits && *number > 0);
        number.map(Self).ok_or_else(|| TokenError {
            text: text.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_what_it_writes_and_nothing_else() {
        for number in [1, 17, i64::MAX] {
            let token = Token::new(number);
            assert_eq!(token.to_string().parse(), Ok(token));
        }
        for text in [
            "",
            "0",
            "-1",
            "+1",
            " 1",
            "1 ",
            "0x1",
            "1.0",
            "9223372036854775808",
        ] {
            let error = text.parse::<Token>().unwrap_err();
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn tokens_are_ordered_as_numbers() {
        assert!(Token::new(9) < Token::new(10));
        assert_eq!(Revision::from(Token::new(7)).get(), 7);
    }
}
