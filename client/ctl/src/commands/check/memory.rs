//! Reads the resident memory of a server from its metrics page.
//!
//! One plain HTTP/1.0 request, so no HTTP client is needed.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// The metric, as Prometheus' process collectors name it.
const METRIC: &str = "process_resident_memory_bytes";
/// Largest page that is read: many times the usual size.
const PAGE_BYTES_MAX: u64 = 16 << 20;
/// How long the page may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Resident memory of the server at `endpoint`, in bytes.
pub(super) async fn resident_bytes(endpoint: &str) -> Result<f64> {
    let address = endpoint
        .strip_prefix("http://")
        .unwrap_or(endpoint)
        .trim_end_matches('/');
    let page = timeout(TIMEOUT, page(address))
        .await
        .context("the metrics page took too long")??;
    find(&page).with_context(|| format!("could not find {METRIC} at {address}/metrics"))
}

async fn page(address: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await.context("fetch error")?;
    let request = format!("GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut page = Vec::new();
    stream.take(PAGE_BYTES_MAX).read_to_end(&mut page).await?;
    let page = String::from_utf8_lossy(&page).into_owned();
    if !page.lines().next().unwrap_or_default().contains(" 200 ") {
        bail!(
            "{address}/metrics answers {:?}",
            page.lines().next().unwrap_or_default()
        );
    }
    Ok(page)
}

fn find(page: &str) -> Option<f64> {
    let line = page.lines().find_map(|line| line.strip_prefix(METRIC))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_is_found_between_comments_and_other_metrics() {
        let page = "# HELP process_resident_memory_bytes Size.\nprocess_open_fds 7\n\
                    process_resident_memory_bytes 2.5e+07\n";
        assert_eq!(find(page), Some(2.5e7));
        assert_eq!(find("process_open_fds 7\n"), None);
    }
}
