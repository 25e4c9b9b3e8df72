//! The `KV` service: ranges, puts, deletes, transactions, compaction.
//!
//! Reads of one key run on the runtime; reads of unknown size run on blocking threads, so that
//! a large range does not delay other calls.

mod listing;

use std::sync::Arc;

use tenure_proto::etcdserverpb::{self as wire, kv_server::Kv};
use tenure_statemachine::{
    Compact, KeyRange, Need, RangeEnd, RangeQuery, Reader, Revision, Txn, TxnOp,
};
use tonic::{Request, Response, Status};

use crate::rpc::{
    admission::Permit,
    answer::{
        chunks::{self, Chunks},
        failure::Failure,
        reply,
    },
    border::{
        conditions::Conditions,
        far_walks::{NEAR_ROWS_MAX, Turn},
        freshness::{Age, Freshness},
        request,
    },
    call::Call,
    calls::Charged,
    services::Services,
};

/// Keys that one transaction may read on the runtime: some milliseconds at the largest values.
const SPOT_READS_MAX: usize = 16;

#[derive(Debug)]
pub(in crate::rpc) struct KvService(pub(in crate::rpc) Arc<Services>);

#[tonic::async_trait]
impl Kv for KvService {
    type RangeStreamStream = Chunks;

    async fn range(
        &self,
        request: Request<wire::RangeRequest>,
    ) -> Result<Response<wire::RangeResponse>, Status> {
        let admitted = self.admit_range(request, request::range);
        let (call, permit, _charged, query, age) = admitted.await?;
        if !is_point(&query.range) {
            let response = call.read(listing::list(&self.0, permit, query)).await?;
            age.check()?;
            return Ok(age.annotate(&self.0, response));
        }
        let (revision, found) = self.0.latest(|reader| {
            permit.check(reader)?;
            let found = reader.range(&query)?;
            Ok((reader.meta().revision, found))
        })?;
        age.check()?;
        let response = reply::range(self.0.headers.at(revision), found);
        Ok(age.annotate(&self.0, self.0.found(response)?))
    }

    async fn range_stream(
        &self,
        request: Request<wire::RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        let admitted = self.admit_range(request, request::range_stream);
        let (call, permit, _charged, query, age) = admitted.await?;
        let chunks = chunks::stream(Arc::clone(&self.0), permit, query);
        let chunks = call.read(chunks).await?;
        Ok(age.response(&self.0, chunks))
    }

    async fn put(
        &self,
        request: Request<wire::PutRequest>,
    ) -> Result<Response<wire::PutResponse>, Status> {
        let (call, conditions, request) = self.0.admit_write(request)?;
        let put = request::put(request)?;
        let cost = request::put_cost(&put);
        let (revision, previous) = self.0.write(&call, conditions, cost, put).await?;
        Ok(self
            .0
            .written(reply::put(self.0.headers.at(revision), previous))?)
    }

    async fn delete_range(
        &self,
        request: Request<wire::DeleteRangeRequest>,
    ) -> Result<Response<wire::DeleteRangeResponse>, Status> {
        let (call, conditions, request) = self.0.admit_write(request)?;
        let delete = request::delete_range(request)?;
        let is_far =
            |reader: &Reader<'_>| reader.range_walks_further_than(&delete.range, NEAR_ROWS_MAX);
        let turn = if is_point(&delete.range) {
            Turn::default()
        } else {
            self.0.far_walks.turn(&self.0, &call, is_far).await?
        };
        let (revision, deleted) = self
            .0
            .write_in_turn(turn, &call, conditions, 0, delete)
            .await?;
        Ok(self
            .0
            .written(reply::delete_range(self.0.headers.at(revision), deleted))?)
    }

