//! Connections that never say anything, up to the limit on a node's descriptors and beyond.

use std::time::Duration;

use anyhow::{Context, Result};
use tenure_proto::etcdserverpb::{PutRequest, kv_client::KvClient};
use tokio::{net::TcpStream, time::timeout};

use super::raw;

/// Descriptors that a node may have open in this attack.
pub(super) const DESCRIPTORS: usize = 2048;
/// Connections that come.
const CONNECTIONS: usize = 2500;
/// What is written beside them: enough for the log to go on in a new file, which a node without a
/// descriptor cannot open.
const PUTS: usize = 160;
const PUT_BYTES: usize = 1 << 20;
/// Longest wait for one connection, and for one put.
const CONNECT_MAX: Duration = Duration::from_secs(2);
const PUT_MAX: Duration = Duration::from_secs(5);
/// How long all connections are tried for.
const COMING_MAX: Duration = Duration::from_secs(15);

/// Opens the connections and writes beside them.
pub(super) async fn sit(url: &str) -> Result<String> {
    let address = url.strip_prefix("http://").context("not an address")?;
    let mut kv = KvClient::new(raw::connect(url).await?);
    // The connection is there before the crowd.
    put(&mut kv).await?;
    let mut crowd = Vec::new();
    let coming = async {
        for _ in 0..CONNECTIONS {
            if let Ok(Ok(stream)) = timeout(CONNECT_MAX, TcpStream::connect(address)).await {
                crowd.push(stream);
            }
        }
    };
    // Whoever is not in by then stays out.
    _ = timeout(COMING_MAX, coming).await;
    let (mut written, mut refused) = (0, None);
    for _ in 0..PUTS {
        match put(&mut kv).await {
            Ok(()) => written += 1,
            Err(error) => refused = Some(format!("{error:#}")),
        }
        if refused.is_some() {
            break;
        }
    }
    let refused = refused.map_or_else(String::new, |what| format!("; then {what}"));
    Ok(format!(
        "{} connections made, {written} puts of 1 MiB beside them{refused}",
        crowd.len()
    ))
}

async fn put(kv: &mut KvClient<tonic::transport::Channel>) -> Result<()> {
    let request = PutRequest {
        key: "attack".into(),
        value: vec![b'x'; PUT_BYTES].into(),
        ..PutRequest::default()
    };
    match timeout(PUT_MAX, kv.put(request)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(status)) => anyhow::bail!("{}", raw::said::<()>(Err(status))),
        Err(_) => anyhow::bail!("a put was not answered"),
    }
}
