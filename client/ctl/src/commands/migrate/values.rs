//! Copies keys, values and leases into a running cluster, by a mirror of everything.

use bytes::Bytes;
use tenure::{Client, KeyRange};

use crate::{
    args::MigrateArgs,
    commands::{
        make_mirror::{Mirror, Plan},
        print_message,
        signals::Signals,
    },
    failure::Failure,
    replication::Mapping,
};

pub(super) async fn run(
    source: &Client,
    destination: &Client,
    args: &MigrateArgs,
    mut signals: Signals,
) -> Result<(), Failure> {
    let plan = Plan {
        range: KeyRange::all(),
        mapping: Mapping {
            from: Bytes::new(),
            to: Bytes::new(),
        },
        changes_from: None,
        ops_max: args.max_txn_ops,
        resume: true,
        leases: true,
        verify: true,
        once: args.once,
    };
    let mut mirror = Mirror::new(source, destination, plan);
    if !args.once {
        print_message(
            "revisions and versions are those of the destination. To switch: stop what writes to \
             the source, then end this command with Ctrl-C: it copies the rest and compares",
        );
    }
    if let Ok(outcome) = signals.or_signal(mirror.run()).await {
        return outcome;
    }
    // A copy that was interrupted goes on from its progress.
    mirror.end_once();
    match signals.or_signal(mirror.run()).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::Reported),
    }
}
