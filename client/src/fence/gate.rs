//! A gate in front of a resource: it admits the greatest token seen so far and refuses smaller
//! ones.
//!
//! Invariant: a mark never goes down, and it is stored in its [`FenceMarks`] before anything is
//! admitted under it. A greater token waits until all requests admitted under smaller ones are
//! done, so a write that passed the check cannot land behind the write of a successor.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt, io,
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::marks::{FenceMarks, VolatileMarks};
use crate::id::Token;

/// Names that one gate remembers. Forgetting one would admit stale tokens, so further names are
/// refused; a resource with this many locks should be split.
const NAMES_MAX: usize = 100_000;

/// Why a token was not admitted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FenceError {
    /// A greater token was seen before, possibly one that still waits: the holder of this one has
    /// lost the lock.
    #[error("token of {name:?} is stale: yours {yours}, current {current}")]
    Stale {
        /// The name of the lock.
        name: String,
        /// The token of the request.
        yours: Token,
        /// The greatest token seen.
        current: Token,
    },
    /// A token is greater than zero.
    #[error("token {0} of {1:?} is not a token: it must be greater than 0")]
    NotAToken(Token, String),
    /// The gate remembers the maximum number of names.
    #[error("the gate has reached its limit of {NAMES_MAX} names")]
    TooManyNames,
    /// The mark could not be stored, so nothing is admitted under it.
    #[error("the mark of {name:?} could not be stored")]
    Marks {
        /// The name of the lock.
        name: String,
        /// The error of the store.
        #[source]
        source: Arc<io::Error>,
    },
}

/// The state of one name.
#[derive(Debug, Default)]
struct Name {
    state: Mutex<State>,
    /// Notified when waiting requests have to check again.
    changed: Notify,
}

/// Invariant: all passes are for the mark, which is not raised while there are any.
#[derive(Debug, Default)]
struct State {
    /// The greatest token that is stored; passes are for this one.
    mark: Option<Token>,
    /// The greatest token seen; it may wait for the mark to be raised. Smaller tokens are stale
    /// already: letting them wait behind it could deadlock a request with itself.
    greatest: Option<Token>,
    /// Number of live passes.
    passes: usize,
    /// The mark is being raised.
    raising: bool,
}

impl State {
    fn at(mark: Token) -> Self {
        Self {
            mark: Some(mark),
            greatest: Some(mark),
            ..Self::default()
        }
    }
}

/// The next step for a token that is not stale.
enum Admission {
    Pass(Pass),
    Raise(RaisePermit),
    Wait,
}

impl Name {
    /// Decides the next step for a token; the error is the greater token that makes it stale.
    fn admission(self: &Arc<Self>, token: Token) -> Result<Admission, Token> {
        let mut state = self.state.lock();
        match state.greatest {
            Some(greater) if token < greater => return Err(greater),
            Some(same) if token == same => {}
            _ => {
                state.greatest = Some(token);
                // Smaller ones that wait are refused.
                self.changed.notify_waiters();
            }
        }
        if state.mark == Some(token) {
            state.passes += 1;
            return Ok(Admission::Pass(Pass {
                token,
                name: Arc::clone(self),
            }));
        }
        if state.passes > 0 || state.raising {
            return Ok(Admission::Wait);
        }
        state.raising = true;
        Ok(Admission::Raise(RaisePermit(Arc::clone(self))))
    }
}

/// Exclusive permission to raise the mark of a name. Dropping it leaves the mark unchanged.
struct RaisePermit(Arc<Name>);

impl RaisePermit {
    /// Records that the mark is stored.
    fn stored(self, token: Token) {
        self.0.state.lock().mark = Some(token);
    }
}

impl Drop for RaisePermit {
    fn drop(&mut self) {
        self.0.state.lock().raising = false;
        self.0.changed.notify_waiters();
    }
}

/// Remembers the greatest token per lock and admits nothing below it. Clones share everything.
///
/// ```
/// use tenure::{Token, fence::{FenceError, FenceGate}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), FenceError> {
/// let gate = FenceGate::volatile();
/// let pass = gate.admit("jobs/42", Token::new(17)).await?;
/// // Write here, with the pass in hand.
/// drop(pass);
/// gate.admit("jobs/42", Token::new(23)).await?;
/// assert!(matches!(gate.admit("jobs/42", Token::new(17)).await, Err(FenceError::Stale { .. })));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct FenceGate {
    inner: Arc<Inner>,
}

