//! Compare and swap: put a key if its revision is the one this client saw last.
//!
//! Each client has keys of its own, so that after the first look every swap succeeds and the cell
//! measures transactions and not how clients get in each other's way.

use rand::{Rng, SeedableRng, rngs::SmallRng};
use tenure_proto::etcdserverpb::{
    Compare, PutRequest, RangeRequest, RequestOp, TxnRequest, TxnResponse,
    compare::{CompareResult, CompareTarget, TargetUnion},
    kv_client::KvClient,
    request_op::Request,
    response_op::Response,
};
use tonic::{Status, transport::Channel};

use super::{KeySpace, Step, Work, broken};

/// Keys of one client.
const KEYS: usize = 16;

/// Swaps keys.
#[derive(Debug)]
pub(crate) struct Swapper {
    kv: KvClient<Channel>,
    space: KeySpace,
    client: usize,
    /// The revision this client saw last, of each of its keys.
    seen: [i64; KEYS],
    random: SmallRng,
}

impl Swapper {
    pub(crate) fn new(channel: Channel, space: KeySpace, client: usize) -> Self {
        let random = SmallRng::seed_from_u64(client as u64);
        Self {
            kv: KvClient::new(channel),
            space,
            client,
            seen: [0; KEYS],
            random,
        }
    }

    fn request(&mut self, number: usize) -> TxnRequest {
        let key = KeySpace::key("swap/", self.client * KEYS + number);
        let value = self.space.value(&mut self.random);
        let compare = Compare {
            result: CompareResult::Equal.into(),
            target: CompareTarget::Mod.into(),
            key: key.clone(),
            target_union: Some(TargetUnion::ModRevision(self.seen[number])),
            ..Compare::default()
        };
        let put = PutRequest {
            key: key.clone(),
            value,
            ..PutRequest::default()
        };
        let range = RangeRequest {
            key,
            ..RangeRequest::default()
        };
        TxnRequest {
            compare: vec![compare],
            success: vec![RequestOp {
                request: Some(Request::RequestPut(put)),
            }],
            failure: vec![RequestOp {
                request: Some(Request::RequestRange(range)),
            }],
        }
    }
}

impl Work for Swapper {
    async fn step(&mut self) -> Result<Step, Status> {
        let number = self.random.random_range(0..KEYS);
        let request = self.request(number);
        let answer = self.kv.txn(request).await?.into_inner();
        self.seen[number] =
            revision(&answer).ok_or_else(|| broken("a transaction's answer lacks a part"))?;
        Ok(Step::Done)
    }
}

/// The key's revision now.
fn revision(answer: &TxnResponse) -> Option<i64> {
    match answer.responses.first()?.response.as_ref()? {
        Response::ResponsePut(_) if answer.succeeded => Some(answer.header.as_ref()?.revision),
        Response::ResponseRange(range) if !answer.succeeded => {
            Some(range.kvs.first().map_or(0, |pair| pair.mod_revision))
        }
        _ => None,
    }
}
