//! Which package may depend on which, read from `cargo metadata`.
//!
//! Invariant: the arrows point one way. `proto` and `statemachine` are leaves; nobody needs the
//! server to be a client; the state machine pulls in nothing that does I/O.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// For each package of the workspace, the only ones of ours that it may depend on, tests apart.
const ARROWS: &[(&str, &[&str])] = &[
    ("tenure-proto", &[]),
    ("tenure-statemachine", &[]),
    // Takes the place of a dependency of openraft's, by that one's name; nobody of ours uses it.
    ("base2histogram", &[]),
    ("tenure-backup", &["tenure-statemachine"]),
    ("tenure-srv", &[]),
    ("tenure", &["tenure-proto", "tenure-srv"]),
    ("tenurectl", &["tenure", "tenure-backup"]),
    ("tenure-json", &[]),
    ("tenure-tls", &[]),
    (
        "tenured",
        &[
            "tenure-backup",
            "tenure-json",
            "tenure-proto",
            "tenure-srv",
            "tenure-statemachine",
            "tenure-tls",
        ],
    ),
    ("tenure-pki", &[]),
    (
        "tenure-testkit",
        &[
            "tenured",
            "tenure",
            "tenure-pki",
            "tenure-proto",
            "tenure-statemachine",
        ],
    ),
    (
        "tenure-integration",
        &[
            "tenure-testkit",
            "tenured",
            "tenure",
            "tenure-proto",
            "tenure-statemachine",
        ],
    ),
    (
        "tenure-bench",
        &[
            "tenure-testkit",
            "tenured",
            "tenure",
            "tenure-proto",
            "tenure-statemachine",
        ],
    ),
    ("tenure-tidy", &[]),
];

/// What the state machine, and the library for its snapshots, must not pull in, however far away:
/// runtimes, networks, disks, chance and clocks.
const IMPURE: [&str; 10] = [
    "tokio", "tonic", "openraft", "rocksdb", "rand", "chrono", "time", "hyper", "mio", "socket2",
];
/// The packages that are to be pure.
const PURE: [&str; 2] = ["tenure-statemachine", "tenure-backup"];

/// The packages of a build and their normal and build dependencies.
#[derive(Debug, Default)]
pub struct Packages {
    /// Ours, by name.
    pub members: BTreeSet<String>,
    /// Names of what each package depends on directly.
    pub dependencies: BTreeMap<String, BTreeSet<String>>,
}

impl Packages {
    /// Reads the output of `cargo metadata`.
    ///
    /// # Errors
    /// Names what is missing in it.
    pub fn from_metadata(metadata: &Value) -> Result<Self, String> {
        let list = |value: &Value, name: &str| {
            let list = value.get(name).and_then(Value::as_array).cloned();
            list.ok_or_else(|| format!("the metadata has no {name}"))
        };
        let text = |value: &Value, name: &str| {
            let text = value.get(name).and_then(Value::as_str).map(str::to_owned);
            text.ok_or_else(|| format!("the metadata has no {name}"))
        };
        let mut names = BTreeMap::new();
        for package in list(metadata, "packages")? {
            names.insert(text(&package, "id")?, text(&package, "name")?);
        }
        let name = |id: &Value| id.as_str().and_then(|id| names.get(id)).cloned();
        let members = list(metadata, "workspace_members")?
            .iter()
            .filter_map(name)
            .collect();
        let mut dependencies: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let resolve = metadata
            .get("resolve")
            .ok_or("the metadata has no resolve")?;
        for node in list(resolve, "nodes")? {
            let Some(from) = node.get("id").and_then(name) else {
                continue;
            };
            let known = dependencies.entry(from).or_default();
            for edge in list(&node, "deps")? {
                let kinds = list(&edge, "dep_kinds")?;
                let only_for_tests = kinds
                    .iter()
                    .all(|kind| kind.get("kind").and_then(Value::as_str) == Some("dev"));
                if !only_for_tests {
                    known.extend(edge.get("pkg").and_then(name));
                }
            }
        }
        Ok(Self {
            members,
            dependencies,
        })
    }

