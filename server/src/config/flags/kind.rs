//! The kinds of values: their syntax, and error texts for values that do not match it.
//!
//! The syntax of each is Go's, as for etcd's flags. `validate` checks limits and relations between
//! settings.

use crate::config::{duration, url::Url};

/// The syntax of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// `true` or `false`; a flag without a value means true.
    Bool,
    /// A whole number from 0 to 2^32 - 1.
    Uint32,
    /// A whole number from 0.
    Uint,
    /// A whole number, which may be negative.
    Int,
    /// A whole number of milliseconds.
    Millis,
    /// A duration with its unit.
    Duration,
    /// URLs, comma-separated.
    Urls,
    /// Words, comma-separated.
    List,
    /// One of these words.
    Choice(&'static [&'static str]),
}

impl Kind {
    /// Checks whether `text` is a value of this kind.
    ///
    /// # Errors
    /// The expected form, as a lower-case fragment.
    pub fn check(self, text: &str) -> Result<(), String> {
        let expected = |fits: bool, words: &str| {
            if fits {
                Ok(())
            } else {
                Err(format!("expected {words}"))
            }
        };
        match self {
            Self::Text | Self::List => Ok(()),
            Self::Bool => expected(parse_bool(text).is_some(), "true or false"),
            Self::Uint32 => expected(
                parse_uint(text).is_some_and(|value| u32::try_from(value).is_ok()),
                "a whole number from 0 to 4294967295",
            ),
            Self::Uint => expected(parse_uint(text).is_some(), "a whole number, such as 1000"),
            Self::Int => expected(parse_int(text).is_some(), "a whole number, such as 0 or -1"),
            Self::Millis => expected(
                parse_uint(text).is_some(),
                "a whole number of milliseconds without a unit, such as 100",
            ),
            Self::Duration => expected(
                duration::parse(text).is_some(),
                "a duration with its unit, such as 100ms, 5s or 1h30m",
            ),
            Self::Urls => Url::parse_list(text)
                .map(|_| ())
                .map_err(|fault| fault.to_string()),
            Self::Choice(words) => expected(
                words.contains(&text),
                &format!("one of {}", words.join(", ")),
            ),
        }
    }

    /// Whether two texts have the same value.
    #[must_use]
    pub fn same(self, left: &str, right: &str) -> bool {
        match self {
            Self::Bool => parse_bool(left).is_some_and(|value| parse_bool(right) == Some(value)),
            Self::Uint | Self::Uint32 | Self::Millis => {
                parse_uint(left).is_some_and(|value| parse_uint(right) == Some(value))
            }
            Self::Int => parse_int(left).is_some_and(|value| parse_int(right) == Some(value)),
            Self::Duration => {
                duration::parse(left).is_some_and(|value| duration::parse(right) == Some(value))
            }
            Self::Text | Self::Urls | Self::List | Self::Choice(_) => left == right,
        }
    }

    /// The name of the kind in the documents.
    #[must_use]
    pub fn describe(self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::Bool => "true or false".to_owned(),
            Self::Uint32 | Self::Uint | Self::Int => "number".to_owned(),
            Self::Millis => "milliseconds".to_owned(),
            Self::Duration => "duration".to_owned(),
            Self::Urls => "URLs".to_owned(),
            Self::List => "list".to_owned(),
            Self::Choice(words) => words.join(", "),
        }
    }
}

/// Parses a boolean in any of Go's spellings.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Parses a decimal number, or a hexadecimal one after `0x`. A sign is not accepted.
pub(crate) fn parse_uint(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None => (text, 10),
    };
    // `from_str_radix` accepts a leading plus, which Go does not.
    if digits.starts_with('+') {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

/// Parses a decimal number with an optional sign.
pub(crate) fn parse_int(text: &str) -> Option<i64> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        assert_eq!(parse_uint("10"), Some(10));
        assert_eq!(parse_uint("0x10"), Some(16));
        assert_eq!(parse_uint("+1"), None);
        assert_eq!(parse_uint("-1"), None);
        assert_eq!(parse_uint("1_000"), None);
        assert_eq!(parse_uint(""), None);
        assert_eq!(parse_int("-1"), Some(-1));
    }

    #[test]
    fn two_spellings_of_one_value_are_the_same() {
        assert!(Kind::Duration.same("1m", "60s"));
        assert!(Kind::Bool.same("F", "false"));
        assert!(!Kind::Uint.same("1", "2"));
        assert!(!Kind::Duration.same("nonsense", "nonsense "));
    }
}
