//! The `KV` service: ranges, puts, deletes, transactions, compaction.
//!
//! Reads of one key are answered on the spot; reads of unknown size go to blocking threads, so that
//! a large range delays nobody else.

mod listing;

use std::sync::Arc;

use tenure_proto::etcdserverpb::{self as wire, kv_server::Kv};
use tenure_statemachine::{
    Compact, KeyRange, RangeEnd, RangeReply, ReadError, Reader, Revision, Txn, TxnOp, TxnReply,
};
use tonic::{Request, Response, Status};

use crate::rpc::{
    answer::{
        chunks::{self, Chunks},
        failure::Failure,
        large::Answer,
        reply,
    },
    border::{
        conditions::Conditions,
        far_walks::{NEAR_ROWS_MAX, Turn},
        freshness::Freshness,
        request,
    },
    call::Call,
    services::Services,
};

/// Keys that one transaction reads on the spot: some milliseconds, were all as large as can be.
const SPOT_READS_MAX: usize = 16;

#[derive(Debug)]
pub(in crate::rpc) struct KvService(pub(in crate::rpc) Arc<Services>);

impl KvService {
    async fn range(
        &self,
        request: Request<wire::RangeRequest>,
    ) -> Result<Response<wire::RangeResponse>, Failure> {
        let call = self.0.admit(request.metadata())?;
        let freshness = Freshness::of(request.metadata())?;
        Conditions::of(request.metadata())?.refuse_on_read()?;
        let _charged = self.0.charge(&request)?;
        let request = request.into_inner();
        let serializable = request.serializable;
        let query = request::range(request)?;
        let age = freshness.reach(&self.0, &call, serializable).await?;
        if !is_point(&query.range) {
            let found = call.read(listing::list(&self.0, query)).await?;
            age.check()?;
            return Ok(match found {
                Ok(response) => age.tell(&self.0, response),
                Err(answer) => answer.instead_of(age.tell(&self.0, wire::RangeResponse::default())),
            });
        }
        let read = |reader: &Reader<'_>| {
            Ok::<(Revision, RangeReply), ReadError>((reader.meta().revision, reader.range(&query)?))
        };
        let (revision, found) = self.0.latest(read)?;
        age.check()?;
        let response = reply::range(self.0.headers.at(revision), found);
        Ok(
            match Answer::of_read(response, &self.0.bulk_reads.memory())? {
                Ok(response) => age.tell(&self.0, response),
                Err(answer) => answer.instead_of(age.tell(&self.0, wire::RangeResponse::default())),
            },
        )
    }

    async fn range_stream(
        &self,
        request: Request<wire::RangeRequest>,
    ) -> Result<Response<Chunks>, Failure> {
        let call = self.0.admit(request.metadata())?;
        let freshness = Freshness::of(request.metadata())?;
        Conditions::of(request.metadata())?.refuse_on_read()?;
        let _charged = self.0.charge(&request)?;
        let request = request.into_inner();
        let serializable = request.serializable;
        let query = request::range_stream(request)?;
        let age = freshness.reach(&self.0, &call, serializable).await?;
        let chunks = call
            .read(chunks::stream(Arc::clone(&self.0), query))
            .await?;
        Ok(age.tell(&self.0, chunks))
    }

    async fn put(
        &self,
        request: Request<wire::PutRequest>,
    ) -> Result<Response<wire::PutResponse>, Failure> {
        let call = self.0.admit(request.metadata())?;
        let conditions = Conditions::of_call(&request)?;
        let request = request.into_inner();
        self.0.check_size(&request)?;
        let put = request::put(request)?;
        let cost = request::put_cost(&put);
        let (revision, previous) = self.0.write(&call, conditions, cost, put).await?;
        self.0
            .written(reply::put(self.0.headers.at(revision), previous))
    }

    async fn delete_range(
        &self,
        request: Request<wire::DeleteRangeRequest>,
    ) -> Result<Response<wire::DeleteRangeResponse>, Failure> {
        let call = self.0.admit(request.metadata())?;
        let conditions = Conditions::of_call(&request)?;
        let request = request.into_inner();
        self.0.check_size(&request)?;
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
        self.0
            .written(reply::delete_range(self.0.headers.at(revision), deleted))
    }

    async fn txn(
        &self,
        request: Request<wire::TxnRequest>,
    ) -> Result<Response<wire::TxnResponse>, Failure> {
        let call = self.0.admit(request.metadata())?;
        let freshness = Freshness::of(request.metadata())?;
        let conditions = Conditions::of_call(&request)?;
        let _charged = self.0.charge(&request)?;
        let request = request.into_inner();
        self.0.check_size(&request)?;
        let serializable = request::is_serializable(&request);
        let txn = request::txn(request, self.0.limits.txn_operations_max)?;
        if request::is_read_only(&txn) {
            conditions.refuse_on_read()?;
            freshness.reach(&self.0, &call, serializable).await?;
            return self.read_txn(&call, txn).await;
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
        self.0
            .written(reply::txn(self.0.headers.at(revision), done))
    }

    async fn read_txn(
        &self,
        call: &Call,
        txn: Txn,
    ) -> Result<Response<wire::TxnResponse>, Failure> {
        let operations = txn.success.iter().chain(&txn.failure);
        let is_small = operations.clone().count() <= SPOT_READS_MAX
            && operations
                .clone()
                .all(|op| matches!(op, TxnOp::Range(query) if is_point(&query.range)))
            && txn.compare.iter().all(|compare| is_point(&compare.range));
        let response = if is_small {
            let read = |reader: &Reader<'_>| {
                let revision = reader.meta().revision;
                Ok::<(Revision, TxnReply), ReadError>((revision, reader.read_txn(&txn)?))
            };
            let (revision, done) = self.0.latest(read)?;
            let response = reply::txn(self.0.headers.at(revision), done);
            Answer::of_read(response, &self.0.bulk_reads.memory())?
        } else {
            call.read(listing::read_txn(&self.0, txn)).await?
        };
        Ok(match response {
            Ok(response) => Response::new(response),
            Err(answer) => answer.instead_of(Response::new(wire::TxnResponse::default())),
        })
    }

    async fn compact(
        &self,
        request: Request<wire::CompactionRequest>,
    ) -> Result<wire::CompactionResponse, Failure> {
        let call = self.0.admit(request.metadata())?;
        let conditions = Conditions::of_call(&request)?;
        let wire::CompactionRequest {
            revision: floor,
            physical,
        } = request.into_inner();
        let floor = Revision(floor);
        let (revision, ()) = self.0.write(&call, conditions, 0, Compact(floor)).await?;
        if physical {
            let collected = async {
                self.0.replica.collected(floor).await;
                Ok::<(), Failure>(())
            };
            // The floor has moved: a caller that is told of a failure must not take it for none.
            call.write(collected).await?;
        }
        Ok(wire::CompactionResponse {
            header: Some(self.0.headers.at(revision)),
        })
    }
}

