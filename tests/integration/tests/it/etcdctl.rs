//! The etcdctl that people have: every key, watch and lease command against a quorum of three.

use std::process::Stdio;

use tenure_testkit::{Cluster, Tool};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout},
    time::{Duration, timeout},
};

/// Time for a line of a running command.
const LINE_MAX: Duration = Duration::from_secs(30);

async fn ok(etcdctl: &Tool, arguments: &[&str]) -> String {
    etcdctl.run(arguments).await.ok()
}

async fn refusal(etcdctl: &Tool, arguments: &[&str]) -> String {
    let ran = etcdctl.run(arguments).await;
    assert_ne!(ran.code, Some(0), "{arguments:?} was to fail: {ran:?}");
    ran.err
}

async fn json(etcdctl: &Tool, arguments: &[&str]) -> serde_json::Value {
    let arguments = [arguments, &["-w", "json"]].concat();
    serde_json::from_str(&ok(etcdctl, &arguments).await).unwrap()
}

/// A quorum and etcdctl for all of it, when etcdctl is installed.
async fn quorum() -> Option<(Cluster, Tool)> {
    Tool::etcdctl(&[])?;
    let cluster = Cluster::start(3).await;
    let etcdctl = Tool::etcdctl(&cluster.addresses())?;
    Some((cluster, etcdctl))
}

#[tokio::test]
async fn put_and_get_take_their_options() {
    let Some((_cluster, ctl)) = quorum().await else {
        return;
    };
    assert_eq!(ok(&ctl, &["put", "a", "1"]).await, "OK\n");
    assert_eq!(
        ok(&ctl, &["put", "a", "2", "--prev-kv"]).await,
        "OK\na\n1\n"
    );
    ok(&ctl, &["put", "b", "3"]).await;
    ok(&ctl, &["put", "c", "1"]).await;
    assert_eq!(ok(&ctl, &["get", "a"]).await, "a\n2\n");
    assert_eq!(ok(&ctl, &["get", "a", "c"]).await, "a\n2\nb\n3\n");
    assert_eq!(ok(&ctl, &["get", "b", "--from-key"]).await, "b\n3\nc\n1\n");
    assert_eq!(
        ok(&ctl, &["get", "", "--prefix", "--keys-only"]).await,
        "a\n\nb\n\nc\n\n"
    );
    assert_eq!(ok(&ctl, &["get", "a", "--print-value-only"]).await, "2\n");
    assert_eq!(ok(&ctl, &["get", "a", "--consistency=s"]).await, "a\n2\n");
    let sorted = [
        "get",
        "",
        "--prefix",
        "--sort-by=VALUE",
        "--order=DESCEND",
        "--limit=2",
    ];
    assert_eq!(ok(&ctl, &sorted).await, "b\n3\na\n2\n");
    let past = json(&ctl, &["get", "a", "--rev=2"]).await;
    assert_eq!(
        past["kvs"][0]["value"], "MQ==",
        "the first value, in base64"
    );
    assert_eq!(past["header"]["revision"], 5);
    let fields = ok(&ctl, &["get", "", "--prefix", "--limit=1", "-w", "fields"]).await;
    for line in [
        "\"Revision\" : 5",
        "\"More\" : true",
        "\"Count\" : 3",
        "\"Version\" : 2",
    ] {
        assert!(fields.contains(line), "{line} is not in {fields}");
    }
    assert_eq!(ok(&ctl, &["put", "a", "--ignore-value"]).await, "OK\n");
    assert_eq!(ok(&ctl, &["get", "a"]).await, "a\n2\n");
    let refused = refusal(&ctl, &["put", "none", "--ignore-value"]).await;
    assert!(refused.contains("etcdserver: key not found"), "{refused}");
}

#[tokio::test]
async fn del_takes_its_options() {
    let Some((_cluster, ctl)) = quorum().await else {
        return;
    };
    for key in ["a", "b", "c", "d/1", "d/2", "e"] {
        ok(&ctl, &["put", key, "v"]).await;
    }
    assert_eq!(ok(&ctl, &["del", "a", "--prev-kv"]).await, "1\na\nv\n");
    assert_eq!(ok(&ctl, &["del", "a"]).await, "0\n");
    assert_eq!(ok(&ctl, &["del", "b", "d"]).await, "2\n");
    assert_eq!(ok(&ctl, &["del", "d/", "--prefix"]).await, "2\n");
    assert_eq!(ok(&ctl, &["del", "", "--from-key"]).await, "1\n");
}

