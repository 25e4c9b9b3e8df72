//! Tests of the rules for settings, through the same entry point that operators use.

mod access;
mod etcd;

use std::time::Duration;

use super::*;
use crate::config::{
    AutoCompaction, ClusterState, FirstStart, Joining, LogFormat, LogLevel, LogOutput, MetricsLevel,
};

mod tls;

fn load_with(words: &[&str], pairs: &[(&str, &str)]) -> Result<Invocation, ConfigErrors> {
    load(
        words.iter().map(OsString::from),
        pairs
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value))),
    )
}

fn serve(words: &[&str]) -> (Arc<Config>, Vec<Warning>) {
    match load_with(words, &[]) {
        Ok(Invocation::Serve { config, warnings }) => (config, warnings),
        other => panic!("{words:?}: {other:?}"),
    }
}

fn config(words: &[&str]) -> Arc<Config> {
    serve(words).0
}

fn faults(words: &[&str]) -> String {
    match load_with(words, &[]) {
        Err(errors) => errors.to_string(),
        other => panic!("{words:?}: {other:?}"),
    }
}

fn texts(urls: &[crate::config::Url]) -> Vec<String> {
    urls.iter().map(ToString::to_string).collect()
}

#[test]
fn without_any_setting_a_lone_member_serves_on_loopback() {
    let config = config(&[]);
    assert_eq!(config.name, "default");
    assert_eq!(config.data_dir, PathBuf::from("default.tenure"));
    let bind = |urls: &[crate::config::Url]| urls[0].bind_address().unwrap().to_string();
    assert_eq!(bind(&config.listen_client_urls), "127.0.0.1:2379");
    assert_eq!(bind(&config.listen_peer_urls), "127.0.0.1:2380");
    assert_eq!(
        texts(&config.advertise_client_urls),
        ["http://localhost:2379"]
    );
    assert_eq!(
        texts(&config.initial_cluster[0].peer_urls),
        ["http://localhost:2380"]
    );
    assert_eq!(config.quota_backend_bytes, Some(2 << 30));
    assert_eq!(config.heartbeat_interval, Duration::from_millis(100));
    assert_eq!(config.election_timeout, Duration::from_secs(1));
    assert_eq!(config.max_request_bytes, 1_572_864);
    assert_eq!(
        config.grpc_keepalive_interval,
        Some(Duration::from_secs(60))
    );
    assert_eq!(config.auto_compaction, AutoCompaction::Off);
    assert_eq!(config.log_outputs, [LogOutput::Stderr]);
    assert_eq!(
        (config.log_level, config.log_format),
        (LogLevel::Info, LogFormat::Json)
    );
    assert_eq!(config.metrics, MetricsLevel::Basic);
    let Ok(FirstStart::Form {
        member_id, members, ..
    }) = config.first_start()
    else {
        panic!("a lone member forms its own cluster");
    };
    assert_eq!(member_id.to_string(), "8e9e05c52164694d");
    assert_eq!(members.len(), 1);
}

#[test]
fn a_member_that_advertises_another_spelling_has_the_id_that_the_cluster_gives_it() {
    for advertised in ["http://localhost:2380", "http://127.0.0.1:2380"] {
        let words = [
            "--name=m0",
            "--initial-cluster=m0=http://127.0.0.1:2380",
            "--initial-advertise-peer-urls",
            advertised,
        ];
        let Ok(Invocation::Serve { config, .. }) = load_with(&words, &[]) else {
            panic!("both spellings name one place");
        };
        let Ok(FirstStart::Form {
            member_id, members, ..
        }) = config.first_start()
        else {
            panic!("a lone member forms its own cluster");
        };
        assert_eq!(
            vec![member_id],
            members.iter().map(|(id, _)| *id).collect::<Vec<_>>()
        );
    }
}

