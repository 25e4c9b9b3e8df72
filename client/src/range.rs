//! Key ranges of requests: one key, a half-open range, a prefix, or all keys from a key on.
//!
//! Implements the arithmetic of etcd's `key`/`range_end` pair; builds no requests.

use bytes::Bytes;

/// The end of a range that has no end: a single zero byte.
const UNBOUNDED: &[u8] = &[0];

/// Conversion of text or bytes, owned or borrowed, into [`Bytes`].
pub trait IntoBytes {
    /// The bytes, copied only when they are borrowed.
    fn into_bytes(self) -> Bytes;
}

macro_rules! copied {
    ($($source:ty),*) => {$(
        impl IntoBytes for $source {
            fn into_bytes(self) -> Bytes {
                Bytes::copy_from_slice(self.as_ref())
            }
        }
    )*};
}

macro_rules! moved {
    ($($source:ty),*) => {$(
        impl IntoBytes for $source {
            fn into_bytes(self) -> Bytes {
                Bytes::from(self)
            }
        }
    )*};
}

copied!(&str, &String, &[u8], &Vec<u8>);
moved!(String, Vec<u8>, Bytes);

impl IntoBytes for &Bytes {
    fn into_bytes(self) -> Bytes {
        self.clone()
    }
}

impl<const N: usize> IntoBytes for &[u8; N] {
    fn into_bytes(self) -> Bytes {
        Bytes::copy_from_slice(self)
    }
}

/// The range of keys of a request.
///
/// Text and bytes convert into the range of that one key:
///
/// ```
/// use tenure::KeyRange;
///
/// let one = KeyRange::from("config/mode");
/// let all = KeyRange::prefix("config/");
/// assert!(one.end().is_empty());
/// assert_eq!(all.end(), b"config0".as_slice());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyRange {
    key: Bytes,
    end: Bytes,
}

impl KeyRange {
    /// The range of exactly this key.
    #[must_use]
    pub fn key(key: impl IntoBytes) -> Self {
        Self {
            key: key.into_bytes(),
            end: Bytes::new(),
        }
    }

    /// Every key that starts with `prefix`; all keys when it is empty.
    #[must_use]
    pub fn prefix(prefix: impl IntoBytes) -> Self {
        let prefix = prefix.into_bytes();
        if prefix.is_empty() {
            return Self::all();
        }
        let end = prefix_end(&prefix);
        Self { key: prefix, end }
    }

    /// Keys from `key` (inclusive) to `end` (exclusive), in byte order.
    #[must_use]
    pub fn between(key: impl IntoBytes, end: impl IntoBytes) -> Self {
        Self {
            key: key.into_bytes(),
            end: end.into_bytes(),
        }
    }

    /// `key` and every key after it; all keys when it is empty.
    #[must_use]
    pub fn from_key(key: impl IntoBytes) -> Self {
        let key = key.into_bytes();
        if key.is_empty() {
            return Self::all();
        }
        Self {
            key,
            end: Bytes::from_static(UNBOUNDED),
        }
    }

    /// The whole key space.
    #[must_use]
    pub fn all() -> Self {
        Self {
            key: Bytes::from_static(UNBOUNDED),
            end: Bytes::from_static(UNBOUNDED),
        }
    }

    /// The first key, or the only one.
    #[must_use]
    pub fn start(&self) -> &Bytes {
        &self.key
    }

    /// The exclusive end; empty for a single key, one zero byte when there is none.
    #[must_use]
    pub fn end(&self) -> &Bytes {
        &self.end
    }

    /// The `key` and `range_end` fields of a message.
    pub(crate) fn into_parts(self) -> (Bytes, Bytes) {
        (self.key, self.end)
    }
}

impl<K: IntoBytes> From<K> for KeyRange {
    fn from(key: K) -> Self {
        Self::key(key)
    }
}

/// The smallest key greater than every key that starts with `prefix`; a single zero byte, meaning
/// *no end*, when no such key exists.
#[must_use]
pub fn prefix_end(prefix: &[u8]) -> Bytes {
    match prefix.iter().rposition(|&byte| byte < u8::MAX) {
        Some(last) => {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            Bytes::from(end)
        }
        None => Bytes::from_static(UNBOUNDED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_its_last_byte_plus_one() {
        assert_eq!(prefix_end(b"ab"), b"ac".as_slice());
    }

    #[test]
    fn trailing_bytes_of_all_ones_carry_into_the_byte_before() {
        assert_eq!(prefix_end(b"a\xff\xff"), b"b".as_slice());
    }

    #[test]
    fn a_prefix_of_all_ones_has_no_end() {
        assert_eq!(prefix_end(b"\xff\xff"), b"\0".as_slice());
    }

    #[test]
    fn the_empty_prefix_and_the_empty_first_key_are_everything() {
        for range in [KeyRange::prefix(""), KeyRange::from_key("")] {
            assert_eq!(range, KeyRange::all());
            assert_eq!(
                range.into_parts(),
                (Bytes::from_static(b"\0"), Bytes::from_static(b"\0"))
            );
        }
    }

    #[test]
    fn every_key_with_the_prefix_is_inside_and_its_neighbours_are_outside() {
        let range = KeyRange::prefix("job/");
        let inside = |key: &[u8]| key >= &range.start()[..] && key < &range.end()[..];
        assert!(inside(b"job/") && inside(b"job/\xff\xff"));
        assert!(!inside(b"job") && !inside(b"job0"));
    }
}
