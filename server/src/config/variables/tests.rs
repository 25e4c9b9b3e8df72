//! Tests of variables: tenure's own, and every one that etcd has or once had.

use super::*;
use crate::config::flags::Class;

fn read_pairs(pairs: &[(&str, &str)]) -> Variables {
    let pairs = pairs.iter();
    read(pairs.map(|(name, value)| (OsString::from(name), OsString::from(value))))
}

fn faults(pairs: &[(&str, &str)]) -> Vec<String> {
    let read = read_pairs(pairs);
    assert_eq!(read.warnings, []);
    read.faults.iter().map(ToString::to_string).collect()
}

fn warnings(pairs: &[(&str, &str)]) -> Vec<String> {
    let read = read_pairs(pairs);
    assert_eq!(read.faults, []);
    read.warnings.iter().map(ToString::to_string).collect()
}

fn names(pairs: &[(&str, &str)]) -> (String, String) {
    let read = read_pairs(pairs);
    assert_eq!((read.faults, read.warnings), (vec![], vec![]));
    let sources = read.sources;
    (
        sources.text(flags::NAME),
        sources.origin("name").to_string(),
    )
}

#[test]
fn a_variable_sets_its_flag_and_tenures_own_beats_that_of_etcd() {
    let named = |name: &str, origin: &str| (name.to_owned(), origin.to_owned());
    let own = ("TENURE_NAME", "a");
    let etcds = ("ETCD_NAME", "b");
    assert_eq!(names(&[own, etcds, ("X", "")]), named("a", "TENURE_NAME"));
    assert_eq!(names(&[etcds]), named("b", "ETCD_NAME"));
    assert_eq!(
        names(&[etcds, ("TENURE_NAME", "")]),
        named("b", "ETCD_NAME")
    );
    assert_eq!(
        names(&[("NAME", "c")]),
        named("default", "--name (default)")
    );
}

#[test]
fn an_empty_variable_counts_as_absent() {
    let pairs = [("TENURE_NAME", ""), ("TENURE_NAM", ""), ("ETCD_NAM", "")];
    assert_eq!(names(&pairs).1, "--name (default)");
}

#[test]
fn an_unknown_variable_is_reported_with_the_closest_name() {
    assert_eq!(
        faults(&[("TENURE_NAMES", "a")]),
        ["TENURE_NAMES: unknown variable; did you mean TENURE_NAME?"]
    );
    assert_eq!(
        warnings(&[("ETCD_NAMES", "a")]),
        ["ETCD_NAMES has no effect: unknown variable; did you mean ETCD_NAME?"]
    );
}

#[test]
fn the_present_name_of_a_setting_beats_the_one_it_had() {
    let learners = |pairs: &[(&str, &str)]| read_pairs(pairs).sources.uint32(flags::MAX_LEARNERS);
    let former = ("ETCD_EXPERIMENTAL_MAX_LEARNERS", "2");
    let present = ("ETCD_MAX_LEARNERS", "3");
    assert_eq!(learners(&[former]), 2);
    assert_eq!(learners(&[former, present]), 3);
    assert_eq!(learners(&[present, former]), 3);
    assert_eq!(
        learners(&[former, present, ("TENURE_MAX_LEARNERS", "4")]),
        4
    );
    // Tenure never had the former name.
    assert_eq!(
        faults(&[("TENURE_EXPERIMENTAL_MAX_LEARNERS", "2")]).len(),
        1
    );
}

#[test]
fn variables_that_kubernetes_makes_for_a_service_are_left_alone() {
    for prefix in ["TENURE", "ETCD"] {
        let link = |suffix: &str| format!("{prefix}_{suffix}");
        let links = [
            link("SERVICE_HOST"),
            link("CLIENT_SERVICE_PORT_GRPC"),
            link("PORT"),
            link("PORT_2379_TCP"),
            link("PORT_2379_TCP_ADDR"),
            link("PORT_2379_TCP_PORT"),
        ];
        let pairs: Vec<_> = links.iter().map(|name| (name.as_str(), "x")).collect();
        let read = read_pairs(&pairs);
        assert_eq!((read.faults, read.warnings), (vec![], vec![]));
    }
}

