//! Repeats a call while its server is away.

use std::time::Duration;

use tenure::{Error, ErrorKind};
use tokio::time::{Instant, sleep};

/// How long a server may be away: a restart of a cluster with some room. A copy that takes days
/// should survive it; one that cannot go on should say so.
const AWAY_MAX: Duration = Duration::from_secs(300);
/// The first pause, and the longest one.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Repeats a read.
pub(crate) async fn read_patiently<T>(
    call: impl AsyncFnMut() -> Result<T, Error>,
) -> Result<T, Error> {
    patiently(call, is_passing).await
}

/// Repeats a call as long as `may_repeat` allows its error.
pub(crate) async fn patiently<T>(
    mut call: impl AsyncFnMut() -> Result<T, Error>,
    may_repeat: impl Fn(&Error) -> bool,
) -> Result<T, Error> {
    let begun = Instant::now();
    let mut pause = PAUSE_FIRST;
    loop {
        match call().await {
            Err(error) if may_repeat(&error) && begun.elapsed() < AWAY_MAX => {
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
            outcome => return outcome,
        }
    }
}

/// Whether the cause passes by itself.
pub(crate) fn is_passing(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Connect
            | ErrorKind::Unavailable
            | ErrorKind::DeadlineExceeded
            | ErrorKind::Overloaded
    ) || error.outcome_unknown()
}
