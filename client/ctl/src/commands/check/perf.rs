//! `check perf`: a fixed rate of writes for a minute. Passes or fails by rate, slowest write and
//! standard deviation.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal},
    sync::Arc,
    time::Duration,
};

use indicatif::ProgressBar;
use tenure::Client;
use tokio::{
    sync::{Mutex, mpsc},
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{clean_up, key, report::Report, require_empty, writers};
use crate::{
    args::{Cleanup, Load},
    commands::Session,
    failure::Failure,
};

/// How long the check writes.
const DURATION: Duration = Duration::from_secs(60);
/// Bytes of a key behind its prefix, and of a value: etcdctl's choice, kept for comparison.
const KEY_BYTES: usize = 256;
const VALUE_BYTES: usize = 1024;
/// Minimum share of the wanted rate.
const RATE_SHARE_MIN: f64 = 0.9;
/// Maximum latency of the slowest write, in seconds.
const SLOWEST_MAX: f64 = 0.5;
/// Maximum standard deviation, in seconds.
const DEVIATION_MAX: f64 = 0.1;

/// Writes per second and writers of a load.
fn shape(load: Load) -> (u32, usize) {
    match load {
        Load::Small => (150, 50),
        Load::Medium => (1_000, 200),
        Load::Large => (8_000, 500),
        Load::ExtraLarge => (15_000, 1_000),
    }
}

pub(in crate::commands) async fn perf(
    session: &Session,
    load: Load,
    prefix: &str,
    cleanup: Cleanup,
) -> Result<(), Failure> {
    let (rate, count) = shape(load);
    let clients = writers(session, count)?;
    require_empty(&session.client, prefix).await?;
    let measured = tokio::select! {
        // Dropping the check stops its writers; the keys are deleted below.
        report = measure(clients, prefix, rate) => Some(report),
        _ = tokio::signal::ctrl_c() => None,
    };
    let Some(report) = measured else {
        clean_up(
            session,
            prefix,
            Cleanup {
                auto_compact: false,
                auto_defrag: false,
            },
        )
        .await?;
        return Err(anyhow::anyhow!("interrupted").into());
    };
    let (verdict, passed) = judge(&report, f64::from(rate));
    clean_up(session, prefix, cleanup).await?;
    session.output.say(verdict.as_bytes())?;
    if passed {
        Ok(())
    } else {
        Err(Failure::Reported)
    }
}

/// Writes at the wanted rate until time is up.
async fn measure(clients: Vec<Client>, prefix: &str, rate: u32) -> Report {
    // One permit is queued per writer; more would hide that writers do not keep up.
    let (turns, taken) = mpsc::channel(clients.len());
    let taken = Arc::new(Mutex::new(taken));
    let report = Arc::new(Mutex::new(Report::new()));
    let mut running = JoinSet::new();
    for client in clients {
        let (taken, report) = (Arc::clone(&taken), Arc::clone(&report));
        let prefix = prefix.to_owned();
        running.spawn(async move {
            let value = vec![0; VALUE_BYTES];
            loop {
                let turn = taken.lock().await.recv().await;
                let Some(number) = turn else { break };
                let started = std::time::Instant::now();
                let written = client.put(key(&prefix, KEY_BYTES, number), &value).await;
                let error = written.err().map(|error| error.to_string());
                report.lock().await.add(started.elapsed(), error);
            }
        });
    }
    hand_out(turns, rate).await;
    while running.join_next().await.is_some() {}
    let mut report = report.lock().await;
    std::mem::replace(&mut *report, Report::new())
}

/// Issues permits to write at an even rate.
async fn hand_out(turns: mpsc::Sender<u64>, rate: u32) {
    let hidden = !io::stderr().is_terminal();
    let bar = if hidden {
        ProgressBar::hidden()
    } else {
        ProgressBar::new(DURATION.as_secs())
    };
    let started = Instant::now();
    let interval = Duration::from_secs(1) / rate;
    for number in 0..u32::MAX {
        let due = started + interval * number;
        if due.duration_since(started) >= DURATION || started.elapsed() >= DURATION {
            break;
        }
        sleep_until(due).await;
        bar.set_position(started.elapsed().as_secs());
        if turns.send(rand::random()).await.is_err() {
            break;
        }
    }
    bar.finish_and_clear();
}

/// The result in etcdctl's words, and whether the check passed.
fn judge(report: &Report, wanted: f64) -> (String, bool) {
    let mut text = String::new();
    let mut passed = true;
    let mut line = |good: bool, line: String| {
        passed &= good;
        writeln!(text, "{line}").expect("writing to a string succeeds");
    };
    if !report.errors().is_empty() {
        line(false, "FAIL: too many errors".to_owned());
        for (error, count) in report.errors() {
            line(false, format!("FAIL: ERROR({error}) -> {count}"));
        }
    }
    let (rate, slowest, deviation) = (report.rate(), report.slowest(), report.deviation());
    let writes = rate as u64 + 1;
    if rate / wanted <= RATE_SHARE_MIN {
        line(
            false,
            format!("FAIL: Throughput too low: {writes} writes/s"),
        );
    } else {
        line(true, format!("PASS: Throughput is {writes} writes/s"));
    }
    if slowest > SLOWEST_MAX {
        line(
            false,
            format!("Slowest request took too long: {slowest:.6}s"),
        );
    } else {
        line(true, format!("PASS: Slowest request took {slowest:.6}s"));
    }
    if deviation > DEVIATION_MAX {
        line(false, format!("Stddev too high: {deviation:.6}s"));
    } else {
        line(true, format!("PASS: Stddev is {deviation:.6}s"));
    }
    text.push_str(if passed { "PASS\n" } else { "FAIL\n" });
    (text, passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_error_fails_a_check() {
        let mut report = Report::new();
        report.add(Duration::from_millis(1), None);
        let (text, passed) = judge(&report, 0.000_1);
        assert!(passed && text.ends_with("\nPASS\n"), "{text}");
        report.add(Duration::from_millis(1), Some("refused".to_owned()));
        let (text, passed) = judge(&report, 0.000_1);
        assert!(
            !passed && text.contains("FAIL: ERROR(refused) -> 1"),
            "{text}"
        );
    }

    #[test]
    fn slow_and_uneven_writes_fail_a_check() {
        let mut report = Report::new();
        report.add(Duration::from_millis(1), None);
        report.add(Duration::from_millis(900), None);
        let (text, passed) = judge(&report, 0.000_1);
        assert!(!passed);
        assert!(
            text.contains("Slowest request took too long: 0.900000s"),
            "{text}"
        );
        assert!(text.contains("Stddev too high"), "{text}");
    }
}
