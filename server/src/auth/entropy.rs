//! Random bytes for salts and for parts of tokens.
//!
//! Injected, so that tests repeat themselves. Consensus never reads it: random values that the
//! state depends on travel in commands.

use rand::RngCore as _;

/// A source of random bytes.
pub trait Entropy: Send + Sync + std::fmt::Debug {
    /// Fills `bytes` with random bytes that cannot be predicted from earlier ones.
    fn fill(&self, bytes: &mut [u8]);
}

/// Random bytes of the operating system, by the generator of this thread, which is seeded and
/// reseeded from them.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        rand::rng().fill_bytes(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_bytes_differ_from_call_to_call() {
        let (mut one, mut two) = ([0; 32], [0; 32]);
        SystemEntropy.fill(&mut one);
        SystemEntropy.fill(&mut two);
        assert!(one != two && one != [0; 32]);
    }
}
