//! Puts of random keys; and of every key once, before the first cell.

use rand::{SeedableRng, rngs::SmallRng};
use tenure_proto::etcdserverpb::{PutRequest, kv_client::KvClient};
use tonic::{Status, transport::Channel};

use super::{KeySpace, Step, Work};

/// Puts keys.
#[derive(Debug)]
pub(crate) struct Putter {
    kv: KvClient<Channel>,
    space: KeySpace,
    random: SmallRng,
}

impl Putter {
    pub(crate) fn new(channel: Channel, space: KeySpace, client: usize) -> Self {
        let random = SmallRng::seed_from_u64(client as u64);
        Self {
            kv: KvClient::new(channel),
            space,
            random,
        }
    }

    /// Puts key `number` of the space.
    pub(crate) async fn put_number(&mut self, number: usize) -> Result<(), Status> {
        self.put(KeySpace::key("bench/", number)).await
    }

    async fn put(&mut self, key: bytes::Bytes) -> Result<(), Status> {
        let value = self.space.value(&mut self.random);
        self.kv
            .put(PutRequest {
                key,
                value,
                ..PutRequest::default()
            })
            .await?;
        Ok(())
    }
}

impl Work for Putter {
    async fn step(&mut self) -> Result<Step, Status> {
        let key = self.space.any(&mut self.random);
        self.put(key).await?;
        Ok(Step::Done)
    }
}
