//! The command line of mirrors, moves, archives and differences.

use std::{path::Path, time::Duration};

use tenurectl::args::{ArchiveArgs, ArchiveCommand, Command, MirrorArgs};

use super::{NOWHERE, parse, run};

fn mirror(arguments: &[&str]) -> MirrorArgs {
    let words = [&["make-mirror"], arguments].concat();
    match parse(&words).map(|cli| cli.command) {
        Ok(Command::MakeMirror(args)) => args,
        other => panic!("{words:?}: {other:?}"),
    }
}

fn archive(arguments: &[&str]) -> ArchiveArgs {
    let words = [&["archive"], arguments].concat();
    match parse(&words).map(|cli| cli.command) {
        Ok(Command::Archive(args)) => args,
        other => panic!("{words:?}: {other:?}"),
    }
}

#[test]
fn a_mirror_takes_the_options_of_etcdctl_and_has_its_defaults() {
    let args = mirror(&["h:1,h:2"]);
    assert_eq!(args.destination, ["h:1", "h:2"]);
    assert_eq!((args.rev, args.max_txn_ops), (0, 128));
    assert!(args.prefix.is_empty() && args.dest_prefix.is_empty() && !args.no_dest_prefix);
    assert!(args.access.dest_insecure_transport);
    let words = [
        "--prefix",
        "a",
        "--dest-prefix",
        "b",
        "--rev",
        "7",
        "--max-txn-ops=3",
    ];
    let user = ["--dest-user", "u", "--dest-password", "p", "h:1"];
    let args = mirror(&[&words[..], &user].concat());
    assert_eq!(
        (args.prefix.as_str(), args.dest_prefix.as_str()),
        ("a", "b")
    );
    assert_eq!((args.rev, args.max_txn_ops), (7, 3));
    assert_eq!(args.access.dest_user.as_deref(), Some("u"));
    for words in [
        &["make-mirror"][..],
        &["make-mirror", "--resume", "--rev=2", "h:1"],
    ] {
        assert!(parse(words).is_err(), "{words:?}");
    }
}

#[test]
fn an_archive_is_written_by_the_command_itself_and_read_by_its_verbs() {
    let args = archive(&["--dir", "d"]);
    assert!(args.command.is_none());
    assert_eq!(args.snapshot_interval, Duration::from_secs(24 * 3600));
    for words in [&["--dir", "d", "list"][..], &["list", "--dir", "d"]] {
        let args = archive(words);
        assert_eq!(args.dir.as_deref(), Some(Path::new("d")), "{words:?}");
        assert!(matches!(args.command, Some(ArchiveCommand::List)));
    }
    let both = [
        "archive",
        "--dir=d",
        "restore",
        "f",
        "--to-revision=1",
        "--to-time=2026-01-01",
    ];
    assert!(parse(&both).is_err());
}

#[test]
fn what_cannot_be_is_refused_as_wrong_usage_before_anything_is_done() {
    let text = |words: &[&str]| {
        let words = [&["--endpoints", NOWHERE], words].concat();
        let ran = run(&words, "");
        assert_eq!(ran.status.code(), Some(2), "{words:?}");
        String::from_utf8_lossy(&ran.stderr).into_owned()
    };
    for (words, expected) in [
        (&["archive", "list"][..], "--dir names the folder"),
        (&["diff", "5", "4"], "the earlier one first"),
        (&["diff", "0", "4"], "the earlier one first"),
        (&["migrate", "--from", NOWHERE], "--dir"),
        (&["migrate", "--from", NOWHERE, "--values"], "--to"),
        (
            &[
                "make-mirror",
                "--no-dest-prefix",
                "--dest-prefix=a",
                NOWHERE,
            ],
            "cannot be set at the same time, choose one",
        ),
        (
            &["make-mirror", "--resume", "--max-txn-ops=1", NOWHERE],
            "too small",
        ),
    ] {
        let said = text(words);
        assert!(said.contains(expected), "{words:?}: {said}");
    }
}

#[test]
fn a_damaged_archive_is_refused_with_file_and_place() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("changes-0000000000000000001.seg");
    std::fs::write(&file, b"this is no segment, and longer than a header").unwrap();
    let directory = root.path().display().to_string();
    let ran = run(&["archive", "--dir", &directory, "verify"], "");
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    let expected = format!("{}: at byte 0: not a segment of an archive", file.display());
    assert_eq!(ran.status.code(), Some(1));
    assert!(said.contains(&expected), "{said}");
}
