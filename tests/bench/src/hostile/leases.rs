//! One client that keeps many leases alive on one stream, in bursts.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures::{StreamExt, stream};
use tenure_proto::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseTimeToLiveRequest, lease_client::LeaseClient,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, transport::Channel};

use super::raw;

/// Leases of one client.
const LEASES: usize = 15_000;
/// Their time to live; they are renewed three times in each.
const TTL: Duration = Duration::from_secs(10);
/// How long they are kept: twice their time to live.
const KEPT: Duration = Duration::from_secs(20);
/// Calls under way at once while they are granted and looked at.
const CONCURRENCY: usize = 64;

/// Grants the leases, keeps them, and counts those that are gone.
pub(super) async fn keep(url: &str) -> Result<String> {
    let client = LeaseClient::new(raw::connect(url).await?);
    let granted = grant(&client).await;
    let (sender, requests) = mpsc::channel(LEASES);
    let ids = granted.clone();
    let (ended, ()) = tokio::join!(
        read(client.clone(), ReceiverStream::new(requests)),
        renew(sender, ids)
    );
    let lost = lost(&client, &granted).await;
    let how = match ended {
        Ok(answers) => format!("{answers} renewals answered"),
        Err(status) => format!("the stream ended: {}", raw::said::<()>(Err(status))),
    };
    Ok(format!("{lost} of {} leases lost; {how}", granted.len()))
}

async fn grant(client: &LeaseClient<Channel>) -> Vec<i64> {
    let grants = (0..LEASES).map(|_| {
        let mut client = client.clone();
        let ttl = i64::try_from(TTL.as_secs()).unwrap_or(i64::MAX);
        async move {
            let granted = client.lease_grant(LeaseGrantRequest { ttl, id: 0 }).await;
            granted.ok().map(|answer| answer.into_inner().id)
        }
    });
    stream::iter(grants)
        .buffer_unordered(CONCURRENCY)
        .filter_map(|id| async move { id })
        .collect()
        .await
}

/// Renews all of them in one burst, again and again.
async fn renew(requests: mpsc::Sender<LeaseKeepAliveRequest>, ids: Vec<i64>) {
    let until = Instant::now() + KEPT;
    let mut ticks = tokio::time::interval(TTL / 3);
    while Instant::now() < until {
        ticks.tick().await;
        for id in &ids {
            if requests
                .send(LeaseKeepAliveRequest { id: *id })
                .await
                .is_err()
            {
                return;
            }
        }
    }
}

/// Reads the answers until the stream ends; how many there were.
async fn read(
    mut client: LeaseClient<Channel>,
    requests: ReceiverStream<LeaseKeepAliveRequest>,
) -> Result<usize, Status> {
    let mut answers = client.lease_keep_alive(requests).await?.into_inner();
    let mut count = 0;
    while answers.message().await?.is_some() {
        count += 1;
    }
    Ok(count)
}

async fn lost(client: &LeaseClient<Channel>, ids: &[i64]) -> usize {
    stream::iter(ids.to_vec())
        .map(|id| {
            let mut client = client.clone();
            async move {
                let request = LeaseTimeToLiveRequest { id, keys: false };
                let answer = client.lease_time_to_live(request).await;
                answer.map_or(1, |answer| usize::from(answer.into_inner().ttl <= 0))
            }
        })
        .buffer_unordered(CONCURRENCY)
        .fold(0, |sum, lost| async move { sum + lost })
        .await
}
