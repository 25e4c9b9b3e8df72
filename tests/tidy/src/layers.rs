//! The layers of a crate: which of its top-level modules may import which.
//!
//! The modules of a crate lie in layers, the lowest first. Invariant: an import leads to the same
//! layer or to a lower one, and no imports form a circle. Test code is exempt. What is drawn
//! are paths in the source (`crate::…`, `super::…` out of a module, and names that the crate root
//! re-exports), not method calls: an `impl` block may lie above its type.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    code,
    tree::{self, SourceFile},
};

/// A crate and its layers.
#[derive(Debug)]
pub struct Crate {
    /// The folder of its sources.
    pub within: &'static str,
    /// Its top-level modules, the lowest layer first; every module is in exactly one.
    pub layers: &'static [&'static [&'static str]],
}

/// Every crate that is held to layers.
pub const CRATES: &[Crate] = &[BACKUP, CLIENT, SERVER, STATE_MACHINE];

const BACKUP: Crate = Crate {
    within: "server/backup/src",
    layers: &[
        // Bytes.
        &["bbolt", "ids"],
        &["file", "schema"],
        // What is computed from the rows.
        &["content"],
        &["archive", "hash_kv", "restored", "status"],
    ],
};

const CLIENT: Crate = Crate {
    within: "client/src",
    layers: &[
        // Values, errors and arithmetic.
        &["budget", "duration", "error", "hedge", "id", "range"],
        &[
            "breaker",
            "conditions",
            "endpoint",
            "freshness",
            "prefix",
            "response",
            "retry",
            "tls",
        ],
        &["config", "observe", "resume", "secure", "srv"],
        // Connections, and one call over them.
        &["channel"],
        &["auth"],
        &["client"],
        &["call"],
        &["run"],
        // The services of etcd.
        &[
            "access",
            "cluster",
            "kv",
            "maintenance",
            "lease",
            "ready",
            "watch",
        ],
        &["range_stream", "session", "txn"],
        // What is built of keys, transactions and watches.
        &["cache", "json", "namespace", "stm"],
        // Locks, elections, registrations and what is built of them.
        &["builder", "claim", "fence"],
        &["lock"],
        &["election", "locks", "recipes", "registry"],
    ],
};

const SERVER: Crate = Crate {
    within: "server/src",
    layers: &[
        &["clock", "config", "fatal", "flushes", "share", "tasks"],
        &["metrics"],
        // Proofs of identity; users and roles are state.
        &["auth"],
        &["transport"],
        &["admin", "telemetry"],
        &["consensus"],
        &["storage"],
        &["backup", "raft"],
        &["events"],
        &["node"],
        &["duties", "rpc"],
        &["app"],
    ],
};

const STATE_MACHINE: Crate = Crate {
    within: "statemachine/src",
    layers: &[
        // Bytes and values.
        &["encoding", "feature"],
        &["value"],
        &["error", "keyspace"],
        // What goes in and what comes out.
        &["outcome"],
        &["command"],
        &["codec"],
        // What the state is kept in, and its rows.
        &["engine"],
        &["rows"],
        &["meta"],
        // A state that is read, and one that is changed.
        &["price", "read"],
        &["access"],
        &["timers"],
        &["transition"],
        // The families of commands.
        &["auth", "cluster", "history", "lease"],
        &["kv"],
        &["claims", "once", "registry"],
        &["fence"],
        &["will"],
        // Where the families meet.
        &["execute", "origin"],
        &["machine"],
        // What is asked of a state from outside.
        &["digest", "estimate", "invariants", "restore"],
    ],
};

/// The imports between the top-level modules of one crate: from, to, and in which files.
#[derive(Debug, Default)]
pub struct Imports {
    modules: BTreeSet<String>,
    arrows: BTreeMap<(String, String), BTreeSet<String>>,
    /// Names after `crate::` that are neither a module nor re-exported.
    unknown: BTreeSet<String>,
}

/// What breaks the rule in any of `crates`.
#[must_use]
pub fn faults(files: &[SourceFile], crates: &[Crate]) -> Vec<String> {
    let mut found = Vec::new();
    for held in crates {
        let imports = Imports::draw(files, held.within);
        found.extend(imports.misplaced(held));
        found.extend(imports.up(held));
        found.extend(imports.circles().iter().map(|circle| {
            let circle = circle.join(", ");
            format!("{}: a circle of imports: {circle}", held.within)
        }));
    }
    found
}

impl Imports {
    /// Draws the imports of the crate whose sources lie in `within`.
    #[must_use]
    pub fn draw(files: &[SourceFile], within: &str) -> Self {
        let test_only = tree::test_only(files);
        let folders: Vec<&str> = test_only
            .iter()
            .filter_map(|path| path.strip_suffix("/mod.rs"))
            .collect();
        let for_tests = |file: &SourceFile| {
            test_only.contains(&file.path) || folders.iter().any(|folder| file.is_below(folder))
        };
        let sources: Vec<(Vec<&str>, &SourceFile)> = files
            .iter()
            .filter(|file| file.is_below(within) && file.has_extension("rs") && !for_tests(file))
            .map(|file| (module_of(&file.path[within.len() + 1..]), file))
            .collect();
        let mut imports = Self {
            modules: sources
                .iter()
                .filter_map(|(module, _)| module.first())
                .map(ToString::to_string)
                .collect(),
            ..Self::default()
        };
        let root = sources.iter().find(|(module, _)| module.is_empty());
        let exported = root.map_or_else(BTreeMap::new, |(_, file)| {
            imports.exported(&code::without_tests(&code::without_words(&file.text)))
        });
        for (module, file) in &sources {
            let Some(from) = module.first() else { continue };
            let code = code::without_tests(&code::without_words(&file.text));
            for name in names_below_root(&code, module.len()) {
                let to = if imports.modules.contains(&name) {
                    &name
                } else if let Some(to) = exported.get(&name) {
                    to
                } else {
                    let line = format!("{}: crate::{name} is no module", file.path);
                    imports.unknown.insert(line);
                    continue;
                };
                if to != from {
                    let arrow = (from.to_string(), to.clone());
                    let places = imports.arrows.entry(arrow).or_default();
                    places.insert(file.path.clone());
                }
            }
        }
        imports
    }

