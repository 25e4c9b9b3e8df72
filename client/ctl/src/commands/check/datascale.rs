//! `check datascale`: measures the memory of the first endpoint for a number of keys.

use std::{
    io::{self, IsTerminal},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use indicatif::ProgressBar;
use tenure::Client;
use tokio::{sync::Mutex, task::JoinSet};

use super::{clean_up, key, memory::resident_bytes, report::Report, require_empty, writers};
use crate::{
    args::{Cleanup, Load},
    commands::Session,
    failure::Failure,
};

/// Bytes of a key behind its prefix, and of a value: etcdctl's choice, kept for comparison.
const KEY_BYTES: usize = 512;
const VALUE_BYTES: usize = 512;
/// Bytes in the unit of the answer.
const MEGABYTE: f64 = 1_048_576.0;

/// Keys and writers of a load.
fn shape(load: Load) -> (u64, usize) {
    match load {
        Load::Small => (10_000, 50),
        Load::Medium => (100_000, 200),
        Load::Large => (1_000_000, 500),
        Load::ExtraLarge => (3_000_000, 1_000),
    }
}

pub(in crate::commands) async fn datascale(
    session: &Session,
    load: Load,
    prefix: &str,
    cleanup: Cleanup,
) -> Result<(), Failure> {
    let (keys, count) = shape(load);
    let endpoint = session
        .client
        .endpoints()
        .next()
        .unwrap_or_default()
        .to_owned();
    let client = session.client.only(&endpoint)?;
    require_empty(&client, prefix).await?;
    let before = resident_bytes(&endpoint).await?;
    let size = KEY_BYTES + VALUE_BYTES;
    let text = format!(
        "Start data scale check for work load [{keys} key-value pairs, {size} bytes per key-value, \
         {count} concurrent clients].\n"
    );
    session.output.say(text.as_bytes())?;
    let report = tokio::select! {
        // Dropping the check stops its writers; the keys are deleted below.
        report = fill(writers(session, count)?, prefix, keys) => Some(report),
        _ = tokio::signal::ctrl_c() => None,
    };
    let after = resident_bytes(&endpoint).await;
    clean_up(session, prefix, cleanup).await?;
    let Some(report) = report else {
        return Err(anyhow::anyhow!("interrupted").into());
    };
    if !report.errors().is_empty() {
        session.output.say(b"FAIL: too many errors\n")?;
        for (error, count) in report.errors() {
            session
                .output
                .say(format!("FAIL: ERROR({error}) -> {count}\n").as_bytes())?;
        }
        return Err(Failure::Reported);
    }
    let used = (after? - before) / MEGABYTE;
    let text = format!("PASS: Approximate system memory used : {used:.2} MB.\n");
    session.output.say(text.as_bytes())
}

/// Writes `keys` keys, as fast as the cluster accepts them.
async fn fill(clients: Vec<Client>, prefix: &str, keys: u64) -> Report {
    let bar = if io::stderr().is_terminal() {
        ProgressBar::new(keys)
    } else {
        ProgressBar::hidden()
    };
    let written = Arc::new(AtomicU64::new(0));
    let report = Arc::new(Mutex::new(Report::new()));
    let mut running = JoinSet::new();
    for client in clients {
        let (written, report) = (Arc::clone(&written), Arc::clone(&report));
        let (prefix, bar) = (prefix.to_owned(), bar.clone());
        running.spawn(async move {
            let value = vec![0; VALUE_BYTES];
            loop {
                let number = written.fetch_add(1, Ordering::Relaxed);
                if number >= keys {
                    break;
                }
                let started = Instant::now();
                let put = client.put(key(&prefix, KEY_BYTES, number), &value).await;
                let error = put.err().map(|error| error.to_string());
                report.lock().await.add(started.elapsed(), error);
                bar.inc(1);
            }
        });
    }
    while running.join_next().await.is_some() {}
    bar.finish_and_clear();
    let mut report = report.lock().await;
    std::mem::replace(&mut *report, Report::new())
}