#[test]
fn a_flag_beats_a_variable_and_a_variable_beats_the_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(
        file.path(),
        "name = 'file'\ndata-dir = 'file'\nsnapshot-count = 7\nlog-level = 'bogus'\n",
    )
    .unwrap();
    let path = file.path().to_str().unwrap();
    let pairs = [
        ("TENURE_CONFIG_FILE", path),
        ("TENURE_NAME", "variable"),
        ("TENURE_DATA_DIR", "variable"),
        ("TENURE_LOG_LEVEL", "bogus too"),
    ];
    let words = ["--name", "flag", "--log-level=debug"];
    let Ok(Invocation::Serve { config, .. }) = load_with(&words, &pairs) else {
        panic!("the bad values are beaten by a good flag");
    };
    assert_eq!(config.name, "flag");
    assert_eq!(config.data_dir, PathBuf::from("variable"));
    assert_eq!(config.snapshot_count, 7);
    assert_eq!(config.log_level, LogLevel::Debug);
}

#[test]
fn a_named_member_derives_its_directory_and_its_cluster() {
    let config = config(&["--name=a", "--listen-peer-urls=http://127.0.0.1:12380"]);
    assert_eq!(config.data_dir, PathBuf::from("a.tenure"));
    assert_eq!(config.initial_cluster[0].name, "a");
    assert_eq!(
        texts(&config.initial_cluster[0].peer_urls),
        ["http://127.0.0.1:12380"]
    );
}

#[test]
fn values_are_read_as_their_flags_say() {
    let config = config(&[
        "--quota-backend-bytes=-1",
        "--snapshot-count=0",
        "--grpc-keepalive-interval=0s",
        "--log-outputs=stdout,stderr,default",
        "--log-format=console",
        "--log-level=fatal",
        "--metrics=extensive",
        "--auto-compaction-mode=revision",
        "--auto-compaction-retention=1000",
    ]);
    assert_eq!(config.quota_backend_bytes, None);
    assert_eq!(config.snapshot_count, 10_000);
    assert_eq!(config.grpc_keepalive_interval, None);
    assert_eq!(config.log_outputs, [LogOutput::Stdout, LogOutput::Stderr]);
    assert_eq!(
        (config.log_level, config.log_format),
        (LogLevel::Error, LogFormat::Console)
    );
    assert_eq!(config.metrics, MetricsLevel::Extensive);
    assert_eq!(config.auto_compaction, AutoCompaction::Revision(1000));
}

#[test]
fn retention_is_a_duration_or_a_bare_number_of_hours() {
    let retention = |text| config(&["--auto-compaction-retention", text]).auto_compaction;
    assert_eq!(
        retention("2"),
        AutoCompaction::Periodic(Duration::from_secs(7200))
    );
    assert_eq!(
        retention("30m"),
        AutoCompaction::Periodic(Duration::from_secs(1800))
    );
    assert_eq!(retention("0"), AutoCompaction::Off);
    assert_eq!(retention("0h"), AutoCompaction::Off);
}

#[test]
fn a_member_forms_or_joins_as_it_is_told() {
    let cluster = "--initial-cluster=a=http://127.0.0.1:1,b=http://127.0.0.1:2";
    let words = [
        "--name=a",
        cluster,
        "--initial-advertise-peer-urls=http://localhost:1",
    ];
    let formed = config(&words);
    assert_eq!(formed.initial_cluster_state, ClusterState::New);
    let Ok(FirstStart::Form { members, .. }) = formed.first_start() else {
        panic!("the member forms a cluster");
    };
    assert_eq!(members.len(), 2);
    assert!(members.is_sorted_by_key(|(id, _)| *id));

    // A joining member announced its addresses before, so they are not compared.
    let joining = config(&["--name=a", cluster, "--initial-cluster-state=existing"]);
    let Ok(FirstStart::Join(Joining::Listed(members))) = joining.first_start() else {
        panic!("the member joins");
    };
    assert_eq!(members.len(), 2);

    let told = config(&["--name=c", "--join=http://a:2380,http://b:2380"]);
    let Ok(FirstStart::Join(Joining::Told { peers, own })) = told.first_start() else {
        panic!("the member joins");
    };
    assert_eq!((peers.len(), own.len()), (2, 1));
}

