//! Turns the given values into a [`Config`], and collects every fault.
//!
//! `flags` checks the syntax of single values; this module checks limits, and values that must
//! agree.

mod access;
mod addresses;
mod discovery;
mod limits;
mod logging;
mod security;

use std::path::PathBuf;

use super::{
    cluster::{self, InitialMember},
    fault::{ConfigFault, Warning},
    flags,
    settings::{ClusterState, Config, MetricsLevel, QuorumRecovery},
    sources::Sources,
    url::Url,
};

/// Builds the configuration; it may be used only if no fault is returned.
pub(super) fn validate(sources: &Sources) -> (Config, Vec<ConfigFault>, Vec<Warning>) {
    let (faults, warnings) = sources.judge();
    let mut check = Check {
        sources,
        faults,
        warnings,
    };
    let config = check.config();
    (config, check.faults, check.warnings)
}

/// The given values, with the faults and warnings found so far.
struct Check<'a> {
    sources: &'a Sources,
    faults: Vec<ConfigFault>,
    warnings: Vec<Warning>,
}

impl Check<'_> {
    #[expect(clippy::too_many_lines, reason = "a line for each setting")]
    fn config(&mut self) -> Config {
        let name = self.name();
        let listen_peer_urls = self.listen(flags::LISTEN_PEER_URLS);
        let listen_client_urls = self.listen(flags::LISTEN_CLIENT_URLS);
        let listen_client_http_urls = self.listen(flags::LISTEN_CLIENT_HTTP_URLS);
        let listen_metrics_urls = self.listen(flags::LISTEN_METRICS_URLS);
        self.listeners_are_apart();
        let initial_advertise_peer_urls =
            self.advertise(flags::INITIAL_ADVERTISE_PEER_URLS, flags::LISTEN_PEER_URLS);
        let advertise_client_urls =
            self.advertise(flags::ADVERTISE_CLIENT_URLS, flags::LISTEN_CLIENT_URLS);
        let (heartbeat_interval, election_timeout) = self.election_times();
        let feature_gates = self.feature_gates();
        let client_tls = self.client_tls(
            &listen_client_urls,
            &listen_client_http_urls,
            &listen_metrics_urls,
        );
        let peer_tls = self.peer_tls(&listen_peer_urls, &initial_advertise_peer_urls);
        Config {
            client_tls,
            peer_tls,
            cluster_secret: self.cluster_secret(),
            data_dir: self.data_dir(&name),
            discovery: self.discovery(),
            initial_cluster: self.initial_cluster(&name, &initial_advertise_peer_urls),
            initial_cluster_state: match self.sources.text(flags::INITIAL_CLUSTER_STATE).as_str() {
                "existing" => ClusterState::Existing,
                _ => ClusterState::New,
            },
            initial_cluster_token: self.sources.text(flags::INITIAL_CLUSTER_TOKEN),
            join: self.join(),
            recovery: self.recovery(),
            strict_reconfig_check: self.sources.bool(flags::STRICT_RECONFIG_CHECK),
            max_learners: self.sources.uint32(flags::MAX_LEARNERS),
            snapshot_count: self.snapshot_count(),
            snapshot_catchup_entries: self.sources.uint(flags::SNAPSHOT_CATCHUP_ENTRIES),
            quota_backend_bytes: self.quota(),
            disk_reserve: self.disk_reserve(),
            alarm_auto_clear: self.sources.bool(flags::ALARM_AUTO_CLEAR),
            compact_hash_check_time: self.compact_hash_check_time(&feature_gates),
            feature_gates,
            max_txn_ops: self.count(flags::MAX_TXN_OPS, limits::TXN_OPS_MAX),
            max_request_bytes: self.request_bytes(),
            max_concurrent_streams: self.positive_u32(flags::MAX_CONCURRENT_STREAMS),
            enable_grpc_gateway: self.sources.bool(flags::ENABLE_GRPC_GATEWAY),
            cors: self.sources.words(flags::CORS),
            host_whitelist: self.sources.words(flags::HOST_WHITELIST),
            grpc_keepalive_min_time: self.sources.duration(flags::GRPC_KEEPALIVE_MIN_TIME),
            grpc_keepalive_interval: self.optional_duration(flags::GRPC_KEEPALIVE_INTERVAL),
            grpc_keepalive_timeout: self.positive_duration(flags::GRPC_KEEPALIVE_TIMEOUT),
            watch_progress_notify_interval: self
                .positive_duration(flags::WATCH_PROGRESS_NOTIFY_INTERVAL),
            auto_compaction: self.auto_compaction(),
            compaction_batch_limit: self.positive_u32(flags::COMPACTION_BATCH_LIMIT),
            compaction_sleep_interval: self.sources.duration(flags::COMPACTION_SLEEP_INTERVAL),
            warning_apply_duration: self.sources.duration(flags::WARNING_APPLY_DURATION),
            corrupt_check_time: self.sources.duration(flags::CORRUPT_CHECK_TIME),
            warning_unary_request_duration: self
                .sources
                .duration(flags::WARNING_UNARY_REQUEST_DURATION),
            client_cert_auth: self.sources.bool(flags::CLIENT_CERT_AUTH),
            tokens: self.tokens(),
            bcrypt_cost: self.bcrypt_cost(),
            audit_log: self.audit_log(),
            log_level: self.log_level(),
            log_format: self.log_format(),
            log_outputs: self.log_outputs(),
            metrics: match self.sources.text(flags::METRICS).as_str() {
                "extensive" => MetricsLevel::Extensive,
                _ => MetricsLevel::Basic,
            },
            name,
            listen_peer_urls,
            listen_client_urls,
            listen_client_http_urls,
            listen_metrics_urls,
            initial_advertise_peer_urls,
            advertise_client_urls,
            heartbeat_interval,
            election_timeout,
        }
    }

    fn name(&mut self) -> String {
        let name = self.sources.text(flags::NAME);
        if name.trim().is_empty() {
            self.bad(flags::NAME.name, "a member needs a name".to_owned());
        } else if name.contains([',', '=']) {
            self.bad(
                flags::NAME.name,
                "a name cannot hold a comma or an equals sign".to_owned(),
            );
        }
        name
    }

    fn data_dir(&mut self, name: &str) -> PathBuf {
        let given = self.sources.text(flags::DATA_DIR);
        if !given.is_empty() {
            return PathBuf::from(given);
        }
        if name.contains(['/', '\0']) {
            let remedy = "a name with a slash needs its own --data-dir; set it".to_owned();
            self.bad(flags::NAME.name, remedy);
        }
        PathBuf::from(format!("{name}.tenure"))
    }

    fn join(&mut self) -> Vec<Url> {
        let peers = self.sources.urls(flags::JOIN);
        let listed = self.sources.text(flags::INITIAL_CLUSTER);
        if !peers.is_empty() && !listed.trim().is_empty() {
            self.conflict(
                flags::JOIN.name,
                flags::INITIAL_CLUSTER.name,
                "the members that it joins tell who the others are; give one of the two".to_owned(),
            );
        }
        peers
    }

    fn recovery(&mut self) -> QuorumRecovery {
        let word = self.sources.text(flags::RECOVER);
        let forced = self.sources.bool(flags::FORCE_NEW_CLUSTER);
        match word.trim() {
            "" if forced => QuorumRecovery::Forced,
            "" => QuorumRecovery::Off,
            _ if forced => {
                self.conflict(
                    flags::RECOVER.name,
                    flags::FORCE_NEW_CLUSTER.name,
                    "both make a new cluster of this member; give one of the two".to_owned(),
                );
                QuorumRecovery::Off
            }
            "plan" => QuorumRecovery::Plan,
            word => QuorumRecovery::Confirmed(word.to_owned()),
        }
    }

    fn initial_cluster(&mut self, name: &str, advertised: &[Url]) -> Vec<InitialMember> {
        let text = self.sources.text(flags::INITIAL_CLUSTER);
        if !text.trim().is_empty() {
            match cluster::parse(&text) {
                Ok(members) => return members,
                Err(fault) => self.bad(flags::INITIAL_CLUSTER.name, fault.to_string()),
            }
        }
        if !self.sources.text(flags::DISCOVERY_SRV).trim().is_empty() {
            return Vec::new();
        }
        let mut peer_urls = advertised.to_vec();
        peer_urls.sort_unstable_by_key(ToString::to_string);
        vec![InitialMember {
            name: name.to_owned(),
            peer_urls,
        }]
    }

    /// Reports that the value in force for `name` cannot be used.
    fn bad(&mut self, name: &'static str, remedy: String) {
        let (origin, value) = (self.sources.origin(name), self.sources.shown(name));
        self.faults.push(ConfigFault::BadValue {
            origin,
            value,
            remedy,
        });
    }

    /// Reports that the values in force for two names contradict each other.
    fn conflict(&mut self, first: &'static str, second: &'static str, remedy: String) {
        let (first, second) = (self.sources.origin(first), self.sources.origin(second));
        self.faults.push(ConfigFault::Conflict {
            first,
            second,
            remedy,
        });
    }

    /// Reports a warning about the value of `name`.
    fn warn(&mut self, name: &'static str, words: &str) {
        self.warnings
            .push(Warning(format!("{}: {words}", self.sources.origin(name))));
    }
}
