//! Waiting until something is so that nobody tells.

use std::time::Duration;

/// Longest wait. A machine that is busy with other tests takes seconds.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Pause between two looks: what is looked at are files, of which nobody is told.
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(crate) async fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            // A pause between two looks.
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let waited = tokio::time::timeout(WAIT_MAX, wait).await;
    waited.unwrap_or_else(|_| panic!("after {WAIT_MAX:?} still waiting until {what}"));
}
