//! A gate in front of a resource: it admits the greatest token seen so far and refuses smaller
//! ones.
//!
//! The invariant: a mark never goes down, and it is on its [`FenceMarks`] before anything is
//! admitted under it. A greater token waits until what was admitted under smaller ones is over, so
//! a write that passed the check cannot land behind the write of a successor.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt, io,
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::{OwnedRwLockReadGuard, RwLock};

use super::marks::{FenceMarks, VolatileMarks};
use crate::id::Token;

/// Names that one gate remembers. A gate that forgot one would admit stale tokens, so it refuses
/// new names instead; a resource that fences by this many locks should be split.
const NAMES_MAX: usize = 100_000;

/// Why a token was not admitted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FenceError {
    /// A greater token was seen before: whoever shows this one has lost the lock.
    #[error("token of {name:?} is stale: yours {yours}, current {current}")]
    Stale {
        /// The lock.
        name: String,
        /// The token that was shown.
        yours: Token,
        /// The greatest token seen.
        current: Token,
    },
    /// A token is greater than zero.
    #[error("token {0} of {1:?} is not a token: it must be greater than 0")]
    NotAToken(Token, String),
    /// As many names are remembered as may be.
    #[error("the gate remembers {NAMES_MAX} names already and takes no other")]
    TooManyNames,
    /// The mark could not be stored, so nothing is admitted under it.
    #[error("the mark of {name:?} could not be stored")]
    Marks {
        /// The lock.
        name: String,
        /// What the store said.
        #[source]
        source: Arc<io::Error>,
    },
}

/// The mark of one name; held for reading by whatever is admitted under it.
type Mark = Arc<RwLock<Option<Token>>>;

/// Remembers the greatest token per lock and admits nothing below it. Clones share everything.
///
/// ```
/// use tenure::fence::{FenceError, FenceGate};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), FenceError> {
/// let gate = FenceGate::volatile();
/// let pass = gate.admit("jobs/42", 17).await?;
/// // Write here, with the pass in hand.
/// drop(pass);
/// gate.admit("jobs/42", 23).await?;
/// assert!(matches!(gate.admit("jobs/42", 17).await, Err(FenceError::Stale { .. })));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct FenceGate {
    inner: Arc<Inner>,
}

struct Inner {
    names: Mutex<BTreeMap<String, Mark>>,
    marks: Arc<dyn FenceMarks>,
}

impl FenceGate {
    /// A gate whose marks outlive the process.
    ///
    /// # Errors
    /// When the marks cannot be read. A gate that started without them would admit stale tokens.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn open(marks: impl FenceMarks) -> io::Result<Self> {
        let marks: Arc<dyn FenceMarks> = Arc::new(marks);
        let loading = Arc::clone(&marks);
        let known = blocking(move || loading.load()).await?;
        let names = known
            .into_iter()
            .map(|(name, token)| (name, Arc::new(RwLock::new(Some(token)))))
            .collect();
        Ok(Self {
            inner: Arc::new(Inner {
                names: Mutex::new(names),
                marks,
            }),
        })
    }

    /// A gate that begins anew with the process. Enough when the resource does, too.
    #[must_use]
    pub fn volatile() -> Self {
        Self {
            inner: Arc::new(Inner {
                names: Mutex::default(),
                marks: Arc::new(VolatileMarks),
            }),
        }
    }

    /// Admits `token` of the lock `name` unless a greater one was seen. Keep the [`Pass`] until
    /// the write is done: a greater token waits for it.
    ///
    /// # Errors
    /// [`FenceError::Stale`] after a greater token; the others as they say. Nothing is admitted
    /// then.
    ///
    /// # Cancel safety
    /// Cancel safe: at worst the mark has risen to a token that was shown.
    pub async fn admit(
        &self,
        name: impl Into<String>,
        token: impl Into<Token>,
    ) -> Result<Pass, FenceError> {
        let (name, token) = (name.into(), token.into());
        if token.get() <= 0 {
            return Err(FenceError::NotAToken(token, name));
        }
        let mark = self.mark(&name)?;
        let seen = Arc::clone(&mark).read_owned().await;
        match *seen {
            Some(current) if token < current => return Err(stale(name, token, current)),
            Some(current) if token == current => return Ok(Pass { token, mark: seen }),
            _ => drop(seen),
        }
        // Waits until everything admitted under the smaller token is over.
        let mut seen = mark.write_owned().await;
        match *seen {
            Some(current) if token < current => return Err(stale(name, token, current)),
            Some(current) if token == current => {}
            _ => {
                let marks = Arc::clone(&self.inner.marks);
                let raised = name.clone();
                blocking(move || marks.raise(&raised, token))
                    .await
                    .map_err(|source| FenceError::Marks {
                        name,
                        source: Arc::new(source),
                    })?;
                *seen = Some(token);
            }
        }
        Ok(Pass {
            token,
            mark: seen.downgrade(),
        })
    }

    /// The greatest token seen of a lock. It may rise at any moment.
    pub async fn current(&self, name: &str) -> Option<Token> {
        let mark = self.inner.names.lock().get(name).cloned()?;
        let seen = mark.read().await;
        *seen
    }

    fn mark(&self, name: &str) -> Result<Mark, FenceError> {
        let mut names = self.inner.names.lock();
        let full = names.len() >= NAMES_MAX;
        match names.entry(name.to_owned()) {
            Entry::Occupied(known) => Ok(Arc::clone(known.get())),
            Entry::Vacant(_) if full => Err(FenceError::TooManyNames),
            Entry::Vacant(free) => Ok(Arc::clone(free.insert(Mark::default()))),
        }
    }
}

