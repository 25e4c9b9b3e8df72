//! Feature gates: `--feature-gates Name=true,Other=false`, with etcd's names.
//!
//! Invariant: a name that etcd does not have is a fault, and one that has no effect here is told.

/// A gate of etcd.
#[derive(Debug)]
pub(super) struct Gate {
    name: &'static str,
    stage: &'static Stage,
    /// Why it has no effect here; `None` if it has one.
    without_effect: Option<&'static str>,
}

/// Every gate of etcd 3.6 and later, with etcd's defaults.
const GATES: &[Gate] = &[
    gate(
        "StopGRPCServiceOnDefrag",
        ALPHA,
        Some("defragmentation stops nothing here"),
    ),
    gate(INITIAL_CORRUPT_CHECK, ALPHA, None),
    gate(COMPACT_HASH_CHECK, ALPHA, None),
    gate(
        "TxnModeWriteWithSharedBuffer",
        BETA,
        Some("transactions copy no buffer"),
    ),
    gate(
        "LeaseCheckpoint",
        ALPHA,
        Some("deadlines of leases are always replicated"),
    ),
    gate(
        "LeaseCheckpointPersist",
        ALPHA,
        Some("deadlines of leases are always replicated"),
    ),
    gate(
        "SetMemberLocalAddr",
        ALPHA,
        Some("the system chooses the address"),
    ),
    gate(
        "FastLeaseKeepAlive",
        BETA,
        Some("renewals are always replicated"),
    ),
    gate(
        "PriorityRequest",
        ALPHA,
        Some("each kind of traffic has a bound of its own"),
    ),
];

const INITIAL_CORRUPT_CHECK: &str = "InitialCorruptCheck";
const COMPACT_HASH_CHECK: &str = "CompactHashCheck";

/// A stage of development: the name in etcd's metric, that for all of its gates, and their default.
#[derive(Debug)]
struct Stage {
    name: &'static str,
    all: &'static str,
    default: bool,
}

const ALPHA: &Stage = &Stage {
    name: "ALPHA",
    all: "AllAlpha",
    default: false,
};
const BETA: &Stage = &Stage {
    name: "BETA",
    all: "AllBeta",
    default: true,
};

const fn gate(
    name: &'static str,
    stage: &'static Stage,
    without_effect: Option<&'static str>,
) -> Gate {
    Gate {
        name,
        stage,
        without_effect,
    }
}

/// Which gates are on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureGates {
    on: Vec<bool>,
}

impl Default for FeatureGates {
    fn default() -> Self {
        let on = GATES.iter().map(|gate| gate.stage.default);
        Self { on: on.collect() }
    }
}

impl FeatureGates {
    /// Whether a starting member compares its history with that of the others.
    #[must_use]
    pub fn initial_corrupt_check(&self) -> bool {
        self.is_on(INITIAL_CORRUPT_CHECK)
    }

    /// Whether the members' hashes of compactions are compared.
    #[must_use]
    pub fn compact_hash_check(&self) -> bool {
        self.is_on(COMPACT_HASH_CHECK)
    }

    /// Every gate: its name, its stage, and whether it is on.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &'static str, bool)> {
        let gates = GATES.iter().zip(&self.on);
        gates.map(|(gate, on)| (gate.name, gate.stage.name, *on))
    }

    fn is_on(&self, name: &str) -> bool {
        self.all().any(|(gate, _, on)| gate == name && on)
    }

    /// Parses the value of the flag. Returns warnings for gates that were switched without effect,
    /// or what is wrong. As in etcd, a gate that is named wins over its stage.
    pub(super) fn parse(text: &str) -> Result<(Self, Vec<String>), String> {
        let mut gates = Self::default();
        let mut warnings = Vec::new();
        let mut named = Vec::new();
        for pair in text
            .split(',')
            .map(str::trim)
            .filter(|pair| !pair.is_empty())
        {
            let Some((name, value)) = pair.split_once('=') else {
                return Err(format!("expected name=true or name=false, not {pair:?}"));
            };
            let (name, value) = (name.trim(), value.trim());
            let Some(value) = super::flags::parse_bool(value) else {
                return Err(format!("the gate {name} is true or false, not {value:?}"));
            };
            if [ALPHA, BETA].iter().any(|stage| stage.all == name) {
                let gates = GATES.iter().zip(&mut gates.on);
                let of_stage = gates.filter(|(gate, _)| gate.stage.all == name);
                of_stage.for_each(|(_, on)| *on = value);
                continue;
            }
            if !GATES.iter().any(|gate| gate.name == name) {
                let known: Vec<_> = GATES.iter().map(|gate| gate.name).collect();
                let known = known.join(", ");
                return Err(format!("there is no gate {name}; there are {known}"));
            }
            named.push((name, value));
        }
        for (gate, on) in GATES.iter().zip(&mut gates.on) {
            // The last value of a gate counts, as of any flag.
            let values = named.iter().rev();
            let Some((_, value)) = values.into_iter().find(|(name, _)| *name == gate.name) else {
                continue;
            };
            *on = *value;
            if let Some(why) = gate.without_effect.filter(|_| *value != gate.stage.default) {
                warnings.push(format!("{} has no effect: {why}", gate.name));
            }
        }
        Ok((gates, warnings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(text: &str) -> Vec<&'static str> {
        let (gates, _) = FeatureGates::parse(text).expect("it parses");
        let on = gates.all().filter(|(_, _, on)| *on);
        on.map(|(name, ..)| name).collect()
    }

    #[test]
    fn gates_have_etcds_defaults_and_are_switched_by_name_or_by_stage() {
        let beta = ["TxnModeWriteWithSharedBuffer", "FastLeaseKeepAlive"];
        assert_eq!(on(""), beta);
        let (gates, warnings) = FeatureGates::parse("InitialCorruptCheck=true").expect("it parses");
        assert!(gates.initial_corrupt_check() && !gates.compact_hash_check());
        assert_eq!(warnings, Vec::<String>::new());
        assert_eq!(
            on("CompactHashCheck=true, AllBeta=false"),
            [COMPACT_HASH_CHECK]
        );
        assert_eq!(
            on("AllAlpha=true,AllBeta=false,InitialCorruptCheck=false").len(),
            6
        );
    }

    #[test]
    fn a_gate_without_effect_is_told_and_an_unknown_one_refused() {
        let (_, warnings) = FeatureGates::parse("LeaseCheckpoint=true").expect("it parses");
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        let (_, warnings) = FeatureGates::parse("LeaseCheckpoint=false").expect("it parses");
        assert_eq!(warnings, Vec::<String>::new(), "its default");
        for (text, told) in [
            ("Nothing=true", "there is no gate Nothing"),
            ("CompactHashCheck", "expected name=true"),
            ("CompactHashCheck=perhaps", "is true or false"),
        ] {
            let fault = FeatureGates::parse(text).expect_err("it is refused");
            assert!(fault.contains(told), "{fault}");
        }
    }
}
