//! Environment variables of global flags: `TENURECTL_*` first, then `ETCDCTL_*`, for every global
//! flag.
//!
//! A flag on the command line has precedence.

mod unsupported;

use std::ffi::OsString;

pub use self::unsupported::unsupported;

/// Prefixes of variable names, by precedence.
pub const PREFIXES: [&str; 2] = ["TENURECTL_", "ETCDCTL_"];

/// A lookup of environment variables.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The value of a variable in the environment of this process.
#[must_use]
pub fn of_process(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// The variable that sets `flag`: the first one that is set, or its name under the first prefix.
#[must_use]
pub fn variable_for(flag: &str, lookup: Lookup<'_>) -> (String, Option<OsString>) {
    let suffix = flag.to_uppercase().replace('-', "_");
    for prefix in PREFIXES {
        let name = format!("{prefix}{suffix}");
        if let Some(value) = lookup(&name).filter(|value| !value.is_empty()) {
            return (name, Some(value));
        }
    }
    (format!("{}{suffix}", PREFIXES[0]), None)
}

/// The text of the variable that sets `flag`, if any.
#[must_use]
pub fn text_for(flag: &str, lookup: Lookup<'_>) -> Option<String> {
    variable_for(flag, lookup)
        .1
        .and_then(|value| value.into_string().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &'static [&'static str]) -> impl Fn(&str) -> Option<OsString> {
        move |name| {
            names
                .contains(&name)
                .then(|| OsString::from(name.to_lowercase()))
        }
    }

    #[test]
    fn our_own_variable_counts_more_than_that_of_etcdctl() {
        let both = set(&["TENURECTL_DIAL_TIMEOUT", "ETCDCTL_DIAL_TIMEOUT"]);
        let (name, _) = variable_for("dial-timeout", &both);
        assert_eq!(name, "TENURECTL_DIAL_TIMEOUT");
        let theirs = set(&["ETCDCTL_DIAL_TIMEOUT"]);
        let (name, value) = variable_for("dial-timeout", &theirs);
        assert_eq!(name, "ETCDCTL_DIAL_TIMEOUT");
        assert_eq!(value, Some(OsString::from("etcdctl_dial_timeout")));
    }

    #[test]
    fn help_names_our_own_variable_when_none_is_set() {
        let (name, value) = variable_for("user", &set(&[]));
        assert_eq!((name.as_str(), value), ("TENURECTL_USER", None));
    }
}