#[tokio::test]
async fn txn_reads_comparisons_and_both_branches() {
    let Some((_cluster, ctl)) = quorum().await else {
        return;
    };
    let text = "value(\"k\") = \"1\"\n\nput k 2\n\nput k 1\nget k\n\n";
    let failed = ctl.run_with_input(&["txn"], text).await.ok();
    assert_eq!(failed, "FAILURE\n\nOK\n\nk\n1\n");
    let text = "mod(\"k\") > \"0\"\nver(\"k\") = \"1\"\n\nget k\ndel k\n\nput z 1\n\n";
    let succeeded = ctl.run_with_input(&["txn"], text).await.ok();
    assert_eq!(succeeded, "SUCCESS\n\nk\n1\n\n1\n");
    let twice = ctl
        .run_with_input(&["txn"], "\n\nput k 1\nput k 2\n\n\n")
        .await;
    assert_ne!(twice.code, Some(0));
    assert!(
        twice.err.contains("duplicate key given in txn request"),
        "{twice:?}"
    );
}

#[tokio::test]
async fn compaction_refuses_what_is_gone_and_what_is_to_come() {
    let Some((_cluster, ctl)) = quorum().await else {
        return;
    };
    for value in ["1", "2", "3"] {
        ok(&ctl, &["put", "k", value]).await;
    }
    let compacted = ok(&ctl, &["compaction", "3", "--physical"]).await;
    assert_eq!(compacted, "compacted revision 3\n");
    let gone = "etcdserver: mvcc: required revision has been compacted";
    assert!(refusal(&ctl, &["compaction", "3"]).await.contains(gone));
    assert!(refusal(&ctl, &["get", "k", "--rev=2"]).await.contains(gone));
    let future = "etcdserver: mvcc: required revision is a future revision";
    assert!(refusal(&ctl, &["compaction", "100"]).await.contains(future));
    assert!(
        refusal(&ctl, &["get", "k", "--rev=100"])
            .await
            .contains(future)
    );
}

#[tokio::test]
async fn leases_are_granted_kept_shown_and_revoked() {
    let Some((_cluster, ctl)) = quorum().await else {
        return;
    };
    let granted = ok(&ctl, &["lease", "grant", "60"]).await;
    assert!(granted.ends_with("granted with TTL(60s)\n"), "{granted}");
    let lease = granted.split_whitespace().nth(1).unwrap();
    ok(&ctl, &["put", "x", "1", &format!("--lease={lease}")]).await;
    ok(&ctl, &["put", "x", "2", "--ignore-lease"]).await;
    let shown = ok(&ctl, &["lease", "timetolive", lease, "--keys"]).await;
    assert!(
        shown.contains("granted with TTL(60s), remaining("),
        "{shown}"
    );
    assert!(shown.ends_with("attached keys([x])\n"), "{shown}");
    assert_eq!(
        ok(&ctl, &["lease", "list"]).await,
        format!("found 1 leases\n{lease}\n")
    );
    let kept = ok(&ctl, &["lease", "keep-alive", "--once", lease]).await;
    assert_eq!(kept, format!("lease {lease} keepalived with TTL(60)\n"));
    let revoked = ok(&ctl, &["lease", "revoke", lease]).await;
    assert_eq!(revoked, format!("lease {lease} revoked\n"));
    assert_eq!(ok(&ctl, &["get", "x"]).await, "");
    let shown = ok(&ctl, &["lease", "timetolive", lease]).await;
    assert_eq!(shown, format!("lease {lease} already expired\n"));
    for arguments in [
        &["lease", "revoke", lease][..],
        &["put", "x", "1", "--lease=1234"],
    ] {
        let refused = refusal(&ctl, arguments).await;
        assert!(
            refused.contains("etcdserver: requested lease not found"),
            "{refused}"
        );
    }
}

