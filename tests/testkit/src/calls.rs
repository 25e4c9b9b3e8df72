//! Calls to one node, on the wire's own messages.
//!
//! One connection to one address and no retries, so that a test knows which node answered.

use std::time::Duration;

use tenure_proto::{
    etcdserverpb::{
        DeleteRangeRequest, HashKvRequest, LeaseGrantRequest, LeaseKeepAliveRequest,
        LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, PutRequest, RangeRequest, StatusRequest,
        StatusResponse, cluster_client::ClusterClient, kv_client::KvClient,
        lease_client::LeaseClient, maintenance_client::MaintenanceClient,
        watch_client::WatchClient,
    },
    mvccpb::KeyValue,
};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

/// How long a call may take. Longer than the server's own limit on a request, so that a test sees
/// the server's answer and not this one.
const CALL_MAX: Duration = Duration::from_secs(15);
/// How long connecting may take on loopback.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// A connection to one node, made when it is first used and made again after it broke.
#[derive(Clone, Debug)]
pub struct Calls {
    channel: Channel,
}

impl Calls {
    /// To `address`, which is `host:port`.
    ///
    /// # Panics
    /// When the address is none.
    #[must_use]
    pub fn to(address: &str) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .expect("the address of a node is one")
            .connect_timeout(CONNECT_MAX)
            .timeout(CALL_MAX);
        Self {
            channel: endpoint.connect_lazy(),
        }
    }

    /// The key space.
    #[must_use]
    pub fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    /// Watches.
    #[must_use]
    pub fn watch(&self) -> WatchClient<Channel> {
        WatchClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    /// Leases.
    #[must_use]
    pub fn lease(&self) -> LeaseClient<Channel> {
        LeaseClient::new(self.channel.clone())
    }

    /// Maintenance.
    #[must_use]
    pub fn maintenance(&self) -> MaintenanceClient<Channel> {
        MaintenanceClient::new(self.channel.clone())
    }

    /// Members.
    #[must_use]
    pub fn cluster(&self) -> ClusterClient<Channel> {
        ClusterClient::new(self.channel.clone())
    }

    /// Puts a key and returns the revision of the change.
    ///
    /// # Errors
    /// What the server said.
    pub async fn put(&self, key: &str, value: &str) -> Result<i64, Status> {
        let request = PutRequest {
            key: key.to_owned().into(),
            value: value.to_owned().into(),
            ..PutRequest::default()
        };
        let response = self.kv().put(request).await?.into_inner();
        Ok(response.header.unwrap_or_default().revision)
    }

    /// Puts a key on a lease and returns the revision of the change.
    ///
    /// # Errors
    /// What the server said.
    pub async fn put_on_lease(&self, key: &str, value: &str, lease: i64) -> Result<i64, Status> {
        let request = PutRequest {
            key: key.to_owned().into(),
            value: value.to_owned().into(),
            lease,
            ..PutRequest::default()
        };
        let response = self.kv().put(request).await?.into_inner();
        Ok(response.header.unwrap_or_default().revision)
    }

    /// Deletes a key and returns how many there were.
    ///
    /// # Errors
    /// What the server said.
    pub async fn delete(&self, key: &str) -> Result<i64, Status> {
        let request = DeleteRangeRequest {
            key: key.to_owned().into(),
            ..DeleteRangeRequest::default()
        };
        Ok(self.kv().delete_range(request).await?.into_inner().deleted)
    }

    /// Reads a key with the agreement of the quorum.
    ///
    /// # Errors
    /// What the server said.
    pub async fn get(&self, key: &str) -> Result<Option<KeyValue>, Status> {
        let request = RangeRequest {
            key: key.to_owned().into(),
            ..RangeRequest::default()
        };
        Ok(self.kv().range(request).await?.into_inner().kvs.pop())
    }

    /// Reads a key as this node alone knows it.
    ///
    /// # Errors
    /// What the server said.
    pub async fn get_serializable(&self, key: &str) -> Result<Option<KeyValue>, Status> {
        let request = RangeRequest {
            key: key.to_owned().into(),
            serializable: true,
            ..RangeRequest::default()
        };
        Ok(self.kv().range(request).await?.into_inner().kvs.pop())
    }

    /// Reads every key that begins with `prefix`, with the agreement of the quorum.
    ///
    /// # Errors
    /// What the server said.
    pub async fn get_prefix(&self, prefix: &str) -> Result<Vec<KeyValue>, Status> {
        let request = RangeRequest {
            key: prefix.to_owned().into(),
            range_end: prefix_end(prefix).into(),
            ..RangeRequest::default()
        };
        Ok(self.kv().range(request).await?.into_inner().kvs)
    }

    /// The node's status.
    ///
    /// # Errors
    /// What the server said.
    pub async fn status(&self) -> Result<StatusResponse, Status> {
        Ok(self
            .maintenance()
            .status(StatusRequest {})
            .await?
            .into_inner())
    }

    /// The hash of this node's history up to `revision`; 0 means up to now.
    ///
    /// # Errors
    /// What the server said.
    pub async fn hash_kv(&self, revision: i64) -> Result<u32, Status> {
        let request = HashKvRequest { revision };
        Ok(self.maintenance().hash_kv(request).await?.into_inner().hash)
    }

    /// Grants a lease with an id of the server's choice.
    ///
    /// # Errors
    /// What the server said.
    pub async fn grant(&self, ttl_s: i64) -> Result<i64, Status> {
        let request = LeaseGrantRequest { ttl: ttl_s, id: 0 };
        Ok(self.lease().lease_grant(request).await?.into_inner().id)
    }

    /// Renews a lease once and returns its TTL in seconds; 0 means that it is gone.
    ///
    /// # Errors
    /// What the server said.
    pub async fn renew(&self, id: i64) -> Result<i64, Status> {
        let requests = tokio_stream::once(LeaseKeepAliveRequest { id });
        let mut responses = self.lease().lease_keep_alive(requests).await?.into_inner();
        let response = responses.message().await?;
        let response = response.ok_or_else(|| Status::unavailable("the stream ended"))?;
        Ok(response.ttl)
    }

    /// What is left of a lease, with its keys.
    ///
    /// # Errors
    /// What the server said.
    pub async fn time_to_live(&self, id: i64) -> Result<LeaseTimeToLiveResponse, Status> {
        let request = LeaseTimeToLiveRequest { id, keys: true };
        Ok(self.lease().lease_time_to_live(request).await?.into_inner())
    }
}

/// The end of the range of keys that begin with `prefix`.
pub(crate) fn prefix_end(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}
