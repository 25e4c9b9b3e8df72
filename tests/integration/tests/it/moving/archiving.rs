//! `archive` and `diff`: every revision of a live etcd, over kills, damage and compactions.

use std::{fs, path::Path};

use rustix::process::Signal;
use tenure_testkit::{Acknowledged, Calls, Etcd, Load, STATE_MAX, Tool, wait_until};

use super::program::Program;
use crate::backup::ctl;

fn files(directory: &Path, end: &str) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = paths
        .filter(|path| path.to_string_lossy().ends_with(end))
        .collect();
    found.sort();
    found
}

/// The hash of a revision, by a snapshot that the archive makes of it.
async fn hash_of(directory: &str, revision: i64) -> String {
    let file = format!("{directory}/restored.db");
    let to = revision.to_string();
    let words = [
        "archive",
        "--dir",
        directory,
        "restore",
        &file,
        "--to-revision",
        &to,
    ];
    let restored = ctl().run(&words).await.ok();
    assert!(
        restored.contains(&format!("revision {revision}")),
        "{restored}"
    );
    let verified = ctl().run(&["snapshot", "verify", &file]).await.ok();
    let (_, hash) = verified.split_once("HashKV ").unwrap();
    hash.lines().next().unwrap().to_owned()
}

async fn wait_for_snapshot(directory: &str) {
    wait_until("the archive has begun", STATE_MAX, async || {
        let is_there =
            Path::new(directory).is_dir() && !files(directory.as_ref(), ".seg").is_empty();
        is_there.then_some(()).ok_or("not yet")
    })
    .await;
}

#[tokio::test]
async fn an_archiver_that_is_killed_goes_on_and_every_revision_can_be_restored() {
    let Some(etcd) = Etcd::start().await else {
        return;
    };
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("archive").display().to_string();
    let source = Calls::to(etcd.address());
    let tool = ctl().with(&["--endpoints", etcd.address()]);
    // Small segments, so that there are several.
    let words = ["archive", "--dir", &directory, "--segment-bytes", "8000"];
    let load = Load::start("load/", &[etcd.address().to_owned()], 2);
    for _ in 0..3 {
        let archiver = Program::start(&tool, &words);
        wait_for_snapshot(&directory).await;
        load.wait_for(60).await;
        archiver.signal(Signal::KILL);
        archiver.end().await;
        load.wait_for(20).await;
    }
    // A crash in the middle of an append.
    let segments = files(directory.as_ref(), ".seg");
    let last = segments.last().unwrap();
    let bytes = fs::read(last).unwrap();
    let cut = bytes.len().saturating_sub(5).max(20);
    fs::write(last, &bytes[..cut]).unwrap();
    let written: Vec<Acknowledged> = load.finish().await;
    let lease = source.grant(77).await.unwrap();
    source.put_on_lease("leased", "1", lease).await.unwrap();
    source.delete("load/0/00000000").await.unwrap();
    let ran = tool.run(&[&words[..], &["--once"]].concat()).await;
    println!("{}", ran.err);
    assert!(ran.err.contains("cut"), "{ran:?}");
    drop(ran.ok());
    let verified = ctl()
        .run(&["archive", "--dir", &directory, "verify"])
        .await
        .ok();
    println!("{verified}");
    assert!(
        verified.contains("checksums and structure are sound"),
        "{verified}"
    );
    let last = source.status().await.unwrap().header.unwrap().revision;
    assert!(verified.contains(&format!("to {last}\n")), "{verified}");
    let middle = written[written.len() / 2].revision;
    for revision in [5, middle, last - 1, last] {
        let theirs = source.hash_kv(revision).await.unwrap();
        let ours = hash_of(&directory, revision).await;
        println!("HashKV at {revision}: etcd {theirs}, restored {ours}");
        assert_eq!(ours, theirs.to_string());
    }
    same_differences(&tool, &directory, (middle, last)).await;
}

