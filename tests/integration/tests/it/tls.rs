//! TLS for clients and between members, the cluster secret, and what strangers get: on real
//! sockets, with the tools that people have.

mod client_files;
mod clients;
mod documented;
mod members;
mod nonsense;
mod reload;
mod strangers;

use std::io::Write as _;

use tenure::{Client, Tls};
use tenure_testkit::{Cluster, ClusterBuilder, Issued, Leaf, Node, Pki, Ran, Tool, find_program};

/// Secrets, long enough.
const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const OTHER_SECRET: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";

/// A node that serves clients over TLS, and asks them for certificates if `verifies`.
fn node(pki: &Pki, verifies: bool) -> ClusterBuilder {
    let [certificate, key] = pki.issue("node", &Leaf::node()).words();
    let builder = Cluster::builder(1)
        .clients_use_tls()
        .flag("--cert-file", &certificate)
        .flag("--key-file", &key);
    if verifies {
        builder.flag("--trusted-ca-file", &pki.authority().display().to_string())
    } else {
        builder
    }
}

/// The options of etcdctl and tenurectl for a client with this certificate.
fn options(pki: &Pki, pair: Option<&Issued>) -> Vec<String> {
    let mut options = vec!["--cacert".to_owned(), pki.authority().display().to_string()];
    if let Some(pair) = pair {
        let [certificate, key] = pair.words();
        options.extend(["--cert".to_owned(), certificate, "--key".to_owned(), key]);
    }
    options
}

/// A tool for an endpoint with these options.
fn tool(tool: Tool, options: &[String]) -> Tool {
    let options: Vec<_> = options.iter().map(String::as_str).collect();
    tool.with(&options)
}

/// A client of the crate with this certificate.
async fn client(pki: &Pki, endpoint: &str, pair: Option<&Issued>) -> Client {
    let authority = std::fs::read(pki.authority()).unwrap();
    let mut tls = Tls::new().authorities_pem(authority).unwrap();
    if let Some(pair) = pair {
        let [certificate, key] =
            [&pair.certificate, &pair.key].map(|path| std::fs::read(path).unwrap());
        tls = tls.identity_pem(certificate, key).unwrap();
    }
    let builder = Client::builder().endpoints([endpoint]).attempts_max(2);
    builder.tls(tls).connect().await.unwrap()
}

/// Runs curl; `None`, said loudly, when it is not installed.
async fn curl(arguments: &[&str]) -> Option<Ran> {
    let Some(program) = find_program("curl") else {
        // Past the capture of a passing test: a skipped check must be seen.
        _ = std::io::stderr().write_all(b"SKIPPED: curl is not installed\n");
        return None;
    };
    let curl = Tool::new(program).with(&["--silent", "--show-error", "--max-time", "20"]);
    Some(curl.run(arguments).await)
}

/// The figure of a metric.
async fn metric(node: &Node, name: &str) -> f64 {
    node.page("/metrics").await.metric(name).unwrap_or_default()
}
