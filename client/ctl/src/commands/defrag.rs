//! `defrag`: one endpoint after the other, because some servers do not serve requests meanwhile.

use std::time::Instant;

use super::{Session, print_message};
use crate::{failure::Failure, output::go_duration};

pub(super) async fn run(session: &Session, cluster: bool) -> Result<(), Failure> {
    let mut failed = false;
    for endpoint in session.endpoints(cluster).await? {
        let client = session.client.only(&endpoint)?;
        let started = Instant::now();
        let outcome = client.maintenance().defragment().await;
        let took = go_duration(started.elapsed());
        match outcome {
            Ok(_) => {
                let text = format!("Finished defragmenting etcd member[{endpoint}]. took {took}\n");
                session.output.say(text.as_bytes())?;
            }
            Err(error) => {
                failed = true;
                print_message(format_args!(
                    "Failed to defragment etcd member[{endpoint}]. took {took}. ({error})"
                ));
            }
        }
    }
    if failed {
        Err(Failure::Reported)
    } else {
        Ok(())
    }
}