impl fmt::Debug for FenceGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.inner.names.lock().len();
        f.debug_struct("FenceGate")
            .field("names", &names)
            .finish_non_exhaustive()
    }
}

/// Permission to write under a token, until it is dropped.
#[derive(Debug)]
#[must_use = "the permission ends when it is dropped: keep it until the write is done"]
pub struct Pass {
    token: Token,
    #[expect(dead_code, reason = "held, so that a greater token waits for this one")]
    mark: OwnedRwLockReadGuard<Option<Token>>,
}

impl Pass {
    /// The token it was given for.
    #[must_use]
    pub fn token(&self) -> Token {
        self.token
    }
}

fn stale(name: String, yours: Token, current: Token) -> FenceError {
    FenceError::Stale {
        name,
        yours,
        current,
    }
}

/// Runs what waits for a disk on a thread for that.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use futures::{FutureExt, poll};

    use super::*;

    fn refused(result: Result<Pass, FenceError>) -> (i64, i64) {
        match result {
            Err(FenceError::Stale { yours, current, .. }) => (yours.get(), current.get()),
            other => panic!("not refused as stale: {other:?}"),
        }
    }

    #[tokio::test]
    async fn a_smaller_token_is_refused_and_told_both() {
        let gate = FenceGate::volatile();
        drop(gate.admit("a", 5).await.unwrap());
        drop(gate.admit("a", 5).await.unwrap());
        drop(gate.admit("a", 9).await.unwrap());
        assert_eq!(refused(gate.admit("a", 5).await), (5, 9));
        // Another lock has a mark of its own.
        drop(gate.admit("b", 1).await.unwrap());
        assert_eq!(gate.current("a").await, Some(Token::from(9)));
    }

    #[tokio::test]
    async fn a_greater_token_waits_until_a_write_under_a_smaller_one_is_over() {
        let gate = FenceGate::volatile();
        let first = gate.admit("a", 5).await.unwrap();
        let mut successor = gate.admit("a", 9).boxed();
        assert!(poll!(&mut successor).is_pending());
        drop(first);
        assert_eq!(successor.await.unwrap().token(), Token::from(9));
        assert_eq!(refused(gate.admit("a", 5).await), (5, 9));
    }

    #[tokio::test]
    async fn writes_under_the_same_token_pass_together() {
        let gate = FenceGate::volatile();
        let first = gate.admit("a", 5).await.unwrap();
        let second = gate.admit("a", 5).await.unwrap();
        drop((first, second));
    }

    #[tokio::test]
    async fn zero_and_less_are_no_tokens() {
        let gate = FenceGate::volatile();
        for bad in [0, -1] {
            let result = gate.admit("a", bad).await;
            assert!(matches!(result, Err(FenceError::NotAToken(..))));
        }
        assert_eq!(gate.current("a").await, None);
    }

    /// Marks on a disk that fails for as long as it is told to.
    #[derive(Default)]
    struct Failing(Arc<AtomicBool>);

    impl FenceMarks for Failing {
        fn load(&self) -> io::Result<BTreeMap<String, Token>> {
            Ok(BTreeMap::from([("a".to_owned(), Token::from(4))]))
        }

        fn raise(&self, _: &str, _: Token) -> io::Result<()> {
            if self.0.load(Ordering::Acquire) {
                return Err(io::Error::other("disk on fire"));
            }
            Ok(())
        }
    }

    #[tokio::test]
    async fn nothing_is_admitted_under_a_mark_that_is_not_stored() {
        let broken = Arc::new(AtomicBool::new(true));
        let gate = FenceGate::open(Failing(Arc::clone(&broken))).await.unwrap();
        assert_eq!(refused(gate.admit("a", 3).await), (3, 4));
        let result = gate.admit("a", 5).await;
        assert!(matches!(result, Err(FenceError::Marks { .. })));
        assert_eq!(gate.current("a").await, Some(Token::from(4)));
        broken.store(false, Ordering::Release);
        drop(gate.admit("a", 5).await.unwrap());
    }
}
