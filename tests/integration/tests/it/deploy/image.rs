//! The image that the Dockerfile describes, built by buildah from a root directory of Debian.
//!
//! The registry of its base images may be out of reach, so the base is made of packages, and the
//! programs are those of this build. The stage that compiles them is parsed and not run.

use tenure_testkit::{free_port, tenurectl, tenured};

use super::{may_isolate, run, script, skip};

#[tokio::test]
async fn the_image_is_built_and_its_node_answers_without_rights() {
    if !may_isolate(&["buildah", "mmdebstrap", "unshare", "setpriv"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let variables = [
        ("WORK", directory.path().display().to_string()),
        ("TENURED_PROGRAM", tenured().display().to_string()),
        ("TENURECTL_PROGRAM", tenurectl().display().to_string()),
        ("CLIENT", free_port().to_string()),
        ("PEER", free_port().to_string()),
    ];
    let (passed, said) = run(&script("image.sh"), &variables).await;
    println!("{said}");
    if said.contains("no packages to make a root directory of") {
        skip("the packages of Debian cannot be reached");
        return;
    }
    assert!(passed, "{said}");
    assert!(said.contains("the node of the image answers"), "{said}");
}
