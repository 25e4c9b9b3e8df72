//! TLS of the command line: its settings from options, and what a failure was really about.

use std::{fs::File, path::Path};

use anyhow::Context as _;
use tenure::{ErrorKind, Tls};

use super::{discovery, print_message_detached};
use crate::{args::Global, failure::Failure};

/// The settings of TLS; `None` when no option asks for it. Endpoints that begin with `https://` use
/// the authorities of the system then.
pub(super) fn settings(global: &Global) -> Result<Option<Tls>, Failure> {
    let is_asked_for = !global.insecure_transport
        || global.insecure_skip_tls_verify
        || discovery::server_name(global).is_some()
        || global.cacert.is_some()
        || global.cert.is_some();
    if !is_asked_for {
        return Ok(None);
    }
    // Detached: the connection of a lock's holder must not wait for a reader of standard error.
    let mut tls = Tls::new().on_unusable_file(|error| {
        print_message_detached(format!("{error}; what was read before stays in force"));
    });
    if let Some(path) = &global.cacert {
        readable("--cacert", path)?;
        tls = tls.authorities_file(path)?;
    }
    if let (Some(cert), Some(key)) = (&global.cert, &global.key) {
        readable("--cert", cert)?;
        readable("--key", key)?;
        tls = tls.identity_files(cert, key)?;
    }
    if let Some(name) = discovery::server_name(global) {
        tls = tls.server_name(name);
    }
    if global.insecure_skip_tls_verify {
        tls = tls.without_verification();
    }
    Ok(Some(tls))
}

/// Refuses a file that cannot be read by the name of its option.
fn readable(option: &str, path: &Path) -> Result<(), Failure> {
    let opened = File::open(path);
    opened.with_context(|| format!("{option} {} cannot be read", path.display()))?;
    Ok(())
}

/// Asks the servers whether they speak TLS if a command over plain text could not reach one: what
/// such a server answers looks like a broken connection.
pub(super) async fn explain(failure: Failure, global: &Global) -> Failure {
    let Failure::Call(error) = failure else {
        return failure;
    };
    let is_broken = matches!(
        error.kind(),
        ErrorKind::Connect | ErrorKind::Unavailable | ErrorKind::DeadlineExceeded
    );
    if !is_broken || error.tls_failure().is_some() || !matches!(settings(global), Ok(None)) {
        return Failure::Call(error);
    }
    for endpoint in &global.endpoints {
        let endpoint = endpoint.trim();
        let bare = endpoint.strip_prefix("http://").unwrap_or(endpoint);
        let is_plain = !endpoint.starts_with("https://");
        if is_plain && Tls::is_spoken_by(bare, global.dial_timeout).await {
            return Failure::NeedsTls(error, endpoint.to_owned());
        }
    }
    Failure::Call(error)
}
