//! Writes, reads, compares and leases against a server on this machine.
//!
//! `cargo run -p tenure --example quickstart [endpoint]`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{env, time::Duration};

use tenure::{Client, Compare, Error, Get, KeyRange, Put};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let endpoint = env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:2379".to_owned());
    let client = Client::connect([endpoint]).await?;

    let lease = client.leases().grant(Duration::from_secs(30)).await?;
    client
        .put("quickstart/greeting", "hello")
        .lease(lease.id())
        .await?;
    let answer = client.get(KeyRange::prefix("quickstart/")).await?;
    for kv in &answer {
        let (key, value) = (kv.key(), kv.value());
        println!("{key:?} = {value:?} since revision {}", kv.mod_revision());
    }

    let answer = client
        .txn()
        .when(Compare::missing("quickstart/owner"))
        .and_then(Put::new("quickstart/owner", "me").lease(lease.id()))
        .or_else(Get::new("quickstart/owner"))
        .await?;
    println!("first to own it: {}", answer.succeeded());

    client.leases().revoke(lease.id()).await?;
    let left = client
        .get(KeyRange::prefix("quickstart/"))
        .count_only()
        .await?;
    println!("keys left after the lease: {}", left.count());
    Ok(())
}
