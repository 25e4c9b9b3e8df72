//! The values of rows. Most are numbers of a fixed length, big-endian; longer ones begin with a
//! layout byte.
//!
//! The keys of rows, whose order matters, are in `rows/keys.rs` and beside each row.

use bytes::Bytes;

use crate::{
    encoding::{Decoder, Encoder, Malformed},
    engine::{Table, View},
    error::{Fault, damaged},
};

/// The value of a row. Invariant: `read` accepts exactly the output of `write`.
pub(crate) trait Row: Sized {
    /// The error for a row that does not decode.
    const DAMAGED: &'static str;

    /// Returns the encoded size in bytes, if known.
    fn room(&self) -> usize {
        0
    }

    fn write_row(&self, out: &mut Encoder);

    fn read_row(input: &mut Decoder<'_>) -> Result<Self, Malformed>;

    fn encode(&self) -> Bytes {
        let mut out = Encoder::with_capacity(self.room());
        self.write_row(&mut out);
        let row = out.finish();
        let room = self.room();
        debug_assert!(room == 0 || room == row.len(), "a row takes its room");
        row
    }

    /// Returns the row with this key, if it exists.
    fn find(view: &dyn View, table: Table, key: &[u8]) -> Result<Option<Self>, Fault> {
        match view.get(table, key)? {
            Some(row) => Self::decode(&row).map(Some),
            None => Ok(None),
        }
    }

    /// # Errors
    /// [`Fault::Damaged`] when the row is not the output of `encode`.
    fn decode(row: &Bytes) -> Result<Self, Fault> {
        let mut input = Decoder::new(row);
        let value = Self::read_row(&mut input);
        match value.and_then(|value| input.end().map(|()| value)) {
            Ok(value) => Ok(value),
            Err(_) => Err(damaged(Self::DAMAGED)),
        }
    }
}

/// Declares the row of a struct of numbers: its fields in this order.
macro_rules! row {
    ($type:ident { $($field:ident),+ $(,)? }, $damaged:literal) => {
        impl $crate::rows::Row for $type {
            const DAMAGED: &'static str = $damaged;

            fn room(&self) -> usize {
                let Self { $($field),+ } = self;
                [$(size_of_val($field)),+].iter().sum()
            }

            fn write_row(&self, out: &mut $crate::encoding::Encoder) {
                let Self { $($field),+ } = *self;
                $(out.fixed($field);)+
            }

            fn read_row(
                input: &mut $crate::encoding::Decoder<'_>,
            ) -> Result<Self, $crate::encoding::Malformed> {
                Ok(Self { $($field: input.fixed()?),+ })
            }
        }
    };
}

pub(crate) use row;

#[cfg(test)]
pub(crate) mod tests {
    use std::fmt::Debug;

    use proptest::{prelude::*, test_runner::TestRunner};

    use super::*;
    use crate::value::{ClusterTime, Revision};

    /// Asserts that rows decode to what was encoded, and that shorter or longer ones are refused.
    pub(crate) fn assert_exact<R: Row + PartialEq + Debug>(rows: impl Strategy<Value = R>) {
        TestRunner::default()
            .run(&rows, |row| {
                let bytes = row.encode();
                prop_assert!(row.room() == 0 || row.room() == bytes.len());
                for cut in 0..bytes.len() {
                    prop_assert!(R::decode(&bytes.slice(..cut)).is_err(), "{}", cut);
                }
                let longer: Bytes = bytes.iter().copied().chain([0]).collect();
                prop_assert!(R::decode(&longer).is_err());
                prop_assert_eq!(R::decode(&bytes).expect("a row"), row);
                Ok(())
            })
            .expect("no row is lost");
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Sample {
        count: u32,
        from: ClusterTime,
        window: u128,
        last: Revision,
    }

    row! { Sample { count, from, window, last }, "sample is not of its length" }

    #[test]
    fn a_row_of_numbers_is_read_as_it_was_written() {
        let numbers = any::<(u32, u64, u128, i64)>();
        assert_exact(numbers.prop_map(|(count, from, window, last)| Sample {
            count,
            from: ClusterTime(from),
            window,
            last: Revision(last),
        }));
    }

    #[test]
    fn a_row_of_numbers_is_big_endian_and_without_lengths() {
        let row = Sample {
            count: 1,
            from: ClusterTime(2),
            window: 3,
            last: Revision(-1),
        };
        let mut bytes = [0; 36];
        (bytes[3], bytes[11], bytes[27]) = (1, 2, 3);
        bytes[28..].fill(0xff);
        assert_eq!(row.encode(), bytes.as_slice());
    }
}