    /// Everything that `package` pulls in.
    #[must_use]
    pub fn closure(&self, package: &str) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        let mut open = vec![package];
        while let Some(next) = open.pop() {
            for dependency in self.dependencies.get(next).into_iter().flatten() {
                if found.insert(dependency.as_str()) {
                    open.push(dependency);
                }
            }
        }
        found
    }
}

/// Arrows that point the wrong way.
#[must_use]
pub fn wrong_arrows(packages: &Packages) -> Vec<String> {
    let mut found = Vec::new();
    for member in &packages.members {
        let Some((_, may)) = ARROWS.iter().find(|(name, _)| name == member) else {
            found.push(format!(
                "{member}: say in the tidy tests what it may depend on"
            ));
            continue;
        };
        for dependency in packages.dependencies.get(member).into_iter().flatten() {
            let ours = packages.members.contains(dependency);
            if ours && !may.contains(&dependency.as_str()) {
                found.push(format!("{member} must not depend on {dependency}"));
            }
        }
    }
    found
}

/// What makes a pure package impure.
#[must_use]
pub fn impurities(packages: &Packages) -> Vec<String> {
    let mut found = Vec::new();
    for pure in PURE {
        if !packages.members.contains(pure) {
            found.push(format!("there is no package {pure}"));
        }
        let closure = packages.closure(pure);
        let impure = IMPURE.iter().filter(|name| closure.contains(**name));
        found.extend(impure.map(|name| format!("{pure} pulls in {name}")));
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn packages(edges: &[(&str, &str)]) -> Packages {
        let mut packages = Packages::default();
        for (name, _) in ARROWS {
            packages.members.insert((*name).to_owned());
        }
        for (from, to) in edges {
            let known = packages.dependencies.entry((*from).to_owned()).or_default();
            known.insert((*to).to_owned());
        }
        packages
    }

    #[test]
    fn an_arrow_that_points_back_is_found() {
        for edge in [
            ("tenure-proto", "tenure-statemachine"),
            ("tenure-statemachine", "tenure-proto"),
            ("tenure", "tenured"),
            ("tenure", "tenure-statemachine"),
            ("tenured", "tenure"),
            ("tenurectl", "tenure-proto"),
        ] {
            assert_eq!(wrong_arrows(&packages(&[edge])).len(), 1, "{edge:?}");
        }
        assert!(wrong_arrows(&packages(&[("tenured", "tenure-proto")])).is_empty());
    }

    #[test]
    fn a_package_that_nobody_thought_of_is_found() {
        let mut known = packages(&[]);
        known.members.insert("tenure-surprise".to_owned());
        assert_eq!(wrong_arrows(&known).len(), 1);
    }

    #[test]
    fn an_impurity_is_found_however_far_away() {
        for pure in PURE {
            let far = [(pure, "bytes"), ("bytes", "serde"), ("serde", "tokio")];
            let found = impurities(&packages(&far));
            assert_eq!(found, [format!("{pure} pulls in tokio")]);
            assert!(impurities(&packages(&far[..2])).is_empty());
        }
        assert_eq!(impurities(&Packages::default()).len(), PURE.len());
    }

    #[test]
    fn dependencies_of_tests_do_not_count() {
        let edge = |kind| {
            json!({
                "packages": [{"id": "1", "name": "a"}, {"id": "2", "name": "b"}],
                "workspace_members": ["1"],
                "resolve": {"nodes": [
                    {"id": "1", "deps": [{"pkg": "2", "dep_kinds": [{"kind": kind}]}]},
                ]},
            })
        };
        let of = |kind| Packages::from_metadata(&edge(kind)).expect("well-formed");
        assert!(of(Value::Null).closure("a").contains("b"));
        assert!(of(json!("build")).closure("a").contains("b"));
        assert!(of(json!("dev")).closure("a").is_empty());
        assert!(Packages::from_metadata(&json!({})).is_err());
    }
}
