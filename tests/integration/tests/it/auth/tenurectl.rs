//! tenurectl: users and roles as with etcdctl, and what it can beside that.

use tenure_testkit::{Cluster, STATE_MAX, Tool, tenurectl, wait_until};

async fn ok(ctl: &Tool, arguments: &[&str]) -> String {
    ctl.run(arguments).await.ok()
}

/// A fresh quorum on which users can be added, and the tool for it.
pub(super) async fn start(nodes: usize) -> (Cluster, Tool) {
    let cluster = Cluster::start(nodes).await;
    let endpoints = cluster.addresses().join(",");
    let ctl = Tool::new(tenurectl()).with(&["--endpoints", &endpoints]);
    wait_until("a user can be added", STATE_MAX, async || {
        let ran = ctl.run(&["user", "add", "root:secret"]).await;
        match ran.code {
            Some(0) => Ok(()),
            _ => Err(ran.err),
        }
    })
    .await;
    (cluster, ctl)
}

/// Run by both tools, one after the other.
const LINES: &[&str] = &[
    "user add ann:pass",
    "user add ann:pass",
    "user add bob --no-password",
    "role add app",
    "role add app",
    "role grant-permission app readwrite a/ --prefix",
    "role grant-permission app read k",
    "role grant-permission app write z --from-key",
    "role grant-permission app READ m n",
    "role grant-permission absent read k",
    "role get app",
    "role get absent",
    "role list",
    "user grant-role ann app",
    "user grant-role ann absent",
    "user grant-role absent app",
    "user get ann",
    "user get ann --detail",
    "user get absent",
    "user list",
    "role revoke-permission app k",
    "role revoke-permission app k",
    "role revoke-permission app a/ --prefix",
    "role revoke-permission app z --from-key",
    "role revoke-permission app m n",
    "user revoke-role ann app",
    "user revoke-role ann app",
    "role delete app",
    "role delete app",
    "user delete ann",
    "user delete ann",
    "auth enable",
    "user list",
    "--user root:wrong user list",
    "--user root:secret user list",
    "--user root:secret role list",
    "--user root:secret user delete root",
    "--user root:secret auth disable",
    "get k",
];

/// The same commands by both tools, on a quorum of each: every answer is the same.
#[tokio::test]
async fn the_answers_are_those_of_etcdctl() {
    let (_ours, ours) = start(1).await;
    let (theirs_cluster, _) = start(1).await;
    let Some(theirs) = Tool::etcdctl(&theirs_cluster.addresses()) else {
        return;
    };
    for line in LINES {
        let words: Vec<_> = line.split(' ').collect();
        let (one, other) = (ours.run(&words).await, theirs.run(&words).await);
        assert_eq!(one.out, other.out, "{line}");
        // etcdctl has a code of its own for a failed log-in.
        let succeeds = |code: Option<i32>| code == Some(0);
        let (one_succeeds, other_succeeds) = (succeeds(one.code), succeeds(other.code));
        assert_eq!(
            one_succeeds, other_succeeds,
            "{line}: {} {}",
            one.err, other.err
        );
        if other.code != Some(0) {
            // The last line holds etcd's text, in front of which each tool says more.
            let text = other.err.trim_end().rsplit_once("etcdserver: ").unwrap().1;
            assert!(one.err.contains(text), "{line}: {} {text}", one.err);
        }
    }
    let with = "tail";
    for words in [
        &["user", "add", with, "--interactive=false"][..],
        &["user", "passwd", with, "--interactive=false"],
        &["user", "passwd", with],
    ] {
        let input = "pass\npass\n";
        let one = ours.run_with_input(words, input).await;
        let other = theirs.run_with_input(words, input).await;
        assert_eq!(
            (one.code, &one.err.is_empty()),
            (other.code, &one.err.is_empty())
        );
        assert!(other.out.ends_with(&one.out), "{words:?}: {}", one.out);
    }
    let words = ["user", "passwd", with];
    let differ = ours.run_with_input(&words, "one\nother\n").await;
    assert!(differ.err.contains("different"));
}

