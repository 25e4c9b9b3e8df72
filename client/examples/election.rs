//! Campaigns, leads for a while and resigns; prints the current leader meanwhile.
//!
//! Run it several times at once.
//! `cargo run -p tenure --example election [name]`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{env, process, time::Duration};

use tenure::{Client, Election, Error};

/// The quorum that `.ci/quorum.sh` starts.
const ENDPOINTS: [&str; 3] = ["127.0.0.1:2379", "127.0.0.1:22379", "127.0.0.1:32379"];

#[tokio::main]
async fn main() -> Result<(), Error> {
    let name = env::args()
        .nth(1)
        .unwrap_or_else(|| "examples/election".to_owned());
    let client = Client::connect(ENDPOINTS).await?;
    let election = client.elections().named(&name);
    let observing = tokio::spawn(observe(election.clone()));

    let me = format!("process {}", process::id());
    let leadership = election.campaign(&me).ttl(Duration::from_secs(3)).await?;
    println!("{me} leads in epoch {}", leadership.epoch());
    let led = leadership.run(lead(&leadership)).await;
    match led {
        Ok(outcome) => outcome?,
        Err(loss) => println!("{me} lost its leadership: {loss}"),
    }
    if leadership.is_leader() {
        leadership.resign().await?;
    }
    observing.abort();
    Ok(())
}

async fn lead(leadership: &tenure::Leadership) -> Result<(), Error> {
    for second in 1..=5 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        leadership
            .proclaim(format!("process {}, {second} s", process::id()))
            .await?;
    }
    Ok(())
}

async fn observe(election: Election) -> Result<(), Error> {
    let mut observer = election.observe().await?;
    while let Some(leader) = observer.next().await {
        match leader? {
            Some(leader) => println!("  seen: epoch {}, {:?}", leader.epoch, leader.value),
            None => println!("  seen: no leader"),
        }
    }
    Ok(())
}
