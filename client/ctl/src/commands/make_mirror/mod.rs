//! `make-mirror`: copies the keys below a prefix to another cluster, and every change of them.
//!
//! Options, copying and the count on standard output are etcdctl's. What it adds: progress that is
//! kept in the destination, the lag, and a comparison.

mod base;
mod mirror;
mod progress;
mod writer;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tenure::KeyRange;
use tokio::{task::JoinHandle, time::interval};

use super::{Session, signals::Signals};
use crate::{
    args::MirrorArgs,
    failure::Failure,
    output::Output,
    replication::{Mapping, destination},
};

pub(super) use mirror::{Mirror, Plan};
use writer::Count;

/// How often the count is printed; etcdctl's interval.
const REPORT_INTERVAL: Duration = Duration::from_secs(30);

pub(super) async fn run(session: &Session, args: &MirrorArgs) -> Result<(), Failure> {
    let mapping = mapping(args)?;
    if args.max_txn_ops < if args.resume { 2 } else { 1 } {
        return Err(Failure::usage(
            "--max-txn-ops is too small for a transaction with one key",
        ));
    }
    let mut signals = Signals::take()?;
    let destination = destination(&session.global, &args.destination, &args.access).await?;
    let plan = Plan {
        range: KeyRange::prefix(&args.prefix),
        mapping,
        // As etcdctl, which takes revision 1 for "everything".
        changes_from: (args.rev > 1).then_some(args.rev),
        ops_max: args.max_txn_ops,
        resume: args.resume,
        leases: false,
        verify: args.verify,
        once: args.once,
    };
    let mut mirror = Mirror::new(&session.client, &destination, plan);
    let count = mirror.count();
    let printer = print_count(session.output, count);
    let ended = signals.or_signal(mirror.run()).await;
    printer.abort();
    match ended {
        Ok(outcome) => outcome,
        Err(_) => Ok(()),
    }
}

/// Prints the number of copied keys and changes again and again, as etcdctl does.
fn print_count(output: Output, count: Count) -> JoinHandle<()> {
    let count = Arc::clone(&count);
    tokio::spawn(async move {
        let mut report = interval(REPORT_INTERVAL);
        report.reset();
        loop {
            report.tick().await;
            let text = format!("{}\n", count.load(Ordering::Relaxed));
            if output.say(text.as_bytes()).is_err() {
                return;
            }
        }
    })
}

/// How keys are called at the destination, by etcdctl's rules.
fn mapping(args: &MirrorArgs) -> Result<Mapping, Failure> {
    if args.no_dest_prefix && !args.dest_prefix.is_empty() {
        return Err(Failure::usage(
            "`--dest-prefix` and `--no-dest-prefix` cannot be set at the same time, choose one",
        ));
    }
    let to = match (args.no_dest_prefix, args.dest_prefix.is_empty()) {
        (true, _) => "",
        (false, true) => &args.prefix,
        (false, false) => &args.dest_prefix,
    };
    Ok(Mapping {
        from: args.prefix.clone().into(),
        to: to.to_owned().into(),
    })
}