struct Inner {
    names: Mutex<BTreeMap<String, Arc<Name>>>,
    marks: Arc<dyn FenceMarks>,
}

impl FenceGate {
    /// A gate whose marks outlive the process.
    ///
    /// # Errors
    /// When the marks cannot be read. A gate that started without them would admit stale tokens.
    ///
    /// # Cancel safety
    /// Cancel safe: dropping the future has no effect on the cluster.
    pub async fn open(marks: impl FenceMarks) -> io::Result<Self> {
        let marks: Arc<dyn FenceMarks> = Arc::new(marks);
        let loading = Arc::clone(&marks);
        let known = blocking(move || loading.load()).await?;
        let names = known
            .into_iter()
            .map(|(name, token)| {
                let state = Mutex::new(State::at(token));
                let changed = Notify::new();
                (name, Arc::new(Name { state, changed }))
            })
            .collect();
        Ok(Self {
            inner: Arc::new(Inner {
                names: Mutex::new(names),
                marks,
            }),
        })
    }

    /// A gate whose marks are lost with the process. Sufficient when the resource is lost with it
    /// as well.
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
    /// [`FenceError::Stale`] after a greater token; see [`FenceError`] for the others. The request
    /// is not admitted then.
    ///
    /// # Cancel safety
    /// Cancel safe: the mark may have been raised to `token`, which makes smaller tokens stale.
    pub async fn admit(
        &self,
        name: impl Into<String>,
        token: impl Into<Token>,
    ) -> Result<Pass, FenceError> {
        let (name, token) = (name.into(), token.into());
        if token.get() <= 0 {
            return Err(FenceError::NotAToken(token, name));
        }
        let known = self.name(&name)?;
        loop {
            // Registers before the check, so that no notification is missed.
            let changed = known.changed.notified();
            match known.admission(token) {
                Err(greater) => return Err(stale(name, token, greater)),
                Ok(Admission::Pass(pass)) => return Ok(pass),
                Ok(Admission::Wait) => changed.await,
                Ok(Admission::Raise(permit)) => {
                    let marks = Arc::clone(&self.inner.marks);
                    let raised = name.clone();
                    let stored = blocking(move || marks.raise(&raised, token)).await;
                    if let Err(source) = stored {
                        let source = Arc::new(source);
                        return Err(FenceError::Marks { name, source });
                    }
                    permit.stored(token);
                }
            }
        }
    }

    /// The stored mark of a lock. It may be raised at any moment.
    pub async fn current(&self, name: &str) -> Option<Token> {
        let known = self.inner.names.lock().get(name).cloned()?;
        let state = known.state.lock();
        state.mark
    }

