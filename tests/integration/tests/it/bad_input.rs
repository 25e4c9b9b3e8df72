//! Bad input, as a table: what each request is refused with, to the code and the text; that it
//! changes nothing; and that the next good request is served.
//!
//! The same table is put to etcd, which answers the same or as the row says.

pub(crate) mod case;
mod keys;
mod lease;
mod maintenance;
mod malformed;
mod txn;
mod watch;

use std::collections::BTreeSet;

use tenure_testkit::{Cluster, Etcd};

use crate::differential::{
    ask::Reply,
    requests::{compact, get, grant, hash, put},
    wire::Wire,
};
use case::{Case, InEtcd, check_rows, good};

/// The lease that exists while the table is gone through.
const LEASE: i64 = 7;
/// The revision compacted at.
const FLOOR: i64 = 4;
/// The latest revision.
const LATEST: i64 = 6;

/// Every case.
fn table() -> Vec<Case> {
    let mut table = keys::cases();
    table.extend(txn::cases());
    table.extend(lease::cases());
    table.extend(watch::cases());
    table.extend(maintenance::cases());
    table.extend(malformed::cases());
    table
}

/// Keys, history, a compaction and a lease, so that there is something to break.
async fn prepare(wire: &Wire) {
    for value in ["1", "2", "3", "4", "5"] {
        good(wire, &put("a", value)).await;
    }
    good(wire, &compact(FLOOR)).await;
    good(wire, &grant(LEASE, 100_000)).await;
}

/// What must not change: history and its hash, and what a good request finds.
async fn state(wire: &Wire) -> [Reply; 2] {
    let found = good(wire, &get("a")).await;
    assert_eq!(found.revision, Some(LATEST));
    [good(wire, &hash(0)).await, found]
}

#[tokio::test]
async fn bad_input_is_refused_by_name_and_changes_nothing() {
    let cluster = Cluster::start(1).await;
    let wire = Wire::to(cluster.node(0).address());
    prepare(&wire).await;
    let table = table();
    let rows = table.iter().map(|case| (case, &case.expected));
    check_rows(&wire, rows, async || state(&wire).await).await;
}

#[tokio::test]
async fn bad_input_is_refused_by_etcd_as_the_table_says() {
    let Some(etcd) = Etcd::start().await else {
        return;
    };
    let wire = Wire::to(etcd.address());
    prepare(&wire).await;
    let table = table();
    let rows = table.iter().filter_map(|case| match &case.in_etcd {
        InEtcd::Same => Some((case, &case.expected)),
        InEtcd::Otherwise(expected) => Some((case, expected)),
        InEtcd::NotAsked => None,
    });
    check_rows(&wire, rows, async || state(&wire).await).await;
}

#[test]
fn the_table_is_long_and_names_every_case_once() {
    let table = table();
    assert!(table.len() >= 150, "only {} cases", table.len());
    let names: BTreeSet<_> = table.iter().map(|case| &case.name).collect();
    assert_eq!(names.len(), table.len(), "a name is used twice");
}
