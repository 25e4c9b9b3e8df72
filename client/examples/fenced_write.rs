//! Fencing: a holder that was paused for too long writes after its lock was granted to another
//! client, and is refused by the store and by a file.
//!
//! `cargo run -p tenure --example fenced_write`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{env, process};

use tenure::{Client, fence::FileFence};

/// The quorum that `.ci/quorum.sh` starts.
const ENDPOINTS: [&str; 3] = ["127.0.0.1:2379", "127.0.0.1:22379", "127.0.0.1:32379"];
const LOCK: &str = "examples/fenced";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::connect(ENDPOINTS).await?;
    let path = env::temp_dir().join(format!("tenure-fenced-{}", process::id()));
    let report = FileFence::new(path, LOCK);

    let paused = client.locks().acquire(LOCK).await?;
    paused
        .guarded()
        .put("examples/fenced.by", "the first")
        .await?;
    report.write(paused.token(), b"the first\n")?;
    println!("the first holds token {}", paused.token());

    // Same effect as an expired lease, without the wait: another client acquires the lock before
    // the first holder is notified.
    let store = paused.guarded();
    let token = paused.token();
    client
        .locks()
        .force_release(LOCK, "to show what a pause does")
        .token(token)
        .await?;
    let second = client.locks().acquire(LOCK).await?;
    second
        .guarded()
        .put("examples/fenced.by", "the second")
        .await?;
    report.write(second.token(), b"the second\n")?;
    println!("the second holds token {}", second.token());

    // The first wakes up in the middle of its work.
    match store.put("examples/fenced.by", "the first, late").await {
        Ok(_) => return Err("the store took a stale write".into()),
        Err(error) => println!("the store says: {error} ({:?})", error.kind()),
    }
    match report.write(token, b"the first, late\n") {
        Ok(()) => return Err("the file took a stale write".into()),
        Err(error) => println!("the file says: {error}"),
    }

    let kept = client.get("examples/fenced.by").await?;
    println!("kept: {:?}", kept.value());
    second.release().await?;
    Ok(())
}
