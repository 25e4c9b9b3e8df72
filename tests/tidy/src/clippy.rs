//! `.clippy.toml` of one package against that of the workspace.
//!
//! Clippy takes the nearest file whole and merges nothing, so a package with a file of its own
//! must repeat every ban that can concern it: those on the standard library.

use std::collections::BTreeSet;

/// The paths that a file bans.
#[must_use]
pub fn bans(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("{ path = \"")?.split('"').next())
        .map(str::to_owned)
        .collect()
}

/// What `nearest` forgot of `root`.
#[must_use]
pub fn forgotten(root: &str, nearest: &str) -> Vec<String> {
    let repeated = bans(nearest);
    bans(root)
        .into_iter()
        .filter(|ban| ban.starts_with("std::") && !repeated.contains(ban))
        .map(|ban| format!("the nearest .clippy.toml does not repeat the ban on {ban}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ban_that_was_not_repeated_is_found() {
        let root = "a = [\n    { path = \"std::process::exit\", reason = \"x\" },\n\
                    { path = \"tokio::spawn\", reason = \"x\" },\n]";
        assert_eq!(bans(root).len(), 2);
        assert_eq!(forgotten(root, "").len(), 1);
        assert!(forgotten(root, root).is_empty());
    }
}
