//! The commands of the pages on installation, upgrades and Kubernetes: each is run here, or by the
//! test that is named beside it.

use tenure_testkit::{Cluster, Tool, tenurectl, tenured};

const PAGES: [(&str, &str); 3] = [
    (
        "install.md",
        include_str!("../../../../../docs/operations/install.md"),
    ),
    (
        "upgrade.md",
        include_str!("../../../../../docs/operations/upgrade.md"),
    ),
    (
        "kubernetes.md",
        include_str!("../../../../../docs/operations/kubernetes.md"),
    ),
];

/// How commands begin that others run, and who does.
const RUN_ELSEWHERE: &[(&str, &str)] = &[
    ("bash .ci/system-packages.sh build", "`.ci/run`"),
    ("make build", "`.ci/run`"),
    ("make deb", "deploy::package, by .ci/deb.sh"),
    ("make upgrade", "`make upgrade` itself: module upgrade"),
    ("apt-get install ./tenure_", "deploy::package"),
    (
        "systemctl enable --now tenured",
        "deploy::service starts the unit",
    ),
    (
        "systemctl restart tenured",
        "deploy::service stops and starts the unit",
    ),
    (
        "docker build -f deploy/docker/Dockerfile",
        "deploy::image, by buildah",
    ),
    ("bash deploy/tls/dev-certs.sh", "the tests of TLS"),
    (
        "docker compose -f deploy/compose/compose.yaml",
        "`make manifests` reads the file",
    ),
    (
        "kubectl create secret generic tenure-tls",
        "no cluster: read only",
    ),
    (
        "kubectl apply -k deploy/kubernetes",
        "`make manifests`: kubectl kustomize",
    ),
    (
        "kubectl rollout status statefulset tenure",
        "deploy::pods, by a stand-in for kubectl",
    ),
    (
        "kubectl exec tenure-0 -c tenured -- ",
        "deploy::pods, by a stand-in for kubectl",
    ),
    ("bash deploy/kubernetes/scale.sh ", "deploy::pods"),
    // A start for ever, with the addresses of other machines.
    (
        "tenured --name m1 --data-dir",
        "every test, by the flags of the testkit",
    ),
    (
        "tenurectl --endpoints 10.0.0.1:2379",
        "here, with other addresses",
    ),
];

/// The commands in the blocks of a page, with continued lines joined.
fn commands(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    for block in page.split("```sh\n").skip(1) {
        let block = block.split("```").next().unwrap_or_default();
        let joined = block.replace("\\\n", " ");
        let lines = joined
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty());
        found.extend(lines.map(str::to_owned));
    }
    found
}

/// Whether another test runs the command.
fn is_run_elsewhere(command: &str) -> bool {
    RUN_ELSEWHERE
        .iter()
        .any(|(beginning, _)| command.starts_with(beginning))
}

#[tokio::test]
async fn every_command_of_the_pages_is_run_here_or_by_a_named_test() {
    let cluster = Cluster::start(3).await;
    let directory = tempfile::tempdir().unwrap();
    let settings = directory.path().join("server.toml");
    std::fs::write(
        &settings,
        include_str!("../../../../../deploy/config/server.toml"),
    )
    .unwrap();
    let endpoints = cluster.addresses().join(",");
    let (mut ran, mut elsewhere) = (0, 0);
    for (name, page) in PAGES {
        let commands = commands(page);
        assert!(!commands.is_empty(), "{name} has commands");
        for command in commands {
            if is_run_elsewhere(&command) {
                elsewhere += 1;
                continue;
            }
            let script = command
                .replace("/etc/tenure/server.toml", &settings.display().to_string())
                .replace("127.0.0.1:2379", cluster.node(0).address());
            let shell = Tool::new("/bin/sh".into());
            let programs = [tenurectl(), tenured()];
            let paths = programs.iter().map(|program| program.parent().unwrap());
            let paths = std::env::join_paths(paths).unwrap();
            let path = std::env::var("PATH").unwrap_or_default();
            let output = shell
                .command(&["-c", &script])
                .current_dir(directory.path())
                .env("PATH", format!("{}:{path}", paths.display()))
                .env("TENURECTL_ENDPOINTS", &endpoints)
                .output()
                .await
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{name}: {command}: {said}");
            assert!(!output.stdout.is_empty(), "{name}: {command} says nothing");
            ran += 1;
        }
    }
    println!("{ran} commands were run, {elsewhere} are run by other tests");
    assert!(ran >= 8, "{ran} commands were run");
}

#[test]
fn no_command_is_excused_that_no_page_has() {
    for (beginning, reason) in RUN_ELSEWHERE {
        assert!(!reason.is_empty());
        let has = |(_, page): &(&str, &str)| {
            let commands = commands(page);
            commands
                .iter()
                .any(|command| command.starts_with(beginning))
        };
        assert!(PAGES.iter().any(has), "{beginning:?} is on no page");
    }
}
