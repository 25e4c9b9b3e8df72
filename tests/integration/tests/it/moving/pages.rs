//! The commands of `docs/operations/migrate.md` and `backup.md` do what the pages say.

use std::{fs, path::Path};

use rustix::process::Signal;
use tenure_testkit::{Calls, Cluster, STATE_MAX, Tool, find_program, tenurectl, wait_until};

use super::program::Program;
use crate::backup::{restore_words, wipe};

const MIGRATE: &str = include_str!("../../../../../docs/operations/migrate.md");
const BACKUP: &str = include_str!("../../../../../docs/operations/backup.md");

/// The commands in shell blocks below a heading, up to the next heading of that level, each as one
/// line.
fn commands(page: &str, heading: &str) -> Vec<String> {
    let (_, below) = page.split_once(heading).expect("the heading is there");
    let section = below.split("\n## ").next().unwrap();
    let blocks = section.split("```sh\n").skip(1);
    let blocks = blocks.map(|block| block.split_once("```").unwrap().0);
    let text = blocks.collect::<String>().replace("\\\n", " ");
    text.lines().map(str::to_owned).collect()
}

/// A shell with our programs, and with the addresses and folders of the pages replaced.
struct Shell {
    replaced: Vec<(String, String)>,
}

impl Shell {
    fn line(&self, command: &str) -> String {
        let replaced = self.replaced.iter();
        replaced.fold(command.to_owned(), |line, (from, to)| {
            line.replace(from, to)
        })
    }

    fn tool() -> Tool {
        let programs = tenurectl();
        let programs = programs.parent().unwrap().display().to_string();
        let path = std::env::var("PATH").unwrap_or_default();
        Tool::new("/usr/bin/env".into()).with(&[&format!("PATH={programs}:{path}"), "sh", "-c"])
    }

    fn start(&self, command: &str) -> Program {
        Program::start(&Self::tool(), &[&format!("exec {}", self.line(command))])
    }

    async fn run(&self, command: &str) -> String {
        let ran = Self::tool().run(&[&self.line(command)]).await;
        assert_eq!(ran.code, Some(0), "{}: {ran:?}", self.line(command));
        ran.out + &ran.err
    }
}

/// The pairs that turn a restore of the page into that of a node.
fn restoring(
    node: &Cluster,
    page_name: &str,
    page_url: &str,
    page_dir: &str,
) -> [(String, String); 4] {
    let words = restore_words(node, 0, Path::new("file"));
    let flag = |name: &str| {
        let at = words.iter().position(|word| word == name).unwrap();
        words[at + 1].clone()
    };
    [
        (
            format!("--initial-cluster {page_name}={page_url}"),
            format!(
                "--initial-cluster {} --initial-cluster-token {}",
                flag("--initial-cluster"),
                words
                    .iter()
                    .position(|word| word == "--initial-cluster-token")
                    .map_or("etcd-cluster".to_owned(), |at| words[at + 1].clone())
            ),
        ),
        (page_url.to_owned(), flag("--initial-advertise-peer-urls")),
        (page_dir.to_owned(), flag("--data-dir")),
        (
            format!("--name {page_name}"),
            format!("--name {}", flag("--name")),
        ),
    ]
}

async fn wait_for_snapshot(directory: &Path) {
    wait_until("a snapshot is saved", STATE_MAX, async || {
        let entries = fs::read_dir(directory).map_err(|error| error.to_string())?;
        let mut names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let found = names.any(|name| name.starts_with("snapshot-") && name.ends_with(".db"));
        found
            .then_some(())
            .ok_or_else(|| "there is none".to_owned())
    })
    .await;
}

#[tokio::test]
async fn the_page_on_moves_leads_from_etcd_to_a_quorum_and_back() {
    let (Some(_), Some(program)) = (Tool::etcdctl(&[]), find_program("etcd")) else {
        return;
    };
    let root = tempfile::tempdir().unwrap();
    let etcd = Cluster::builder(1).program(program.clone()).spawn();
    let calls = etcd.node(0).calls();
    wait_until("etcd serves", STATE_MAX, async || {
        let put = calls.put("a", "1").await;
        put.map_err(|status| status.to_string())
    })
    .await;
    let mut quorum = Cluster::builder(1).spawn();
    let (addresses, folder) = (etcd.addresses(), root.path().display().to_string());
    let mut replaced = vec![
        ("10.0.0.1:2379".to_owned(), addresses[0].clone()),
        ("10.0.0.4:2379".to_owned(), quorum.addresses()[0].clone()),
        ("/var/backups".to_owned(), folder.clone()),
    ];
    let peer = "http://10.0.0.4:2380";
    replaced.extend(restoring(&quorum, "m1", peer, "/var/lib/tenure"));
    let shell = Shell { replaced };
    let page = commands(MIGRATE, "## Move with revisions");
    let [migrate, restore, once] = &page[..] else {
        panic!("{page:?}");
    };
    let snapshots = root.path().join("move");
    let lines = [migrate.as_str(), restore.as_str()];
    move_all(
        &shell,
        lines,
        &snapshots,
        &mut quorum,
        ("b", &calls),
        Signal::TERM,
    )
    .await;
    assert!(shell.run(once).await.contains("Moved to"));

    // The way back: the page's address of etcd is that of another one.
    let mut back = Cluster::builder(1).program(program).spawn();
    let mut replaced = vec![
        ("10.0.0.1:2379".to_owned(), back.addresses()[0].clone()),
        ("10.0.0.4:2379".to_owned(), quorum.addresses()[0].clone()),
        ("/var/backups".to_owned(), folder),
        (
            "etcdctl snapshot".to_owned(),
            "ETCDCTL_API=3 etcdctl snapshot".to_owned(),
        ),
    ];
    let peer = "http://10.0.0.1:2380";
    replaced.extend(restoring(&back, "e1", peer, "/var/lib/etcd-new"));
    let shell = Shell { replaced };
    let page = commands(MIGRATE, "## The way back");
    let [migrate, restore] = &page[..] else {
        panic!("{page:?}");
    };
    let snapshots = root.path().join("back");
    let calls = quorum.node(0).calls();
    let lines = [migrate.as_str(), restore.as_str()];
    move_all(
        &shell,
        lines,
        &snapshots,
        &mut back,
        ("c", &calls),
        Signal::INT,
    )
    .await;
}

