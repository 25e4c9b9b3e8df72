//! The scripts of the StatefulSet with processes in place of pods: a set forms a quorum, scales,
//! restarts and loses a volume.
//!
//! The pods' names lead to addresses on loopback by a hosts file of the test's own, and a stand-in
//! for kubectl does what the controller does: start, stop, delete volumes of pods scaled away.

use tenure_testkit::{free_port, tenurectl, tenured};

use super::{may_isolate, run, script};

#[tokio::test]
async fn a_set_of_pods_scales_and_a_restart_changes_no_member() {
    if !may_isolate(&["unshare", "setpriv", "awk", "curl"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let variables = [
        ("WORK", directory.path().display().to_string()),
        ("TENURED_PROGRAM", tenured().display().to_string()),
        ("TENURECTL_PROGRAM", tenurectl().display().to_string()),
        ("CLIENT_PORT", free_port().to_string()),
        ("PEER_PORT", free_port().to_string()),
    ];
    let (passed, said) = run(&script("pods.sh"), &variables).await;
    println!("{said}");
    assert!(passed, "{said}");
    for told in [
        "three pods formed a quorum",
        "restarts changed no member",
        "five members after scaling up",
        "three members after scaling down",
        "a member without a pod was removed",
        "a pod that lost its volume was replaced",
        "a founder that came up first without its volume did no harm",
    ] {
        assert!(said.contains(told), "{told:?} is missing in:\n{said}");
    }
}
