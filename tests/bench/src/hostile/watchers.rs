//! Watch streams that are not read: one with many watchers, and many that begin in the past.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::{StreamExt, stream};
use tenure_proto::etcdserverpb::{
    PutRequest, WatchCreateRequest, WatchRequest, kv_client::KvClient, watch_client::WatchClient,
    watch_request::RequestUnion,
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;

use super::raw;

/// Watchers of one key.
const WATCHERS: usize = 100_000;
/// Puts of that key while nothing is read.
const PUTS: usize = 2_516;
/// How long creating and writing may take, each.
const STEP_MAX: Duration = Duration::from_secs(20);
/// Streams that begin in the past, and how long they stay open.
const PAST_STREAMS: usize = 400;
const PAST_OPEN: Duration = Duration::from_secs(15);
/// Requests that wait to be sent.
const WAITING: usize = 64;

/// Creates the watchers, stops reading, writes the key, closes the stream.
pub(super) async fn watch(url: &str) -> Result<String> {
    let channel = raw::connect(url).await?;
    let (sender, requests) = mpsc::channel(WAITING);
    let mut client = WatchClient::new(channel.clone());
    // The answer to the call comes with the first response.
    let opened = client.watch(ReceiverStream::new(requests));
    let creating = tokio::spawn(create(sender));
    let opened = timeout(STEP_MAX, opened)
        .await
        .context("the stream was not opened in time")?;
    let mut responses = opened?.into_inner();
    let mut created = 0;
    let began = Instant::now();
    let last = i64::try_from(WATCHERS).unwrap_or(i64::MAX);
    while created < last && began.elapsed() < STEP_MAX {
        match timeout(STEP_MAX, responses.message()).await {
            Ok(Ok(Some(response))) => created += i64::from(response.created && !response.canceled),
            Ok(Err(status)) => {
                let how = raw::said::<()>(Err(status));
                return Ok(format!(
                    "the stream ended after {created} watchers were created: {how}"
                ));
            }
            Ok(Ok(None)) | Err(_) => break,
        }
    }
    let written = write(url).await?;
    // Closing is part of the attack.
    drop((responses, client, channel));
    creating.abort();
    Ok(format!("{created} watchers created, {written} puts done"))
}

async fn create(requests: mpsc::Sender<WatchRequest>) {
    for _ in 0..WATCHERS {
        let create = WatchCreateRequest {
            key: Bytes::from_static(b"watched"),
            ..WatchCreateRequest::default()
        };
        let request = WatchRequest {
            request_union: Some(RequestUnion::CreateRequest(create)),
        };
        if requests.send(request).await.is_err() {
            return;
        }
    }
    // A client that sends no more ends its stream; this one stays.
    requests.closed().await;
}

async fn write(url: &str) -> Result<usize> {
    let mut kv = KvClient::new(raw::connect(url).await?);
    let began = Instant::now();
    let mut written = 0;
    for _ in 0..PUTS {
        let request = PutRequest {
            key: Bytes::from_static(b"watched"),
            value: Bytes::from_static(b"x"),
            ..PutRequest::default()
        };
        let Ok(Ok(_)) = timeout(STEP_MAX, kv.put(request)).await else {
            break;
        };
        written += 1;
        if began.elapsed() > STEP_MAX {
            break;
        }
    }
    Ok(written)
}

/// Watches everything from the first revision on, on many streams, and reads none of them.
pub(super) async fn past(url: &str) -> Result<String> {
    let channel = raw::connect(url).await?;
    let mut streams = Vec::new();
    for _ in 0..PAST_STREAMS {
        let create = WatchCreateRequest {
            key: Bytes::from_static(&[0]),
            range_end: Bytes::from_static(&[0]),
            start_revision: 1,
            ..WatchCreateRequest::default()
        };
        let request = WatchRequest {
            request_union: Some(RequestUnion::CreateRequest(create)),
        };
        let requests = stream::iter([request]).chain(stream::pending());
        let mut client = WatchClient::new(channel.clone());
        streams.push(tokio::spawn(async move { client.watch(requests).await }));
    }
    // Time is the subject: they stay open and unread.
    tokio::time::sleep(PAST_OPEN).await;
    let (mut open, mut ended) = (Vec::new(), 0);
    for stream in streams {
        // One that is not answered yet costs the server nothing more when it is given up here.
        if !stream.is_finished() {
            stream.abort();
            continue;
        }
        match stream.await {
            Ok(Ok(stream)) => open.push(stream),
            _ => ended += 1,
        }
    }
    Ok(format!(
        "{} of {PAST_STREAMS} streams open and unread, {ended} refused or ended",
        open.len()
    ))
}
