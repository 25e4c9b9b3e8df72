//! Pushes items and processes them; one of them fails and becomes a dead letter.
//!
//! `cargo run -p tenure --example queue`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use tenure::{Client, Error};

/// The quorum that `.ci/quorum.sh` starts.
const ENDPOINTS: [&str; 3] = ["127.0.0.1:2379", "127.0.0.1:22379", "127.0.0.1:32379"];

#[tokio::main]
async fn main() -> Result<(), Error> {
    let client = Client::connect(ENDPOINTS).await?;
    let queue = client
        .recipes()
        .queue("examples/queue")
        .visibility(Duration::from_secs(10))
        .tries_max(3);
    for payload in ["mail one", "poison", "mail two"] {
        println!("pushed {payload:?} as {}", queue.push(payload).await?);
    }
    while let Some(delivery) = queue.try_receive().await? {
        println!("{:?}, try {}", delivery.payload(), delivery.tries());
        if delivery.payload() == "poison" {
            delivery.nack().await?;
        } else {
            delivery.ack().await?;
        }
    }
    for letter in queue.dead_letters(10).await? {
        println!("dead letter: {} {:?}", letter.number, letter.payload);
        queue.discard(letter.number).await?;
    }
    Ok(())
}
