//! The text of `--check-config` for settings without a fault: what a start with them would do.

use std::fmt::Write as _;

use super::{
    cluster::{FirstStart, Joining},
    fault::Warning,
    settings::{ClusterState, Config},
    url::Url,
};

/// Describes a configuration, and lists what is accepted without effect.
///
/// `fresh` says that the data directory is missing or empty: the start would be a first one.
pub(super) fn text(config: &Config, warnings: &[Warning], fresh: bool) -> String {
    let mut text = String::new();
    for warning in warnings {
        line(&mut text, "warning", &warning.to_string());
    }
    line(&mut text, "name", &config.name);
    line(
        &mut text,
        "data directory",
        &config.data_dir.display().to_string(),
    );
    line(&mut text, "clients", &list(&config.listen_client_urls));
    line(&mut text, "as", &list(&config.advertise_client_urls));
    line(&mut text, "members", &list(&config.listen_peer_urls));
    line(&mut text, "as", &list(&config.initial_advertise_peer_urls));
    if !config.listen_metrics_urls.is_empty() {
        line(&mut text, "pages", &list(&config.listen_metrics_urls));
    }
    let start = if fresh {
        first_start(config)
    } else {
        "goes on with the data that is there; the initial settings do not count".to_owned()
    };
    line(&mut text, "start", &start);
    text.push_str("the configuration is valid\n");
    text
}

fn first_start(config: &Config) -> String {
    if let Some(discovery) = &config.discovery {
        let domain = &discovery.domain;
        return match config.initial_cluster_state {
            ClusterState::New => format!("forms the cluster that SRV records of {domain} list"),
            ClusterState::Existing => {
                format!("joins the cluster that SRV records of {domain} list")
            }
        };
    }
    match config.first_start() {
        Ok(FirstStart::Form { members, .. }) if members.len() == 1 => {
            "forms a cluster of its own".to_owned()
        }
        Ok(FirstStart::Form { members, .. }) => {
            format!("forms a cluster of {} members", members.len())
        }
        Ok(FirstStart::Join(Joining::Listed(members))) => {
            format!("joins a cluster of {} members", members.len())
        }
        Ok(FirstStart::Join(Joining::Told { peers, .. })) => {
            format!("joins the cluster of {}", list(&peers))
        }
        Err(errors) => errors.to_string(),
    }
}

fn line(text: &mut String, what: &str, value: &str) {
    // Writing to a text cannot fail.
    _ = writeln!(text, "{what}: {value}");
}

fn list(urls: &[Url]) -> String {
    let urls: Vec<_> = urls.iter().map(ToString::to_string).collect();
    urls.join(",")
}