#[tonic::async_trait]
impl Kv for KvService {
    type RangeStreamStream = Chunks;

    async fn range(
        &self,
        request: Request<wire::RangeRequest>,
    ) -> Result<Response<wire::RangeResponse>, Status> {
        Ok(Self::range(self, request).await?)
    }

    async fn range_stream(
        &self,
        request: Request<wire::RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        Ok(Self::range_stream(self, request).await?)
    }

    async fn put(
        &self,
        request: Request<wire::PutRequest>,
    ) -> Result<Response<wire::PutResponse>, Status> {
        Ok(Self::put(self, request).await?)
    }

    async fn delete_range(
        &self,
        request: Request<wire::DeleteRangeRequest>,
    ) -> Result<Response<wire::DeleteRangeResponse>, Status> {
        Ok(Self::delete_range(self, request).await?)
    }

    async fn txn(
        &self,
        request: Request<wire::TxnRequest>,
    ) -> Result<Response<wire::TxnResponse>, Status> {
        Ok(Self::txn(self, request).await?)
    }

    async fn compact(
        &self,
        request: Request<wire::CompactionRequest>,
    ) -> Result<Response<wire::CompactionResponse>, Status> {
        Ok(Response::new(Self::compact(self, request).await?))
    }
}

/// Whether a range is one key.
fn is_point(range: &KeyRange) -> bool {
    matches!(range.end, RangeEnd::Single)
}

#[cfg(test)]
mod tests;
