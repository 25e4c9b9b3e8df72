//! Format of the `identity` file: written canonically, parsed strictly.
//!
//! # Invariants
//! A text is accepted only if it is byte for byte what this program would have written, so a
//! flipped digit or a truncation never changes the identity of a member.

use rand::Rng;

use super::data_dir::Owner;

/// Version of the layout of the whole data directory. Version 1 had neither an instance id nor a
/// checksum; programs of that version refuse this one.
const FORMAT: u64 = 2;
const FORMAT_WITHOUT_INSTANCE: u64 = 1;

/// Content of the identity file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IdentityRecord {
    pub(super) owner: Owner,
    /// Whether the log has ever held an entry.
    pub(super) founded: bool,
}

/// The version that wrote the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// The current version.
    Current,
    /// The previous version: the record gets a fresh instance id and must be saved again.
    WithoutInstance,
}

/// Reasons why a text is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum IdentityFault {
    /// A later version wrote it, in this format.
    Newer(u64),
    /// It is damaged, or of no known version; with a description.
    Unusable(String),
}

impl From<String> for IdentityFault {
    fn from(what: String) -> Self {
        Self::Unusable(what)
    }
}

/// Generates an instance id from the system's entropy. Never zero, which means unknown.
pub fn fresh_instance_id() -> u64 {
    rand::rng().random_range(1..=u64::MAX)
}

/// Generates the id of a cluster that is not formed from a configuration. Never zero, which means
/// unknown.
pub fn fresh_cluster_id() -> u64 {
    rand::rng().random_range(1..=u64::MAX)
}

pub(super) fn format(record: &IdentityRecord) -> String {
    let owner = &record.owner;
    let founded = if record.founded { "yes" } else { "no" };
    with_checksum(format!(
        "format = {FORMAT}\ncluster_id = {:016x}\nmember_id = {:016x}\ninstance_id = {:016x}\n\
         founded = {founded}\n",
        owner.cluster_id, owner.member_id, owner.instance_id
    ))
}

/// Appends a last line with the checksum of `lines`.
pub(super) fn with_checksum(mut lines: String) -> String {
    let checksum = crc32c::crc32c(lines.as_bytes());
    lines.push_str(&format!("checksum = {checksum:08x}\n"));
    lines
}

/// Parses the file; the error describes the fault.
pub(super) fn parse(bytes: &[u8]) -> Result<(IdentityRecord, Layout), IdentityFault> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "))
            .ok_or_else(|| format!("it has no {name}"))
    };
    let id = |name: &str| {
        let value = field(name)?;
        u64::from_str_radix(value, 16).map_err(|error| format!("{name} {value:?}: {error}"))
    };
    let version = field("format")?;
    let layout = match version.parse() {
        Ok(FORMAT) => Layout::Current,
        Ok(FORMAT_WITHOUT_INSTANCE) => Layout::WithoutInstance,
        Ok(newer) if newer > FORMAT => return Err(of_later_version(text, newer)),
        _ => return Err(format!("its format {version} is not {FORMAT}").into()),
    };
    let (cluster_id, member_id) = (id("cluster_id")?, id("member_id")?);
    let (record, canonical) = match layout {
        Layout::Current => {
            let owner = Owner {
                cluster_id,
                member_id,
                instance_id: id("instance_id")?,
            };
            let founded = field("founded")? == "yes";
            let record = IdentityRecord { owner, founded };
            (record, format(&record))
        }
        Layout::WithoutInstance => {
            let owner = Owner {
                cluster_id,
                member_id,
                instance_id: fresh_instance_id(),
            };
            let record = IdentityRecord {
                owner,
                founded: false,
            };
            (record, format_without_instance(&owner))
        }
    };
    if text != canonical {
        let what = "it is damaged: its content and its checksum do not match";
        return Err(what.to_owned().into());
    }
    Ok((record, layout))
}

/// Classifies a text in the format `newer`. Every format ends with the checksum line, which
/// distinguishes a later version from a flipped digit.
fn of_later_version(text: &str, newer: u64) -> IdentityFault {
    let end = text.rfind("checksum = ").unwrap_or(0);
    if end > 0 && with_checksum(text[..end].to_owned()) == text {
        return IdentityFault::Newer(newer);
    }
    IdentityFault::Unusable(format!(
        "its format {newer} is newer than {FORMAT}, and its checksum does not match (nothing was \
         changed: if a newer version ran here, start that one again)"
    ))
}

fn format_without_instance(owner: &Owner) -> String {
    format!(
        "format = {FORMAT_WITHOUT_INSTANCE}\ncluster_id = {:016x}\nmember_id = {:016x}\n",
        owner.cluster_id, owner.member_id
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_pinned() {
        let record = IdentityRecord {
            owner: Owner {
                cluster_id: 0x14a1_f0f0_c0ff_ee00,
                member_id: 0x8de2_4afd_0a66_7cc5,
                instance_id: 0x0123_4567_89ab_cdef,
            },
            founded: true,
        };
        let text = "format = 2\ncluster_id = 14a1f0f0c0ffee00\nmember_id = 8de24afd0a667cc5\n\
                    instance_id = 0123456789abcdef\nfounded = yes\nchecksum = ecf6bb76\n";
        assert_eq!(format(&record), text);
        assert_eq!(parse(text.as_bytes()), Ok((record, Layout::Current)));
    }

    #[test]
    fn another_format_and_text_that_is_none_are_refused() {
        for text in ["format = 3\n", "hello", "format = 1\n", ""] {
            assert!(parse(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(parse(&[0xff, 0xfe]).is_err());
    }

    #[test]
    fn a_later_format_is_told_from_a_damaged_digit() {
        let later = with_checksum("format = 3\nsomething = else\n".to_owned());
        assert_eq!(parse(later.as_bytes()), Err(IdentityFault::Newer(3)));
        let damaged = later.replace("else", "what");
        let Err(IdentityFault::Unusable(what)) = parse(damaged.as_bytes()) else {
            panic!("its checksum does not match");
        };
        assert!(what.contains("format 3 is newer than 2"), "{what}");
    }
}