/// A server and an archive tell the same differences.
async fn same_differences(tool: &Tool, directory: &str, (from, to): (i64, i64)) {
    let (from, to) = (from.to_string(), to.to_string());
    for format in ["simple", "json"] {
        let words = ["diff", &from, &to, "-w", format];
        let live = tool.run(&words).await.ok();
        let files = ctl()
            .run(&[&words[..], &["--dir", directory]].concat())
            .await
            .ok();
        assert_eq!(live, files);
        assert!(live.lines().count() > 2, "{live}");
    }
    let words = ["diff", &from, &to, "--prefix", "lea"];
    let only = tool.run(&words).await.ok();
    assert!(only.starts_with("added \"leased\" at "), "{only}");
}

#[tokio::test]
async fn a_time_is_restored_as_the_last_revision_before_it() {
    let Some(etcd) = Etcd::start().await else {
        return;
    };
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("archive").display().to_string();
    let source = Calls::to(etcd.address());
    source.put("a", "1").await.unwrap();
    let tool = ctl().with(&["--endpoints", etcd.address()]);
    let words = ["archive", "--dir", &directory, "--once"];
    drop(tool.run(&words).await.ok());
    let before = source.put("a", "2").await.unwrap();
    drop(tool.run(&words).await.ok());
    let listed = ["archive", "--dir", &directory, "list", "-w", "json"];
    let listed = ctl().run(&listed).await.ok();
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let time = listed["changes"][0]["lastTime"]
        .as_str()
        .unwrap()
        .to_owned();
    source.put("a", "3").await.unwrap();
    drop(tool.run(&words).await.ok());
    let file = format!("{directory}/at.db");
    let words = ["archive", "--dir", &directory, "restore", &file];
    let at = [&words[..], &["--to-time", &time]].concat();
    let restored = ctl().run(&at).await.ok();
    assert!(
        restored.contains(&format!("Restored revision {before} ")),
        "{restored}"
    );
    let early = [&words[..], &["--to-time", "2000-01-01T00:00:00Z"]].concat();
    let refused = ctl().run(&early).await;
    assert!(
        refused.err.contains("begins later than 2000"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn compacted_changes_are_a_hole_that_is_told_and_damage_names_file_and_place() {
    let Some(etcd) = Etcd::start().await else {
        return;
    };
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("archive").display().to_string();
    let source = Calls::to(etcd.address());
    let tool = ctl().with(&["--endpoints", etcd.address()]);
    let words = ["archive", "--dir", &directory, "--once"];
    source.put("a", "1").await.unwrap();
    drop(tool.run(&words).await.ok());
    let first = source.put("a", "2").await.unwrap();
    drop(tool.run(&words).await.ok());
    source.put("a", "3").await.unwrap();
    let floor = source.put("a", "4").await.unwrap();
    drop(tool.run(&["compaction", &floor.to_string()]).await.ok());
    let ran = tool.run(&words).await;
    assert!(ran.err.contains("begins a new series"), "{ran:?}");
    drop(ran.ok());
    let listed = ctl()
        .run(&["archive", "--dir", &directory, "list"])
        .await
        .ok();
    println!("{listed}");
    assert!(listed.contains(&format!("to {first}\n")), "{listed}");
    assert!(
        listed.contains(&format!("can be restored: {floor} to")),
        "{listed}"
    );
    let file = format!("{directory}/x.db");
    let hole = (first + 1).to_string();
    let words = [
        "archive",
        "--dir",
        &directory,
        "restore",
        &file,
        "--to-revision",
        &hole,
    ];
    let refused = ctl().run(&words).await;
    assert!(refused.err.contains("cannot be restored"), "{refused:?}");
    assert!(
        refused.err.contains(&format!("revision {hole} is missing")),
        "{refused:?}"
    );

    let segment = files(directory.as_ref(), ".seg").remove(0);
    let mut bytes = fs::read(&segment).unwrap();
    bytes[50] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let refused = ctl().run(&["archive", "--dir", &directory, "verify"]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let place = format!("{}: at byte 36: a frame is damaged", segment.display());
    assert!(refused.err.contains(&place), "{refused:?}");
    let snapshot = files(directory.as_ref(), ".db").remove(0);
    let mut bytes = fs::read(&snapshot).unwrap();
    bytes[9000] ^= 1;
    fs::write(&snapshot, bytes).unwrap();
    let refused = ctl().run(&["archive", "--dir", &directory, "verify"]).await;
    let place = format!("{}: expected sha256", snapshot.display());
    assert!(refused.err.contains(&place), "{refused:?}");
}
