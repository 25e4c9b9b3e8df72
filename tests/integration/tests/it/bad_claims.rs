//! Bad input to locks, elections, registrations, sessions, fences and guards: the exact refusal,
//! nothing changed, the queue whole, and the next good request served.

mod claims;
mod conditions;
mod registrations;

use tenure_proto::v1::{
    AcquireRequest, InspectRequest, Mode, Permits, ReleaseRequest, acquire_response::State,
    election_client::ElectionClient, fence_client::FenceClient, lock_client::LockClient,
    mode::Kind, registry_client::RegistryClient, session_client::SessionClient,
};
use tenure_testkit::{Calls, Cluster};
use tonic::{Code, Response, Status, transport::Channel};

/// A lease that exists and holds the lock.
const HOLDER: i64 = 11;
/// A lease that exists and waits for the lock.
const WAITER: i64 = 12;
/// A lease that exists and claims nothing.
const IDLE: i64 = 13;
/// A lease that never was.
const UNKNOWN: i64 = 99;
/// The lock.
const LOCK: &str = "lock";
/// Longer than any name may be.
const HUGE: usize = 64 << 10;

struct Table {
    calls: Calls,
    locks: LockClient<Channel>,
    elections: ElectionClient<Channel>,
    registry: RegistryClient<Channel>,
    sessions: SessionClient<Channel>,
    fences: FenceClient<Channel>,
    token: i64,
    rows: usize,
    wrong: Vec<String>,
}

impl Table {
    async fn open(cluster: &Cluster) -> Self {
        let url = format!("http://{}", cluster.node(0).address());
        let endpoint = tonic::transport::Endpoint::from_shared(url).unwrap();
        let channel = endpoint.connect().await.unwrap();
        let mut table = Self {
            calls: cluster.node(0).calls(),
            locks: LockClient::new(channel.clone()),
            elections: ElectionClient::new(channel.clone()),
            registry: RegistryClient::new(channel.clone()),
            sessions: SessionClient::new(channel.clone()),
            fences: FenceClient::new(channel),
            token: 0,
            rows: 0,
            wrong: Vec::new(),
        };
        for id in [HOLDER, WAITER, IDLE] {
            let grant = tenure_proto::etcdserverpb::LeaseGrantRequest { id, ttl: 100_000 };
            table.calls.lease().lease_grant(grant).await.unwrap();
        }
        let held = table
            .locks
            .try_acquire(acquire(LOCK, HOLDER))
            .await
            .unwrap();
        table.token = held.into_inner().granted.unwrap().claims[0].token;
        table
    }

    /// Everything that must not change.
    async fn state(&mut self) -> (u32, Vec<i64>, Vec<i64>) {
        let request = InspectRequest {
            name: LOCK.into(),
            limit: 0,
        };
        let queue = self.locks.inspect(request).await.unwrap().into_inner();
        let tokens = |claims: Vec<tenure_proto::v1::Claim>| {
            claims.into_iter().map(|claim| claim.token).collect()
        };
        let hash = self.calls.hash_kv(0).await.unwrap();
        (hash, tokens(queue.holders), tokens(queue.waiters))
    }

    /// Notes whether a call was refused as it should be.
    fn refused<T>(&mut self, name: &str, got: Result<Response<T>, Status>, code: Code, text: &str) {
        self.rows += 1;
        let got = match got {
            Ok(_) => "success".to_owned(),
            Err(status) if status.code() == code && status.message().starts_with(text) => return,
            Err(status) => format!("{:?} {:?}", status.code(), status.message()),
        };
        self.wrong
            .push(format!("{name}: got {got}, expected {code:?} {text:?}"));
    }

    fn invalid<T>(&mut self, name: &str, got: Result<Response<T>, Status>, text: &str) {
        self.refused(name, got, Code::InvalidArgument, text);
    }
}

fn acquire(name: &str, lease: i64) -> AcquireRequest {
    AcquireRequest {
        names: vec![name.to_owned().into()],
        lease,
        ..AcquireRequest::default()
    }
}

fn permits(count: u32, limit: u32) -> AcquireRequest {
    AcquireRequest {
        mode: Some(Mode {
            kind: Some(Kind::Permits(Permits { count, limit })),
        }),
        ..acquire("permits", IDLE)
    }
}

#[tokio::test]
async fn bad_claims_are_refused_by_name_and_change_nothing() {
    let cluster = Cluster::start(1).await;
    let mut table = Table::open(&cluster).await;
    let waiting = table.locks.acquire(acquire(LOCK, WAITER)).await.unwrap();
    let mut waiting = waiting.into_inner();
    waiting.message().await.unwrap();
    let before = table.state().await;
    assert_eq!((before.1.len(), before.2.len()), (1, 1));

    for part in 0..6 {
        match part {
            0 => claims::locks(&mut table).await,
            1 => claims::holders(&mut table).await,
            2 => claims::elections(&mut table).await,
            3 => registrations::registrations(&mut table).await,
            4 => conditions::sessions_and_fences(&mut table).await,
            _ => conditions::guards(&mut table).await,
        }
        let after = table.state().await;
        let wrong = table.wrong.join("; ");
        assert_eq!(after, before, "part {part} changed something: {wrong}");
    }
    assert!(table.wrong.is_empty(), "{}", table.wrong.join("\n"));
    println!("{} bad requests", table.rows);

    // The queue is whole: the lock goes on to who waits.
    let release = ReleaseRequest {
        name: LOCK.into(),
        token: table.token,
        options: None,
    };
    table.locks.release(release).await.unwrap();
    let next = waiting.message().await.unwrap().unwrap().state;
    assert!(matches!(next, Some(State::Granted(_))));
}
