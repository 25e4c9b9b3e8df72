//! Variables of etcdctl that this client cannot honour: refused by name, and never ignored.
//!
//! A variable whose global flag exists is honoured by that flag, and this table does not count.

use super::{Lookup, variable_for};

/// The spellings of false, as Go reads them.
const FALSE: &[&str] = &["0", "f", "F", "false", "False", "FALSE"];

/// Flags of etcdctl by name, with the values that ask for nothing, and the remedy for any other.
const FLAGS: &[(&str, &[&str], &str)] = &[
    (
        "api",
        &["3"],
        "this client speaks version 3 of the API; use 3, or leave it out",
    ),
    ("cacert", &[], ""),
    ("cert", &[], ""),
    ("key", &[], ""),
    ("insecure-skip-tls-verify", &[], ""),
    ("insecure-transport", &[], ""),
    ("debug", FALSE, "there is no log; leave it out"),
    ("discovery-srv", &[], ""),
    ("discovery-srv-name", &[], ""),
    ("insecure-discovery", &[], ""),
    ("endpoints", &[], ""),
    ("write-out", &[], ""),
    ("hex", &[], ""),
    ("dial-timeout", &[], ""),
    ("command-timeout", &[], ""),
    ("keepalive-time", &[], ""),
    ("keepalive-timeout", &[], ""),
    ("user", &[], ""),
    ("password", &[], ""),
    ("auth-jwt-token", &[], ""),
];

/// The first variable that asks for what this client cannot do, and the remedy. `has_flag` says
/// whether there is a global flag of a name.
#[must_use]
pub fn unsupported(has_flag: impl Fn(&str) -> bool, lookup: Lookup<'_>) -> Option<String> {
    FLAGS
        .iter()
        .filter(|(flag, ..)| !has_flag(flag))
        .find_map(|(flag, harmless, remedy)| {
            let (name, value) = variable_for(flag, lookup);
            let value = value?;
            let asks = !harmless.iter().any(|harmless| value == *harmless);
            asks.then(|| format!("{name}: {remedy}"))
        })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::args;

    /// Every global flag of etcdctl 3.4 to 3.6.
    const ETCDCTL: &str = "api cacert cert command-timeout debug dial-timeout discovery-srv \
        discovery-srv-name endpoints hex insecure-discovery insecure-skip-tls-verify \
        insecure-transport keepalive-time keepalive-timeout key password user write-out \
        auth-jwt-token";

    fn only(name: &str, value: &str) -> impl Fn(&str) -> Option<OsString> {
        let (name, value) = (name.to_owned(), OsString::from(value));
        move |asked: &str| (asked == name).then(|| value.clone())
    }

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    /// A value that the flag accepts and that is not its default.
    fn another_value(flag: &str) -> &'static str {
        match flag {
            "api" => "2",
            "write-out" => "json",
            "hex" | "debug" | "insecure-skip-tls-verify" => "true",
            "command-timeout" | "dial-timeout" | "keepalive-time" | "keepalive-timeout" => "77s",
            "user" => "a:b",
            // Its other value asks for TLS, which the client may not have.
            "insecure-transport" | "insecure-discovery" => "true",
            _ => "seventy",
        }
    }

    #[test]
    fn every_variable_of_etcdctl_is_honoured_or_refused_with_its_name() {
        for flag in ETCDCTL.split_whitespace() {
            let name = format!("ETCDCTL_{}", flag.replace('-', "_").to_uppercase());
            let lookup = only(&name, another_value(flag));
            let command = args::command(&lookup);
            let honoured = command
                .get_arguments()
                .filter(|arg| arg.is_global_set())
                .any(|arg| arg.get_env().is_some_and(|env| env == name.as_str()));
            let parsed = args::parse(&words(&["tenurectl", "get", "k"]), &lookup);
            let harmless = ["insecure-discovery", "insecure-transport"].contains(&flag);
            match parsed {
                Ok(_) => assert!(honoured || harmless, "{name} was ignored"),
                Err(failure) => {
                    let said = failure.to_string();
                    assert!(said.contains(&name) || honoured, "{name}: {said}");
                    assert!(said.len() > name.len() + 2, "{said} names no remedy");
                }
            }
        }
    }

    #[test]
    fn the_value_that_asks_for_nothing_is_accepted() {
        for (name, value) in [
            ("ETCDCTL_API", "3"),
            ("ETCDCTL_DEBUG", "false"),
            ("ETCDCTL_INSECURE_SKIP_TLS_VERIFY", "false"),
            ("ETCDCTL_INSECURE_DISCOVERY", "true"),
        ] {
            let lookup = only(name, value);
            let parsed = args::parse(&words(&["tenurectl", "get", "k"]), &lookup);
            assert!(parsed.is_ok(), "{name}={value}");
        }
    }

    #[test]
    fn a_refusal_names_the_variable_and_what_to_do() {
        let said = unsupported(|_| false, &only("ETCDCTL_DEBUG", "true"));
        assert_eq!(
            said.as_deref(),
            Some("ETCDCTL_DEBUG: there is no log; leave it out")
        );
        let asked = only("ETCDCTL_DEBUG", "true");
        assert_eq!(unsupported(|flag| flag == "debug", &asked), None);
    }
}
