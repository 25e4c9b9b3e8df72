//! The two stored forms of a key's record: the latest, with a fixed header, and past ones, in
//! exactly the bytes that etcd's marshaller writes.
//!
//! Invariant: a history record is `mvccpb.KeyValue` in proto3 with fields in number order and zero
//! values omitted, so that hashes over history equal etcd's.

use bytes::Bytes;

use crate::{
    encoding::{Decoder, Encoder, Malformed, length_of_number},
    rows::{Row, keys::Stamp},
    value::{KeyValue, LeaseId, Revision},
};

/// Length of the header before the value in a `Current` row.
pub(crate) const HEADER_LEN: usize = 40;

/// The latest record of a key, as its `Current` row holds it.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) stamp: Stamp,
    pub(crate) create: Revision,
    pub(crate) version: i64,
    pub(crate) lease: LeaseId,
    pub(crate) value: Bytes,
}

impl Row for Record {
    const DAMAGED: &'static str = "current row is shorter than its header";

    fn room(&self) -> usize {
        HEADER_LEN.saturating_add(self.value.len())
    }

    fn write_row(&self, out: &mut Encoder) {
        out.fixed(self.stamp.main);
        out.fixed(self.stamp.sub);
        out.fixed(self.create);
        out.fixed(self.version);
        out.fixed(self.lease);
        out.raw(&self.value);
    }

    /// The value is a slice of the row.
    fn read_row(input: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            stamp: Stamp {
                main: input.fixed()?,
                sub: input.fixed()?,
            },
            create: input.fixed()?,
            version: input.fixed()?,
            lease: input.fixed()?,
            value: input.rest(),
        })
    }
}

impl Record {
    /// Returns the record as clients see it.
    pub(crate) fn into_key_value(self, key: Bytes) -> KeyValue {
        KeyValue {
            key,
            create_revision: self.create,
            mod_revision: self.stamp.main,
            version: self.version,
            value: self.value,
            lease: self.lease,
        }
    }
}

/// The tags of the fields of `mvccpb.KeyValue`: field number and wire type.
const KEY: u8 = (1 << 3) | STRING;
const CREATE_REVISION: u8 = 2 << 3;
const MOD_REVISION: u8 = 3 << 3;
const VERSION: u8 = 4 << 3;
const VALUE: u8 = (5 << 3) | STRING;
const LEASE: u8 = 6 << 3;
/// The wire type of a byte string; that of a number is zero.
const STRING: u8 = 2;

/// The history row of a key's record. That of a tombstone contains only the key.
impl Row for KeyValue {
    const DAMAGED: &'static str = "history record is not the record of a key";

    fn room(&self) -> usize {
        let strings = [&self.key, &self.value].map(|string| match string.len() {
            0 => 0,
            length => length.saturating_add(length_of_number(length as u64)),
        });
        let numbers = [
            self.create_revision.0,
            self.mod_revision.0,
            self.version,
            self.lease.0,
        ];
        let numbers = numbers.map(|number| match number {
            0 => 0,
            number => length_of_number(number.cast_unsigned()),
        });
        let fields = strings.iter().chain(&numbers).filter(|length| **length > 0);
        fields.map(|length| length.saturating_add(1)).sum()
    }

    fn write_row(&self, out: &mut Encoder) {
        write_string(out, KEY, &self.key);
        write_number(out, CREATE_REVISION, self.create_revision.0);
        write_number(out, MOD_REVISION, self.mod_revision.0);
        write_number(out, VERSION, self.version);
        write_string(out, VALUE, &self.value);
        write_number(out, LEASE, self.lease.0);
    }

    /// Key and value are slices of the row.
    fn read_row(input: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            key: read_string(input, KEY)?,
            create_revision: Revision(read_number(input, CREATE_REVISION)?),
            mod_revision: Revision(read_number(input, MOD_REVISION)?),
            version: read_number(input, VERSION)?,
            value: read_string(input, VALUE)?,
            lease: LeaseId(read_number(input, LEASE)?),
        })
    }
}

