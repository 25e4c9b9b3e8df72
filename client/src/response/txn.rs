//! The response to a transaction, and to each of its operations.

use std::vec;

use tenure_proto::etcdserverpb::{
    ResponseOp, TxnResponse as TxnMessage, response_op::Response as OpMessage,
};

use super::{DeleteResponse, GetResponse, Header, PutResponse, impl_header};

/// The response to a transaction: which of its two branches was applied, and the responses of its
/// operations, in the order in which they were added.
///
/// ```no_run
/// use tenure::{Client, Get, KeyRange, KeyValue};
///
/// # async fn example(client: Client) -> Result<(), tenure::Error> {
/// // Two reads at one revision.
/// let answer = client
///     .txn()
///     .and_then(Get::new("config/mode"))
///     .and_then(Get::new(KeyRange::prefix("instances/")))
///     .await?;
/// let mode = answer.get(0).and_then(|found| found.value());
/// let instances = answer.get(1).map_or(0, |found| found.count());
/// println!("{mode:?} on {instances} instances");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TxnResponse {
    header: Option<Header>,
    succeeded: bool,
    results: Vec<OpResponse>,
}

/// The response to one operation of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpResponse {
    /// Response to a [`Get`](crate::Get).
    Get(GetResponse),
    /// Response to a [`Put`](crate::Put).
    Put(PutResponse),
    /// Response to a [`Delete`](crate::Delete).
    Delete(DeleteResponse),
    /// Response to a nested [`Txn`](crate::Txn).
    Txn(TxnResponse),
    /// Response to an operation that this version of the client does not know.
    Unknown,
}

impl TxnResponse {
    pub(crate) fn of(message: TxnMessage) -> Self {
        Self {
            header: Header::of(message.header),
            succeeded: message.succeeded,
            results: message.responses.into_iter().map(OpResponse::of).collect(),
        }
    }

    /// Whether all conditions held, so that the operations of
    /// [`and_then`](crate::Txn::and_then) were applied; those of [`or_else`](crate::Txn::or_else)
    /// otherwise.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.succeeded
    }

    /// The responses of the operations of the applied branch.
    #[must_use]
    pub fn results(&self) -> &[OpResponse] {
        &self.results
    }

    /// The responses of the operations, by value.
    #[must_use]
    pub fn into_results(self) -> Vec<OpResponse> {
        self.results
    }

    /// The response of the operation at `index`, if it is a [`Get`](crate::Get).
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&GetResponse> {
        match self.results.get(index)? {
            OpResponse::Get(found) => Some(found),
            _ => None,
        }
    }

    /// The response of the operation at `index`, if it is a [`Put`](crate::Put).
    #[must_use]
    pub fn put(&self, index: usize) -> Option<&PutResponse> {
        match self.results.get(index)? {
            OpResponse::Put(written) => Some(written),
            _ => None,
        }
    }

    /// The response of the operation at `index`, if it is a [`Delete`](crate::Delete).
    #[must_use]
    pub fn delete(&self, index: usize) -> Option<&DeleteResponse> {
        match self.results.get(index)? {
            OpResponse::Delete(deleted) => Some(deleted),
            _ => None,
        }
    }

    /// The response of the operation at `index`, if it is a nested [`Txn`](crate::Txn).
    #[must_use]
    pub fn txn(&self, index: usize) -> Option<&TxnResponse> {
        match self.results.get(index)? {
            OpResponse::Txn(nested) => Some(nested),
            _ => None,
        }
    }

    /// The responses of the [`Get`](crate::Get)s of the branch, in order.
    pub fn gets(&self) -> impl Iterator<Item = &GetResponse> {
        self.results.iter().filter_map(|result| match result {
            OpResponse::Get(found) => Some(found),
            _ => None,
        })
    }

    /// The responses of the [`Get`](crate::Get)s of the branch, in order, by value.
    pub fn into_gets(self) -> impl Iterator<Item = GetResponse> {
        self.results.into_iter().filter_map(|result| match result {
            OpResponse::Get(found) => Some(found),
            _ => None,
        })
    }

    /// Converts into the generated protobuf message.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> TxnMessage {
        let results = self.results.into_iter();
        TxnMessage {
            header: self.header.map(Header::into_wire),
            succeeded: self.succeeded,
            responses: results.map(OpResponse::into_wire).collect(),
        }
    }
}

impl_header!(TxnResponse);

impl IntoIterator for TxnResponse {
    type Item = OpResponse;
    type IntoIter = vec::IntoIter<OpResponse>;

    fn into_iter(self) -> Self::IntoIter {
        self.results.into_iter()
    }
}

impl OpResponse {
    fn of(message: ResponseOp) -> Self {
        match message.response {
            Some(OpMessage::ResponseRange(found)) => Self::Get(GetResponse::of(found)),
            Some(OpMessage::ResponsePut(written)) => Self::Put(PutResponse::of(written)),
            Some(OpMessage::ResponseDeleteRange(deleted)) => {
                Self::Delete(DeleteResponse::of(deleted))
            }
            Some(OpMessage::ResponseTxn(nested)) => Self::Txn(TxnResponse::of(nested)),
            // Kept, so that the indices of the other operations are right.
            None => Self::Unknown,
        }
    }

    /// Converts into the generated protobuf message.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> ResponseOp {
        let response = match self {
            Self::Get(found) => Some(OpMessage::ResponseRange(found.into_wire())),
            Self::Put(written) => Some(OpMessage::ResponsePut(written.into_wire())),
            Self::Delete(deleted) => Some(OpMessage::ResponseDeleteRange(deleted.into_wire())),
            Self::Txn(nested) => Some(OpMessage::ResponseTxn(nested.into_wire())),
            Self::Unknown => None,
        };
        ResponseOp { response }
    }
}

#[cfg(test)]
mod tests {
    use tenure_proto::etcdserverpb as wire;

    use super::*;

    fn answer(responses: Vec<Option<OpMessage>>) -> TxnResponse {
        let responses = responses
            .into_iter()
            .map(|response| ResponseOp { response })
            .collect();
        TxnResponse::of(TxnMessage {
            header: None,
            succeeded: true,
            responses,
        })
    }

    #[test]
    fn each_result_is_found_at_the_index_of_its_operation() {
        let nested = TxnMessage {
            succeeded: true,
            ..TxnMessage::default()
        };
        let read = wire::RangeResponse {
            count: 3,
            ..wire::RangeResponse::default()
        };
        let gone = wire::DeleteRangeResponse {
            deleted: 2,
            ..wire::DeleteRangeResponse::default()
        };
        let answer = answer(vec![
            Some(OpMessage::ResponsePut(wire::PutResponse::default())),
            None,
            Some(OpMessage::ResponseRange(read)),
            Some(OpMessage::ResponseDeleteRange(gone)),
            Some(OpMessage::ResponseTxn(nested)),
        ]);
        assert!(answer.succeeded());
        assert!(answer.put(0).is_some() && answer.get(0).is_none());
        assert_eq!(answer.results()[1], OpResponse::Unknown);
        assert_eq!(answer.get(2).map(GetResponse::count), Some(3));
        assert_eq!(answer.delete(3).map(DeleteResponse::deleted), Some(2));
        assert!(answer.txn(4).is_some_and(TxnResponse::succeeded));
        assert!(answer.get(5).is_none());
        assert_eq!(answer.gets().count(), 1);
    }
}
