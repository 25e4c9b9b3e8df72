//! What is acknowledged is on disk: seen in the system calls, and in what happens when the disk
//! takes no more.

use std::{io::Write, os::unix::process::ExitStatusExt};

use prost::Message;
use tenure_proto::etcdserverpb::PutRequest;
use tenure_testkit::{Cluster, STATE_MAX, Tool, find_program, wait_until};

/// Largest file that the node may write once the limit is set.
const FILE_BYTES_MAX: usize = 4 << 20;
/// Bytes of a value; a few hundred of them do not fit below the limit.
const VALUE_BYTES: usize = 64 << 10;
/// Puts that certainly do not fit.
const PUTS_MAX: usize = 10 * FILE_BYTES_MAX / VALUE_BYTES;

fn skipped(what: &str) {
    let notice = format!("SKIPPED: {what} is not installed\n");
    drop(std::io::stderr().write_all(notice.as_bytes()));
}

#[tokio::test]
async fn a_node_that_cannot_write_ends_and_acknowledges_nothing_more() {
    let Some(prlimit) = find_program("prlimit") else {
        return skipped("prlimit (Debian: util-linux)");
    };
    // The signal for a file that is too large would end the process before it sees the error.
    let mut cluster = Cluster::builder(1)
        .wrapper(&["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"])
        .start()
        .await;
    let node = cluster.node(0);
    let calls = node.calls();
    let value = "v".repeat(VALUE_BYTES);
    calls.put("disk/begin", &value).await.unwrap();
    let pid = node.pid().to_string();
    let limit = format!("--fsize={FILE_BYTES_MAX}");
    let limited = Tool::new(prlimit).run(&["--pid", &pid, &limit]).await;
    assert_eq!(limited.code, Some(0), "{limited:?}");

    let mut acknowledged = Vec::new();
    let mut refused = None;
    for number in 0..PUTS_MAX {
        let key = format!("disk/{number:06}");
        match calls.put(&key, &value).await {
            Ok(revision) => acknowledged.push((key, revision)),
            Err(status) => {
                refused = Some((key, status));
                break;
            }
        }
    }
    let (unknown, status) = refused.expect("more was acknowledged than the limit lets be written");
    println!(
        "{} puts were acknowledged, then {status}",
        acknowledged.len()
    );
    let ended = cluster.node_mut(0).wait_exit(STATE_MAX).await;
    assert!(!ended.success(), "{ended}");
    println!("it ended with {ended}, signal {:?}", ended.signal());
    let log = cluster.node(0).log();
    assert!(log.contains("fatal"), "it did not say why it ended: {log}");

    // The limit went with the process.
    cluster.node_mut(0).restart().await;
    let calls = cluster.node(0).calls();
    for (key, revision) in &acknowledged {
        let kv = calls.get(key).await.unwrap();
        let kv = kv.unwrap_or_else(|| panic!("{key}, acknowledged at {revision}, is lost"));
        assert_eq!((kv.mod_revision, kv.value.len()), (*revision, VALUE_BYTES));
    }
    println!(
        "{unknown} is there: {}",
        calls.get(&unknown).await.unwrap().is_some()
    );
    calls.put("disk/end", &value).await.unwrap();
}

#[tokio::test]
async fn a_follower_that_cannot_write_ends_and_the_others_go_on() {
    let Some(prlimit) = find_program("prlimit") else {
        return skipped("prlimit (Debian: util-linux)");
    };
    let mut cluster = Cluster::builder(3)
        .wrapper(&["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"])
        .start()
        .await;
    let leader = cluster.leader().await;
    let full = cluster.others(leader)[0];
    let pid = cluster.node(full).pid().to_string();
    let limit = format!("--fsize={FILE_BYTES_MAX}");
    let limited = Tool::new(prlimit).run(&["--pid", &pid, &limit]).await;
    assert_eq!(limited.code, Some(0), "{limited:?}");
    let calls = cluster.node(leader).calls();
    let value = "v".repeat(VALUE_BYTES);
    for number in 0..PUTS_MAX {
        calls
            .put(&format!("disk/{number:06}"), &value)
            .await
            .unwrap();
    }
    let ended = cluster.node_mut(full).wait_exit(STATE_MAX).await;
    assert!(!ended.success(), "{ended}");
    cluster.node_mut(full).restart().await;
    tenure_testkit::assert_same_everywhere(&cluster).await;
}

