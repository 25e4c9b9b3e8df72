//! Reads of everything: many at once, and answers that are not read.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use futures::future::join_all;
use tokio::time::timeout;

use super::{raw, writes::everything};

/// Answers that are not read, each on a connection of its own.
const UNREAD: usize = 40;
/// How long they stay open.
const OPEN: Duration = Duration::from_secs(15);
/// Longest wait for one of them to begin.
const BEGIN_MAX: Duration = Duration::from_secs(20);

/// Lists everything, `lists` times at once.
pub(super) async fn lists(url: &str, lists: usize) -> Result<String> {
    let mut calls = Vec::new();
    for _ in 0..lists {
        let channel = raw::connect(url).await?;
        calls.push(raw::whole(channel, raw::RANGE, everything()));
    }
    let mut came = BTreeMap::new();
    for answer in join_all(calls).await {
        let what = match answer {
            Ok(bytes) => format!("served with {} MB", bytes / 1_000_000),
            Err(status) => raw::said::<()>(Err(status)),
        };
        *came.entry(what).or_default() += 1;
    }
    Ok(tell(&came))
}

/// Asks for everything on many connections, by the call at `path`, and reads none of the answers.
pub(super) async fn unread(url: &str, path: &'static str) -> Result<String> {
    let mut opening = Vec::new();
    for _ in 0..UNREAD {
        let opened = raw::open(raw::connect(url).await?, path, everything());
        opening.push(timeout(BEGIN_MAX, opened));
    }
    let (mut came, mut open) = (BTreeMap::new(), Vec::new());
    for opened in join_all(opening).await {
        let what = match opened {
            Ok(Ok(stream)) => {
                open.push(stream);
                "begun and left unread".to_owned()
            }
            Ok(Err(status)) => raw::said::<()>(Err(status)),
            Err(_) => format!("not begun within {} s", BEGIN_MAX.as_secs()),
        };
        *came.entry(what).or_default() += 1;
    }
    if !open.is_empty() {
        // Time is the subject: they stay open and unread.
        tokio::time::sleep(OPEN).await;
    }
    Ok(tell(&came))
}

fn tell(came: &BTreeMap<String, usize>) -> String {
    let parts: Vec<_> = came
        .iter()
        .map(|(what, count)| format!("{count} {what}"))
        .collect();
    parts.join("; ")
}
