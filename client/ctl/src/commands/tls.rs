//! TLS of the command line: its settings from options, and what a failure was really about.

use std::{fs, path::Path};

use anyhow::Context as _;
use tenure::{ErrorKind, Tls};

use crate::{args::Global, failure::Failure};

/// The settings of TLS; `None` when no option asks for it. Endpoints that begin with `https://` use
/// the authorities of the system then.
pub(super) fn settings(global: &Global) -> Result<Option<Tls>, Failure> {
    let is_asked_for = !global.insecure_transport
        || global.insecure_skip_tls_verify
        || global.cacert.is_some()
        || global.cert.is_some();
    if !is_asked_for {
        return Ok(None);
    }
    let mut tls = Tls::new();
    if let Some(path) = &global.cacert {
        tls = tls.authorities_pem(read("--cacert", path)?)?;
    }
    if let (Some(cert), Some(key)) = (&global.cert, &global.key) {
        tls = tls.identity_pem(read("--cert", cert)?, read("--key", key)?)?;
    }
    if global.insecure_skip_tls_verify {
        tls = tls.without_verification();
    }
    Ok(Some(tls))
}

fn read(option: &str, path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = fs::read(path);
    let bytes = bytes.with_context(|| format!("{option} {} cannot be read", path.display()))?;
    Ok(bytes)
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
