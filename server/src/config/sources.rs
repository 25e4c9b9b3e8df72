//! The values that were given, each with the place that won.
//!
//! It merges and reads; it does not judge relations between values.
//!
//! Invariant: `put` is called from the weakest source to the strongest, so the last one stands.

use std::{collections::BTreeMap, time::Duration};

use super::{
    duration,
    fault::{ConfigFault, Origin, Warning},
    flags::{self, Class, Flag, Setting},
    url::Url,
};

/// One value and who gave it.
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
    /// Sets a value, in place of any from a weaker source.
    pub(super) fn put(&mut self, flag: &'static Flag, text: String, origin: Origin) {
        self.given.insert(flag.name, Given { text, origin });
    }

    /// Takes every value of a stronger source.
    pub(super) fn overlay(&mut self, stronger: Self) {
        self.given.extend(stronger.given);
    }

    /// Who decides the value of a name.
    pub(super) fn origin(&self, name: &'static str) -> Origin {
        self.given
            .get(name)
            .map_or(Origin::Default(name), |given| given.origin.clone())
    }

    /// Looks at every given value by itself: its shape, and whether it has an effect.
    pub(super) fn judge(&self) -> (Vec<ConfigFault>, Vec<Warning>) {
        let mut faults = Vec::new();
        let mut warnings = Vec::new();
        for flag in flags::all() {
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

    /// The value that was given, if it reads.
    ///
    /// One that does not read is reported by `judge`; reading goes on with the default so that the
    /// remaining faults are found too.
    fn given<T>(&self, name: &'static str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.given.get(name).and_then(|given| parse(&given.text))
    }

    /// The value in force as an operator would write it.
    pub(super) fn shown(&self, name: &'static str) -> String {
        let given = self.given.get(name).map(|given| given.text.clone());
        let default = || flags::find(name).map(|flag| flag.default.to_string());
        given.or_else(default).unwrap_or_default()
    }

    /// Text as it was given.
    pub(super) fn text(&self, setting: Setting<&'static str>) -> String {
        let given = self.given(setting.name, |text| Some(text.to_owned()));
        given.unwrap_or_else(|| setting.default.to_owned())
    }

    /// A truth value.
    pub(super) fn bool(&self, setting: Setting<bool>) -> bool {
        self.given(setting.name, flags::parse_bool)
            .unwrap_or(setting.default)
    }

    /// A whole number from 0.
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

    /// A whole number.
    pub(super) fn int(&self, setting: Setting<i64>) -> i64 {
        self.given(setting.name, flags::parse_int)
            .unwrap_or(setting.default)
    }

    /// A duration written with its unit.
    pub(super) fn duration(&self, setting: Setting<Duration>) -> Duration {
        self.given(setting.name, duration::parse)
            .unwrap_or(setting.default)
    }

    /// A duration written as milliseconds.
    pub(super) fn millis(&self, setting: Setting<u64>) -> Duration {
        Duration::from_millis(self.uint(setting))
    }

    /// A list of addresses.
    pub(super) fn urls(&self, setting: Setting<&'static [Url]>) -> Vec<Url> {
        self.given(setting.name, |text| Url::parse_list(text).ok())
            .unwrap_or_else(|| setting.default.to_vec())
    }

    /// A list of words; blank ones are left out.
    pub(super) fn words(&self, setting: Setting<&'static str>) -> Vec<String> {
        let text = self.text(setting);
        text.split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect()
    }
}
