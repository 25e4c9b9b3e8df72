//! Names of the files in the log's directory.

/// Name of the segment with this sequence number.
pub(super) fn segment(sequence: u64) -> String {
    format!("{sequence:016x}.log")
}

/// Name of a file that waits to become a segment. Its content is meaningless.
pub(super) fn spare(number: u64) -> String {
    format!("{number:016x}.spare")
}

/// A parsed file name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Segment(u64),
    Spare(u64),
}

/// Parses a name; `None` if it is not a name of the log's files.
pub(super) fn parse(name: &str) -> Option<Name> {
    let (number, kind) = name.split_once('.')?;
    let number = u64::from_str_radix(number, 16).ok()?;
    let parsed = match kind {
        "log" => Name::Segment(number),
        "spare" => Name::Spare(number),
        _ => return None,
    };
    let canonical = match parsed {
        Name::Segment(number) => segment(number),
        Name::Spare(number) => spare(number),
    };
    (canonical == name).then_some(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_the_log_gives_are_its_own() {
        assert_eq!(parse(&segment(0x1F)), Some(Name::Segment(0x1F)));
        assert_eq!(parse("000000000000000a.spare"), Some(Name::Spare(10)));
        for other in [
            "1.log",
            "000000000000000A.log",
            "CURRENT",
            "000000000000000a.log.bak",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
