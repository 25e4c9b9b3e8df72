//! The faults of a configuration, each with the name to change and the remedy.

use std::{fmt, path::PathBuf};

use thiserror::Error;

/// The source of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A flag, by name.
    Flag(&'static str),
    /// A variable, by its full name.
    Variable(String),
    /// A key in a file.
    File(&'static str, PathBuf),
    /// The default of the setting with this name.
    Default(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(formatter, "--{name}"),
            Self::Variable(name) => formatter.write_str(name),
            Self::File(key, path) => write!(formatter, "{key} in {}", path.display()),
            Self::Default(name) => write!(formatter, "--{name} (default)"),
        }
    }
}

/// A fault of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigFault {
    /// A flag that is not in the table.
    #[error("--{name}: unknown flag{}", hint(*.suggestion, "--"))]
    UnknownFlag {
        /// The name as given, without dashes.
        name: String,
        /// The closest known name.
        suggestion: Option<&'static str>,
    },
    /// A `TENURE_` variable that is not in the table.
    #[error("{name}: unknown variable{}", hint(.suggestion.as_deref(), ""))]
    UnknownVariable {
        /// The full name.
        name: String,
        /// The closest known variable.
        suggestion: Option<String>,
    },
    /// A key of the file that is not in the table.
    #[error("{key} in {}: unknown key{}", .path.display(), hint(*.suggestion, ""))]
    UnknownKey {
        /// The key as written in the file.
        key: String,
        /// The file.
        path: PathBuf,
        /// The closest known key.
        suggestion: Option<&'static str>,
    },
    /// The last flag of the command line has no value.
    #[error("--{name}: value missing; write --{name}=VALUE")]
    MissingValue {
        /// Name of the flag.
        name: &'static str,
    },
    /// An argument that begins with dashes but is not a flag.
    #[error("{word:?}: not a flag; write --NAME=VALUE")]
    BadSyntax {
        /// The argument.
        word: String,
    },
    /// An argument that belongs to no flag.
    #[error(
        "{word:?}: unexpected word; flags begin with --, and a value of a true-or-false flag \
             is written --NAME=false"
    )]
    UnexpectedWord {
        /// The argument.
        word: String,
    },
    /// An argument or a variable that is not UTF-8.
    #[error("{what}: not valid UTF-8; write it in UTF-8")]
    NotText {
        /// The argument or variable, with replacement characters.
        what: String,
    },
    /// A value that its setting does not accept.
    #[error("{origin}: bad value {value:?}: {remedy}")]
    BadValue {
        /// The source of the value.
        origin: Origin,
        /// The value.
        value: String,
        /// The expected form.
        remedy: String,
    },
    /// A value that requests a feature that is not built yet.
    #[error("{origin}: asks for {feature} (not built yet); leave it out")]
    NotBuilt {
        /// The source; the value is omitted, as some of these settings hold secrets.
        origin: Origin,
        /// The requested feature.
        feature: &'static str,
    },
    /// A value of a setting that an earlier version of etcd had.
    #[error("{origin}: no longer a setting: {remedy}")]
    Retired {
        /// The source of the value.
        origin: Origin,
        /// What to do instead.
        remedy: &'static str,
    },
    /// Two settings that contradict each other.
    #[error("{first} and {second}: {remedy}")]
    Conflict {
        /// The source of one value.
        first: Origin,
        /// The source of the other value.
        second: Origin,
        /// The contradiction, and how to resolve it.
        remedy: String,
    },
    /// A file that could not be read.
    #[error("{origin}: cannot read {}: {cause}; name a readable TOML file", .path.display())]
    UnreadableFile {
        /// The setting that names the file.
        origin: Origin,
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        cause: String,
    },
    /// A file that is not TOML.
    #[error("{}: not a TOML file: {cause}", .path.display())]
    MalformedFile {
        /// The file.
        path: PathBuf,
        /// The position and the cause.
        cause: String,
    },
}

/// The end of the text about an unknown name.
fn hint(suggestion: Option<&str>, dashes: &str) -> String {
    match suggestion {
        Some(name) => format!("; did you mean {dashes}{name}?"),
        None => "; see --help for the names".to_owned(),
    }
}

/// Every fault of one configuration; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct ConfigErrors(Vec<ConfigFault>);

impl ConfigErrors {
    /// Fails if there are any faults.
    pub(super) fn check(faults: Vec<ConfigFault>) -> Result<(), Self> {
        if faults.is_empty() {
            Ok(())
        } else {
            Err(Self(faults))
        }
    }

    /// The faults, in the order found.
    #[must_use]
    pub fn faults(&self) -> &[ConfigFault] {
        &self.0
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            write!(formatter, "{fault}")?;
        }
        Ok(())
    }
}

/// A warning about an accepted setting, to be logged once at start-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning(pub(super) String);

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
