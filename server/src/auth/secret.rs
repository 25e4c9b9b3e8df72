//! A password as a client sent it.
//!
//! Invariant: its bytes are zeroed when it is dropped, and no text shows them. The buffers that the
//! transport decoded it from are not covered.

use std::fmt;

use thiserror::Error;
use zeroize::Zeroizing;

/// Longest password in bytes. bcrypt reads no more, so a longer one would be equal to its start.
pub const PASSWORD_BYTES_MAX: usize = 72;

/// A password of at most [`PASSWORD_BYTES_MAX`] bytes. An empty one is a password, too.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

/// A password is longer than the hash can tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the password is longer than {PASSWORD_BYTES_MAX} bytes")]
pub struct PasswordTooLong;

impl Password {
    /// Takes over the text of a request, so that no other copy is left.
    ///
    /// # Errors
    /// The password is too long; it is zeroed.
    pub fn new(text: String) -> Result<Self, PasswordTooLong> {
        let text = Zeroizing::new(text);
        if text.len() > PASSWORD_BYTES_MAX {
            return Err(PasswordTooLong);
        }
        Ok(Self(text))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Password(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_has_at_most_seventy_two_bytes() {
        assert!(Password::new(String::new()).is_ok());
        assert!(Password::new("x".repeat(72)).is_ok());
        let umlauts = Password::new("ü".repeat(37));
        assert_eq!(umlauts.unwrap_err(), PasswordTooLong, "bytes count");
    }

    #[test]
    fn a_password_is_not_shown() {
        let password = Password::new("hunter2".to_owned()).unwrap();
        assert!(!format!("{password:?}").contains("hunter2"));
        let error = Password::new("hunter2".repeat(20)).unwrap_err();
        assert!(!format!("{error:?} {error}").contains("hunter2"));
    }
}
