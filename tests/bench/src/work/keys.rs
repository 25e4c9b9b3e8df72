//! Keys and values of the loads.

use bytes::Bytes;
use rand::{Rng, RngCore, rngs::SmallRng};

/// Bytes of a key: prefix and decimal number.
pub(crate) const KEY_BYTES: usize = 32;

/// The keys that clients choose from, and how large what they write is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeySpace {
    pub(crate) keys: usize,
    pub(crate) value_bytes: usize,
}

impl KeySpace {
    /// Key `number` of those below `prefix`, always of the same length.
    pub(crate) fn key(prefix: &str, number: usize) -> Bytes {
        let width = KEY_BYTES - prefix.len();
        format!("{prefix}{number:0width$}").into()
    }

    /// Any key of the space.
    pub(crate) fn any(self, random: &mut SmallRng) -> Bytes {
        Self::key("bench/", random.random_range(0..self.keys))
    }

    /// A value that does not compress.
    pub(crate) fn value(self, random: &mut SmallRng) -> Bytes {
        let mut value = vec![0; self.value_bytes];
        random.fill_bytes(&mut value);
        value.into()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn keys_and_values_have_their_length() {
        let space = KeySpace {
            keys: 10,
            value_bytes: 256,
        };
        let mut random = SmallRng::seed_from_u64(1);
        assert_eq!(space.any(&mut random).len(), KEY_BYTES);
        assert_eq!(KeySpace::key("longer-prefix/", 999_999).len(), KEY_BYTES);
        assert_eq!(space.value(&mut random).len(), 256);
        assert_ne!(space.value(&mut random), space.value(&mut random));
    }
}
