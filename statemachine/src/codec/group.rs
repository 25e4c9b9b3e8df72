//! The encoding of groups and entries.
//!
//! A node encodes the commands of a proposal as one *group*, once; an *entry* carries groups
//! verbatim, with the leader's stamp. Both begin with a version byte.

use bytes::Bytes;

use crate::{
    command::Command,
    encoding::{Decoder, Encoder, Malformed, length_of_number},
    error::Fault,
    value::ClusterTime,
};

/// First byte of an entry.
const ENTRY_VERSION: u8 = 1;
/// First byte of a group.
const GROUP_VERSION: u8 = 1;
/// First byte of a group that may be proposed more than once.
const REPEATABLE_GROUP_VERSION: u8 = 2;

/// Commands of one node, in the order in which it received them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Identifies the node and its present life; chosen by the node.
    pub origin: u64,
    /// Numbers the origin's groups.
    pub sequence: u64,
    /// An index that the origin had applied before it made the group; present in groups that may be
    /// proposed more than once.
    pub since: Option<u64>,
    /// The commands.
    pub commands: Vec<Command>,
}

/// The contents of one log entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The leader's stamp.
    pub now: ClusterTime,
    /// The groups, in the order in which their commands are applied.
    pub groups: Vec<Group>,
}

/// Encodes the commands of a group. By `origin` and `sequence` the node recognises it again.
#[must_use]
pub fn encode_group(origin: u64, sequence: u64, commands: &[Command]) -> Bytes {
    let mut out = Encoder::new();
    write_head(&mut out, origin, sequence, None);
    out.list(commands);
    out.finish()
}

/// Encodes the commands of a group that takes effect once, however often it is proposed. `since` is
/// an index that the node has applied.
///
/// Older versions cannot decode it: it must not be proposed below
/// [`crate::FeatureLevel::REPEATABLE_GROUPS`].
#[must_use]
pub fn encode_repeatable_group(
    origin: u64,
    sequence: u64,
    since: u64,
    commands: &[Command],
) -> Bytes {
    let mut out = Encoder::new();
    write_head(&mut out, origin, sequence, Some(since));
    out.list(commands);
    out.finish()
}

/// Encodes one command, for [`group_of`].
#[must_use]
pub fn encode_command(command: &Command) -> Bytes {
    let mut out = Encoder::new();
    out.value(command);
    out.finish()
}

/// Makes a group of encoded commands: the bytes of [`encode_group`] or, with `since`, of
/// [`encode_repeatable_group`].
#[must_use]
pub fn group_of(origin: u64, sequence: u64, since: Option<u64>, commands: &[Bytes]) -> Bytes {
    let lengths = commands.iter().map(Bytes::len);
    let mut out = Encoder::with_capacity(lengths.fold(GROUP_HEAD_MAX, usize::saturating_add));
    write_head(&mut out, origin, sequence, since);
    out.number(commands.len() as u64);
    for command in commands {
        out.raw(command);
    }
    out.finish()
}

/// Longest head of a group, with its number of commands: a number takes at most ten bytes.
const GROUP_HEAD_MAX: usize = 1 + 4 * 10;

fn write_head(out: &mut Encoder, origin: u64, sequence: u64, since: Option<u64>) {
    out.byte(match since {
        None => GROUP_VERSION,
        Some(_) => REPEATABLE_GROUP_VERSION,
    });
    out.number(origin);
    out.number(sequence);
    if let Some(since) = since {
        out.number(since);
    }
}

/// Reads the origin, the sequence, and the index that the origin had applied.
fn read_head(input: &mut Decoder<'_>) -> Result<(u64, u64, Option<u64>), Malformed> {
    let is_repeatable = match input.byte()? {
        GROUP_VERSION => false,
        REPEATABLE_GROUP_VERSION => true,
        _ => return Err(Malformed::Form("unknown version")),
    };
    let (origin, sequence) = (input.number()?, input.number()?);
    let since = is_repeatable.then(|| input.number()).transpose()?;
    Ok((origin, sequence, since))
}

/// Encodes a log entry: groups verbatim, with the leader's stamp.
#[must_use]
pub fn encode_entry(now: ClusterTime, groups: &[Bytes]) -> Bytes {
    let heads = [now.0, groups.len() as u64].map(length_of_number);
    let groups_bytes = groups.iter().map(|group| {
        let length = group.len();
        length.saturating_add(length_of_number(length as u64))
    });
    let length = heads.into_iter().chain(groups_bytes);
    let length = length.fold(1, usize::saturating_add);
    let mut out = Encoder::with_capacity(length);
    out.byte(ENTRY_VERSION);
    out.value(&now);
    out.list(groups);
    let entry = out.finish();
    debug_assert_eq!(
        entry.len(),
        length,
        "the length of an entry is known before"
    );
    entry
}

/// Decodes a log entry.
///
/// # Errors
/// [`Fault::Command`] when the bytes are not such an entry, [`Fault::UnknownCommand`] when a later
/// version made it.
pub fn decode_entry(bytes: Bytes) -> Result<Entry, Fault> {
    let entry = Decoder::read_all(&bytes, |input| {
        input.version(ENTRY_VERSION)?;
        let now = input.value()?;
        let groups = input.list(|input| group(&input.bytes()?))?;
        Ok(Entry { now, groups })
    });
    Ok(entry?)
}

/// Decodes the commands of a group.
///
/// # Errors
/// As [`decode_entry`].
pub fn decode_group(bytes: Bytes) -> Result<Group, Fault> {
    Ok(group(&bytes)?)
}

fn group(bytes: &Bytes) -> Result<Group, Malformed> {
    Decoder::read_all(bytes, |input| {
        let (origin, sequence, since) = read_head(input)?;
        Ok(Group {
            origin,
            sequence,
            since,
            commands: input.value()?,
        })
    })
}

/// Checks that [`decode_entry`] can decode a log entry, without building the commands. For a node
/// that passes the bytes on.
///
/// # Errors
/// Those of [`decode_entry`].
pub fn check_entry(bytes: &Bytes) -> Result<(), Fault> {
    let checked = Decoder::read_all(bytes, |input| {
        input.version(ENTRY_VERSION)?;
        input.number()?;
        for _ in 0..input.length()? {
            check(&input.bytes()?)?;
        }
        Ok(())
    });
    Ok(checked?)
}

/// Checks that [`decode_group`] can decode a group, without building the commands.
///
/// # Errors
/// Those of [`decode_group`].
pub fn check_group(bytes: &Bytes) -> Result<(), Fault> {
    Ok(check(bytes)?)
}

fn check(bytes: &Bytes) -> Result<(), Malformed> {
    Decoder::read_all(bytes, |input| {
        read_head(input)?;
        for _ in 0..input.length()? {
            Command::check(input)?;
        }
        Ok(())
    })
}