#[test]
fn a_member_with_data_may_have_a_stale_story_about_its_cluster() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = format!("--data-dir={}", dir.path().display());
    let words = [
        "--name=a",
        "--initial-cluster=b=http://localhost:2380",
        &data_dir,
    ];
    assert!(
        load_with(&words, &[]).is_err(),
        "the directory is empty, so the story counts"
    );
    fs::write(dir.path().join("data"), "").unwrap();
    let (config, _) = serve(&words);
    assert!(
        config.first_start().is_err(),
        "asking for it all the same is still refused"
    );
}

/// Flags with a part of the expected fault; every line is one rule.
const BAD: &[(&[&str], &str)] = &[
    (
        &["--name="],
        "--name: bad value \"\": a member needs a name",
    ),
    (&["--name=a,b"], "cannot hold a comma"),
    (&["--name=a/b"], "needs its own --data-dir"),
    (&["--name"], "--name: value missing"),
    (&["--enable-v4"], "--enable-v4: unknown flag"),
    (
        &["--listen-client-url=x"],
        "did you mean --listen-client-urls?",
    ),
    (&["gateway"], "\"gateway\": unexpected word"),
    (
        &["--config-file=/nonexistent"],
        "--config-file: cannot read /nonexistent",
    ),
    (&["--listen-client-urls="], "at least one URL"),
    (
        &["--listen-client-urls=https://127.0.0.1:2379"],
        "TLS key/cert (--cert-file, --key-file) must be provided for client url \
         https://127.0.0.1:2379 with HTTPS scheme",
    ),
    (
        &["--listen-client-urls=http://example.test:2379"],
        "IP address or localhost",
    ),
    (
        &["--listen-client-urls=localhost:2379"],
        "must begin with http://, https://, unix:// or unixs://",
    ),
    (
        &["--listen-client-urls=http://127.0.0.1"],
        "must have a host and a port",
    ),
    (
        &["--listen-client-urls=http://127.0.0.1:1/x"],
        "must end with the port",
    ),
    (
        &["--listen-client-urls=http://127.0.0.1:1,http://127.0.0.1:1"],
        "stands twice",
    ),
    (&["--listen-client-urls=unix://"], "must name a file"),
    (
        &["--listen-client-urls=http://localhost:2380"],
        "both listen on 127.0.0.1:2380",
    ),
    (
        &["--listen-metrics-urls=http://127.0.0.1:2379"],
        "both listen on 127.0.0.1:2379",
    ),
    (
        &["--listen-client-urls=http://0.0.0.0:2379"],
        "set --advertise-client-urls",
    ),
    (
        &["--listen-peer-urls=http://[::]:2380"],
        "set --initial-advertise-peer-urls",
    ),
    (&["--initial-cluster=a"], "must be written NAME=URL"),
    (
        &["--initial-cluster==http://localhost:2380"],
        "must be written NAME=URL",
    ),
    (
        &["--initial-cluster=default=https://localhost:2380"],
        "make them the same",
    ),
    (
        &["--initial-cluster=b=http://localhost:2380"],
        "has no member \"default\"",
    ),
    (
        &["--initial-cluster=default=http://localhost:1"],
        "make them the same",
    ),
    (
        &["--initial-cluster=default=http://localhost:2380,b=http://localhost:2380"],
        "http://localhost:2380 stands for two members",
    ),
    (
        &["--initial-cluster-state=old"],
        "expected one of new, existing",
    ),
    (&["--initial-cluster-state=existing"], "needs its members"),
    (
        &[
            "--join=http://localhost:1",
            "--initial-cluster=default=http://localhost:2380",
        ],
        "give one of the two",
    ),
    (&["--join=localhost:1"], "--join"),
    (
        &["--heartbeat-interval=0"],
        "expected at least 1 millisecond",
    ),
    (
        &["--heartbeat-interval=100ms"],
        "milliseconds without a unit",
    ),
    (&["--election-timeout=0"], "expected at least 1 millisecond"),
    (
        &["--election-timeout=499"],
        "--election-timeout and --heartbeat-interval (default): an elec",
    ),
    (
        &["--heartbeat-interval=18446744073709551615"],
        "shorter than five heartbeats",
    ),
    (&["--election-timeout=50001"], "at most 50000"),
    (&["--snapshot-count=-1"], "expected a whole number"),
    (&["--quota-backend-bytes=2GB"], "expected a whole number"),
    (&["--max-txn-ops=0"], "from 1 to"),
    (&["--max-request-bytes=0"], "from 1 to"),
    (&["--max-request-bytes=4294967296"], "from 1 to"),
    (
        &["--max-concurrent-streams=4294967296"],
        "from 0 to 4294967295",
    ),
    (&["--max-concurrent-streams=0"], "expected at least 1"),
    (&["--grpc-keepalive-timeout=0s"], "above zero"),
    (&["--grpc-keepalive-min-time=5"], "a duration with its unit"),
    (&["--watch-progress-notify-interval=0s"], "above zero"),
    (&["--compaction-batch-limit=0"], "expected at least 1"),
    (
        &["--compaction-sleep-interval=-1s"],
        "a duration with its unit",
    ),
    (
        &["--auto-compaction-mode=weekly"],
        "expected one of periodic, revision",
    ),
    (
        &["--auto-compaction-retention=soon"],
        "or a number of hours",
    ),
    (
        &[
            "--auto-compaction-mode=revision",
            "--auto-compaction-retention=1h",
        ],
        "number of revisions",
    ),
    (
        &["--warning-apply-duration=100"],
        "a duration with its unit",
    ),
    (&["--strict-reconfig-check=yes"], "expected true or false"),
    (
        &["--pre-vote=false"],
        "asks for an election without a pre-vote (not built yet)",
    ),
    (&["--log-level=trace"], "expected one of debug"),
    (&["--log-format=xml"], "expected one of json, console"),
    (
        &["--log-outputs=/var/log/tenure"],
        "log files are not built yet",
    ),
    (&["--logger=capnslog"], "expected one of zap"),
    (&["--metrics=all"], "expected one of basic, extensive"),
    (
        &["--cert-file=x"],
        "the key is missing; set --key-file, too",
    ),
    (
        &["--key-file=x"],
        "the certificate is missing; set --cert-file, too",
    ),
    (
        &["--listen-metrics-urls=https://127.0.0.1:2381"],
        "client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url",
    ),
    (
        &[
            "--listen-peer-urls=https://127.0.0.1:2380",
            "--initial-cluster=default=https://127.0.0.1:2380",
        ],
        "TLS key/cert (--peer-cert-file, --peer-key-file) must be provided for peer url \
         https://127.0.0.1:2380 with HTTPS scheme",
    ),
    (
        &["--peer-client-cert-file=x"],
        "set --peer-client-key-file, too",
    ),
    (
        &[
            "--peer-client-cert-auth",
            "--peer-cert-allowed-cn=a",
            "--peer-cert-allowed-hostname=b",
        ],
        "--peer-cert-allowed-cn and --peer-cert-allowed-hostname: they are mutually exclusive",
    ),
    (
        &["--client-crl-file=x"],
        "nobody has to show a certificate; set --trusted-ca-file or --client-cert-auth, too",
    ),
    (
        &["--peer-cert-allowed-cn=a"],
        "set --peer-trusted-ca-file or --peer-client-cert-auth, too",
    ),
    (
        &["--tls-min-version=TLS1.1"],
        "unexpected TLS version \"TLS1.1\" (must be one of: TLS1.2, TLS1.3)",
    ),
    (
        &["--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"],
        "min version (TLS1.3) is greater than max version (TLS1.2)",
    ),
    (&["--cipher-suites=x"], "unexpected TLS cipher suite \"x\""),
    (
        &["--cipher-suites=TLS_RSA_WITH_AES_128_GCM_SHA256"],
        "is not supported: it has no forward secrecy",
    ),
    (
        &["--cluster-secret-optional"],
        "set --cluster-secret-file, too",
    ),
    (
        &["--auth-token=jwt"],
        "--auth-token: bad value \"jwt\": auth: invalid auth options: jwt needs a sign-method",
    ),
    (&["--auth-token=opaque"], "auth: invalid auth options"),
    (
        &["--auth-token=jwt,sign-method=RS256"],
        "needs a pub-key or a priv-key",
    ),
    (&["--auth-token-ttl=5m"], "expected a whole number"),
    (&["--auth-token-ttl=999999999999"], "expected at most"),
    (&["--bcrypt-cost=low"], "expected a whole number"),
    (&["--audit-log-max-bytes=1GB"], "expected a whole number"),
    (
        &["--discovery-endpoints=http://10.0.0.1:2379"],
        "the discovery service (not built yet)",
    ),
    (
        &[
            "--discovery-srv=example.test",
            "--initial-cluster=default=http://localhost:2380",
        ],
        "multiple discovery or bootstrap flags are set",
    ),
    (
        &[
            "--discovery-srv=example.test",
            "--join=http://10.0.0.1:2380",
        ],
        "multiple discovery or bootstrap flags are set",
    ),
    (&["--discovery-srv-name=a"], "set --discovery-srv, too"),
    (&["--discovery-dns-server=::1"], "set --discovery-srv, too"),
    (
        &[
            "--discovery-srv=example.test",
            "--discovery-dns-server=ns.example.test",
        ],
        "expected an address",
    ),
    (
        &["--force-new-cluster", "--recover=plan"],
        "give one of the two",
    ),
    (
        &["--unsafe-no-fsync"],
        "running without durable writes (not built yet)",
    ),
    (
        &["--enable-pprof=true"],
        "profiling over HTTP (not built yet)",
    ),
    (
        &["--enable-distributed-tracing"],
        "distributed tracing (not built yet)",
    ),
    (&["--max-wals=many"], "expected a whole number"),
];

