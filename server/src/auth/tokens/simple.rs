//! `simple` tokens: they live as long as they are used, for etcd's clients that log in only once.
//!
//! As etcd's, a token begins with sixteen letters and a dot, and each use on a member lengthens its
//! life on that member. etcd replicates every log-in, and a member that is behind lets a token wait
//! for the log. Here nothing is replicated and nothing waits: the token carries its time of issue
//! under a seal, and a member that sees it for the first time within its TTL accepts it. What a
//! member has accepted it keeps in a table of its own, with the time of the latest use.
//!
//! So a token in use for longer than its TTL is unknown to a member that did not see it in its
//! first TTL, or that was restarted since; the client logs in again, as with etcd.
//!
//! Invariant: the table is bounded. When it is full, a token that is rarely used loses its entry,
//! which ends its life only if it is older than its TTL.

use std::{sync::Arc, time::Duration};

use quick_cache::sync::Cache;
use sha2::{Digest as _, Sha256};
use tenure_statemachine::ClusterTime;

use super::{
    Basis, Subject, TokenClaims, TokenFault,
    sealed::{self, Content, TokenSecret},
    signed::after,
};
use crate::{auth::Entropy, clock::Clock};

/// Letters at the start of a token, as many as etcd's.
const LETTERS: usize = 16;

/// Tokens in use whose last use this member remembers: one for each client, and a node serves fewer
/// connections. They take 10 MB.
const TOKENS_MAX: usize = 100_000;

const ALPHABET: &[u8; 52] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// Issues and verifies simple tokens.
#[derive(Debug)]
pub(super) struct Simple {
    ttl: Duration,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// When each token is forgotten unless it is used, by the hash of its text: the table would
    /// otherwise hold tokens that are valid.
    ends: Cache<[u8; 32], Duration>,
}

impl Simple {
    pub(super) fn new(ttl: Duration, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self {
            ttl,
            clock,
            entropy,
            ends: Cache::new(TOKENS_MAX),
        }
    }

    pub(super) fn mint(
        &self,
        subject: &Subject<'_>,
        secret: &TokenSecret,
        now: ClusterTime,
    ) -> String {
        let content = Content {
            time: now,
            generation: subject.generation,
            user: subject.user.to_owned(),
        };
        let token = sealed::seal(&self.letters(), &content, secret);
        self.lengthen(hash(&token));
        token
    }

    pub(super) fn verify(
        &self,
        token: &str,
        secret: &TokenSecret,
        now: ClusterTime,
    ) -> Result<TokenClaims, TokenFault> {
        let head = token.split_once('.').map(|(head, _)| head.as_bytes());
        let lettered = |head: &[u8]| {
            head.len() == LETTERS && head.iter().all(|letter| letter.is_ascii_alphabetic())
        };
        if !head.is_some_and(lettered) {
            return Err(TokenFault::Malformed);
        }
        // Checked even for a token in the table: the secret may have been replaced since.
        let (_, content) = sealed::open(token, secret)?;
        let hash = hash(token);
        match self.ends.get(&hash) {
            Some(end) if self.clock.now() < end => {}
            // The entry stays: cluster time, which decides without it, may stand still here.
            Some(_) => return Err(TokenFault::Expired),
            None if now < after(content.time, self.ttl) => {}
            None => return Err(TokenFault::Expired),
        }
        self.lengthen(hash);
        Ok(TokenClaims {
            user: content.user,
            basis: Basis::Password(content.generation),
        })
    }

    fn lengthen(&self, hash: [u8; 32]) {
        let end = self.clock.now().saturating_add(self.ttl);
        self.ends.insert(hash, end);
    }

    /// Sixteen random letters, which tell two tokens of the same millisecond apart.
    fn letters(&self) -> String {
        let mut bytes = [0; LETTERS];
        self.entropy.fill(&mut bytes);
        // The first letters of the alphabet are slightly more frequent; the seal is what protects.
        let letter = |byte: u8| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]);
        bytes.into_iter().map(letter).collect()
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}
