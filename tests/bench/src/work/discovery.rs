//! Resolvers of one service: how soon they hear that an instance changed, or that it died.
//!
//! An operation is one change at one resolver. Of a readiness change the latency runs from sending
//! it; of a crash, from the moment the lease's time to live has passed since the instance was last
//! heard of, so zero is the soonest that is right. etcd has no registry: its instances are keys on
//! leases, and its resolvers watch a prefix.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use tenure_proto::{
    etcdserverpb::{
        LeaseGrantRequest, PutRequest, WatchCreateRequest, WatchRequest, WatchResponse,
        kv_client::KvClient, lease_client::LeaseClient, watch_client::WatchClient,
        watch_request::RequestUnion,
    },
    mvccpb::event::EventType,
    v1::{
        Endpoint, Instance, Readiness, RegisterRequest, SetReadinessRequest, WatchEndpointsRequest,
        WatchEndpointsResponse, registry_client::RegistryClient, watch_endpoints_response::Change,
    },
};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

use super::broken;
use crate::{
    cell::{Aim, Cell, Load},
    cluster::System,
    connections::Connections,
    round::Tally,
    window::Window,
};

/// The service.
const SERVICE: &str = "bench";
/// Time to live of an instance that crashes: the least that etcd grants.
const TTL: Duration = Duration::from_secs(2);
/// Time to live of the instances that stay, longer than any run.
const STAYING_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// Instances that stay. So many that those that crash are never half of the service, which would
/// put the brake on.
const STAYING: usize = 128;
/// Time between two crashes.
const CRASH_EVERY: Duration = Duration::from_millis(200);
/// How long after its time a crashed instance may stay before the round counts as failed.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(20);
/// Changes that wait to be counted: more than one round makes at any resolver.
const HEARD_MAX: usize = 65_536;

/// What a resolver heard of, and when.
#[derive(Debug)]
struct Heard {
    id: String,
    removed: bool,
    at: Instant,
}

/// Who writes: registers instances and changes them.
struct Writer {
    system: System,
    channel: Channel,
    /// The instance whose readiness changes: its incarnation.
    incarnation: i64,
    ready: bool,
    round: u128,
}

/// Resolvers that wait for changes.
pub(crate) struct Resolvers {
    load: Load,
    writer: Writer,
    heard: mpsc::Receiver<Heard>,
    count: usize,
    /// Ends the resolvers when the round is over.
    _listening: JoinSet<()>,
}

impl Resolvers {
    /// Registers the instances that stay, and opens the resolvers of the cell.
    pub(crate) async fn open(
        system: System,
        cell: Cell,
        connections: &Connections,
        leader: usize,
    ) -> Result<Self, Status> {
        let mut writer = Writer {
            system,
            channel: connections.of_client(0, Aim::Leader, leader),
            incarnation: 0,
            ready: true,
            round: std::time::UNIX_EPOCH
                .elapsed()
                .map_or(0, |since| since.as_nanos()),
        };
        for number in 0..STAYING {
            writer
                .register(&format!("stays-{number}"), STAYING_TTL)
                .await?;
        }
        let (sender, heard) = mpsc::channel(HEARD_MAX);
        let mut listening = JoinSet::new();
        for client in 0..cell.clients {
            let channel = connections.of_client(client, cell.aim, leader);
            let resolver = Resolver::open(system, channel).await?;
            listening.spawn(resolver.listen(sender.clone()));
        }
        Ok(Self {
            load: cell.load,
            writer,
            heard,
            count: cell.clients,
            _listening: listening,
        })
    }

    /// Changes readiness, or lets instances crash, until the window closes.
    pub(crate) async fn run(mut self, window: Window) -> Tally {
        let mut tally = Tally::default();
        let done = match self.load {
            Load::Crash => self.crash(&window, &mut tally).await,
            _ => self.change(&window, &mut tally).await,
        };
        if let Err(status) = done {
            tally.failures.add(&status);
        }
        tally
    }

    async fn change(&mut self, window: &Window, tally: &mut Tally) -> Result<(), Status> {
        while window.is_open(Instant::now()) {
            let sent = Instant::now();
            self.writer.change_readiness("stays-0").await?;
            let mut left = self.count;
            while left > 0 {
                let heard = self.next().await?;
                if heard.id == "stays-0" {
                    left -= 1;
                    if window.counts(heard.at) {
                        tally
                            .latencies
                            .add(heard.at.saturating_duration_since(sent));
                    }
                }
            }
        }
        Ok(())
    }

    async fn crash(&mut self, window: &Window, tally: &mut Tally) -> Result<(), Status> {
        let mut dying = HashMap::new();
        let mut turn = tokio::time::interval(CRASH_EVERY);
        let mut number = 0;
        while window.is_open(Instant::now()) {
            // Cancel-safe, both: a turn that was not taken comes again, what was heard stays.
            tokio::select! {
                _ = turn.tick() => {
                    let id = format!("dies-{}-{number}", self.writer.round);
                    number += 1;
                    let sent = self.writer.register(&id, TTL).await?;
                    dying.insert(id, (sent, self.count));
                }
                heard = self.heard.recv() => self.count_removal(heard, &mut dying, tally)?,
            }
        }
        while !dying.is_empty() {
            let heard = tokio::time::timeout(TTL + REMOVAL_TIMEOUT, self.heard.recv())
                .await
                .map_err(|_| broken("a crashed instance was not removed"))?;
            self.count_removal(heard, &mut dying, tally)?;
        }
        Ok(())
    }

