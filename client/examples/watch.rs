//! Prints every change below a prefix until it is interrupted.
//!
//! `cargo run -p tenure --example watch [prefix] [endpoint]`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::env;

use tenure::{Client, Error, KeyRange};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let prefix = env::args().nth(1).unwrap_or_default();
    let endpoint = env::args()
        .nth(2)
        .unwrap_or_else(|| "127.0.0.1:2379".to_owned());
    let client = Client::connect([endpoint]).await?;

    let mut watcher = client.watch(KeyRange::prefix(prefix)).prev_kv().await?;
    println!("watching from revision {}", watcher.next_revision());
    while let Some(update) = watcher.next().await {
        for event in update? {
            let what = if event.is_put() { "put" } else { "delete" };
            println!("{what} {:?} (before: {:?})", event.kv(), event.prev_kv());
        }
    }
    Ok(())
}
