//! Failures of commands: their texts, hints and exit codes.
//!
//! Scripts rely on the exit codes; `README.md` lists them.

use std::{borrow::Cow, fmt, io};

use tenure::{ErrorKind, TlsFailure, Token};

use crate::args::GuardArg;

/// The failure of a command.
#[derive(Debug)]
pub enum Failure {
    /// The command line does not parse, or requests help.
    Parse(clap::Error),
    /// Invalid combination of options or arguments.
    Usage(String),
    /// Malformed text on standard input.
    Input(String),
    /// The command does not support the output format.
    Format(&'static str),
    /// The server ended a watch.
    WatchEnded,
    Call(tenure::Error),
    /// A server speaks TLS, and the command did not.
    NeedsTls(tenure::Error, String),
    /// A write with these guards failed.
    Guarded(tenure::Error, Vec<GuardArg>),
    /// A command that ran under a lock ended with this exit code.
    Child(u8),
    /// Any other failure.
    Command(anyhow::Error),
    /// The failure was already printed.
    Reported,
    /// The reader closed the output (broken pipe).
    ReaderGone,
}

impl Failure {
    /// Invalid combination of options or arguments.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::Usage(text.into())
    }

    /// The exit code for scripts.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Parse(error) if error.use_stderr() => 2,
            Self::Parse(_) | Self::ReaderGone => 0,
            Self::Child(code) => *code,
            Self::Call(_)
            | Self::NeedsTls(..)
            | Self::Guarded(..)
            | Self::Command(_)
            | Self::Reported => 1,
            Self::Usage(_) => 2,
            Self::Input(_) => 3,
            Self::Format(_) => 4,
            Self::WatchEnded => 5,
        }
    }

    /// Advice for the user.
    #[must_use]
    pub fn hint(&self) -> Option<Cow<'static, str>> {
        let (error, guards) = match self {
            Self::Call(error) => (error, &[][..]),
            Self::Guarded(error, guards) => (error, &guards[..]),
            Self::NeedsTls(_, endpoint) => {
                return Some(
                    format!(
                        "{endpoint} speaks TLS: begin it with https:// and give the authority of \
                         its certificate with --cacert (TENURECTL_CACERT). Nothing was executed."
                    )
                    .into(),
                );
            }
            _ => return None,
        };
        if let Some(failure) = error.tls_failure() {
            return Some(tls_hint(failure).into());
        }
        if error.outcome_unknown() {
            return Some(
                "The write may have been executed all the same: read before writing again.".into(),
            );
        }
        advice(error.kind(), error.current_token(), guards)
    }
}

/// Advice about a refused write with `guards`, when the current token is `current`.
fn advice(
    kind: ErrorKind,
    current: Option<Token>,
    guards: &[GuardArg],
) -> Option<Cow<'static, str>> {
    match kind {
        ErrorKind::StaleGuard => Some(stale(current, guards).into()),
        kind => hint_of(kind).map(Cow::Borrowed),
    }
}

/// Advice about a cause, independent of the command.
fn hint_of(kind: ErrorKind) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::Connect => {
            "Check that the servers run and that --endpoints (TENURECTL_ENDPOINTS) names them."
        }
        ErrorKind::DeadlineExceeded => {
            "Give it more time with --command-timeout (TENURECTL_COMMAND_TIMEOUT), or ask another \
             server with --endpoints."
        }
        ErrorKind::Unauthenticated => {
            "Say who you are with --user and --password (TENURECTL_USER, TENURECTL_PASSWORD)."
        }
        ErrorKind::PermissionDenied => {
            "The user has no role that allows this ('auth can USER read|write KEY' tells which \
             one does); another user is named with --user (TENURECTL_USER)."
        }
        ErrorKind::NoSpace => {
            "Free space with 'del' and 'compaction', then run 'alarm disarm'; 'alarm list' tells \
             what fills it."
        }
        ErrorKind::GuardMissing => {
            "A fence policy protects these keys ('fence policy list'): acquire its lock and give \
             --guard NAME=TOKEN."
        }
        ErrorKind::NotHolder => "See who holds it with 'lock inspect NAME'.",
        ErrorKind::PermitsDiffer => {
            "Everyone who uses a lock says the same M in --permits N/M; 'lock inspect NAME' shows \
             what others said."
        }
        ErrorKind::RequestDiffers => {
            "--idempotency-key named another write before: give every write a key of its own."
        }
        ErrorKind::AnswerTooLarge => {
            "The write under this --idempotency-key was executed before; read to see what it left."
        }
        ErrorKind::Unimplemented => "The server is older than this command, or is not tenure.",
        _ => return None,
    })
}

/// Advice about a connection that could not be secured.
fn tls_hint(failure: TlsFailure) -> &'static str {
    match failure {
        TlsFailure::Expired => {
            "Replace the certificate of the server; it reads the new file by itself."
        }
        TlsFailure::NotYetValid => "Check the clocks of the server and of this machine.",
        TlsFailure::UnknownAuthority => {
            "Give the authority that signed it with --cacert (TENURECTL_CACERT)."
        }
        TlsFailure::WrongName => {
            "Name the server in --endpoints as its certificate does, or give it a certificate for \
             this name."
        }
        TlsFailure::ClientCertificateRequired => {
            "Give one with --cert and --key (TENURECTL_CERT, TENURECTL_KEY)."
        }
        TlsFailure::ClientCertificateRefused => {
            "Give another one with --cert and --key; the log of the server says what is wrong."
        }
        TlsFailure::NotTls => "Begin the endpoint with http://, and leave out options of TLS.",
        _ => "See the log of the server for its side of the handshake.",
    }
}

/// Advice about stale guards of a write.
fn stale(current: Option<Token>, guards: &[GuardArg]) -> String {
    let flags: Vec<_> = guards
        .iter()
        .map(|guard| format!("--guard {}={}", guard.name, guard.token))
        .collect();
    let current = match current {
        Some(token) => format!("it is held under token {token} now"),
        None => "nobody holds it now".to_owned(),
    };
    format!(
        "{} does not hold any more, {current}: nothing was written. Stop what relied on it, or \
         acquire the lock again and use its new token.",
        flags.join(" or ")
    )
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parse(error) => error.fmt(f),
            Self::Usage(text) | Self::Input(text) => f.write_str(text),
            Self::Format(format) => write!(f, "{format} not supported as output format"),
            Self::WatchEnded => f.write_str("watch is canceled by the server"),
            Self::Call(error) | Self::Guarded(error, _) => error.fmt(f),
            Self::NeedsTls(error, _) => error.fmt(f),
            Self::Command(error) => write!(f, "{error:#}"),
            Self::Child(_) | Self::Reported | Self::ReaderGone => Ok(()),
        }
    }
}

impl From<tenure::Error> for Failure {
    fn from(error: tenure::Error) -> Self {
        Self::Call(error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Command(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::ReaderGone
        } else {
            Self::Command(error.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_guard_names_the_flag_and_the_token_that_holds() {
        let guards = [GuardArg {
            name: "jobs/7".to_owned(),
            token: 5,
        }];
        let said = |current: Option<i64>| {
            let hint = advice(ErrorKind::StaleGuard, current.map(Token::new), &guards);
            hint.unwrap_or_default().into_owned()
        };
        let hint = said(Some(9));
        assert!(
            hint.contains("--guard jobs/7=5") && hint.contains("token 9"),
            "{hint}"
        );
        let hint = said(None);
        assert!(hint.contains("nobody holds"), "{hint}");
    }
}