    fn count_removal(
        &self,
        heard: Option<Heard>,
        dying: &mut HashMap<String, (Instant, usize)>,
        tally: &mut Tally,
    ) -> Result<(), Status> {
        let heard = heard.ok_or_else(|| broken("every resolver ended"))?;
        let Some((sent, left)) = dying.get_mut(&heard.id) else {
            return Ok(());
        };
        if !heard.removed {
            return Ok(());
        }
        let Some(late) = heard.at.checked_duration_since(*sent + TTL) else {
            return Err(broken("an instance was removed before its time"));
        };
        tally.latencies.add(late);
        *left -= 1;
        if *left == 0 {
            dying.remove(&heard.id);
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<Heard, Status> {
        tokio::time::timeout(REMOVAL_TIMEOUT, self.heard.recv())
            .await
            .map_err(|_| broken("a change did not arrive"))?
            .ok_or_else(|| broken("every resolver ended"))
    }
}

impl Writer {
    /// Registers an instance and returns when that was sent.
    async fn register(&mut self, id: &str, ttl: Duration) -> Result<Instant, Status> {
        let sent = Instant::now();
        match self.system {
            System::Tenure | System::Before => {
                let request = RegisterRequest {
                    instance: Some(Instance {
                        service: SERVICE.to_owned(),
                        id: id.to_owned(),
                        endpoints: vec![Endpoint {
                            protocol: "tcp".to_owned(),
                            host: "127.0.0.1".to_owned(),
                            port: 80,
                        }],
                        readiness: Readiness::Ready.into(),
                        ..Instance::default()
                    }),
                    ttl_ms: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX),
                    ..RegisterRequest::default()
                };
                let answer = RegistryClient::new(self.channel.clone())
                    .register(request)
                    .await?;
                if id == "stays-0" {
                    self.incarnation = answer.into_inner().incarnation;
                }
            }
            System::Etcd => {
                let ttl = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
                let request = LeaseGrantRequest { ttl, id: 0 };
                let mut leases = LeaseClient::new(self.channel.clone());
                let lease = leases.lease_grant(request).await?.into_inner().id;
                self.put(id, lease).await?;
            }
        }
        Ok(sent)
    }

    async fn change_readiness(&mut self, id: &str) -> Result<(), Status> {
        self.ready = !self.ready;
        if !self.system.is_tenure() {
            return self.put(id, 0).await;
        }
        let readiness = if self.ready {
            Readiness::Ready
        } else {
            Readiness::NotReady
        };
        let request = SetReadinessRequest {
            service: SERVICE.to_owned(),
            id: id.to_owned(),
            incarnation: self.incarnation,
            readiness: readiness.into(),
            options: None,
        };
        RegistryClient::new(self.channel.clone())
            .set_readiness(request)
            .await?;
        Ok(())
    }

    async fn put(&self, id: &str, lease: i64) -> Result<(), Status> {
        let put = PutRequest {
            key: format!("{SERVICE}/{id}").into(),
            value: format!("127.0.0.1:80 ready={}", self.ready).into(),
            lease,
            ..PutRequest::default()
        };
        KvClient::new(self.channel.clone()).put(put).await?;
        Ok(())
    }
}

/// One resolver's stream.
enum Resolver {
    Tenure(Streaming<WatchEndpointsResponse>),
    Etcd {
        changes: Streaming<WatchResponse>,
        /// Kept, because a server may end a stream whose requests have ended.
        _requests: mpsc::Sender<WatchRequest>,
    },
}

impl Resolver {
    /// Opens the stream, and waits until it is known to tell of every later change.
    async fn open(system: System, channel: Channel) -> Result<Self, Status> {
        if system.is_tenure() {
            let request = WatchEndpointsRequest {
                service: SERVICE.to_owned(),
                selector: None,
            };
            let mut changes = RegistryClient::new(channel)
                .watch_endpoints(request)
                .await?
                .into_inner();
            changes.message().await?;
            return Ok(Self::Tenure(changes));
        }
        let create = WatchCreateRequest {
            key: format!("{SERVICE}/").into(),
            range_end: format!("{SERVICE}0").into(),
            ..WatchCreateRequest::default()
        };
        let (requests, waiting) = mpsc::channel(1);
        requests
            .try_send(WatchRequest {
                request_union: Some(RequestUnion::CreateRequest(create)),
            })
            .map_err(|_| broken("a new channel has no room"))?;
        let mut changes = WatchClient::new(channel)
            .watch(ReceiverStream::new(waiting))
            .await?
            .into_inner();
        changes.message().await?;
        Ok(Self::Etcd {
            changes,
            _requests: requests,
        })
    }

    /// Tells of every change until the stream ends; whoever counts misses what does not come.
    async fn listen(mut self, heard: mpsc::Sender<Heard>) {
        while let Some(changes) = self.changes().await {
            let at = Instant::now();
            for (id, removed) in changes {
                if heard.send(Heard { id, removed, at }).await.is_err() {
                    return;
                }
            }
        }
    }

    async fn changes(&mut self) -> Option<Vec<(String, bool)>> {
        match self {
            Self::Tenure(stream) => {
                let Some(Change::Delta(delta)) = stream.message().await.ok()??.change else {
                    return Some(Vec::new());
                };
                let updated = delta.updated.into_iter();
                let updated = updated.map(|found| (found.instance.unwrap_or_default().id, false));
                let removed = delta.removed.into_iter().map(|id| (id, true));
                Some(updated.chain(removed).collect())
            }
            Self::Etcd { changes, .. } => {
                let answer = changes.message().await.ok()??;
                let heard = answer.events.into_iter().filter_map(|event| {
                    let key = String::from_utf8(event.kv?.key.to_vec()).ok()?;
                    let id = key.split_once('/')?.1.to_owned();
                    Some((id, event.r#type == i32::from(EventType::Delete)))
                });
                Some(heard.collect())
            }
        }
    }
}
