//! `make-mirror`: copies of etcd and of a quorum, killed and taken up again.

use rustix::process::Signal;
use tenure_testkit::{Calls, Cluster, Etcd, Load, STATE_MAX, wait_until};

use super::program::Program;
use crate::backup::{all, ctl};

/// Keys and values below a prefix, without it.
async fn below(calls: &Calls, prefix: &str) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let found = calls.get_prefix(prefix).await.unwrap().into_iter();
    let found = found.map(|kv| (text(&kv.key[prefix.len()..]), text(&kv.value)));
    found.collect()
}

async fn fill(calls: &Calls) {
    for number in 0..150 {
        calls.put(&format!("a/{number}"), "1").await.unwrap();
    }
    calls.put("b/other", "1").await.unwrap();
}

#[tokio::test]
async fn a_mirror_follows_etcd_into_another_prefix_of_a_quorum_and_is_compared() {
    let Some(etcd) = Etcd::start().await else {
        return;
    };
    let quorum = Cluster::start(1).await;
    let (source, destination) = (Calls::to(etcd.address()), quorum.node(0).calls());
    fill(&source).await;
    let tool = ctl().with(&["--endpoints", etcd.address()]);
    let words = ["make-mirror", "--prefix", "a/", "--dest-prefix", "copy/"];
    let words = [&words[..], &["--verify", quorum.node(0).address()]].concat();
    let mut mirror = Program::start(&tool, &words);
    mirror.wait_for("verified: 150 keys are equal").await;
    source.put("a/new", "2").await.unwrap();
    source.delete("a/1").await.unwrap();
    wait_until("the changes are copied", STATE_MAX, async || {
        let is_there = destination.get("copy/new").await.unwrap().is_some();
        let is_gone = destination.get("copy/1").await.unwrap().is_none();
        (is_there && is_gone).then_some(()).ok_or("not yet")
    })
    .await;
    assert_eq!(
        below(&destination, "copy/").await,
        below(&source, "a/").await
    );
    assert!(destination.get("b/other").await.unwrap().is_none());
    // Nothing else is written without --resume.
    assert_eq!(all(&destination).await.len(), 150);
    mirror.signal(Signal::INT);
    assert!(mirror.end().await.0.success());

    // And the other way, without the prefix.
    let back = ctl().with(&["--endpoints", quorum.node(0).address()]);
    let words = ["make-mirror", "--prefix", "copy/", "--no-dest-prefix"];
    let words = [&words[..], &["--once", etcd.address()]].concat();
    drop(back.run(&words).await.ok());
    assert_eq!(source.get("new").await.unwrap().unwrap().value, "2");
}

#[tokio::test]
async fn a_mirror_that_is_killed_goes_on_from_its_progress_and_loses_nothing() {
    let Some(etcd) = Etcd::start().await else {
        return;
    };
    let quorum = Cluster::start(1).await;
    let source = Calls::to(etcd.address());
    fill(&source).await;
    let load = Load::start("load/", &[etcd.address().to_owned()], 2);
    let tool = ctl().with(&["--endpoints", etcd.address()]);
    let words = ["make-mirror", "--resume", quorum.node(0).address()];
    for _ in 0..3 {
        let mirror = Program::start(&tool, &words);
        load.wait_for(60).await;
        mirror.signal(Signal::KILL);
        mirror.end().await;
    }
    let written = load.finish().await;
    let words = [&words[..], &["--once", "--verify"]].concat();
    let ran = tool.run(&words).await;
    println!("{}", ran.err);
    assert!(ran.err.contains("are equal at revision"), "{ran:?}");
    let destination = quorum.node(0).calls();
    assert_eq!(below(&destination, "load/").await.len(), written.len());
    assert_eq!(
        below(&destination, "load/").await,
        below(&source, "load/").await
    );
}

#[tokio::test]
async fn a_mirror_that_missed_compacted_changes_copies_what_differs_and_deletes_what_is_gone() {
    let Some(etcd) = Etcd::start().await else {
        return;
    };
    let quorum = Cluster::start(1).await;
    let (source, destination) = (Calls::to(etcd.address()), quorum.node(0).calls());
    fill(&source).await;
    let tool = ctl().with(&["--endpoints", etcd.address()]);
    let words = ["make-mirror", "--resume", "--once", "--verify"];
    let words = [&words[..], &[quorum.node(0).address()]].concat();
    drop(tool.run(&words).await.ok());
    source.delete("a/7").await.unwrap();
    source.put("a/8", "2").await.unwrap();
    let last = source.put("c", "3").await.unwrap();
    drop(tool.run(&["compaction", &last.to_string()]).await.ok());
    let before = destination.get("a/9").await.unwrap().unwrap();
    let ran = tool.run(&words).await;
    assert!(
        ran.err
            .contains("has compacted changes that are not copied"),
        "{ran:?}"
    );
    assert!(ran.err.contains("verified: 151 keys"), "{ran:?}");
    drop(ran.ok());
    assert!(destination.get("a/7").await.unwrap().is_none());
    // What is equal is left alone.
    let after = destination.get("a/9").await.unwrap().unwrap();
    assert_eq!(after.mod_revision, before.mod_revision);

    // Without --resume the compaction ends it.
    let words = ["make-mirror", "--rev", "3", quorum.node(0).address()];
    let ran = tool.run(&words).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.err.contains("required revision has been compacted"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn mirrors_that_would_harm_are_refused() {
    let Some(etcd) = Etcd::start().await else {
        return;
    };
    let source = Calls::to(etcd.address());
    source.put("a/1", "1").await.unwrap();
    source.put("b/1", "1").await.unwrap();
    let tool = ctl().with(&["--endpoints", etcd.address()]);
    let refused = async |words: &[&str], text: &str| {
        let ran = tool
            .run(&[&["make-mirror"], words, &[etcd.address()]].concat())
            .await;
        assert_ne!(ran.code, Some(0), "{ran:?}");
        assert!(ran.err.contains(text), "{ran:?}");
    };
    refused(&[], "one cluster, and \"\" and \"\" overlap").await;
    refused(&["--prefix", "a/", "--dest-prefix", "a/b/"], "overlap").await;
    let words = ["--prefix", "a/", "--dest-prefix", "b/"];
    let text = "the destination has 1 keys below \"b/\", such as \"b/1\"";
    refused(&[&words[..], &["--resume"]].concat(), text).await;
    refused(
        &[&words[..], &["--no-dest-prefix"]].concat(),
        "cannot be set at the same time",
    )
    .await;
}
