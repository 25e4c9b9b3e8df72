//! Holds a lock while it works, and stops when the lock is lost.
//!
//! Run it several times at once: one process works, the others wait in the queue.
//! `cargo run -p tenure --example lock [name]`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{env, process, time::Duration};

use tenure::Client;

/// The quorum that `.ci/quorum.sh` starts.
const ENDPOINTS: [&str; 3] = ["127.0.0.1:2379", "127.0.0.1:22379", "127.0.0.1:32379"];

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = env::args()
        .nth(1)
        .unwrap_or_else(|| "examples/lock".to_owned());
    let client = Client::connect(ENDPOINTS).await?;

    let guard = client
        .locks()
        .acquire(&name)
        .ttl(Duration::from_secs(5))
        .principal(format!("process {}", process::id()))
        .on_queued(|place| {
            let holder = place.holder.as_ref().map(|holder| holder.principal());
            println!(
                "waiting behind {}; it is held by {holder:?}",
                place.position
            );
        })
        .await?;
    println!("holding {name:?} under token {}", guard.token());

    let store = guard.guarded();
    let work = async {
        for step in 1..=10 {
            // Refused if the lock was granted to another client.
            store.put(format!("{name}.step"), step.to_string()).await?;
            println!(
                "step {step}; the lease is certain for {:?}",
                guard.remaining()
            );
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Ok::<_, tenure::Error>(())
    };
    match guard.run(work).await {
        Ok(outcome) => outcome?,
        Err(loss) => {
            println!("stopped: {loss}");
            return Ok(());
        }
    }
    guard.release().await?;
    println!("done");
    Ok(())
}
