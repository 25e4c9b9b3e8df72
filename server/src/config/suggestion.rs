//! The known name that an unknown one was most likely meant to be.

/// Edits beyond which two names are unrelated: a third of the letters, and two for short names.
fn edits_max(name: &str) -> usize {
    (name.len() / 3).max(2)
}

/// The closest of `known`, if one is close enough to be worth naming.
pub(super) fn closest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (edits(name, candidate), candidate))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= edits_max(name))
        .map(|(_, candidate)| candidate)
}

/// Insertions, removals and exchanges of one letter that turn one name into the other.
fn edits(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let exchange = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = exchange.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
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