/// Runs the page's commands that move a cluster to a fresh node, puts one key more at the source
/// when the node follows, and expects it there once the move is ended by `signal`.
async fn move_all(
    shell: &Shell,
    [migrate, restore]: [&str; 2],
    snapshots: &Path,
    destination: &mut Cluster,
    (key, source): (&str, &Calls),
    signal: Signal,
) {
    wipe(destination);
    let mut moving = shell.start(migrate);
    wait_for_snapshot(snapshots).await;
    shell.run(restore).await;
    destination.node_mut(0).start();
    moving.wait_for("Ready to switch").await;
    source.put(key, "2").await.unwrap();
    moving.signal(signal);
    let (status, said) = moving.end().await;
    assert!(status.success() && said.contains("Moved to"), "{said}");
    let found = destination.node(0).calls().get(key).await.unwrap();
    assert_eq!(found.unwrap().version, 1);
}

#[tokio::test]
async fn the_other_commands_of_the_page_on_moves_copy_what_they_say() {
    let quorums = [Cluster::start(1).await, Cluster::start(1).await];
    let [from, to] = [quorums[0].node(0).calls(), quorums[1].node(0).calls()];
    from.put("config/a", "1").await.unwrap();
    let shell = Shell {
        replaced: vec![
            (
                "10.0.0.1:2379".to_owned(),
                quorums[0].addresses()[0].clone(),
            ),
            (
                "10.0.0.4:2379".to_owned(),
                quorums[1].addresses()[0].clone(),
            ),
        ],
    };
    let page = commands(MIGRATE, "## Values into a running cluster");
    let mut moving = shell.start(&page[0]);
    moving.wait_for("verified: 1 keys with 0 leases").await;
    moving.signal(Signal::INT);
    let (status, said) = moving.end().await;
    assert!(status.success(), "{said}");
    assert_eq!(to.get("config/a").await.unwrap().unwrap().value, "1");
    let page = commands(MIGRATE, "## Mirror a prefix");
    let said = shell.run(&page[0]).await;
    assert!(said.contains("verified: 1 keys are equal"), "{said}");
    assert_eq!(to.get("copy/a").await.unwrap().unwrap().value, "1");
}

#[tokio::test]
async fn the_page_on_backups_archives_and_restores_a_revision() {
    let quorum = Cluster::start(1).await;
    let calls = quorum.node(0).calls();
    let root = tempfile::tempdir().unwrap();
    let first = calls.put("config/a", "1").await.unwrap();
    let page = commands(BACKUP, "## Any revision, any time");
    let [
        archive,
        list,
        verify,
        at_time,
        at_revision,
        checked,
        diffs @ ..,
    ] = &page[..]
    else {
        panic!("{page:?}");
    };
    let file = |name: &str| root.path().join(name).display().to_string();
    let mut shell = Shell {
        replaced: vec![
            ("127.0.0.1:2379".to_owned(), quorum.addresses()[0].clone()),
            ("/var/backups".to_owned(), root.path().display().to_string()),
            ("4700".to_owned(), first.to_string()),
            ("before.db".to_owned(), file("before.db")),
            ("at.db".to_owned(), file("at.db")),
            ("backup.db".to_owned(), file("at.db")),
            (
                "2026-11-30T17:00:00Z".to_owned(),
                "2400-01-01T00:00:00Z".to_owned(),
            ),
        ],
    };
    let archiver = shell.start(archive);
    wait_for_snapshot(&root.path().join("archive")).await;
    let last = calls.put("config/b", "2").await.unwrap();
    shell.replaced.push(("4711".to_owned(), last.to_string()));
    wait_until("the change is archived", STATE_MAX, async || {
        let listed = shell.run(list).await;
        let is_there = listed.contains(&format!("to {last}\n"));
        is_there.then_some(()).ok_or(listed)
    })
    .await;
    archiver.signal(Signal::TERM);
    assert!(archiver.end().await.0.success());
    assert!(shell.run(verify).await.contains("sound"));
    for restore in [at_time, at_revision] {
        assert!(
            shell
                .run(restore)
                .await
                .contains(&format!("revision {last}"))
        );
    }
    assert!(shell.run(checked).await.contains("sound"));
    assert_eq!(diffs.len(), 3);
    for diff in diffs {
        let found = diff_of(&shell, diff, &quorum).await;
        assert!(found.contains("added"), "{diff}: {found}");
    }
}

/// Runs a diff of the page. Of a server it asks the one that the environment names.
async fn diff_of(shell: &Shell, diff: &str, quorum: &Cluster) -> String {
    let tool = Shell::tool();
    let line = format!(
        "TENURECTL_ENDPOINTS={} {}",
        quorum.addresses()[0],
        shell.line(diff)
    );
    tool.run(&[&line]).await.ok()
}
