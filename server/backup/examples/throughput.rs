//! How long a snapshot takes to write, verify and read: a million keys with values of 256 bytes, or
//! as many as are named, in a temporary file.
//!
//! `cargo run --release -p tenure-backup --example throughput -- [KEYS]`. Prints what the planner
//! keeps in memory, too.

#![expect(
    clippy::print_stdout,
    reason = "a program that measures, prints and ends"
)]

use std::{
    env,
    error::Error,
    fs,
    io::{self, Write},
    time::Instant,
};

use bytes::Bytes;
use prost::Message;
use tenure_backup::{
    bbolt::{Planner, RowSink, Writer},
    contents,
    file::{Hasher, SnapshotFile},
    hash_kv,
    schema::{BucketName, KeyValue, RevisionKey},
    status,
};
use tenure_statemachine::Revision;

const KEYS: i64 = 1_000_000;
const VALUE_BYTES: usize = 256;

fn main() -> Result<(), Box<dyn Error>> {
    let keys = match env::args().nth(1) {
        Some(keys) => keys.parse()?,
        None => KEYS,
    };
    let rows: Vec<(Bytes, Bytes)> = (0..keys).map(row).collect();
    let mut file = tempfile::tempfile()?;

    let start = Instant::now();
    let before = resident_bytes()?;
    let mut planner = Planner::new();
    feed(&rows, &mut planner)?;
    let plan = planner.finish();
    let kept = resident_bytes()?.saturating_sub(before);
    println!(
        "plan      {:>8.3?}  {} bytes, {kept} in memory",
        start.elapsed(),
        plan.bytes()
    );

    let start = Instant::now();
    let mut hasher = Hasher::default();
    let sink = |chunk: Bytes| -> io::Result<()> {
        hasher.add(&chunk);
        file.write_all(&chunk)
    };
    let mut writer = Writer::begin(plan, sink)?;
    feed(&rows, &mut writer)?;
    writer.finish()?;
    file.write_all(&hasher.finish().0)?;
    println!("write     {:>8.3?}  with SHA-256", start.elapsed());

    let snapshot = SnapshotFile::open(file)?;
    let start = Instant::now();
    snapshot.verify_checksum()?;
    println!("checksum  {:>8.3?}", start.elapsed());
    let database = snapshot.database()?;
    let start = Instant::now();
    let checked = database.check()?;
    println!("check     {:>8.3?}  {} rows", start.elapsed(), checked.rows);
    let start = Instant::now();
    let found = status(&database)?;
    println!("status    {:>8.3?}  {} keys", start.elapsed(), found.keys);
    let start = Instant::now();
    let found = contents(&database)?;
    println!(
        "contents  {:>8.3?}  revision {}",
        start.elapsed(),
        found.revision
    );
    let start = Instant::now();
    let found = hash_kv(&database, Revision(0))?;
    println!("hash_kv   {:>8.3?}  {:#010x}", start.elapsed(), found.hash);
    Ok(())
}

fn row(number: i64) -> (Bytes, Bytes) {
    let revision = number.saturating_add(2);
    let kv = KeyValue {
        key: format!("/registry/pods/default/pod-{number:08}").into(),
        create_revision: revision,
        mod_revision: revision,
        version: 1,
        value: vec![b'v'; VALUE_BYTES].into(),
        lease: 0,
    };
    let at = RevisionKey {
        main: Revision(revision),
        ..RevisionKey::default()
    };
    (at.encode(), kv.encode_to_vec().into())
}

fn feed<K: RowSink>(rows: &[(Bytes, Bytes)], sink: &mut K) -> Result<(), K::Error> {
    for bucket in BucketName::ALL {
        sink.bucket(bucket.as_bytes())?;
        if bucket == BucketName::Key {
            for (key, value) in rows {
                sink.row(key, value)?;
            }
        }
    }
    Ok(())
}

/// Memory of this process that is in use, without pages of files.
fn resident_bytes() -> io::Result<u64> {
    const PAGE_BYTES: u64 = 4096;
    let text = fs::read_to_string("/proc/self/statm")?;
    let pages = text
        .split(' ')
        .nth(1)
        .and_then(|word| word.parse::<u64>().ok());
    Ok(pages.unwrap_or_default().saturating_mul(PAGE_BYTES))
}
