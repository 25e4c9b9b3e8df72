//! What the public items of a crate name: no type of generated code, unless a feature says so.
//!
//! A scanner like `code`: it knows where a signature ends, not what it means. A name counts as
//! generated in the files that import it from one of the roots. Aliases over several files are not
//! followed; the compiler lets no private import be exported.

use std::collections::BTreeSet;

use crate::{
    code,
    tree::{self, SourceFile},
};

/// A crate whose public items are held to it.
#[derive(Debug)]
pub struct Interface {
    /// Where its sources are.
    pub within: &'static str,
    /// Crates whose names must not appear.
    pub roots: &'static [&'static str],
    /// Names of those crates that may appear all the same.
    pub allowed: &'static [&'static str],
    /// The feature behind which everything may appear, as its attribute is written.
    pub gate: &'static str,
    /// Folders that are about one of the crates and are behind a feature of their own.
    pub places: &'static [&'static str],
}

/// The client: a new version of the code generator must not break who uses it.
pub const CLIENT: Interface = Interface {
    within: "client/src",
    roots: &["tenure_proto", "prost", "tonic"],
    // A status code is a number of gRPC, not a message.
    allowed: &["Code"],
    gate: "#[cfg(feature = \"wire\")]",
    // Feature `discovery`: balances the channels of tonic.
    places: &["client/src/registry/balance"],
};

/// What to do about a crossing.
const INSTEAD: &str = "use a type of this crate, or gate the item by the feature";

/// Stands for the gate once literals are blanked out.
const GATED: &str = "#[gated]";

/// Every public signature that names a type of generated code.
#[must_use]
pub fn generated(files: &[SourceFile], interface: &Interface) -> Vec<String> {
    let test_only = tree::test_only(files);
    let held: Vec<(&str, String)> = files
        .iter()
        .filter(|file| file.has_extension("rs") && file.is_below(interface.within))
        .filter(|file| !test_only.contains(&file.path))
        .filter(|file| !interface.places.iter().any(|place| file.is_below(place)))
        .map(|file| (file.path.as_str(), open_code(&file.text, interface.gate)))
        .collect();
    let types: BTreeSet<&str> = held.iter().flat_map(|(_, code)| types(code)).collect();
    let mut found = Vec::new();
    for (path, code) in &held {
        let mut names = imports(code, interface.roots);
        names.extend(interface.roots.iter().copied());
        for (at, signature) in signatures(code, &types) {
            let line = code[..at].matches('\n').count() + 1;
            for name in names.iter().filter(|name| code::has_word(signature, name)) {
                if !only_allowed(signature, name, interface) {
                    found.push(format!("{path}:{line}: {name} is public: {INSTEAD}"));
                }
            }
        }
    }
    found
}

/// Code without tests and without what is behind the gate.
fn open_code(text: &str, gate: &str) -> String {
    let code = code::without_tests(&code::without_words(&text.replace(gate, GATED)));
    let mut out = String::with_capacity(code.len());
    let mut rest = code.as_str();
    while let Some(at) = rest.find(GATED) {
        let item = &rest[at..];
        let end = item_end(item);
        out.push_str(&rest[..at]);
        out.extend(item[..end].chars().filter(|c| *c == '\n'));
        rest = &item[end..];
    }
    out.push_str(rest);
    out
}

/// Where an item ends: behind its body, or behind its semicolon.
fn item_end(item: &str) -> usize {
    match item.find(['{', ';']) {
        Some(open) if item[open..].starts_with('{') && !item[..open].contains(" use ") => {
            open + enclosed(&item[open..]).len()
        }
        _ => item.find(';').map_or(item.len(), |at| at + 1),
    }
}

/// From an opening bracket to the one that closes it, both included.
fn enclosed(text: &str) -> &str {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return &text[..=at];
        }
    }
    text
}

/// What is imported from one of the roots, under the names it has here.
fn imports<'a>(code: &'a str, roots: &[&str]) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices("use ") {
        let tree = code[at + 4..].split(';').next().unwrap_or_default();
        let root = tree.split(':').next().unwrap_or_default().trim();
        if !roots.contains(&root) {
            continue;
        }
        let mut parent = root;
        for (end, leaf) in leaves(tree) {
            let last = leaf.rsplit("::").next().unwrap_or(leaf).trim();
            if end == '{' {
                parent = leaf
                    .trim_end_matches("::")
                    .rsplit("::")
                    .next()
                    .unwrap_or(leaf);
            } else {
                let name = last.rsplit(" as ").next().unwrap_or(last).trim();
                names.insert(if name == "self" { parent } else { name });
            }
        }
    }
    names.retain(|name| !name.is_empty() && *name != "_");
    names
}

/// The pieces of an import between its brackets and commas, each with what follows it.
fn leaves(tree: &str) -> Vec<(char, &str)> {
    let mut from = 0;
    let mut found = Vec::new();
    for (at, c) in tree.char_indices().filter(|(_, c)| "{},".contains(*c)) {
        found.push((c, tree[from..at].trim()));
        from = at + 1;
    }
    found.push((';', tree[from..].trim()));
    found
}

/// The names of public types and traits.
fn types(code: &str) -> Vec<&str> {
    let words: Vec<&str> = code
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
        .collect();
    words
        .windows(3)
        .filter(|three| {
            three[0] == "pub" && ["struct", "enum", "trait", "type"].contains(&three[1])
        })
        .map(|three| three[2])
        .collect()
}

