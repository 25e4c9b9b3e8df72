//! The encoder: bytes of numbers, byte strings, options and lists.
//!
//! Numbers are little-endian base-128 (LEB128), signed ones zigzagged; byte strings and lists are
//! preceded by their length. Not concerned with limits: the border keeps requests small before they
//! become commands.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Encoded, Fixed};

/// Collects the bytes of an encoding.
#[derive(Debug)]
pub(crate) struct Encoder {
    bytes: BytesMut,
    /// Elements of lists beyond this length are left out: the result is thrown away then.
    enough: usize,
}

impl Encoder {
    pub(crate) fn new() -> Self {
        Self::with_capacity(0)
    }

    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self {
            bytes: BytesMut::with_capacity(bytes),
            enough: usize::MAX,
        }
    }

    /// An encoder for what is of use only if it takes no more than this.
    pub(crate) fn up_to(enough: usize) -> Self {
        Self {
            enough,
            ..Self::new()
        }
    }

    /// What was written.
    pub(crate) fn finish(self) -> Bytes {
        self.bytes.freeze()
    }

    /// What was written, if that is no more than enough.
    pub(crate) fn finish_within(self) -> Option<Bytes> {
        (self.bytes.len() <= self.enough).then(|| self.finish())
    }

    pub(crate) fn byte(&mut self, byte: u8) {
        self.bytes.put_u8(byte);
    }

    /// Bytes as they are, without their length.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.put_slice(bytes);
    }

    pub(crate) fn number(&mut self, mut number: u64) {
        while number > 0x7f {
            self.byte(low_byte(number) | 0x80);
            number >>= 7;
        }
        self.byte(low_byte(number));
    }

    pub(crate) fn signed(&mut self, number: i64) {
        let zigzag = number.wrapping_shl(1) ^ (number >> 63);
        self.number(zigzag.cast_unsigned());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.raw(bytes);
    }

    pub(crate) fn value(&mut self, value: &impl Encoded) {
        value.write(self);
    }

    pub(crate) fn list<T: Encoded>(&mut self, items: &[T]) {
        self.number(items.len() as u64);
        for item in items {
            if self.bytes.len() > self.enough {
                return;
            }
            item.write(self);
        }
    }

    /// A number in as many bytes as its type has, big-endian.
    pub(crate) fn fixed(&mut self, number: impl Fixed) {
        number.write(self);
    }
}

const fn low_byte(number: u64) -> u8 {
    let [low, ..] = number.to_le_bytes();
    low
}

/// How many bytes [`Encoder::number`] writes.
pub(crate) const fn length_of_number(number: u64) -> usize {
    let bits = u64::BITS.saturating_sub((number | 1).leading_zeros());
    bits.div_ceil(7) as usize
}

/// A byte of the flags that are set.
pub(crate) fn flags(flags: &[(bool, u8)]) -> u8 {
    let set = flags.iter().filter(|(is_set, _)| *is_set);
    set.fold(0, |all, (_, flag)| all | flag)
}
