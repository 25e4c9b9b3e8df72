//! How long a durable write to the log takes: the log in segments and the log of earlier versions,
//! in turn, in a directory that is given.
//!
//! `cargo run --release -p tenured --example log_latency -- DIRECTORY`. Not a benchmark of the
//! server: that is `make bench`.

#![expect(
    clippy::print_stdout,
    reason = "a program that measures, prints and ends"
)]

use std::{env, io, path::Path, time::Instant};

use tenured::storage::{ENTRY_HEAD, LogDisk, LogOwner, LogRecord, LogWrite, RocksLog, open_log};

const ENTRY_BYTES: usize = 300;
const WRITES: u64 = 2000;
const ROUNDS: usize = 5;
const OWNER: LogOwner = LogOwner {
    cluster_id: 1,
    member_id: 1,
    instance_id: 1,
};

fn main() -> io::Result<()> {
    let root = env::args().nth(1).expect("a directory to measure in");
    let root = tempfile::tempdir_in(Path::new(&root))?;
    let segments = open_log(&root.path().join("log"), OWNER)?;
    let database = RocksLog::open(&root.path().join("database"))?;
    for round in 0..ROUNDS as u64 {
        measure("segments", &segments, round * WRITES)?;
        measure("database", &database, round * WRITES)?;
    }
    Ok(())
}

fn measure(name: &str, log: &dyn LogDisk, from: u64) -> io::Result<()> {
    let mut times = Vec::new();
    for index in from..from + WRITES {
        let record = LogRecord {
            index,
            term: 1,
            head: [0; ENTRY_HEAD],
            payload: vec![7; ENTRY_BYTES].into(),
        };
        let begin = Instant::now();
        log.write(&[LogWrite::Put(record)])?;
        log.sync()?;
        times.push(begin.elapsed());
        log.rest()?;
    }
    times.sort_unstable();
    let at = |share: usize| times[times.len() * share / 1000].as_micros();
    println!(
        "{name}: p50 {} us, p99 {} us, p99.9 {} us",
        at(500),
        at(990),
        at(999)
    );
    Ok(())
}