#[test]
fn a_setting_is_no_service_link_though_its_name_ends_like_one() {
    let read = read_pairs(&[("TENURE_SOCKET_REUSE_PORT", "true")]);
    assert_eq!(read.sources.shown("socket-reuse-port"), "true");
    let read = read_pairs(&[("ETCD_SOCKET_REUSE_PORT", "true")]);
    assert_eq!(read.sources.shown("socket-reuse-port"), "true");
}

#[test]
fn a_value_that_is_no_text_is_reported() {
    use std::os::unix::ffi::OsStringExt as _;
    let bytes = OsString::from_vec(vec![0xff]);
    for name in ["TENURE_NAME", "ETCD_NAME"] {
        let read = read([(OsString::from(name), bytes.clone())]);
        let said = read.faults[0].to_string();
        assert_eq!(said, format!("{name}: not valid UTF-8; write it in UTF-8"));
    }
}

/// A value that is not the default of any setting of its kind.
fn another_value(flag: &Flag) -> String {
    use flags::Kind::*;
    let value = match flag.kind {
        Bool if flag.default.to_string() == "true" => "false",
        Bool => "true",
        Uint32 | Uint | Int | Millis => "77",
        Duration => "77s",
        Urls => "http://127.0.0.1:7777",
        Text | List => "seventy",
        Choice(words) => {
            let default = flag.default.to_string();
            let other = words.iter().find(|word| **word != default);
            other.copied().unwrap_or("seventy")
        }
    };
    value.to_owned()
}

/// The table of every variable that etcd has or had: it is honoured, or warned of with its name, or
/// refused with its name and what to do.
#[test]
fn every_variable_of_etcd_is_honoured_or_named_in_a_refusal() {
    let present = include_str!("../flags/etcd_names.txt").split_whitespace();
    let former = include_str!("../flags/former_names.txt").split_whitespace();
    let (mut honoured, mut without_effect, mut refused) = (0, 0, 0);
    for flag_name in present.chain(former) {
        let flag = flags::find_ever(flag_name).expect("the name is known");
        let name = flags::variable_of(ETCD_PREFIX, flag_name);
        let value = another_value(flag);
        let read = read_pairs(&[(&name, &value)]);
        assert_eq!((read.faults, read.warnings), (vec![], vec![]), "{name}");
        assert_eq!(read.sources.shown(flag.name), value, "{name}");
        assert_eq!(read.sources.origin(flag.name).to_string(), name);

        let (faults, warnings) = read.sources.judge();
        let said: Vec<_> = faults.iter().map(ToString::to_string).collect();
        match flag.class {
            Class::Used => {
                honoured += 1;
                assert_eq!((said, warnings), (vec![], vec![]), "{name}");
            }
            Class::Ignored(_) => {
                // A value that the setting cannot have is refused before.
                let warned: Vec<_> = warnings.iter().map(ToString::to_string).collect();
                let told = said.iter().chain(&warned);
                assert!(told.into_iter().all(|text| text.starts_with(&name)));
                assert_eq!(said.len() + warned.len(), 1, "{name}");
                without_effect += 1;
            }
            Class::Refused(_) | Class::Retired(_) => {
                refused += 1;
                assert_eq!(said.len(), 1, "{name}");
                assert!(said[0].starts_with(&format!("{name}: ")), "{}", said[0]);
                let remedy = said[0].split_once("; ").or(said[0].split_once(": "));
                assert!(remedy.is_some(), "{}", said[0]);
            }
        }
    }
    assert!(
        honoured > 40 && without_effect > 10 && refused > 5,
        "{honoured} honoured, {without_effect} without effect, {refused} refused"
    );
}