#[tokio::test]
async fn it_says_whether_a_user_may_do_something_and_by_which_roles() {
    let (_cluster, ctl) = start(1).await;
    for line in [
        "role add app",
        "role grant-permission app readwrite app/ --prefix",
        "role grant-permission app read m n",
        "role add ops",
        "role grant-permission ops write m n",
        "role grant-permission ops read n o",
        "user add ann:pass",
        "user grant-role ann app",
        "user grant-role ann ops",
        "user add bob:pass",
    ] {
        ok(&ctl, &line.split(' ').collect::<Vec<_>>()).await;
    }
    let before = ctl.run(&["auth", "can", "bob", "read", "k"]).await;
    assert!(
        before.err.contains("authentication is disabled"),
        "{before:?}"
    );
    ok(&ctl, &["auth", "enable"]).await;
    let root = ctl.clone().with(&["--user", "root:secret"]);
    let status = ok(&root, &["auth", "status"]).await;
    assert!(
        status.starts_with("Authentication Status: true\nAuthRevision: "),
        "{status}"
    );
    for (question, answer) in [
        ("ann read app/1", "yes, by app"),
        ("ann write app/ --prefix", "yes, by app"),
        ("ann read app/ app1", "no"),
        ("ann write m", "yes, by ops"),
        ("ann read m o", "yes, by app, ops"),
        ("ann write m o", "no"),
        ("ann read app/ --from-key", "no"),
        ("bob read app/1", "no"),
        ("root write anything --from-key", "yes, by root"),
    ] {
        let words: Vec<_> = ["auth", "can"]
            .into_iter()
            .chain(question.split(' '))
            .collect();
        let ran = root.run(&words).await;
        assert_eq!(ran.out, format!("{answer}\n"), "{question}: {}", ran.err);
        let code = i32::from(answer == "no");
        assert_eq!(ran.code, Some(code), "{question}");
    }
    // Of itself a user may ask, of others it may not.
    let ann = ctl.clone().with(&["--user", "ann:pass"]);
    assert_eq!(
        ok(&ann, &["auth", "can", "ann", "read", "app/1"]).await,
        "yes, by app\n"
    );
    let other = ann.run(&["auth", "can", "bob", "read", "k"]).await;
    assert!(other.err.contains("permission denied"), "{other:?}");
    let json = ok(
        &root,
        &["auth", "can", "ann", "read", "app/1", "-w", "json"],
    )
    .await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["allowed"], &json["roles"][0]),
        (&true.into(), &"app".into())
    );
}

/// What it says is what the server does.
#[tokio::test]
async fn its_verdict_is_what_the_server_decides() {
    let (_cluster, ctl) = start(1).await;
    for line in [
        "role add app",
        "role grant-permission app readwrite b d",
        "role grant-permission app read d f",
        "role grant-permission app write h",
        "role grant-permission app read m --from-key",
        "user add ann:pass",
        "user grant-role ann app",
        "auth enable",
    ] {
        ok(&ctl, &line.split(' ').collect::<Vec<_>>()).await;
    }
    let ann = ctl.clone().with(&["--user", "ann:pass"]);
    let ranges = [
        "a",
        "b",
        "c",
        "d",
        "e",
        "f",
        "h",
        "m",
        "z",
        "b d",
        "b f",
        "b g",
        "a c",
        "h i",
        "m z",
        "b --prefix",
        "d --prefix",
        "h --prefix",
        "m --from-key",
        "l --from-key",
        "z --prefix",
    ];
    for range in ranges {
        let range: Vec<_> = range.split(' ').collect();
        let asked = |access| [&["auth", "can", "ann", access], &range[..]].concat();
        for (access, call) in [("read", "get"), ("write", "del")] {
            let said = ann.run(&asked(access)).await.code;
            let done = ann.run(&[&[call], &range[..]].concat()).await;
            assert_eq!(said, done.code, "{access} {range:?}: {}", done.err);
        }
    }
}
