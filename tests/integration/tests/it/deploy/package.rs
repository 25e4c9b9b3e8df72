//! The Debian package, installed into a clean root directory, where its node starts and answers.

use tenure_testkit::{free_port, tenurectl, tenured};

use super::{may_isolate, run, script, skip, top};

#[tokio::test]
async fn a_package_is_installed_into_a_clean_root_where_the_node_answers() {
    if !may_isolate(&["dpkg-deb", "mmdebstrap", "unshare", "setpriv"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().display().to_string();
    let programs = [
        ("TENURED", tenured().display().to_string()),
        ("TENURECTL", tenurectl().display().to_string()),
        ("CARGO_TARGET_DIR", target.clone()),
    ];
    let (built, said) = run(&top().join(".ci/deb.sh"), &programs).await;
    assert!(built, "{said}");
    let more = [
        ("WORK", target),
        ("CLIENT", free_port().to_string()),
        ("PEER", free_port().to_string()),
    ];
    let (passed, said) = run(&script("package.sh"), &more).await;
    println!("{said}");
    if said.contains("no packages to make a root directory of") {
        skip("the packages of Debian cannot be reached");
        return;
    }
    assert!(passed, "{said}");
    for told in [
        "installed with its dependencies",
        "the settings of the package are valid",
        "the node answers as its own user",
        "the manual pages are there",
        "removed, and the data stays",
    ] {
        assert!(said.contains(told), "{told:?} is missing in:\n{said}");
    }
}
