//! Waiting for a state instead of for a time.

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

/// How long a quorum may take to reach a state that it normally reaches within a second or two.
/// Long, because several tests share two cores; a passing test never waits that long.
pub const STATE_MAX: Duration = Duration::from_secs(60);
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks again and again until `look` says yes, and returns what it found.
///
/// # Panics
/// When `limit` has passed; the message says what was awaited and what the last look said.
///
/// # Cancel safety
/// May be dropped at any time; `look` is dropped where it stands.
pub async fn wait_until<T, E: Display>(
    what: &str,
    limit: Duration,
    mut look: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let begin = Instant::now();
    loop {
        let reason = match tokio::time::timeout(limit, look()).await {
            Ok(Ok(found)) => return found,
            Ok(Err(reason)) => reason.to_string(),
            Err(_) => "the last look did not end".to_owned(),
        };
        assert!(
            begin.elapsed() < limit,
            "after {limit:?} still waiting until {what}: {reason}"
        );
        // A pause between two looks.
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
