//! Reads `TENURE_*` variables. An empty variable counts as absent, as in etcd.

use std::ffi::OsString;

use super::{
    fault::{ConfigFault, Origin},
    flags::{self, VARIABLE_PREFIX},
    sources::Sources,
    suggestion::closest,
};

/// Reads the variables with the prefix, and reports unknown and malformed ones.
pub(super) fn read(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> (Sources, Vec<ConfigFault>) {
    let mut sources = Sources::default();
    let mut faults = Vec::new();
    let mut known: Vec<(String, &flags::Flag)> =
        flags::all().map(|flag| (flag.variable(), flag)).collect();
    known.sort_by(|left, right| left.0.cmp(&right.0));
    for (name, value) in variables {
        let Some(name) = name
            .to_str()
            .filter(|name| name.starts_with(VARIABLE_PREFIX))
        else {
            continue;
        };
        if value.is_empty() || is_service_link(name) {
            continue;
        }
        let name = name.to_owned();
        match (
            known.binary_search_by(|(variable, _)| variable.cmp(&name)),
            value.into_string(),
        ) {
            (Ok(index), Ok(text)) => sources.put(known[index].1, text, Origin::Variable(name)),
            (Ok(_), Err(_)) => faults.push(ConfigFault::NotText { what: name }),
            (Err(_), _) => {
                let names = known.iter().map(|(variable, _)| variable.as_str());
                let suggestion = closest(&name, names).map(str::to_owned);
                faults.push(ConfigFault::UnknownVariable { name, suggestion });
            }
        }
    }
    (sources, faults)
}

/// Whether Kubernetes created this variable for a service whose name begins with `tenure`.
///
/// Containers in the namespace of such a service get them, so they are not reported as unknown.
fn is_service_link(name: &str) -> bool {
    let after_port = name.rsplit_once("_PORT").map(|(_, after)| after);
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || after_port.is_some_and(|after| {
            after.is_empty()
                || after.contains("_TCP")
                || after.contains("_UDP")
                || after.contains("_SCTP")
        })
        || ["_TCP_PORT", "_UDP_PORT", "_SCTP_PORT"]
            .iter()
            .any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_pairs(pairs: &[(&str, &str)]) -> (Sources, Vec<ConfigFault>) {
        read(
            pairs
                .iter()
                .map(|(name, value)| (OsString::from(name), OsString::from(value))),
        )
    }

    #[test]
    fn a_variable_sets_its_flag_and_others_are_left_alone() {
        let (sources, faults) = read_pairs(&[("TENURE_NAME", "a"), ("ETCD_NAME", "b"), ("X", "")]);
        assert_eq!(faults, []);
        assert_eq!(sources.text(flags::NAME), "a");
        assert_eq!(sources.origin("name").to_string(), "TENURE_NAME");
    }

    #[test]
    fn an_empty_variable_counts_as_absent() {
        let (sources, faults) = read_pairs(&[("TENURE_NAME", ""), ("TENURE_NAM", "")]);
        assert_eq!(faults, []);
        assert_eq!(sources.origin("name"), Origin::Default("name"));
    }

    #[test]
    fn an_unknown_variable_is_reported_with_the_closest_name() {
        let (_, faults) = read_pairs(&[("TENURE_NAMES", "a")]);
        let said = faults[0].to_string();
        assert_eq!(
            said,
            "TENURE_NAMES: unknown variable; did you mean TENURE_NAME?"
        );
    }

    #[test]
    fn variables_that_kubernetes_makes_for_a_service_are_left_alone() {
        let (_, faults) = read_pairs(&[
            ("TENURE_SERVICE_HOST", "10.0.0.1"),
            ("TENURE_CLIENT_SERVICE_PORT_GRPC", "2379"),
            ("TENURE_PORT", "tcp://10.0.0.1:2379"),
            ("TENURE_PORT_2379_TCP", "tcp://10.0.0.1:2379"),
            ("TENURE_PORT_2379_TCP_ADDR", "10.0.0.1"),
            ("TENURE_PORT_2379_TCP_PORT", "2379"),
        ]);
        assert_eq!(faults, []);
    }
}
