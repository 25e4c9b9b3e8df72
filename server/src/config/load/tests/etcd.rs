//! Tests of what was written for etcd, and of the report of --check-config.

use super::*;

#[test]
fn a_variable_of_etcd_is_weaker_than_tenures_and_stronger_than_the_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "name = 'file'\nsnapshot-count = 7\n").unwrap();
    let path = file.path().to_str().unwrap();
    let pairs = [
        ("ETCD_CONFIG_FILE", path),
        ("ETCD_NAME", "etcd"),
        ("ETCD_DATA_DIR", "etcd"),
        ("ETCD_LOG_LEVEL", "warn"),
        ("ETCD_MIRROR_SITE", "x"),
        ("TENURE_DATA_DIR", "tenure"),
    ];
    let Ok(Invocation::Serve { config, warnings }) = load_with(&["--log-level=debug"], &pairs)
    else {
        panic!("every value is good");
    };
    assert_eq!(config.name, "etcd");
    assert_eq!(config.data_dir, PathBuf::from("tenure"));
    assert_eq!(config.snapshot_count, 7);
    assert_eq!(config.log_level, LogLevel::Debug);
    let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        ["ETCD_MIRROR_SITE has no effect: unknown variable"]
    );
}

#[test]
fn the_flags_of_an_earlier_etcd_are_honoured_or_refused_with_a_remedy() {
    let (config, warnings) = serve(&[
        "--experimental-watch-progress-notify-interval=5s",
        "--experimental-initial-corrupt-check=true",
        "--enable-v2=false",
        "--proxy=off",
    ]);
    assert_eq!(
        config.watch_progress_notify_interval,
        Duration::from_secs(5)
    );
    let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    assert!(warnings.is_empty(), "{warnings:?}");
    assert!(config.feature_gates.initial_corrupt_check());
    let said = faults(&["--enable-v2", "--proxy=readonly", "--debug"]);
    assert_eq!(
        said.lines().collect::<Vec<_>>(),
        [
            "--enable-v2: no longer a setting: etcd's v2 API is not served; use the v3 API",
            "--proxy: no longer a setting: every member takes every call; start a member, or name \
             the members to clients",
            "--debug: no longer a setting: write --log-level=debug",
        ]
    );
}

#[test]
fn checking_the_settings_reports_what_a_start_would_do_or_every_fault() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = format!("--data-dir={}", dir.path().display());
    let printed = |words: &[&str]| match load_with(words, &[("ETCD_MIRROR_SITE", "x")]) {
        Ok(Invocation::Print(text)) => text,
        other => panic!("{words:?}: {other:?}"),
    };
    let forms = printed(&["--check-config", "--name=a", "--max-wals=3", &data_dir]);
    let lines: Vec<_> = forms.lines().collect();
    assert!(lines[0].starts_with("warning: --max-wals has no effect"));
    assert_eq!(
        lines[1],
        "warning: ETCD_MIRROR_SITE has no effect: unknown variable"
    );
    assert_eq!(lines[2], "name: a");
    assert!(lines.contains(&"clients: http://localhost:2379"));
    assert!(lines.contains(&"start: forms a cluster of its own"));
    assert_eq!(lines.last(), Some(&"the configuration is valid"));

    let joins = printed(&["--check-config", "--join=http://a:2380", &data_dir]);
    assert!(joins.contains("start: joins the cluster of http://a:2380\n"));
    fs::write(dir.path().join("data"), "").unwrap();
    let goes_on = printed(&["--check-config", &data_dir]);
    assert!(goes_on.contains("start: goes on with the data that is there"));

    let said = faults(&[
        "--check-config",
        "--nam=a",
        "--log-level=loud",
        "--auto-tls=maybe",
    ]);
    assert_eq!(said.lines().count(), 3, "{said}");
}

/// What kubeadm passes to etcd, of two generations, without the flags of TLS.
#[test]
fn the_flags_of_kubeadm_are_accepted() {
    let common = [
        "--advertise-client-urls=http://10.0.0.5:2379",
        "--data-dir=/nonexistent/etcd",
        "--initial-advertise-peer-urls=http://10.0.0.5:2380",
        "--initial-cluster=cp1=http://10.0.0.5:2380,3f2a=http://10.0.0.6:2380",
        "--initial-cluster-state=existing",
        "--listen-client-urls=http://127.0.0.1:2379,http://10.0.0.5:2379",
        "--listen-metrics-urls=http://127.0.0.1:2381",
        "--listen-peer-urls=http://10.0.0.5:2380",
        "--name=cp1",
        "--snapshot-count=10000",
    ];
    for of_their_time in [
        [
            "--feature-gates=InitialCorruptCheck=true",
            "--watch-progress-notify-interval=5s",
        ],
        [
            "--experimental-initial-corrupt-check=true",
            "--experimental-watch-progress-notify-interval=5s",
        ],
    ] {
        let words = [&common[..], &of_their_time].concat();
        let (config, warnings) = serve(&words);
        assert_eq!(
            config.watch_progress_notify_interval,
            Duration::from_secs(5)
        );
        assert_eq!(config.listen_client_urls.len(), 2);
        assert!(matches!(
            config.first_start(),
            Ok(FirstStart::Join(Joining::Listed(_)))
        ));
        assert!(config.feature_gates.initial_corrupt_check());
        assert!(warnings.is_empty(), "{warnings:?}");
    }
}
