//! Registers an instance of a service and watches all instances.
//!
//! Run it several times at once, each with a name of its own.
//! `cargo run -p tenure --example discovery [name]`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{env, process, time::Duration};

use tenure::{Client, EndpointChange, Error, Instance, Selector};

/// The quorum that `.ci/quorum.sh` starts.
const ENDPOINTS: [&str; 3] = ["127.0.0.1:2379", "127.0.0.1:22379", "127.0.0.1:32379"];
const SERVICE: &str = "examples";

#[tokio::main]
async fn main() -> Result<(), Error> {
    let name = env::args()
        .nth(1)
        .unwrap_or_else(|| format!("instance-{}", process::id()));
    let client = Client::connect(ENDPOINTS).await?;
    let registry = client.registry();

    let instance = Instance::new(SERVICE, &name)
        .endpoint("grpc", "127.0.0.1", 50051)
        .zone("here")
        .weight(100);
    let registration = registry
        .register(instance)
        .ttl(Duration::from_secs(3))
        .await?;
    println!(
        "{name} is registered as incarnation {}",
        registration.incarnation()
    );

    let mut watch = registry
        .watch_endpoints(SERVICE, Selector::default())
        .await?;
    let watching = async {
        while let Some(change) = watch.next().await {
            match change? {
                EndpointChange::Snapshot { registrations, .. } => {
                    for registration in registrations {
                        println!("  there: {}", registration.id());
                    }
                }
                EndpointChange::Delta { updated, removed } => {
                    for registration in updated {
                        println!("  new or changed: {}", registration.id());
                    }
                    println!("  gone: {removed:?}");
                }
                _ => {}
            }
        }
        Ok::<_, Error>(())
    };
    tokio::select! {
        outcome = watching => outcome?,
        loss = registration.lost() => println!("{name} is lost: {loss}"),
        _ = tokio::time::sleep(Duration::from_secs(20)) => {}
        _ = tokio::signal::ctrl_c() => {}
    }

    // Draining: no new traffic, one second for requests under way.
    if registration.is_held() {
        registration.drain(Duration::from_secs(1)).await?;
        registration.deregister().await?;
    }
    Ok(())
}
