//! Numbers of a fixed length, big-endian: used in rows, whose values are mostly such numbers.

use super::{Decoder, Encoder, Malformed};

/// A number of fixed length, big-endian.
pub(crate) trait Fixed: Sized {
    fn write(self, out: &mut Encoder);

    fn read(input: &mut Decoder<'_>) -> Result<Self, Malformed>;
}

macro_rules! fixed {
    ($($number:ident),+) => {
        $(impl Fixed for $number {
            fn write(self, out: &mut Encoder) {
                out.raw(&self.to_be_bytes());
            }

            fn read(input: &mut Decoder<'_>) -> Result<Self, Malformed> {
                let bytes = input.raw(size_of::<Self>())?;
                let bytes = bytes.try_into().map_err(|_| Malformed::Form("cut short"))?;
                Ok(Self::from_be_bytes(bytes))
            }
        })+
    };
}

fixed!(u16, u32, u64, u128, i64);
