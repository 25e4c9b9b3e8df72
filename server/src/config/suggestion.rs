//! Suggests the known name closest to an unknown one.

use strsim::levenshtein;

/// Edits beyond which two names are unrelated: a third of the letters, but at least two.
fn edits_max(name: &str) -> usize {
    (name.len() / 3).max(2)
}

/// The closest of `known`, if it is close enough to be suggested.
pub(super) fn closest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (levenshtein(name, candidate), candidate))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= edits_max(name))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_its_name() {
        let known = ["data-dir", "wal-dir", "listen-client-urls"];
        assert_eq!(closest("data-dri", known), Some("data-dir"));
        assert_eq!(
            closest("listen-client-url", known),
            Some("listen-client-urls")
        );
    }

    #[test]
    fn a_name_unlike_all_others_finds_none() {
        assert_eq!(closest("enable-v2", ["data-dir", "cors"]), None);
    }
}
