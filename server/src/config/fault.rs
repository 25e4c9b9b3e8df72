//! What can be wrong with a configuration, each fault with the name to change and what to do.

use std::{fmt, path::PathBuf};

use thiserror::Error;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A flag of this name.
    Flag(&'static str),
    /// A variable of this full name.
    Variable(String),
    /// A key of this name in this file.
    File(&'static str, PathBuf),
    /// Nobody set it; the name of the setting.
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

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigFault {
    /// A flag that is not in the table.
    #[error("--{name}: unknown flag{}", hint(*.suggestion, "--"))]
    UnknownFlag {
        /// The name as it was given, without dashes.
        name: String,
        /// The closest known name.
        suggestion: Option<&'static str>,
    },
    /// A `TENURE_` variable that is not in the table.
    #[error("{name}: unknown variable{}", hint(.suggestion.as_deref(), ""))]
    UnknownVariable {
        /// The whole name.
        name: String,
        /// The closest known variable.
        suggestion: Option<String>,
    },
    /// A key of the file that is not in the table.
    #[error("{key} in {}: unknown key{}", .path.display(), hint(*.suggestion, ""))]
    UnknownKey {
        /// The key as it stands in the file.
        key: String,
        /// The file.
        path: PathBuf,
        /// The closest known key.
        suggestion: Option<&'static str>,
    },
    /// A flag at the end of the line whose value is missing.
    #[error("--{name}: value missing; write --{name}=VALUE")]
    MissingValue {
        /// The flag.
        name: &'static str,
    },
    /// An argument that begins with dashes but names nothing.
    #[error("{word:?}: not a flag; write --NAME=VALUE")]
    BadSyntax {
        /// The argument.
        word: String,
    },
    /// A word that belongs to no flag.
    #[error(
        "{word:?}: unexpected word; flags begin with --, and a value of a true-or-false flag \
             is written --NAME=false"
    )]
    UnexpectedWord {
        /// The word.
        word: String,
    },
    /// An argument or a variable that is not UTF-8.
    #[error("{what}: not valid UTF-8; write it in UTF-8")]
    NotText {
        /// The argument or variable, with replacement characters.
        what: String,
    },
    /// A value its setting cannot take.
    #[error("{origin}: bad value {value:?}: {remedy}")]
    BadValue {
        /// Who set it.
        origin: Origin,
        /// The value.
        value: String,
        /// What was expected.
        remedy: String,
    },
    /// A value that asks for something that does not exist yet.
    #[error("{origin}: asks for {feature} (not built yet); leave it out")]
    NotBuilt {
        /// Who set it. The value stays unsaid: some of these settings hold secrets.
        origin: Origin,
        /// The missing feature.
        feature: &'static str,
    },
    /// Two settings that contradict each other.
    #[error("{first} and {second}: {remedy}")]
    Conflict {
        /// One of them.
        first: Origin,
        /// The other.
        second: Origin,
        /// What is wrong and how to mend it.
        remedy: String,
    },
    /// A file that could not be read.
    #[error("{origin}: cannot read {}: {cause}; name a readable TOML file", .path.display())]
    UnreadableFile {
        /// Who named the file.
        origin: Origin,
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: String,
    },
    /// A file that is not TOML.
    #[error("{}: not a TOML file: {cause}", .path.display())]
    MalformedFile {
        /// The file.
        path: PathBuf,
        /// Where and why.
        cause: String,
    },
}

/// The end of a sentence about an unknown name.
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
    /// The faults, or nothing when there are none.
    pub(super) fn check(faults: Vec<ConfigFault>) -> Result<(), Self> {
        if faults.is_empty() {
            Ok(())
        } else {
            Err(Self(faults))
        }
    }

    /// The faults, in the order they were found.
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

/// Something that is accepted but that an operator should know; to be logged once at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning(pub(super) String);

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