#[test]
fn every_bad_value_is_refused_with_its_name_and_a_remedy() {
    for (words, expected) in BAD {
        let said = faults(words);
        assert!(said.contains(expected), "{words:?} said {said:?}");
        assert_eq!(said.lines().count(), 1, "{words:?} has one fault: {said}");
    }
}

#[test]
fn all_faults_are_reported_at_once_whatever_their_source() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "nam = 'a'\nmax-txn-ops = 0\n").unwrap();
    let path = format!("--config-file={}", file.path().display());
    let pairs = [
        ("TENURE_LOG_LEVEL", "loud"),
        ("TENURE_NONSENSE_SETTING", "1"),
    ];
    let Err(errors) = load_with(&[&path, "--auth-token=jwt", "stray"], &pairs) else {
        panic!("five faults");
    };
    let said = errors.to_string();
    assert_eq!(errors.faults().len(), 6, "{said}");
    for part in [
        "nam in ",
        "max-txn-ops in ",
        "TENURE_LOG_LEVEL: ",
        "TENURE_NONSENSE",
        "stray",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn what_has_no_effect_is_accepted_with_one_warning_each() {
    let (_, warnings) = serve(&["--max-wals=9", "--logger=zap", "--memory-mlock=false"]);
    let said: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        ["--max-wals has no effect: log files are recycled, not counted"]
    );
    let (_, warnings) = serve(&["--advertise-client-urls=http://0.0.0.0:2379"]);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
}

#[test]
fn a_missing_feature_may_be_asked_for_at_its_default() {
    let (_, warnings) = serve(&[
        "--cert-file=",
        "--auto-tls=false",
        "--pre-vote",
        "--auth-token=simple",
        "--enable-pprof=F",
        "--force-new-cluster=false",
        "--unsafe-no-fsync=false",
        "--cors=*",
        "--discovery-fallback=exit",
    ]);
    assert_eq!(warnings, []);
}

#[test]
fn help_and_version_are_printed_whatever_else_is_wrong() {
    let Ok(Invocation::Print(text)) = load_with(&["--nonsense", "--help"], &[]) else {
        panic!("help");
    };
    assert!(text.contains("--listen-client-urls"));
    let Ok(Invocation::Print(text)) = load_with(&["--version"], &[]) else {
        panic!("version");
    };
    assert!(text.contains("etcd Version: "));
}

#[test]
fn a_refused_secret_is_not_repeated() {
    let said = faults(&["--discovery-password=hunter2"]);
    assert!(
        said.starts_with("--discovery-password: ") && !said.contains("hunter2"),
        "{said}"
    );
}
