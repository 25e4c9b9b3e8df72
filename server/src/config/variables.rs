//! Reads `TENURE_*` variables and, where those are not set, etcd's `ETCD_*`. An empty variable
//! counts as absent, as in etcd.
//!
//! An unknown name is a fault with tenure's prefix. With etcd's it is a warning, as by etcd itself:
//! images and scripts set such names for purposes of their own.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
};

use super::{
    fault::{ConfigFault, Origin, Warning},
    flags::{self, ETCD_PREFIX, Flag, VARIABLE_PREFIX},
    sources::Sources,
    suggestion::closest,
};

/// A variable of etcd that is no setting: it silences a check of the processor.
const UNSUPPORTED_ARCH: &str = "ETCD_UNSUPPORTED_ARCH";

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Variables {
    pub(super) sources: Sources,
    pub(super) faults: Vec<ConfigFault>,
    pub(super) warnings: Vec<Warning>,
}

/// Reads the variables with either prefix, and reports unknown and malformed ones.
pub(super) fn read(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Variables {
    // Sorted, so that the same variables give the same result in whatever order they come.
    let variables: BTreeMap<String, OsString> = variables
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .collect();
    let mut read = Variables::default();
    // From the weakest to the strongest: a name that etcd gave up, its present one, tenure's.
    for (name, value) in variables.iter().filter(|(name, _)| etcds(name).is_some()) {
        if !etcds(name).is_some_and(|flag| is_present(name, flag)) {
            read.etcds(name, value);
        }
    }
    for (name, value) in &variables {
        match etcds(name) {
            Some(flag) if is_present(name, flag) => read.etcds(name, value),
            Some(_) => {}
            None if name.starts_with(ETCD_PREFIX) => read.unknown_to_etcd(name),
            None => {}
        }
    }
    for (name, value) in &variables {
        if name.starts_with(VARIABLE_PREFIX) {
            read.own(name, value);
        }
    }
    read
}

/// The setting of a variable with etcd's prefix.
fn etcds(name: &str) -> Option<&'static Flag> {
    let name = name.strip_prefix(ETCD_PREFIX)?;
    flags::find_ever(&name.to_ascii_lowercase().replace('_', "-"))
}

/// Whether the variable has the name that the setting has today.
fn is_present(name: &str, flag: &Flag) -> bool {
    flags::variable_of(ETCD_PREFIX, flag.name) == name
}

impl Variables {
    fn put(&mut self, flag: &'static Flag, name: &str, value: &OsStr) {
        let name = name.to_owned();
        match value.to_owned().into_string() {
            Ok(text) => self.sources.put(flag, text, Origin::Variable(name)),
            Err(_) => self.faults.push(ConfigFault::NotText { what: name }),
        }
    }

    fn etcds(&mut self, name: &str, value: &OsStr) {
        if let Some(flag) = etcds(name) {
            self.put(flag, name, value);
        }
    }

    fn unknown_to_etcd(&mut self, name: &str) {
        if is_service_link(name) || name == UNSUPPORTED_ARCH {
            return;
        }
        let names: Vec<_> = flags::all()
            .map(|flag| flags::variable_of(ETCD_PREFIX, flag.name))
            .collect();
        let hint = closest(name, names.iter().map(String::as_str));
        let hint = hint.map_or_else(String::new, |hint| format!("; did you mean {hint}?"));
        let text = format!("{name} has no effect: unknown variable{hint}");
        self.warnings.push(Warning(text));
    }

    fn own(&mut self, name: &str, value: &OsStr) {
        if let Some(flag) = flags::all().find(|flag| flag.variable() == name) {
            self.put(flag, name, value);
        } else if !is_service_link(name) {
            let names: Vec<_> = flags::all().map(Flag::variable).collect();
            let suggestion = closest(name, names.iter().map(String::as_str)).map(str::to_owned);
            let name = name.to_owned();
            self.faults
                .push(ConfigFault::UnknownVariable { name, suggestion });
        }
    }
}

/// Whether Kubernetes created this variable for a service whose name begins with `tenure` or
/// `etcd`.
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
mod tests;
