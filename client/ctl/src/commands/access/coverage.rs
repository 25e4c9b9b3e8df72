//! Whether permissions cover a range of keys together.

use tenure::{KeyRange, Permission};

/// The end of a range that has none.
const UNBOUNDED: &[u8] = b"\0";

/// The roles whose permissions cover `range` together, fewest first found; `None` if some key of it
/// is not covered. Permissions that overlap or touch count as one, as on the server.
pub(super) fn covering(
    permissions: &[(String, Permission)],
    range: &KeyRange,
) -> Option<Vec<String>> {
    let wanted_end = end_of(range);
    let mut covered = range.start().to_vec();
    let mut roles = Vec::new();
    loop {
        // The permission that reaches furthest from where the covered part ends.
        let reaches = permissions.iter().filter_map(|(role, permission)| {
            let held = permission.range();
            let end = end_of(held);
            let goes_on = held.start()[..] <= covered[..] && is_beyond(end.as_deref(), &covered);
            goes_on.then_some((role, end))
        });
        let (role, end) = reaches.max_by(|(_, one), (_, other)| match (one, other) {
            (None, None) => std::cmp::Ordering::Equal,
            (None, _) => std::cmp::Ordering::Greater,
            (_, None) => std::cmp::Ordering::Less,
            (Some(one), Some(other)) => one.cmp(other),
        })?;
        if !roles.contains(role) {
            roles.push(role.clone());
        }
        match (end, &wanted_end) {
            (None, _) => return Some(roles),
            (Some(end), Some(wanted)) if end >= *wanted => return Some(roles),
            // Each step covers more, so there are no more steps than permissions.
            (Some(end), _) => covered = end,
        }
    }
}

/// The first key after a range; `None` when there is none.
fn end_of(range: &KeyRange) -> Option<Vec<u8>> {
    match &range.end()[..] {
        b"" => Some([range.start(), UNBOUNDED].concat()),
        UNBOUNDED => None,
        end => Some(end.to_vec()),
    }
}

fn is_beyond(end: Option<&[u8]>, key: &[u8]) -> bool {
    end.is_none_or(|end| end > key)
}

#[cfg(test)]
mod tests {
    use tenure::PermissionKind;

    use super::*;

    fn held(ranges: &[(&str, KeyRange)]) -> Vec<(String, Permission)> {
        let held = |(role, range): &(&str, KeyRange)| {
            let permission = Permission::new(PermissionKind::Read, range.clone());
            ((*role).to_owned(), permission)
        };
        ranges.iter().map(held).collect()
    }

    #[test]
    fn permissions_that_touch_or_overlap_cover_a_range_together() {
        let held = held(&[
            ("one", KeyRange::between("a", "c")),
            ("two", KeyRange::between("c", "e")),
            ("three", KeyRange::between("d", "g")),
            ("point", KeyRange::key("x")),
            ("rest", KeyRange::from_key("y")),
        ]);
        let roles = |range| covering(&held, &range).map(|roles| roles.join(" "));
        for (range, expected) in [
            (KeyRange::key("a"), Some("one")),
            (KeyRange::key("b\0"), Some("one")),
            (KeyRange::between("a", "e"), Some("one two")),
            (KeyRange::between("b", "g"), Some("one two three")),
            (KeyRange::between("b", "g\0"), None),
            (KeyRange::key("g"), None),
            (KeyRange::key("x"), Some("point")),
            (KeyRange::key("x\0"), None),
            (KeyRange::prefix("x"), None),
            (KeyRange::prefix("z"), Some("rest")),
            (KeyRange::from_key("y"), Some("rest")),
            (KeyRange::from_key("x"), None),
            (KeyRange::all(), None),
            (KeyRange::key("A"), None),
        ] {
            assert_eq!(roles(range.clone()).as_deref(), expected, "{range:?}");
        }
    }

    #[test]
    fn a_role_without_permissions_covers_nothing() {
        assert_eq!(covering(&[], &KeyRange::key("a")), None);
        let all = held(&[("all", KeyRange::all())]);
        assert!(covering(&all, &KeyRange::all()).is_some());
        assert!(covering(&all, &KeyRange::key("a")).is_some());
    }
}