/// Everything that users see of an item, and where it begins.
fn signatures<'a>(code: &'a str, types: &BTreeSet<&str>) -> Vec<(usize, &'a str)> {
    let mut found: Vec<(usize, &str)> = Vec::new();
    for (at, _) in code.match_indices("pub ") {
        let is_word = code[..at].ends_with(|c: char| c.is_whitespace() || "({".contains(c));
        if at == 0 || is_word {
            found.push((at, public_item(&code[at..])));
        }
    }
    for (at, _) in code.match_indices("impl") {
        let line = code[..at].rsplit('\n').next().unwrap_or_default();
        if line.trim().is_empty() {
            found.extend(trait_impl(code, at, types));
        }
    }
    // What macros make of types is public if anything is.
    let mut at = 0;
    for line in code.split_inclusive('\n') {
        let name: String = line
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .collect();
        let open = name.len() + 1;
        if !name.is_empty() && line[name.len()..].starts_with("!(") {
            found.push((at, enclosed(&code[at + open..])));
        }
        at += line.len();
    }
    found
}

/// What is public of an item that begins with `pub`.
fn public_item(item: &str) -> &str {
    let mut words = item.split_whitespace().skip(1);
    match words.next().unwrap_or_default() {
        "enum" | "trait" => &item[..item_end(item)],
        "struct" => &item[..item.find(['{', '(', ';']).unwrap_or(item.len())],
        "use" | "type" | "static" => &item[..item.find(';').unwrap_or(item.len())],
        "fn" | "async" | "const" | "mod" | "unsafe" => {
            &item[..item.find(['{', ';']).unwrap_or(item.len())]
        }
        _ => field(item),
    }
}

/// A field, to the comma or the bracket behind its type.
fn field(item: &str) -> &str {
    let mut depth = 0_usize;
    for (at, c) in item.char_indices() {
        match c {
            '(' | '[' | '<' => depth += 1,
            ',' | ')' | '}' | '{' | ';' if depth == 0 => return &item[..at],
            ')' | ']' | '>' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    item
}

/// The header of an implementation of a trait for a public type, and the types it gives names.
fn trait_impl<'a>(code: &'a str, at: usize, types: &BTreeSet<&str>) -> Vec<(usize, &'a str)> {
    let item = &code[at..];
    let open = item.find('{').unwrap_or(item.len());
    let header = &item[..open];
    let Some((_, of)) = header.split_once(" for ") else {
        return Vec::new();
    };
    if !types.iter().any(|name| code::has_word(of, name)) {
        return Vec::new();
    }
    let body = enclosed(&item[open..]);
    let named = body.match_indices("\n    type ").map(|(inside, _)| {
        let given = &body[inside..];
        let end = given.find(';').unwrap_or(given.len());
        (at + open + inside + 1, &given[..end])
    });
    [(at, header)].into_iter().chain(named).collect()
}

/// Whether `name` appears only as the way to something that is allowed: `tonic::Code`.
fn only_allowed(signature: &str, name: &str, interface: &Interface) -> bool {
    let is_root = interface.roots.contains(&name);
    interface.allowed.iter().any(|allowed| {
        let path = format!("{name}::{allowed}");
        name == *allowed || (is_root && !code::has_word(&signature.replace(&path, ""), name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let file = SourceFile::new("client/src/a.rs", text);
        generated(&[file], &CLIENT)
    }

    const IMPORTS: &str = "use tenure_proto::{etcdserverpb::{self as etcd, Range, Put as Sent}, \
                           v1};\nuse prost::Message as _;\nuse tonic::{Code, Streaming};\n";

    #[test]
    fn public_items_that_name_generated_types_are_found() {
        for item in [
            "pub fn a() -> Range { x }",
            "pub async fn a(\n    b: Vec<Sent>,\n) -> u8 { 0 }",
            "pub(crate) struct A;\npub struct B(pub v1::Claim);",
            "pub struct A { pub b: Option<etcd::Member>, c: u8 }",
            "pub enum A {\n    B { c: Range },\n}",
            "pub trait A { fn b(&self) -> Range; }",
            "pub use tenure_proto::v1::Readiness;",
            "pub use self::b::{C, Range};",
            "pub type A = Streaming<u8>;",
            "pub struct A;\nimpl From<Range> for A {\n    fn from(x: Range) -> A { A }\n}",
            "pub struct A;\nimpl Future for A {\n    type Output = Range;\n}",
            "sent!(A, Range);",
            "pub fn a(b: tonic::Status) {}",
        ] {
            assert!(!found(&format!("{IMPORTS}{item}\n")).is_empty(), "{item}");
        }
    }

    #[test]
    fn what_users_do_not_see_is_let_through() {
        for item in [
            "pub fn a() -> u8 { Range::default(); 0 }",
            "fn a() -> Range { x }",
            "pub(crate) fn a() -> Range { x }",
            "pub struct A(Range);",
            "pub struct A { b: Range }",
            "/// A [`Range`].\npub fn a(ranges: Ranges) {}",
            "#[cfg(feature = \"wire\")]\npub fn a(self) -> Range { x }\npub fn b() {}",
            "#[cfg(feature = \"wire\")]\npub mod wire { pub use tenure_proto::v1; }",
            "#[cfg(test)]\nmod tests { pub fn a() -> Range { x } }",
            "pub(crate) struct A;\nimpl From<Range> for A {\n    fn from(x: Range) -> A { A }\n}",
            "pub fn a() -> Code { Code::Ok }",
            "pub use tonic::Code;",
        ] {
            assert_eq!(found(&format!("{IMPORTS}{item}\n")), [""; 0], "{item}");
        }
    }

    #[test]
    fn a_crossing_is_told_with_its_line() {
        let text = "use tenure_proto::v1::Claim;\n\npub fn a() -> Claim { x }\n";
        assert_eq!(
            found(text),
            [format!("client/src/a.rs:3: Claim is public: {INSTEAD}")]
        );
    }
}
