//! The encoder: writes numbers, byte strings, options and lists.
//!
//! Numbers are little-endian base-128 (LEB128), signed ones zigzagged; byte strings and lists are
//! preceded by their length. The encoder enforces no limits: the border bounds requests before they
//! become commands.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Encoded, Fixed};

/// Collects the bytes of an encoding.
#[derive(Debug)]
pub(crate) struct Encoder {
    bytes: BytesMut,
    /// Elements of lists beyond this length are omitted: the result is discarded then.
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

    /// Creates an encoder for a result that is discarded if it is longer than `enough` bytes.
    pub(crate) fn up_to(enough: usize) -> Self {
        Self {
            enough,
            ..Self::new()
        }
    }

    /// Returns the encoded bytes.
    pub(crate) fn finish(self) -> Bytes {
        self.bytes.freeze()
    }

    /// Returns the encoded bytes, if there are at most `enough`.
    pub(crate) fn finish_within(self) -> Option<Bytes> {
        (self.bytes.len() <= self.enough).then(|| self.finish())
    }

    pub(crate) fn byte(&mut self, byte: u8) {
        self.bytes.put_u8(byte);
    }

    /// Appends bytes verbatim, without their length.
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

    /// Appends a number of fixed length, big-endian.
    pub(crate) fn fixed(&mut self, number: impl Fixed) {
        number.write(self);
    }
}

const fn low_byte(number: u64) -> u8 {
    let [low, ..] = number.to_le_bytes();
    low
}

/// Returns how many bytes [`Encoder::number`] writes.
pub(crate) const fn length_of_number(number: u64) -> usize {
    let bits = u64::BITS.saturating_sub((number | 1).leading_zeros());
    bits.div_ceil(7) as usize
}

/// Packs flags into a byte.
pub(crate) fn flags(flags: &[(bool, u8)]) -> u8 {
    let set = flags.iter().filter(|(is_set, _)| *is_set);
    set.fold(0, |all, (_, flag)| all | flag)
}