/// Where in a trace something happened: the line's number.
type Line = usize;

#[tokio::test]
async fn a_put_is_synced_to_the_log_after_it_came_in_and_before_it_is_acknowledged() {
    if find_program("strace").is_none() {
        return skipped("strace");
    }
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("trace");
    let path = trace.to_str().unwrap();
    let calls = "read,readv,recvfrom,recvmsg,write,writev,pwrite64,pwritev,sendto,sendmsg,\
                 fsync,fdatasync,sync_file_range,msync";
    // Detached (-D), so that the node keeps its place as this process's child.
    let cluster = Cluster::builder(1)
        .wrapper(&[
            "strace", "-D", "-f", "-xx", "-yy", "-s", "65536", "-e", calls, "-o", path, "--",
        ])
        .start()
        .await;
    let marker = format!("marker-{}", std::process::id());
    let request = PutRequest {
        key: "traced".into(),
        value: marker.clone().into(),
        ..PutRequest::default()
    };
    let client = cluster.node(0).calls();
    let response = client.kv().put(request).await.unwrap().into_inner();
    let (marker, reply) = (hex(marker.as_bytes()), hex(&response.encode_to_vec()));

    let text = wait_until(
        "the acknowledgement is in the trace",
        STATE_MAX,
        async || {
            let text = std::fs::read_to_string(&trace).map_err(|error| error.to_string())?;
            let told = text.contains(&reply);
            told.then_some(text).ok_or_else(|| "it is not".to_owned())
        },
    )
    .await;
    let lines: Vec<_> = text.lines().collect();
    let find = |from: Line, what: &str, holds: &dyn Fn(&str) -> bool| -> Line {
        let found = lines[from..].iter().position(|line| holds(line));
        from + found.unwrap_or_else(|| panic!("{what} is not in the trace after line {from}"))
    };
    let log = cluster.node(0).data_dir().join("log");
    let log = hex(log.to_str().unwrap().as_bytes());
    let in_log = |line: &str| line.contains(&log) || line.contains("/m0/log/");

    let received = find(0, "the put", &|line| {
        line.contains(&marker) && (line.contains("read") || line.contains("recv"))
    });
    let written = find(received, "its write to the log", &|line| {
        line.contains(&marker) && line.contains("write") && in_log(line)
    });
    let began = find(written, "a sync of the log", &|line| {
        line.contains("sync(") && in_log(line)
    });
    let synced = end_of_call(&lines, began);
    let sent = find(received, "the acknowledgement", &|line| {
        line.contains(&reply)
    });
    println!("received {received}, written {written}, synced {began}-{synced}, sent {sent}");
    assert!(
        lines[synced].trim_end().ends_with("= 0"),
        "{}",
        lines[synced]
    );
    assert!(
        synced < sent,
        "acknowledged before it was synced: {}\n{}",
        lines[sent],
        lines[synced]
    );
}

/// As strace prints bytes with `-xx`.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect()
}

/// The line on which the call that begins at `begin` returns.
fn end_of_call(lines: &[&str], begin: Line) -> Line {
    if !lines[begin].contains("<unfinished") {
        return begin;
    }
    let thread = lines[begin].split_whitespace().next().unwrap();
    let end = lines[begin + 1..].iter().position(|line| {
        line.split_whitespace().next() == Some(thread) && line.contains("resumed>")
    });
    begin + 1 + end.expect("a sync returns")
}
