//! From given values to the one [`Config`], with every fault that is found on the way.
//!
//! Rules about one value by its shape alone are in `flags`; rules about limits, and about values
//! that must agree, are here.

mod addresses;
mod limits;
mod logging;

use std::path::PathBuf;

use super::{
    cluster::{self, InitialMember},
    fault::{ConfigFault, Warning},
    settings::{ClusterState, Config, MetricsLevel},
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

/// The values, and what is found to be wrong with them.
struct Check<'a> {
    sources: &'a Sources,
    faults: Vec<ConfigFault>,
    warnings: Vec<Warning>,
}

impl Check<'_> {
    fn config(&mut self) -> Config {
        let name = self.name();
        let listen_peer_urls = self.listen("listen-peer-urls");
        let listen_client_urls = self.listen("listen-client-urls");
        let listen_metrics_urls = self.listen("listen-metrics-urls");
        self.listeners_are_apart();
        let initial_advertise_peer_urls =
            self.advertise("initial-advertise-peer-urls", "listen-peer-urls");
        let advertise_client_urls = self.advertise("advertise-client-urls", "listen-client-urls");
        let (heartbeat_interval, election_timeout) = self.election_times();
        Config {
            data_dir: self.data_dir(&name),
            initial_cluster: self.initial_cluster(&name, &initial_advertise_peer_urls),
            initial_cluster_state: match self.sources.text("initial-cluster-state").as_str() {
                "existing" => ClusterState::Existing,
                _ => ClusterState::New,
            },
            initial_cluster_token: self.sources.text("initial-cluster-token"),
            strict_reconfig_check: self.sources.bool("strict-reconfig-check"),
            max_learners: self.sources.uint32("max-learners"),
            snapshot_count: self.snapshot_count(),
            snapshot_catchup_entries: self.sources.uint("snapshot-catchup-entries"),
            quota_backend_bytes: self.quota(),
            max_txn_ops: self.count("max-txn-ops", limits::TXN_OPS_MAX),
            max_request_bytes: self.request_bytes(),
            max_concurrent_streams: self.positive_u32("max-concurrent-streams"),
            grpc_keepalive_min_time: self.sources.duration("grpc-keepalive-min-time"),
            grpc_keepalive_interval: self.optional_duration("grpc-keepalive-interval"),
            grpc_keepalive_timeout: self.positive_duration("grpc-keepalive-timeout"),
            watch_progress_notify_interval: self
                .positive_duration("watch-progress-notify-interval"),
            auto_compaction: self.auto_compaction(),
            compaction_batch_limit: self.positive_u32("compaction-batch-limit"),
            compaction_sleep_interval: self.sources.duration("compaction-sleep-interval"),
            warning_apply_duration: self.sources.duration("warning-apply-duration"),
            corrupt_check_time: self.sources.duration("corrupt-check-time"),
            warning_unary_request_duration: self.sources.duration("warning-unary-request-duration"),
            log_level: self.log_level(),
            log_format: self.log_format(),
            log_outputs: self.log_outputs(),
            metrics: match self.sources.text("metrics").as_str() {
                "extensive" => MetricsLevel::Extensive,
                _ => MetricsLevel::Basic,
            },
            name,
            listen_peer_urls,
            listen_client_urls,
            listen_metrics_urls,
            initial_advertise_peer_urls,
            advertise_client_urls,
            heartbeat_interval,
            election_timeout,
        }
    }

    fn name(&mut self) -> String {
        let name = self.sources.text("name");
        if name.trim().is_empty() {
            self.bad("name", "a member needs a name".to_owned());
        } else if name.contains([',', '=']) {
            self.bad(
                "name",
                "a name cannot hold a comma or an equals sign".to_owned(),
            );
        }
        name
    }

    fn data_dir(&mut self, name: &str) -> PathBuf {
        let given = self.sources.text("data-dir");
        if !given.is_empty() {
            return PathBuf::from(given);
        }
        if name.contains(['/', '\0']) {
            let remedy = "a name with a slash needs its own --data-dir; set it".to_owned();
            self.bad("name", remedy);
        }
        PathBuf::from(format!("{name}.tenure"))
    }

    fn initial_cluster(&mut self, name: &str, advertised: &[Url]) -> Vec<InitialMember> {
        let text = self.sources.text("initial-cluster");
        if !text.trim().is_empty() {
            match cluster::parse(&text) {
                Ok(members) => return members,
                Err(fault) => self.bad("initial-cluster", fault.to_string()),
            }
        }
        let mut peer_urls = advertised.to_vec();
        peer_urls.sort_unstable_by_key(ToString::to_string);
        vec![InitialMember {
            name: name.to_owned(),
            peer_urls,
        }]
    }

    /// Notes that the value in force for `name` cannot be used.
    fn bad(&mut self, name: &'static str, remedy: String) {
        let (origin, value) = (self.sources.origin(name), self.sources.text(name));
        self.faults.push(ConfigFault::BadValue {
            origin,
            value,
            remedy,
        });
    }

    /// Notes that the values in force for two names contradict each other.
    fn conflict(&mut self, first: &'static str, second: &'static str, remedy: String) {
        let (first, second) = (self.sources.origin(first), self.sources.origin(second));
        self.faults.push(ConfigFault::Conflict {
            first,
            second,
            remedy,
        });
    }

    /// Notes something an operator should know about the value of `name`.
    fn warn(&mut self, name: &'static str, words: &str) {
        self.warnings
            .push(Warning(format!("{}: {words}", self.sources.origin(name))));
    }
}
