//! The table of settings: one row per name, shared by flags, variables, the file and the documents.
//!
//! Contains data only; `sources` parses values, `validate` checks them. The names are etcd's, so
//! that a command line for etcd is fully recognized.
//!
//! Invariant: names are unique, and every default is a value that its kind accepts.

use std::time::Duration;

/// Builds the table of one group; each row is `constant: type = name, kind, default, class, help;`.
/// The constant is the [`Setting`] that readers use; `_` is for a setting that is not read.
macro_rules! rows {
    ($table:ident: $group:ident; $(
        $constant:tt: $type:ty = $name:literal, $kind:expr, $default:expr, $class:expr, $help:expr;
    )*) => {
        $(pub(in crate::config) const $constant: Setting<$type> = Setting {
            name: $name,
            default: $default,
        };)*

        pub(in crate::config) const $table: &[Flag] = &[$(Flag {
            name: $name,
            kind: $kind,
            default: Setting::<$type> { name: $name, default: $default }.value(),
            class: $class,
            group: Group::$group,
            help: $help,
        }),*];
    };
}

mod clustering;
mod former;
mod kind;
mod member;
mod operation;
mod security;
mod value;

pub(super) use self::{
    clustering::*,
    former::{GATES, all_ever, find_ever},
    kind::{parse_bool, parse_int, parse_uint},
    member::*,
    operation::*,
    security::*,
    value::Setting,
};
pub use self::{kind::Kind, value::Value};

/// The effect of a value that is given for a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The value takes effect.
    Used,
    /// The value is accepted without effect, and a warning is logged with this reason.
    Ignored(&'static str),
    /// Any value but the default is a fault, because this feature is not built yet.
    Refused(&'static str),
    /// Any value but the default is a fault with this remedy: the setting is of an earlier etcd.
    Retired(&'static str),
}

/// The section of the help text and the documents that lists a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// The process: its name, directory, listeners and limits.
    Member,
    /// How the cluster is formed and maintained.
    Clustering,
    /// TLS, authentication and origins.
    Security,
    /// Logs, metrics, tracing and maintenance.
    Operation,
}

impl Group {
    /// Every group, in the order of the documents.
    pub const ALL: [Self; 4] = [
        Self::Member,
        Self::Clustering,
        Self::Security,
        Self::Operation,
    ];

    /// The heading of the group.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Member => "Member",
            Self::Clustering => "Clustering",
            Self::Security => "Security",
            Self::Operation => "Operation",
        }
    }
}

/// A row of the table of settings.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// The name, as a flag and as a key of the file.
    pub name: &'static str,
    /// The syntax of its value.
    pub kind: Kind,
    /// The value in force when none is given; empty where it is derived or unset.
    pub default: Value,
    /// The effect of a given value.
    pub class: Class,
    /// The section that lists it.
    pub group: Group,
    /// One or two sentences for operators.
    pub help: &'static str,
}

impl Flag {
    /// The name of its variable: `TENURE_` and the name in upper case with underscores.
    #[must_use]
    pub fn variable(&self) -> String {
        variable_of(VARIABLE_PREFIX, self.name)
    }

    /// Whether `text` equals the default, possibly in another spelling.
    #[must_use]
    pub fn is_default(&self, text: &str) -> bool {
        let default = self.default.to_string();
        text == default || self.kind.same(text, &default)
    }
}

/// The prefix of tenure's own variables.
pub const VARIABLE_PREFIX: &str = "TENURE_";

/// The prefix of etcd's variables, which are weaker.
pub const ETCD_PREFIX: &str = "ETCD_";

/// The variable with this prefix that sets `name`.
pub(super) fn variable_of(prefix: &str, name: &str) -> String {
    format!("{prefix}{}", name.replace('-', "_").to_ascii_uppercase())
}

/// The action that checks the settings.
pub const CHECK_CONFIG: &str = "check-config";

/// Flags that print a text and exit, with their help texts.
pub const ACTIONS: [(&str, &str); 4] = [
    ("help", "Print this text."),
    ("h", "Print this text."),
    (
        CHECK_CONFIG,
        "Check all settings, print every fault or what would be started, and end.",
    ),
    (
        "version",
        "Print the versions of tenured and of the API it serves.",
    ),
];

/// Every setting, by group.
pub fn all() -> impl Iterator<Item = &'static Flag> {
    [MEMBER, CLUSTERING, SECURITY, OPERATION]
        .into_iter()
        .flatten()
}

/// Looks up a setting by name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Flag> {
    all().find(|flag| flag.name == name)
}

const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

const fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

const fn mins(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_default_is_a_value_of_its_kind() {
        for flag in all() {
            let default = flag.default.to_string();
            if !default.is_empty() {
                assert_eq!(flag.kind.check(&default), Ok(()), "--{}", flag.name);
            }
        }
    }

    #[test]
    fn names_are_unique_kebab_case_and_end_in_help() {
        let mut seen = BTreeSet::new();
        for flag in all() {
            assert!(seen.insert(flag.name), "--{} stands twice", flag.name);
            assert!(
                flag.name
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
            );
            assert!(flag.help.ends_with('.'), "--{}", flag.name);
        }
        assert!(ACTIONS.iter().all(|(name, _)| !seen.contains(name)));
    }

    #[test]
    fn a_variable_is_the_name_in_upper_snake_case() {
        let flag = find("listen-client-urls").expect("the name stands in the table");
        assert_eq!(flag.variable(), "TENURE_LISTEN_CLIENT_URLS");
    }

    #[test]
    fn every_flag_etcd_knows_stands_in_the_table() {
        for name in include_str!("etcd_names.txt").split_whitespace() {
            assert!(find(name).is_some(), "--{name} is missing");
        }
    }
}