    async fn txn(
        &self,
        request: Request<wire::TxnRequest>,
    ) -> Result<Response<wire::TxnResponse>, Status> {
        let call = self.0.admit_upkeep(&request)?;
        let freshness = Freshness::of(request.metadata())?;
        let conditions = Conditions::of_call(&request)?;
        let operations_bytes = request::operations_bytes(request.get_ref());
        let _charged = self.0.charge(&request, operations_bytes).await?;
        let request = request.into_inner();
        self.0.check_size(&request)?;
        let serializable = request::is_serializable(&request);
        let txn = request::txn(request, self.0.limits.txn_operations_max)?;
        if request::is_read_only(&txn) {
            conditions.refuse_on_read()?;
            let permit = self.0.permit(&call, txn.needs()).await?;
            freshness.reach(&self.0, &call, serializable).await?;
            return Ok(self.read_txn(&call, permit, txn).await?);
        }
        let cost = request::txn_cost(&txn);
        let is_far = |reader: &Reader<'_>| reader.walks_further_than(&txn, NEAR_ROWS_MAX);
        let turn = if txn.walks() {
            self.0.far_walks.turn(&self.0, &call, is_far).await?
        } else {
            Turn::default()
        };
        let (revision, done) = self
            .0
            .write_in_turn(turn, &call, conditions, cost, txn)
            .await?;
        Ok(self
            .0
            .written(reply::txn(self.0.headers.at(revision), done))?)
    }

    async fn compact(
        &self,
        request: Request<wire::CompactionRequest>,
    ) -> Result<Response<wire::CompactionResponse>, Status> {
        let (call, conditions, request) = self.0.admit_write(request)?;
        let wire::CompactionRequest {
            revision: floor,
            physical,
        } = request;
        let floor = Revision(floor);
        let (revision, ()) = self.0.write(&call, conditions, 0, Compact(floor)).await?;
        if physical {
            let collected = async {
                self.0.replica.collected(floor).await;
                Ok::<(), Failure>(())
            };
            // The floor has moved: the outcome of a failure here is unknown.
            call.write(collected).await?;
        }
        Ok(Response::new(wire::CompactionResponse {
            header: Some(self.0.headers.at(revision)),
        }))
    }
}

impl KvService {
    /// Admits a range and waits until this node's state is as fresh as it requires.
    async fn admit_range(
        &self,
        request: Request<wire::RangeRequest>,
        decode: fn(wire::RangeRequest) -> Result<RangeQuery, Failure>,
    ) -> Result<(Call, Permit, Charged, RangeQuery, Age), Failure> {
        if !request.get_ref().serializable {
            self.0.refuse_on_learner()?;
        }
        let call = self.0.admit_anywhere(&request)?;
        let freshness = Freshness::of(request.metadata())?;
        Conditions::of(request.metadata())?.refuse_on_read()?;
        let charged = self.0.charge(&request, 0).await?;
        let request = request.into_inner();
        let serializable = request.serializable;
        let query = decode(request)?;
        let permit = self
            .0
            .permit(&call, vec![Need::Read(query.range.clone())])
            .await?;
        let age = freshness.reach(&self.0, &call, serializable).await?;
        Ok((call, permit, charged, query, age))
    }

    async fn read_txn(
        &self,
        call: &Call,
        permit: Permit,
        txn: Txn,
    ) -> Result<Response<wire::TxnResponse>, Failure> {
        let operations = txn.success.iter().chain(&txn.failure);
        let is_small = operations.clone().count() <= SPOT_READS_MAX
            && operations
                .clone()
                .all(|op| matches!(op, TxnOp::Range(query) if is_point(&query.range)))
            && txn.compare.iter().all(|compare| is_point(&compare.range));
        if !is_small {
            return call.read(listing::read_txn(&self.0, permit, txn)).await;
        }
        let (revision, done) = self.0.latest(|reader| {
            permit.check(reader)?;
            let done = reader.read_txn(&txn)?;
            Ok((reader.meta().revision, done))
        })?;
        self.0.found(reply::txn(self.0.headers.at(revision), done))
    }
}

/// Whether a range is one key.
fn is_point(range: &KeyRange) -> bool {
    matches!(range.end, RangeEnd::Single)
}

#[cfg(test)]
mod tests;
