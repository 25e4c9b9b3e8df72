//! One branch or leaf in memory.
//!
//! Invariant: the keys and values of a parsed page follow its elements without a gap, as bbolt
//! writes them, and end within the page; no key is empty, and keys ascend. So the accessors find
//! what they are asked for, and a page with a changed count or length is refused, unless what is
//! changed is the end of its last value.

use bytes::Bytes;

use super::{
    error::{Damage, PageFault},
    format::{BRANCH, ELEMENT_BYTES, HEADER_BYTES, Header, LEAF, u32_at, u64_at},
};

/// A page with its overflow.
#[derive(Clone, Debug)]
pub(super) struct Page {
    /// Its number; of an inline leaf, that of the page that it is in.
    pub(super) number: u64,
    pub(super) is_leaf: bool,
    pub(super) count: u16,
    bytes: Bytes,
}

/// One element, with the bytes that it points to.
#[derive(Clone, Copy, Debug)]
struct Element {
    flags: u32,
    child: u64,
    /// From the start of the page.
    key: usize,
    value: usize,
    end: usize,
}

impl Page {
    /// Parses and verifies a page. `bytes` is all of it, overflow included.
    pub(super) fn parse(number: u64, header: Header, bytes: Bytes) -> Result<Self, Damage> {
        let is_leaf = match header.flags {
            BRANCH => false,
            LEAF => true,
            flags => return Err(PageFault::Kind(flags).of(number)),
        };
        let page = Self {
            number,
            is_leaf,
            count: header.count,
            bytes,
        };
        page.verify().map_err(|fault| fault.of(number))?;
        Ok(page)
    }

    fn verify(&self) -> Result<(), PageFault> {
        let mut free = self.elements_end();
        if free > self.bytes.len() {
            return Err(PageFault::Count(self.count));
        }
        if self.count == 0 && !self.is_leaf {
            return Err(PageFault::Empty);
        }
        let mut last: &[u8] = &[];
        for at in 0..self.count {
            let element = self.element(at).ok_or(PageFault::Element(at))?;
            if element.key != free {
                return Err(PageFault::Element(at));
            }
            let key = self.bytes.get(element.key..element.value);
            let key = key.ok_or(PageFault::Element(at))?;
            if element.end > self.bytes.len() {
                return Err(PageFault::Element(at));
            }
            if key.is_empty() {
                return Err(PageFault::KeyEmpty(at));
            }
            if key <= last {
                return Err(PageFault::Order(at));
            }
            last = key;
            free = element.end;
        }
        Ok(())
    }

    /// Where the array of elements ends.
    fn elements_end(&self) -> usize {
        usize::from(self.count)
            .saturating_mul(ELEMENT_BYTES)
            .saturating_add(HEADER_BYTES)
    }

    fn element(&self, at: u16) -> Option<Element> {
        if at >= self.count {
            return None;
        }
        let start = usize::from(at)
            .checked_mul(ELEMENT_BYTES)?
            .checked_add(HEADER_BYTES)?;
        let bytes = self.bytes.get(start..)?.get(..ELEMENT_BYTES)?;
        let [first, second, third, fourth] = [
            u32_at(bytes, 0)?,
            u32_at(bytes, 4)?,
            u32_at(bytes, 8)?,
            u32_at(bytes, 12)?,
        ];
        let (flags, distance, key_bytes, value_bytes) = if self.is_leaf {
            (first, second, third, fourth)
        } else {
            (0, first, second, 0)
        };
        let place = |from: usize, bytes: u32| from.checked_add(usize::try_from(bytes).ok()?);
        let key = place(start, distance)?;
        let value = place(key, key_bytes)?;
        Some(Element {
            flags,
            child: if self.is_leaf { 0 } else { u64_at(bytes, 8)? },
            key,
            value,
            end: place(value, value_bytes)?,
        })
    }

    /// The key of an element; a slice of the page.
    pub(super) fn key(&self, at: u16) -> Option<Bytes> {
        let element = self.element(at)?;
        self.part(element.key, element.value)
    }

    /// The key of the last element.
    pub(super) fn last_key(&self) -> Option<Bytes> {
        self.key(self.count.checked_sub(1)?)
    }

    /// The flags, key and value of a leaf's element.
    pub(super) fn row(&self, at: u16) -> Option<(u32, Bytes, Bytes)> {
        let element = self.element(at)?;
        let key = self.part(element.key, element.value)?;
        Some((element.flags, key, self.part(element.value, element.end)?))
    }

    /// The number of a branch's child.
    pub(super) fn child(&self, at: u16) -> Option<u64> {
        Some(self.element(at)?.child)
    }

    fn part(&self, start: usize, end: usize) -> Option<Bytes> {
        self.bytes.get(start..end)?;
        Some(self.bytes.slice(start..end))
    }
}
