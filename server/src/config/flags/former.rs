//! Settings of earlier versions of etcd, which scripts, images and manifests still name.
//!
//! They are read as flags and as `ETCD_` variables, and are neither keys of the file nor listed in
//! the documents. One that only got another name sets the present one.

use super::{Class, Class::*, Flag, Group, Kind, Kind::*, Value, all, find};

/// What the names of settings began with while they were experiments; without it, most of them are
/// settings of today.
const EXPERIMENTAL: &str = "experimental-";

const NO_V2: Class = Retired("etcd's v2 API is not served; use the v3 API");
const NO_PROXY: Class = Ignored("there is no proxy");
const GATED: Class = Ignored("no feature here needs this gate");

/// Switches that became gates, with the gate that each sets.
pub(in crate::config) const GATES: &[(&str, &str)] = &[
    ("experimental-initial-corrupt-check", "InitialCorruptCheck"),
    (
        "experimental-compact-hash-check-enabled",
        "CompactHashCheck",
    ),
];

/// Settings that have no place among those of today.
const FORMER: &[Flag] = &[
    row("enable-v2", Bool, NO_V2),
    row("experimental-enable-v2v3", Text, NO_V2),
    row("v2-deprecation", Text, Ignored("there is no v2 API")),
    Flag {
        default: Value::Text("off"),
        ..row(
            "proxy",
            Choice(&["off", "readonly", "on"]),
            Retired(
                "every member takes every call; start a member, or name the members to clients",
            ),
        )
    },
    row("proxy-failure-wait", Uint, NO_PROXY),
    row("proxy-refresh-interval", Uint, NO_PROXY),
    row("proxy-dial-timeout", Uint, NO_PROXY),
    row("proxy-write-timeout", Uint, NO_PROXY),
    row("proxy-read-timeout", Uint, NO_PROXY),
    row(
        "discovery",
        Text,
        Retired(
            "etcd's v2 discovery is gone; list the members in --initial-cluster, or --join one",
        ),
    ),
    row(
        "discovery-proxy",
        Text,
        Retired(
            "etcd's v2 discovery is gone; list the members in --initial-cluster, or --join one",
        ),
    ),
    row("debug", Bool, Retired("write --log-level=debug")),
    row("log-package-levels", Text, Retired("write --log-level")),
    row("log-output", Text, Retired("write --log-outputs")),
    row("experimental-initial-corrupt-check", Bool, Used),
    row("experimental-compact-hash-check-enabled", Bool, Used),
    row("experimental-enable-lease-checkpoint", Bool, GATED),
    row("experimental-enable-lease-checkpoint-persist", Bool, GATED),
    row(
        "experimental-txn-mode-write-with-shared-buffer",
        Bool,
        GATED,
    ),
    row("experimental-stop-grpc-service-on-defrag", Bool, GATED),
    row("experimental-set-member-localaddr", Bool, GATED),
];

const fn row(name: &'static str, kind: Kind, class: Class) -> Flag {
    let default = match kind {
        Bool => Value::Bool(false),
        _ => Value::Text(""),
    };
    Flag {
        name,
        kind,
        default,
        class,
        group: Group::Operation,
        help: "A setting of an earlier version of etcd.",
    }
}

/// Every setting that may have been given: those of today, and those of earlier versions.
pub(in crate::config) fn all_ever() -> impl Iterator<Item = &'static Flag> {
    all().chain(FORMER)
}

/// Looks up a setting by its present name, or by one that it had.
pub(in crate::config) fn find_ever(name: &str) -> Option<&'static Flag> {
    let former = || FORMER.iter().find(|flag| flag.name == name);
    let renamed = || name.strip_prefix(EXPERIMENTAL).and_then(find);
    find(name).or_else(former).or_else(renamed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_that_etcd_once_had_is_known() {
        for name in include_str!("former_names.txt").split_whitespace() {
            assert!(find_ever(name).is_some(), "--{name} is missing");
        }
    }

    #[test]
    fn a_former_name_is_none_of_today() {
        for flag in FORMER {
            assert!(find(flag.name).is_none(), "--{} is listed twice", flag.name);
            let is_gate = GATES.iter().any(|(name, _)| *name == flag.name);
            assert_eq!(matches!(flag.class, Used), is_gate, "--{}", flag.name);
            let default = flag.default.to_string();
            assert!(default.is_empty() || flag.kind.check(&default).is_ok());
        }
    }

    #[test]
    fn an_experiment_that_became_a_setting_is_found() {
        let found = find_ever("experimental-watch-progress-notify-interval");
        assert_eq!(
            found.map(|flag| flag.name),
            Some("watch-progress-notify-interval")
        );
        assert!(find_ever("experimental-nonsense").is_none());
        assert!(find_ever("experimental-").is_none());
    }
}