fn write_string(out: &mut Encoder, field: u8, string: &[u8]) {
    if !string.is_empty() {
        out.byte(field);
        out.bytes(string);
    }
}

fn read_string(input: &mut Decoder<'_>, field: u8) -> Result<Bytes, Malformed> {
    if !input.is_next(field) {
        return Ok(Bytes::new());
    }
    let string = input.bytes()?;
    if string.is_empty() {
        Err(ZERO)
    } else {
        Ok(string)
    }
}

fn write_number(out: &mut Encoder, field: u8, number: i64) {
    if number != 0 {
        out.byte(field);
        out.number(number.cast_unsigned());
    }
}

fn read_number(input: &mut Decoder<'_>, field: u8) -> Result<i64, Malformed> {
    if !input.is_next(field) {
        return Ok(0);
    }
    match input.number()?.cast_signed() {
        0 => Err(ZERO),
        number => Ok(number),
    }
}

const ZERO: Malformed = Malformed::Form("a zero value is not left out");

/// Encodes the history row of a tombstone.
pub(crate) fn encode_tombstone(key: &Bytes) -> Bytes {
    let tombstone = KeyValue {
        key: key.clone(),
        ..KeyValue::default()
    };
    tombstone.encode()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};
    use prost::Message;

    use super::*;

    /// `mvccpb.KeyValue` as a protobuf library encodes it.
    #[derive(Clone, PartialEq, Eq, Message)]
    struct WireKeyValue {
        #[prost(bytes = "bytes", tag = "1")]
        key: Bytes,
        #[prost(int64, tag = "2")]
        create_revision: i64,
        #[prost(int64, tag = "3")]
        mod_revision: i64,
        #[prost(int64, tag = "4")]
        version: i64,
        #[prost(bytes = "bytes", tag = "5")]
        value: Bytes,
        #[prost(int64, tag = "6")]
        lease: i64,
    }

    fn number() -> impl Strategy<Value = i64> {
        prop_oneof![Just(0), 1..300_i64, any::<i64>()]
    }

    fn key_value() -> impl Strategy<Value = KeyValue> {
        let bytes = || vec(any::<u8>(), 0..200).prop_map(Bytes::from);
        let numbers = (number(), number(), number(), number());
        (bytes(), bytes(), numbers).prop_map(|(key, value, (create, modified, version, lease))| {
            KeyValue {
                key,
                create_revision: Revision(create),
                mod_revision: Revision(modified),
                version,
                value,
                lease: LeaseId(lease),
            }
        })
    }

    proptest! {
        #[test]
        fn a_history_record_is_what_etcd_writes(kv in key_value()) {
            let wire = WireKeyValue {
                key: kv.key.clone(),
                create_revision: kv.create_revision.0,
                mod_revision: kv.mod_revision.0,
                version: kv.version,
                value: kv.value.clone(),
                lease: kv.lease.0,
            };
            let row = kv.encode();
            prop_assert_eq!(&row, &wire.encode_to_vec());
            prop_assert_eq!(row.len(), kv.room());
            prop_assert_eq!(KeyValue::decode(&row).expect("a record"), kv);
        }

        #[test]
        fn a_record_is_read_as_it_was_written(kv in key_value(), sub in number()) {
            let record = Record {
                stamp: Stamp { main: kv.mod_revision, sub },
                create: kv.create_revision,
                version: kv.version,
                lease: kv.lease,
                value: kv.value.clone(),
            };
            let row = record.encode();
            prop_assert_eq!(row.len(), record.room());
            let found = Record::decode(&row).expect("a record");
            prop_assert_eq!(found.stamp, record.stamp);
            prop_assert_eq!(found.into_key_value(kv.key.clone()), kv);
            prop_assert!(Record::decode(&row.slice(..HEADER_LEN - 1)).is_err());
        }
    }
}
