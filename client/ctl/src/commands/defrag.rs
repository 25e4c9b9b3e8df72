//! `defrag`: one endpoint after the other, because some servers do not serve requests meanwhile.
//!
//! A server of tenure gives the space of removed history back by itself, and a call only has it
//! begin; so the size of the data is printed, which tells whether there is anything to give back.

use std::time::Instant;

use tenure::Client;

use super::{Session, print_message};
use crate::{
    failure::Failure,
    output::{go_duration, human_size as size},
};

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
                if let Some(text) = space(&client, &endpoint).await {
                    session.output.say(text.as_bytes())?;
                }
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

/// What the data of a server take. Nothing when it does not say: it was defragmented nonetheless.
async fn space(client: &Client, endpoint: &str) -> Option<String> {
    let status = client.maintenance().status().await.ok()?;
    let (all, in_use) = (status.db_size_bytes(), status.db_size_in_use_bytes());
    let rest = match all.saturating_sub(in_use) {
        0 => "nothing to reclaim".to_owned(),
        unused => format!("{} to reclaim", size(unused)),
    };
    let (all, in_use) = (size(all), size(in_use));
    Some(format!(
        "member[{endpoint}]: db size {all}, in use {in_use}, {rest}\n"
    ))
}
