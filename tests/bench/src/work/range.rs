//! Reads of one key, and reads with some puts between them.

use rand::{Rng, SeedableRng, rngs::SmallRng};
use tenure_proto::etcdserverpb::{RangeRequest, kv_client::KvClient};
use tonic::{Status, transport::Channel};

use super::{KeySpace, Putter, Step, Work, broken};

/// One operation in this many is a put in the mix.
const MIX_PUT_EVERY: u32 = 10;

/// Reads keys.
#[derive(Debug)]
pub(crate) struct Ranger {
    kv: KvClient<Channel>,
    space: KeySpace,
    serializable: bool,
    random: SmallRng,
}

impl Ranger {
    pub(crate) fn new(
        channel: Channel,
        space: KeySpace,
        client: usize,
        serializable: bool,
    ) -> Self {
        let random = SmallRng::seed_from_u64(client as u64);
        Self {
            kv: KvClient::new(channel),
            space,
            serializable,
            random,
        }
    }
}

impl Work for Ranger {
    async fn step(&mut self) -> Result<Step, Status> {
        let key = self.space.any(&mut self.random);
        let serializable = self.serializable;
        let request = RangeRequest {
            key,
            serializable,
            ..RangeRequest::default()
        };
        let found = self.kv.range(request).await?.into_inner().kvs;
        match found.as_slice() {
            [pair] if pair.value.len() == self.space.value_bytes => Ok(Step::Done),
            _ => Err(broken(
                "a key that was written is not there as it was written",
            )),
        }
    }
}

/// Reads keys, and puts one now and then.
#[derive(Debug)]
pub(crate) struct Mixer {
    reads: Ranger,
    writes: Putter,
}

impl Mixer {
    pub(crate) fn new(channel: Channel, space: KeySpace, client: usize) -> Self {
        let reads = Ranger::new(channel.clone(), space, client, false);
        Self {
            reads,
            writes: Putter::new(channel, space, client),
        }
    }
}

impl Work for Mixer {
    async fn step(&mut self) -> Result<Step, Status> {
        if self.reads.random.random_ratio(1, MIX_PUT_EVERY) {
            self.writes.step().await
        } else {
            self.reads.step().await
        }
    }
}
