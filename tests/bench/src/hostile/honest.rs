//! An honest client at each node: a put, a read and a short list in turn, each with a deadline.
//!
//! What is measured is how long a client waits from when it wants something until it has it: the
//! time counts in full, however many calls failed in it. The clients have a thread of their own,
//! so that the attack does not keep them from asking.

use std::{
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use futures::future::join_all;
use tenure_proto::etcdserverpb::{PutRequest, RangeRequest, kv_client::KvClient};
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

/// Longest that an honest client waits for one answer before it sends the next request.
const CALL_MAX: Duration = Duration::from_secs(5);
/// Pause between two calls: the client shows what it suffers and is no load itself.
const PAUSE: Duration = Duration::from_millis(20);
/// How long the clients may take to have their first answers.
const BEGIN_MAX: Duration = Duration::from_secs(30);
/// Most entries of the list.
const LISTED_MAX: i64 = 20;

/// What one client went through.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wait {
    pub(super) longest: Duration,
    pub(super) failed: usize,
    pub(super) done: usize,
}

/// The clients.
#[derive(Debug)]
pub(super) struct Honest {
    stop: watch::Sender<bool>,
    clients: JoinHandle<Vec<Wait>>,
}

impl Honest {
    /// Begins, and returns when every client has had an answer.
    pub(super) async fn start(urls: &[String]) -> Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let (began, mut beginning) = mpsc::channel(urls.len().max(1));
        let channels = urls
            .iter()
            .map(|url| Ok(Endpoint::from_shared(url.clone())?.tcp_nodelay(true)))
            .collect::<Result<Vec<_>>>()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let clients = thread::spawn(move || {
            runtime.block_on(async {
                let clients = channels.into_iter().enumerate().map(|(number, endpoint)| {
                    let key = format!("honest/{number}");
                    client(endpoint.connect_lazy(), key, began.clone(), stopped.clone())
                });
                join_all(clients).await
            })
        });
        for _ in urls {
            let begun = timeout(BEGIN_MAX, beginning.recv()).await;
            begun.context("an honest client had no answer before the attack")?;
        }
        Ok(Self { stop, clients })
    }

    /// Ends the clients.
    pub(super) fn stop(self) -> Result<Vec<Wait>> {
        self.stop.send_replace(true);
        let waits = self.clients.join();
        waits.map_err(|_| anyhow::anyhow!("an honest client panicked"))
    }
}

async fn client(
    channel: Channel,
    key: String,
    began: mpsc::Sender<()>,
    stopped: watch::Receiver<bool>,
) -> Wait {
    let mut kv = KvClient::new(channel);
    let mut wait = Wait::default();
    let mut wanted = Instant::now();
    let mut turn = 0;
    while !*stopped.borrow() {
        let answered = timeout(CALL_MAX, call(&mut kv, &key, turn)).await;
        if matches!(answered, Ok(Ok(()))) {
            if wait.done > 0 {
                wait.longest = wait.longest.max(wanted.elapsed());
            } else {
                // The first answer begins the measurement: it contains the connection.
                wait = Wait::default();
                // There is room for one from each.
                _ = began.try_send(());
            }
            wait.done += 1;
            turn += 1;
            // A pause between two calls.
            sleep(PAUSE).await;
            wanted = Instant::now();
        } else {
            wait.failed += 1;
            // A pause between two calls.
            sleep(PAUSE).await;
        }
    }
    // A wait that has not ended counts, too.
    wait.longest = wait.longest.max(wanted.elapsed());
    wait
}

async fn call(kv: &mut KvClient<Channel>, key: &str, turn: usize) -> Result<(), Status> {
    match turn % 3 {
        0 => {
            let request = PutRequest {
                key: key.to_owned().into(),
                value: turn.to_string().into(),
                ..PutRequest::default()
            };
            kv.put(request).await.map(drop)
        }
        1 => kv
            .range(RangeRequest {
                key: key.to_owned().into(),
                ..RangeRequest::default()
            })
            .await
            .map(drop),
        _ => kv
            .range(RangeRequest {
                key: "honest/".into(),
                range_end: "honest0".into(),
                limit: LISTED_MAX,
                ..RangeRequest::default()
            })
            .await
            .map(drop),
    }
}