    /// Names that the root re-exports from a module, and that module.
    fn exported(&self, root: &str) -> BTreeMap<String, String> {
        let mut exported = BTreeMap::new();
        for (at, word) in root.match_indices("use ") {
            let tree = root[at + word.len()..].trim_start();
            for path in paths(tree.strip_prefix("self::").unwrap_or(tree)) {
                if let [module, .., name] = &path[..]
                    && self.modules.contains(module)
                {
                    exported.insert(name.clone(), module.clone());
                }
            }
        }
        exported
    }

    /// Modules without a layer, layers for modules that do not exist, and names that lead nowhere.
    #[must_use]
    pub fn misplaced(&self, held: &Crate) -> Vec<String> {
        let within = held.within;
        let placed: Vec<&str> = held.layers.iter().copied().flatten().copied().collect();
        let homeless = self.modules.iter().filter_map(|module| {
            let layers = placed.iter().filter(|placed| *placed == module).count();
            (layers != 1).then(|| format!("{within}: {module} is in {layers} layers, not in one"))
        });
        let empty = placed.iter().filter_map(|placed| {
            let missing = !self.modules.contains(*placed);
            missing.then(|| format!("{within}: there is no module {placed} for its layer"))
        });
        homeless
            .chain(empty)
            .chain(self.unknown.iter().cloned())
            .collect()
    }

    /// The imports that lead to a higher layer.
    #[must_use]
    pub fn up(&self, held: &Crate) -> Vec<String> {
        let layer = |module: &str| {
            let mut layers = held.layers.iter();
            layers.position(|layer| layer.contains(&module))
        };
        let mut found = Vec::new();
        for ((from, to), places) in &self.arrows {
            if let (Some(low), Some(high)) = (layer(from), layer(to))
                && low < high
            {
                let places = Vec::from_iter(places.iter().map(String::as_str)).join(", ");
                found.push(format!("{from} imports {to}, which is above it: {places}"));
            }
        }
        found
    }

    /// The groups of modules that import each other, directly or through others.
    #[must_use]
    pub fn circles(&self) -> Vec<Vec<&str>> {
        let reached: BTreeMap<&str, BTreeSet<&str>> = self
            .modules
            .iter()
            .map(|module| (module.as_str(), self.reached(module)))
            .collect();
        let mut found: Vec<Vec<&str>> = Vec::new();
        for (module, others) in &reached {
            let known = found.iter().any(|circle| circle.contains(module));
            if others.contains(module) && !known {
                let back = |other: &&&str| reached[**other].contains(module);
                found.push(others.iter().filter(back).copied().collect());
            }
        }
        found
    }