/// A running `etcdctl watch`.
struct Running {
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Running {
    fn start(ctl: &Tool, arguments: &[&str]) -> Self {
        let mut child = ctl
            .command(arguments)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        Self {
            lines: BufReader::new(stdout).lines(),
            _child: child,
        }
    }

    async fn lines(&mut self, count: usize) -> Vec<String> {
        let mut lines = Vec::new();
        while lines.len() < count {
            let line = timeout(LINE_MAX, self.lines.next_line()).await;
            let line = line.unwrap_or_else(|_| panic!("no line after {lines:?}"));
            lines.push(line.unwrap().expect("the watch goes on"));
        }
        lines
    }
}

#[tokio::test]
async fn watch_tells_the_past_and_then_what_comes() {
    let Some((_cluster, ctl)) = quorum().await else {
        return;
    };
    ok(&ctl, &["put", "w/1", "a"]).await;
    ok(&ctl, &["put", "w/1", "b"]).await;
    ok(&ctl, &["put", "other", "c"]).await;
    let arguments = ["watch", "w/", "--prefix", "--rev=2", "--prev-kv"];
    let mut watch = Running::start(&ctl, &arguments);
    let past = watch.lines(3 + 5).await;
    assert_eq!(past, ["PUT", "w/1", "a", "PUT", "w/1", "a", "w/1", "b"]);
    // What was told says that the watch is in place.
    ok(&ctl, &["put", "w/2", "d"]).await;
    ok(&ctl, &["del", "w/1"]).await;
    let now = watch.lines(3 + 5).await;
    assert_eq!(now, ["PUT", "w/2", "d", "DELETE", "w/1", "b", "w/1", ""]);

    let mut range = Running::start(&ctl, &["watch", "a", "x", "--rev=4"]);
    assert_eq!(range.lines(3).await, ["PUT", "other", "c"]);
}

#[tokio::test]
async fn watch_below_the_compacted_revision_says_so() {
    let Some((_cluster, ctl)) = quorum().await else {
        return;
    };
    for value in ["1", "2", "3"] {
        ok(&ctl, &["put", "k", value]).await;
    }
    ok(&ctl, &["compaction", "4"]).await;
    let ran = ctl.run(&["watch", "k", "--rev=2"]).await;
    assert_ne!(ran.code, Some(0));
    let gone = "watch was canceled (etcdserver: mvcc: required revision has been compacted)";
    assert!(ran.err.contains(gone), "{ran:?}");
}

#[tokio::test]
async fn endpoints_members_and_alarms_are_shown() {
    let Some((cluster, ctl)) = quorum().await else {
        return;
    };
    ok(&ctl, &["put", "k", "v"]).await;
    ok(&ctl, &["endpoint", "health"]).await;
    let statuses = json(&ctl, &["endpoint", "status"]).await;
    let statuses = statuses.as_array().unwrap();
    assert_eq!(statuses.len(), 3);
    let leads = |status: &&serde_json::Value| {
        status["Status"]["leader"] == status["Status"]["header"]["member_id"]
    };
    let leaders: Vec<_> = statuses.iter().filter(leads).collect();
    assert_eq!(leaders.len(), 1);
    let leader = cluster.leader().await;
    assert_eq!(leaders[0]["Endpoint"], cluster.node(leader).address());

    let hashes = json(&ctl, &["endpoint", "hashkv", "--rev=2"]).await;
    let hashes = hashes.as_array().unwrap().iter();
    let hashes: Vec<_> = hashes.map(|hash| &hash["HashKV"]["hash"]).collect();
    assert!(hashes.iter().all(|hash| **hash == *hashes[0]), "{hashes:?}");

    let members = ok(&ctl, &["member", "list"]).await;
    assert_eq!(members.lines().count(), 3);
    assert_eq!(members.matches(", started, m").count(), 3, "{members}");
    assert_eq!(ok(&ctl, &["alarm", "list"]).await, "");
    ok(&ctl, &["alarm", "disarm"]).await;
    ok(&ctl, &["defrag"]).await;
}

#[tokio::test]
async fn move_leader_moves_the_leader() {
    let Some((cluster, ctl)) = quorum().await else {
        return;
    };
    let leader = cluster.leader().await;
    let target = cluster.others(leader)[1];
    let id = format!("{:x}", cluster.node(target).member_id().await);
    let moved = ok(&ctl, &["move-leader", &id]).await;
    assert!(moved.contains(&format!("to {id}")), "{moved}");
    assert_eq!(cluster.leader().await, target);
}

#[tokio::test]
async fn lock_and_elect_exclude_each_other_by_keys() {
    let Some((_cluster, ctl)) = quorum().await else {
        return;
    };
    assert_eq!(ok(&ctl, &["lock", "l", "echo", "held"]).await, "held\n");
    assert_eq!(
        ok(&ctl, &["get", "l", "--prefix"]).await,
        "",
        "it was released"
    );
    let mut elected = Running::start(&ctl, &["elect", "e", "me"]);
    let lines = elected.lines(2).await;
    assert!(lines[0].starts_with("e/"), "{lines:?}");
    assert_eq!(lines[1], "me");
    let observed = ok(&ctl, &["get", "e/", "--prefix"]).await;
    assert_eq!(observed, format!("{}\nme\n", lines[0]));
}
