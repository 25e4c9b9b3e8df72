//! How a command ends when it does not succeed: what is said, and the exit code.
//!
//! The codes are a promise to scripts; `README.md` lists them.

use std::{fmt, io};

use tenure::ErrorKind;

/// A command that did not succeed.
#[derive(Debug)]
pub enum Failure {
    /// The command line does not parse, or is a question for help.
    Parse(clap::Error),
    /// Options or arguments that parse but do not fit together.
    Usage(String),
    /// Text read from standard input that is not what the command takes.
    Input(String),
    /// The output format does not exist for this command.
    Format(&'static str),
    /// The server ended a watch.
    WatchEnded,
    /// A call failed.
    Call(tenure::Error),
    /// Anything else that went wrong.
    Command(anyhow::Error),
    /// The command failed and has said so.
    Reported,
    /// Whoever read the output has gone; there is nobody to tell.
    ReaderGone,
}

impl Failure {
    /// Options or arguments that do not fit together.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::Usage(text.into())
    }

    /// The exit code for scripts.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Parse(error) if error.use_stderr() => 2,
            Self::Parse(_) | Self::ReaderGone => 0,
            Self::Call(_) | Self::Command(_) | Self::Reported => 1,
            Self::Usage(_) => 2,
            Self::Input(_) => 3,
            Self::Format(_) => 4,
            Self::WatchEnded => 5,
        }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        let Self::Call(error) = self else { return None };
        if error.outcome_unknown() {
            return Some(
                "The write may have been executed all the same: read before writing again.",
            );
        }
        match error.kind() {
            ErrorKind::Connect => Some(
                "Check that the servers run and that --endpoints (TENURECTL_ENDPOINTS) names them.",
            ),
            ErrorKind::DeadlineExceeded => Some(
                "Give it more time with --command-timeout (TENURECTL_COMMAND_TIMEOUT), or ask \
                 another server with --endpoints.",
            ),
            ErrorKind::Unauthenticated | ErrorKind::PermissionDenied => Some(
                "Say who you are with --user and --password (TENURECTL_USER, TENURECTL_PASSWORD).",
            ),
            ErrorKind::NoSpace => {
                Some("Free space with 'compaction', 'del' and 'defrag', then run 'alarm disarm'.")
            }
            _ => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parse(error) => error.fmt(f),
            Self::Usage(text) | Self::Input(text) => f.write_str(text),
            Self::Format(format) => write!(f, "{format} not supported as output format"),
            Self::WatchEnded => f.write_str("watch is canceled by the server"),
            Self::Call(error) => error.fmt(f),
            Self::Command(error) => write!(f, "{error:#}"),
            Self::Reported | Self::ReaderGone => Ok(()),
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
