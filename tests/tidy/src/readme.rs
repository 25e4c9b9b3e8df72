//! The first page of a crate that is published, made from its own documentation.
//!
//! The documentation is the source: what rustdoc alone understands, links to items and hidden lines
//! of examples, is left out of the page.

use serde_json::Value;

/// The README of a crate whose `lib.rs` is given.
#[must_use]
pub fn of_documentation(name: &str, lib: &str) -> String {
    let mut page = vec![format!("# {name}"), String::new()];
    // Whether the lines are those of an example, and whether that is one in Rust.
    let mut code: Option<bool> = None;
    for line in lib.lines().map_while(|line| line.strip_prefix("//!")) {
        let line = line.strip_prefix(' ').unwrap_or(line);
        if let Some(language) = line.strip_prefix("```") {
            let rust = matches!(language, "" | "no_run" | "rust");
            let opens = code.is_none();
            page.push(match (opens, rust) {
                (true, true) => "```rust".to_owned(),
                _ => line.to_owned(),
            });
            code = opens.then_some(rust);
            continue;
        }
        match code {
            Some(true) if line == "#" || line.starts_with("# ") => {}
            Some(_) => page.push(line.to_owned()),
            None if line.starts_with('#') => page.push(format!("#{line}")),
            None => page.push(without_links(line)),
        }
    }
    page.push(String::new());
    page.join("\n")
}

/// A line without its links to items.
fn without_links(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some((before, link)) = rest.split_once("[`") {
        text.push_str(before);
        let Some((item, after)) = link.split_once("`]") else {
            text.push_str("[`");
            rest = link;
            continue;
        };
        text.push_str(&format!("`{item}`"));
        // The target, where it is named.
        rest = match after.strip_prefix('(').and_then(|it| it.split_once(')')) {
            Some((_, after)) => after,
            None => after,
        };
    }
    text + rest
}

/// Features of a crate, by cargo's description of it, that its README does not name.
#[must_use]
pub fn missing_features(metadata: &Value, name: &str, readme: &str) -> Vec<String> {
    let packages = metadata["packages"].as_array();
    let package = packages.and_then(|all| all.iter().find(|package| package["name"] == name));
    let Some(features) = package.and_then(|package| package["features"].as_object()) else {
        return vec![format!("there is no package {name}")];
    };
    let mut missing = Vec::new();
    for feature in features.keys() {
        if !readme.contains(&format!("`{feature}`")) {
            missing.push(format!(
                "the README of {name} does not name its feature {feature}"
            ));
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_items_and_hidden_lines_are_left_out() {
        let lib = "//! The [`Client`] of [`a::B`](crate::a::B) and [text](page.md).\n//!\n\
                   //! # Use\n//!\n//! ```no_run\n//! # hidden\n//! #\n//! let shown = 1;\n\
                   //! ```\n//!\n//! ```toml\n//! # shown\n//! ```\nmod code;\n//! not this\n";
        let page = "# name\n\nThe `Client` of `a::B` and [text](page.md).\n\n## Use\n\n```rust\n\
                    let shown = 1;\n```\n\n```toml\n# shown\n```\n";
        assert_eq!(of_documentation("name", lib), page);
    }

    #[test]
    fn a_feature_that_is_not_named_is_found() {
        let metadata = serde_json::json!({
            "packages": [{ "name": "a", "features": { "one": [], "two": [] } }]
        });
        assert!(missing_features(&metadata, "a", "`one` and `two`").is_empty());
        assert_eq!(missing_features(&metadata, "a", "`one`").len(), 1);
        assert_eq!(missing_features(&metadata, "b", "").len(), 1);
    }
}