    /// Every module that `from` imports, directly or through others.
    fn reached(&self, from: &str) -> BTreeSet<&str> {
        let mut reached = BTreeSet::new();
        let mut open = vec![from];
        while let Some(next) = open.pop() {
            for (low, to) in self.arrows.keys() {
                if low == next && reached.insert(to.as_str()) {
                    open.push(to);
                }
            }
        }
        reached
    }
}

/// The module that a file holds, from its path below the sources; empty for the root.
fn module_of(path: &str) -> Vec<&str> {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let path = path.strip_suffix("/mod").unwrap_or(path);
    if matches!(path, "lib" | "main") {
        return Vec::new();
    }
    path.split('/').collect()
}

/// The first names of all paths in `code` that begin at the root of the crate, in a file whose
/// module lies `depth` below the root.
fn names_below_root(code: &str, depth: usize) -> BTreeSet<String> {
    let up = "super::".repeat(depth);
    let mut found = BTreeSet::new();
    for start in ["crate::", &up] {
        for (at, _) in code.match_indices(start) {
            let before = &code[..at];
            // The end of a longer name, or of a longer chain of `super`.
            if before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
                || before.ends_with("::")
            {
                continue;
            }
            for path in paths(&code[at + start.len()..]) {
                found.extend(path.into_iter().next());
            }
        }
    }
    found.remove("super");
    found
}

/// The paths of the tree of imports that `text` begins with, such as `a::{b, c::{d, e as f}}`; the
/// last name of a path is the one that it is imported as.
fn paths(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    branch(text, &[], &mut found);
    found
}

/// Reads one branch of a tree after `prefix`; what follows it.
fn branch<'a>(text: &'a str, prefix: &[String], found: &mut Vec<Vec<String>>) -> &'a str {
    let mut path = prefix.to_vec();
    let mut rest = text.trim_start();
    loop {
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside.trim_start();
            while !rest.is_empty() && !rest.starts_with('}') {
                let after = branch(rest, &path, found).trim_start();
                let after = after.strip_prefix(',').unwrap_or(after).trim_start();
                if after.len() == rest.len() {
                    return after;
                }
                rest = after;
            }
            return rest.strip_prefix('}').unwrap_or(rest);
        }
        let (name, after) = name(rest);
        if name.is_empty() {
            break;
        }
        path.push(name.to_owned());
        rest = after;
        match rest.strip_prefix("::") {
            Some(after) => rest = after.trim_start(),
            None => break,
        }
    }
    if let Some(after) = rest.trim_start().strip_prefix("as ") {
        let (alias, after) = name(after.trim_start());
        path.pop();
        path.push(alias.to_owned());
        rest = after;
    }
    if path.len() > prefix.len() {
        found.push(path);
    }
    rest
}

/// The name that `text` begins with, and what follows it.
fn name(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    text.split_at(end.unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: Crate = Crate {
        within: "a/src",
        layers: &[&["low", "other"], &["high"]],
    };

    fn drawn(low: &str) -> Imports {
        let files = [
            SourceFile::new(
                "a/src/lib.rs",
                "mod low; mod other;\nmod high;\npub use high::{Thing, tool as renamed};",
            ),
            SourceFile::new("a/src/low.rs", low),
            SourceFile::new("a/src/low/deep.rs", "use super::super::other::{self};"),
            SourceFile::new("a/src/other.rs", ""),
            SourceFile::new("a/src/high/mod.rs", "use crate::low::Low;"),
        ];
        Imports::draw(&files, "a/src")
    }

    #[test]
    fn an_arrow_up_is_found_however_it_is_written() {
        for text in [
            "use crate::high::Thing;",
            "use crate::{other::Other, high::{Thing, Tool}};",
            "use crate::{\n    other::Other,\n    high,\n};",
            "use super::high;",
            "fn f() { crate::high::tool() }",
            "macro_rules! m { () => { $crate::high::tool() } }",
            "fn f() -> crate::Thing { todo() }",
            "use crate::renamed;",
        ] {
            let imports = drawn(text);
            assert_eq!(imports.up(&SAMPLE).len(), 1, "{text}");
            assert_eq!(imports.circles(), [["high", "low"]], "{text}");
        }
    }

    #[test]
    fn arrows_down_comments_and_tests_are_no_fault() {
        for text in [
            "use crate::other::high;",
            "use super::other;",
            "// crate::high",
            "/// See [`crate::high::Thing`].\nfn f() {}",
            "#[cfg(test)]\nmod tests { use crate::high::Thing; }",
            "use other_crate::high::Thing;",
        ] {
            let imports = drawn(text);
            assert!(imports.up(&SAMPLE).is_empty(), "{text}");
            assert!(imports.circles().is_empty(), "{text}");
            assert!(imports.misplaced(&SAMPLE).is_empty(), "{text}");
        }
        assert!(
            drawn("")
                .arrows
                .contains_key(&("low".to_owned(), "other".to_owned())),
            "super out of a deeper module"
        );
    }

    #[test]
    fn a_circle_in_one_layer_is_found() {
        let files = [
            SourceFile::new("a/src/low.rs", "use crate::other::Other;"),
            SourceFile::new("a/src/other.rs", "use crate::low::Low;"),
            SourceFile::new("a/src/high.rs", ""),
        ];
        assert_eq!(faults(&files, &[SAMPLE]).len(), 1);
    }

    #[test]
    fn modules_without_a_layer_and_layers_without_a_module_are_found() {
        let files = [
            SourceFile::new("a/src/low.rs", "use crate::nothing::Low;"),
            SourceFile::new("a/src/attic.rs", ""),
            SourceFile::new("a/src/high.rs", ""),
        ];
        let found = faults(&files, &[SAMPLE]);
        assert_eq!(found.len(), 3, "{found:?}");
    }
}
