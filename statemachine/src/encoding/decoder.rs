//! The decoder: reads the output of the encoder. Byte strings are slices of the input.

use bytes::Bytes;

use super::{ENTRY_BYTES_MAX, Encoded, Fixed, TXN_DEPTH_MAX};

/// Why bytes cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// No version writes this form.
    Form(&'static str),
    /// A command of a kind that this version does not know.
    UnknownCommand(u8),
}

/// Reads an encoding from its beginning.
#[derive(Clone, Debug)]
pub(crate) struct Decoder<'a> {
    whole: &'a Bytes,
    rest: &'a [u8],
    /// Number of transactions around the current position.
    depth: usize,
}

/// Most elements that a list reserves space for in advance; a longer list grows as its elements are
/// read.
const RESERVE_MAX: usize = 256;

impl<'a> Decoder<'a> {
    pub(crate) fn new(whole: &'a Bytes) -> Self {
        Self {
            whole,
            rest: whole,
            depth: 0,
        }
    }

    /// Decodes all of `whole`, which is an entry or a part of one.
    pub(crate) fn read_all<T>(
        whole: &'a Bytes,
        read: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<T, Malformed> {
        if whole.len() > ENTRY_BYTES_MAX {
            return Err(Malformed::Form("too long"));
        }
        let mut input = Self::new(whole);
        let value = read(&mut input)?;
        input.end()?;
        Ok(value)
    }

    pub(crate) fn end(&self) -> Result<(), Malformed> {
        if self.is_at_end() {
            Ok(())
        } else {
            Err(Malformed::Form("bytes left over"))
        }
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn version(&mut self, known: u8) -> Result<(), Malformed> {
        if self.byte()? == known {
            Ok(())
        } else {
            Err(Malformed::Form("unknown version"))
        }
    }

    #[inline]
    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        let (byte, rest) = self.rest.split_first().ok_or(CUT_SHORT)?;
        self.rest = rest;
        Ok(*byte)
    }

    /// Consumes the next byte if it is `byte`.
    #[inline]
    pub(crate) fn is_next(&mut self, byte: u8) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    #[inline]
    pub(crate) fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0_u64;
        for shift in (0..64_u32).step_by(7) {
            let byte = self.byte()?;
            let low = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit only.
            if low.leading_zeros() < shift {
                return Err(TOO_LARGE);
            }
            number |= low << shift;
            if byte & 0x80 == 0 {
                let minimal = byte != 0 || shift == 0;
                return if minimal { Ok(number) } else { Err(TOO_LONG) };
            }
        }
        Err(TOO_LONG)
    }

    /// Reads a number of a smaller type.
    pub(crate) fn small<T: TryFrom<u64>>(&mut self) -> Result<T, Malformed> {
        T::try_from(self.number()?).map_err(|_| TOO_LARGE)
    }

    #[inline]
    pub(crate) fn signed(&mut self) -> Result<i64, Malformed> {
        let zigzag = self.number()?;
        let sign = if zigzag & 1 == 0 { 0 } else { -1 };
        Ok((zigzag >> 1).cast_signed() ^ sign)
    }

    /// Reads a count of elements, each of which takes at least a byte.
    #[inline]
    pub(crate) fn length(&mut self) -> Result<usize, Malformed> {
        match usize::try_from(self.number()?) {
            Ok(length) if length <= self.rest.len() => Ok(length),
            _ => Err(CUT_SHORT),
        }
    }

    /// Reads `length` bytes verbatim.
    #[inline]
    pub(crate) fn raw(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(CUT_SHORT)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Reads a byte string as a borrowed slice.
    #[inline]
    pub(crate) fn slice(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.length()?;
        self.raw(length)
    }

    #[inline]
    pub(crate) fn bytes(&mut self) -> Result<Bytes, Malformed> {
        self.slice().map(|slice| self.shared(slice))
    }

    /// Returns the remaining bytes.
    pub(crate) fn rest(&mut self) -> Bytes {
        let rest = std::mem::take(&mut self.rest);
        self.shared(rest)
    }

    /// Returns a slice of the input as shared bytes.
    #[inline]
    pub(crate) fn shared(&self, slice: &'a [u8]) -> Bytes {
        self.whole.slice_ref(slice)
    }

    /// Reads flags; unknown ones are an error.
    pub(crate) fn flags(&mut self, known: u8) -> Result<u8, Malformed> {
        let flags = self.byte()?;
        if flags & !known == 0 {
            Ok(flags)
        } else {
            Err(Malformed::Form("unknown flag"))
        }
    }

    pub(crate) fn value<T: Encoded>(&mut self) -> Result<T, Malformed> {
        T::read(self)
    }

    pub(crate) fn list<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = self.length()?;
        let mut items = Vec::with_capacity(count.min(RESERVE_MAX));
        for _ in 0..count {
            items.push(read(self)?);
        }
        Ok(items)
    }

    /// Reads a number of fixed length, big-endian.
    pub(crate) fn fixed<T: Fixed>(&mut self) -> Result<T, Malformed> {
        T::read(self)
    }

    /// Reads the contents of a nested transaction, at most [`TXN_DEPTH_MAX`] deep.
    pub(crate) fn nested<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<T, Malformed> {
        if self.depth >= TXN_DEPTH_MAX {
            return Err(Malformed::Form("nested too deep"));
        }
        self.depth = self.depth.saturating_add(1);
        let value = read(self)?;
        debug_assert!(self.depth > 0, "transactions end as often as they begin");
        self.depth = self.depth.saturating_sub(1);
        Ok(value)
    }
}

const CUT_SHORT: Malformed = Malformed::Form("cut short");
const TOO_LARGE: Malformed = Malformed::Form("number is too large");
const TOO_LONG: Malformed = Malformed::Form("number is too long");
