//! The given values, each from the source that takes precedence.
//!
//! Merges and parses; does not check relations between values.
//!
//! Invariant: `put` is called from the weakest source to the strongest, so the last value stands.

use std::{collections::BTreeMap, time::Duration};

use super::{
    duration,
    fault::{ConfigFault, Origin, Warning},
    flags::{self, Class, Flag, Setting},
    url::Url,
};

/// A value with its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) text: String,
    pub(super) origin: Origin,
}

/// The merged values of flags, variables and the file.
#[derive(Debug, Default)]
pub(super) struct Sources {
    given: BTreeMap<&'static str, Given>,
}

impl Sources {
    /// Sets a value, replacing that of a weaker source.
    pub(super) fn put(&mut self, flag: &'static Flag, text: String, origin: Origin) {
        self.given.insert(flag.name, Given { text, origin });
    }

    /// Takes over every value of a stronger source.
    pub(super) fn overlay(&mut self, stronger: Self) {
        self.given.extend(stronger.given);
    }

    /// The source of the value in force.
    pub(super) fn origin(&self, name: &'static str) -> Origin {
        self.given
            .get(name)
            .map_or(Origin::Default(name), |given| given.origin.clone())
    }

    /// The text that was given, if any was.
    pub(super) fn as_given(&self, name: &str) -> Option<&str> {
        self.given.get(name).map(|given| given.text.as_str())
    }

    /// Checks each given value by itself: whether it parses, and whether it has an effect.
    pub(super) fn judge(&self) -> (Vec<ConfigFault>, Vec<Warning>) {
        let mut faults = Vec::new();
        let mut warnings = Vec::new();
        for flag in flags::all_ever() {
            let Some(given) = self.given.get(flag.name) else {
                continue;
            };
            let Given { text, origin } = given;
            let harmless = flag.is_default(text) || text.is_empty();
            if let Class::Refused(feature) = flag.class {
                if !harmless {
                    let origin = origin.clone();
                    faults.push(ConfigFault::NotBuilt { origin, feature });
                }
            } else if let (Class::Retired(remedy), false) = (flag.class, harmless) {
                let origin = origin.clone();
                faults.push(ConfigFault::Retired { origin, remedy });
            } else if let Err(remedy) = flag.kind.check(text) {
                let (value, origin) = (text.clone(), origin.clone());
                faults.push(ConfigFault::BadValue {
                    origin,
                    value,
                    remedy,
                });
            } else if let Class::Ignored(reason) = flag.class
                && !harmless
            {
                warnings.push(Warning(format!("{origin} has no effect: {reason}")));
            }
        }
        (faults, warnings)
    }

    /// Parses the given value, if there is one.
    ///
    /// `judge` reports a value that does not parse; this returns `None`, so that the default takes
    /// its place and the remaining faults are found, too.
    fn given<T>(&self, name: &'static str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.given.get(name).and_then(|given| parse(&given.text))
    }

    /// The value in force, in the syntax of the command line.
    pub(super) fn shown(&self, name: &'static str) -> String {
        let given = self.given.get(name).map(|given| given.text.clone());
        let default = || flags::find(name).map(|flag| flag.default.to_string());
        given.or_else(default).unwrap_or_default()
    }

    pub(super) fn text(&self, setting: Setting<&'static str>) -> String {
        let given = self.given(setting.name, |text| Some(text.to_owned()));
        given.unwrap_or_else(|| setting.default.to_owned())
    }

    pub(super) fn bool(&self, setting: Setting<bool>) -> bool {
        self.given(setting.name, flags::parse_bool)
            .unwrap_or(setting.default)
    }

    pub(super) fn uint(&self, setting: Setting<u64>) -> u64 {
        self.given(setting.name, flags::parse_uint)
            .unwrap_or(setting.default)
    }

    /// A whole number from 0 to 2^32 - 1.
    pub(super) fn uint32(&self, setting: Setting<u32>) -> u32 {
        let given = self.given(setting.name, |text| {
            flags::parse_uint(text).and_then(|value| value.try_into().ok())
        });
        given.unwrap_or(setting.default)
    }

    pub(super) fn int(&self, setting: Setting<i64>) -> i64 {
        self.given(setting.name, flags::parse_int)
            .unwrap_or(setting.default)
    }

    /// A duration, written with its unit.
    pub(super) fn duration(&self, setting: Setting<Duration>) -> Duration {
        self.given(setting.name, duration::parse)
            .unwrap_or(setting.default)
    }

    /// A duration, written as a number of milliseconds.
    pub(super) fn millis(&self, setting: Setting<u64>) -> Duration {
        Duration::from_millis(self.uint(setting))
    }

    /// A list of addresses.
    pub(super) fn urls(&self, setting: Setting<&'static [Url]>) -> Vec<Url> {
        self.given(setting.name, |text| Url::parse_list(text).ok())
            .unwrap_or_else(|| setting.default.to_vec())
    }

    /// A list of words, without blank ones.
    pub(super) fn words(&self, setting: Setting<&'static str>) -> Vec<String> {
        let text = self.text(setting);
        text.split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect()
    }
}
