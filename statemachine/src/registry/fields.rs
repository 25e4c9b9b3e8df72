//! The two fields of an encoded `tenure.v1.Instance` that the machine reads and writes.
//!
//! Other fields, including those of later versions, are not interpreted. Invariant: a write changes
//! no other byte, and keeps a message encoded in the order of its fields in that order.

use bytes::{Buf, Bytes};

use crate::{command::Readiness, encoding::Encoder};

/// Number of the field `readiness`.
const READINESS: u64 = 9;
/// Number of the field `suspect`.
const SUSPECT: u64 = 10;
/// Longest varint: seven bits a byte, for at most 64 bits.
const VARINT_BYTES_MAX: u32 = 10;

/// The fields that the machine reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags {
    /// The number on the wire; unknown numbers are kept.
    pub(super) readiness: u64,
    pub(super) suspect: bool,
}

/// Returns the wire number of a readiness.
pub(super) const fn number(readiness: Readiness) -> u64 {
    match readiness {
        Readiness::Starting => 0,
        Readiness::Ready => 1,
        Readiness::Draining => 2,
        Readiness::NotReady => 3,
    }
}

/// Reads the flags of a value, or `None` if it is not a message.
pub(super) fn read(value: &[u8]) -> Option<Flags> {
    let mut flags = Flags::default();
    let mut rest = value;
    while !rest.is_empty() {
        let field = next(&mut rest)?;
        // If a field is repeated, the last one counts.
        match field.number {
            READINESS => flags.readiness = field.varint?,
            SUSPECT => flags.suspect = field.varint? != 0,
            _ => {}
        }
    }
    Some(flags)
}

/// Returns the value with other flags, or `None` if it is not a message.
pub(super) fn write(value: &[u8], flags: Flags) -> Option<Bytes> {
    let longest = value.len().saturating_add(24);
    let mut out = Encoder::with_capacity(longest);
    let mut written = false;
    let mut rest = value;
    while !rest.is_empty() {
        let field = next(&mut rest)?;
        if matches!(field.number, READINESS | SUSPECT) {
            continue;
        }
        if field.number > SUSPECT && !written {
            put_flags(&mut out, flags);
            written = true;
        }
        out.raw(field.bytes);
    }
    if !written {
        put_flags(&mut out, flags);
    }
    let written = out.finish();
    debug_assert_eq!(
        read(&written),
        Some(flags),
        "flags are read as they were written"
    );
    Some(written)
}

fn put_flags(out: &mut Encoder, flags: Flags) {
    if flags.readiness != 0 {
        out.number(READINESS << 3);
        out.number(flags.readiness);
    }
    if flags.suspect {
        out.number(SUSPECT << 3);
        out.number(1);
    }
}

/// A top-level field of a message.
struct Field<'a> {
    number: u64,
    /// Its value, if it is a varint.
    varint: Option<u64>,
    /// The whole field, including its number.
    bytes: &'a [u8],
}

/// Takes the next field of a message. Groups, which are deprecated, are not supported.
fn next<'a>(rest: &mut &'a [u8]) -> Option<Field<'a>> {
    let all = *rest;
    let key = varint(rest)?;
    let number = key >> 3;
    let mut value = None;
    match key & 7 {
        0 => value = Some(varint(rest)?),
        1 => skip(rest, 8)?,
        2 => {
            let length = varint(rest)?;
            skip(rest, length)?;
        }
        5 => skip(rest, 4)?,
        _ => return None,
    }
    let taken = all.len().checked_sub(rest.len())?;
    let field = Field {
        number,
        varint: value,
        bytes: all.get(..taken)?,
    };
    (number > 0).then_some(field)
}

fn skip(rest: &mut &[u8], length: u64) -> Option<()> {
    *rest = rest.get(usize::try_from(length).ok()?..)?;
    Some(())
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for place in 0..VARINT_BYTES_MAX {
        let byte = rest.has_remaining().then(|| rest.get_u8())?;
        // Bits beyond the 64th are dropped, as in every decoder of this format.
        value |= u64::from(byte & 0x7f).wrapping_shl(place.saturating_mul(7));
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    /// Fields before, between and after the two, of every kind.
    #[derive(Clone, PartialEq, Eq, Message)]
    struct Sample {
        #[prost(string, tag = "1")]
        service: String,
        #[prost(fixed64, tag = "2")]
        eight: u64,
        #[prost(sint32, tag = "7")]
        weight: i32,
        #[prost(uint64, tag = "9")]
        readiness: u64,
        #[prost(bool, tag = "10")]
        suspect: bool,
        #[prost(fixed32, tag = "11")]
        four: u32,
        #[prost(string, repeated, tag = "2000")]
        later: Vec<String>,
    }

    fn sample(readiness: u64, suspect: bool) -> Sample {
        Sample {
            service: "web".to_owned(),
            eight: 8,
            weight: -300,
            readiness,
            suspect,
            four: 4,
            later: vec!["x".repeat(200), String::new()],
        }
    }

    #[test]
    fn the_flags_are_read_and_written_as_an_encoder_would() {
        for readiness in [0, 1, 3, 127, 128, u64::MAX] {
            for suspect in [false, true] {
                let flags = Flags { readiness, suspect };
                for before in [sample(0, false), sample(2, true)] {
                    let after = write(&before.encode_to_vec(), flags).expect("a message");
                    assert_eq!(after, sample(readiness, suspect).encode_to_vec());
                    assert_eq!(read(&after), Some(flags));
                }
            }
        }
    }

    #[test]
    fn an_empty_message_starts_and_is_not_suspect() {
        assert_eq!(read(b""), Some(Flags::default()));
        let flags = Flags {
            readiness: 2,
            suspect: true,
        };
        assert_eq!(
            write(b"", flags).expect("a message"),
            [72, 2, 80, 1].as_slice()
        );
        assert_eq!(write(b"", Flags::default()).expect("a message"), "");
    }

    #[test]
    fn the_last_of_repeated_fields_counts_and_one_is_left() {
        let twice = [72, 1, 72, 3];
        let flags = read(&twice).expect("a message");
        assert_eq!(flags.readiness, 3);
        assert_eq!(write(&twice, flags).expect("a message"), [72, 3].as_slice());
    }

    #[test]
    fn what_is_no_message_is_told() {
        let cut: &[u8] = &[10, 5, b'a'];
        let endless = [0xff; 11];
        let group: &[u8] = &[11, 12];
        let number_zero: &[u8] = &[0, 1];
        let text_as_readiness: &[u8] = &[74, 1, b'a'];
        let short: &[u8] = &[9, 1, 2];
        for bytes in [cut, &endless, group, number_zero, short] {
            assert_eq!(read(bytes), None, "{bytes:?}");
            assert_eq!(write(bytes, Flags::default()), None, "{bytes:?}");
        }
        assert_eq!(read(text_as_readiness), None);
    }
}