    fn name(&self, name: &str) -> Result<Arc<Name>, FenceError> {
        let mut names = self.inner.names.lock();
        let full = names.len() >= NAMES_MAX;
        match names.entry(name.to_owned()) {
            Entry::Occupied(known) => Ok(Arc::clone(known.get())),
            Entry::Vacant(_) if full => Err(FenceError::TooManyNames),
            Entry::Vacant(free) => Ok(Arc::clone(free.insert(Arc::default()))),
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
    name: Arc<Name>,
}

impl Pass {
    /// The admitted token.
    #[must_use]
    pub fn token(&self) -> Token {
        self.token
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut state = self.name.state.lock();
        state.passes -= 1;
        if state.passes == 0 {
            drop(state);
            self.name.changed.notify_waiters();
        }
    }
}

fn stale(name: String, yours: Token, current: Token) -> FenceError {
    FenceError::Stale {
        name,
        yours,
        current,
    }
}

/// Runs blocking I/O on the blocking thread pool.
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

    /// Far more time than anything here takes.
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

    fn refused(result: Result<Pass, FenceError>) -> (i64, i64) {
        match result {
            Err(FenceError::Stale { yours, current, .. }) => (yours.get(), current.get()),
            other => panic!("not refused as stale: {other:?}"),
        }
    }

    #[tokio::test]
    async fn a_smaller_token_is_refused_and_told_both() {
        let gate = FenceGate::volatile();
        drop(gate.admit("a", Token::new(5)).await.unwrap());
        drop(gate.admit("a", Token::new(5)).await.unwrap());
        drop(gate.admit("a", Token::new(9)).await.unwrap());
        assert_eq!(refused(gate.admit("a", Token::new(5)).await), (5, 9));
        // Another lock has a separate mark.
        drop(gate.admit("b", Token::new(1)).await.unwrap());
        assert_eq!(gate.current("a").await, Some(Token::new(9)));
    }

    #[tokio::test]
    async fn a_greater_token_waits_until_a_write_under_a_smaller_one_is_over() {
        let gate = FenceGate::volatile();
        let first = gate.admit("a", Token::new(5)).await.unwrap();
        let mut successor = gate.admit("a", Token::new(9)).boxed();
        assert!(poll!(&mut successor).is_pending());
        drop(first);
        assert_eq!(successor.await.unwrap().token(), Token::new(9));
        assert_eq!(refused(gate.admit("a", Token::new(5)).await), (5, 9));
    }

    #[tokio::test]
    async fn writes_under_the_same_token_pass_together() {
        let gate = FenceGate::volatile();
        let first = gate.admit("a", Token::new(5)).await.unwrap();
        let second = gate.admit("a", Token::new(5)).await.unwrap();
        drop((first, second));
    }

    #[tokio::test]
    async fn a_token_that_is_admitted_again_while_a_greater_one_waits_is_stale() {
        let gate = FenceGate::volatile();
        let first = gate.admit("a", Token::new(5)).await.unwrap();
        let mut successor = gate.admit("a", Token::new(9)).boxed();
        assert!(poll!(&mut successor).is_pending());
        // Waiting behind the successor, which waits for the first pass, would never end.
        let again = gate.admit("a", Token::new(5)).now_or_never();
        assert_eq!(refused(again.expect("it does not wait")), (5, 9));
        assert_eq!(gate.current("a").now_or_never(), Some(Some(Token::new(5))));
        drop(first);
        drop(successor.await.unwrap());
    }

    #[tokio::test]
    async fn a_token_that_waits_is_refused_when_a_greater_one_comes() {
        let gate = FenceGate::volatile();
        let first = gate.admit("a", Token::new(5)).await.unwrap();
        let mut middle = gate.admit("a", Token::new(7)).boxed();
        assert!(poll!(&mut middle).is_pending());
        let mut last = gate.admit("a", Token::new(9)).boxed();
        assert!(poll!(&mut last).is_pending());
        assert_eq!(refused(middle.await), (7, 9));
        // A cancelled request does not leave others waiting either.
        drop(last);
        drop(first);
        assert_eq!(refused(gate.admit("a", Token::new(8)).await), (8, 9));
        drop(gate.admit("a", Token::new(9)).await.unwrap());
    }

    #[tokio::test]
    async fn a_new_token_is_admitted_twice_in_one_request() {
        let gate = FenceGate::volatile();
        let both = futures::future::join(
            gate.admit("a", Token::new(5)),
            gate.admit("a", Token::new(5)),
        );
        let both = tokio::time::timeout(PATIENCE, both).await;
        let (first, second) = both.expect("neither waits for the other's pass");
        drop((first.unwrap(), second.unwrap()));
    }

    #[tokio::test]
    async fn zero_and_less_are_no_tokens() {
        let gate = FenceGate::volatile();
        for bad in [0, -1] {
            let result = gate.admit("a", Token::new(bad)).await;
            assert!(matches!(result, Err(FenceError::NotAToken(..))));
        }
        assert_eq!(gate.current("a").await, None);
    }

    /// Marks on a disk that fails on demand.
    #[derive(Default)]
    struct Failing(Arc<AtomicBool>);

    impl FenceMarks for Failing {
        fn load(&self) -> io::Result<BTreeMap<String, Token>> {
            Ok(BTreeMap::from([("a".to_owned(), Token::new(4))]))
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
        assert_eq!(refused(gate.admit("a", Token::new(3)).await), (3, 4));
        let result = gate.admit("a", Token::new(5)).await;
        assert!(matches!(result, Err(FenceError::Marks { .. })));
        assert_eq!(gate.current("a").await, Some(Token::new(4)));
        broken.store(false, Ordering::Release);
        drop(gate.admit("a", Token::new(5)).await.unwrap());
    }
}
