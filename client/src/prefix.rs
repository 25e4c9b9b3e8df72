//! The prefix that a [`Namespace`](crate::Namespace) adds to the keys of a request and strips from
//! the keys of its response.
//!
//! Invariant: no request that a prefix was added to names a key outside of the prefix.

use bytes::Bytes;
use tenure_proto::{
    etcdserverpb::{
        Compare, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse as PutMessage,
        RangeRequest, RangeResponse, RequestOp, ResponseOp, TxnRequest, TxnResponse as TxnMessage,
        WatchCreateRequest, WatchResponse, request_op::Request, response_op::Response,
    },
    mvccpb::KeyValue as KeyValueMessage,
};

use crate::{
    error::{Error, ErrorKind},
    range::prefix_end,
};

/// The end of a range without an end.
const UNBOUNDED: &[u8] = &[0];

/// The prefix of a namespace; by default no prefix, which leaves every key as it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Prefix(Option<Bytes>);

/// A request whose keys can be given a prefix.
pub(crate) trait AddPrefix {
    /// Adds `prefix` to every key and range.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for an empty key.
    fn add_prefix(&mut self, prefix: &[u8]) -> Result<(), Error>;
}

/// A response whose keys can be stripped of a prefix.
pub(crate) trait StripPrefix {
    /// Strips `prefix` from every key.
    fn strip_prefix(&mut self, prefix: &[u8]);
}

impl Prefix {
    pub(crate) fn new(prefix: Bytes) -> Self {
        Self(Some(prefix))
    }

    /// Adds the prefix to the keys of a request.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for an empty key, which would be the prefix itself.
    pub(crate) fn add_to(&self, request: &mut impl AddPrefix) -> Result<(), Error> {
        match &self.0 {
            Some(prefix) => request.add_prefix(prefix),
            None => Ok(()),
        }
    }

    /// Strips the prefix from the keys of a response.
    pub(crate) fn strip_from(&self, response: &mut impl StripPrefix) {
        if let Some(prefix) = &self.0 {
            response.strip_prefix(prefix);
        }
    }
}

fn add_to_range(prefix: &[u8], key: &mut Bytes, end: &mut Bytes) -> Result<(), Error> {
    add_to_key(prefix, key)?;
    if &end[..] == UNBOUNDED {
        *end = prefix_end(prefix);
    } else if !end.is_empty() {
        *end = joined(prefix, end);
    }
    Ok(())
}

fn add_to_key(prefix: &[u8], key: &mut Bytes) -> Result<(), Error> {
    if key.is_empty() {
        let text = "a key of a namespace is not empty";
        return Err(Error::local(ErrorKind::InvalidArgument, text));
    }
    *key = joined(prefix, key);
    Ok(())
}

/// `key` below `prefix`.
pub(crate) fn joined(prefix: &[u8], key: &[u8]) -> Bytes {
    Bytes::from([prefix, key].concat())
}

/// Adds a prefix to the range of a message.
macro_rules! add_prefix_to_range {
    ($($message:ty),*) => {$(
        impl AddPrefix for $message {
            fn add_prefix(&mut self, prefix: &[u8]) -> Result<(), Error> {
                add_to_range(prefix, &mut self.key, &mut self.range_end)
            }
        }
    )*};
}

add_prefix_to_range!(
    RangeRequest,
    DeleteRangeRequest,
    Compare,
    WatchCreateRequest
);

impl AddPrefix for PutRequest {
    fn add_prefix(&mut self, prefix: &[u8]) -> Result<(), Error> {
        add_to_key(prefix, &mut self.key)
    }
}

impl AddPrefix for RequestOp {
    fn add_prefix(&mut self, prefix: &[u8]) -> Result<(), Error> {
        match &mut self.request {
            Some(Request::RequestRange(range)) => range.add_prefix(prefix),
            Some(Request::RequestPut(put)) => put.add_prefix(prefix),
            Some(Request::RequestDeleteRange(range)) => range.add_prefix(prefix),
            Some(Request::RequestTxn(txn)) => txn.add_prefix(prefix),
            None => Ok(()),
        }
    }
}

impl AddPrefix for TxnRequest {
    fn add_prefix(&mut self, prefix: &[u8]) -> Result<(), Error> {
        let mut compares = self.compare.iter_mut();
        compares.try_for_each(|compare| compare.add_prefix(prefix))?;
        let mut branches = self.success.iter_mut().chain(&mut self.failure);
        branches.try_for_each(|op| op.add_prefix(prefix))
    }
}

impl StripPrefix for KeyValueMessage {
    fn strip_prefix(&mut self, prefix: &[u8]) {
        if self.key.starts_with(prefix) {
            self.key = self.key.slice(prefix.len()..);
        }
    }
}

impl StripPrefix for RangeResponse {
    fn strip_prefix(&mut self, prefix: &[u8]) {
        self.kvs.iter_mut().for_each(|kv| kv.strip_prefix(prefix));
    }
}

impl StripPrefix for PutMessage {
    fn strip_prefix(&mut self, prefix: &[u8]) {
        self.prev_kv
            .iter_mut()
            .for_each(|kv| kv.strip_prefix(prefix));
    }
}

impl StripPrefix for DeleteRangeResponse {
    fn strip_prefix(&mut self, prefix: &[u8]) {
        self.prev_kvs
            .iter_mut()
            .for_each(|kv| kv.strip_prefix(prefix));
    }
}

impl StripPrefix for TxnMessage {
    fn strip_prefix(&mut self, prefix: &[u8]) {
        for ResponseOp { response } in &mut self.responses {
            match response {
                Some(Response::ResponseRange(range)) => range.strip_prefix(prefix),
                Some(Response::ResponsePut(put)) => put.strip_prefix(prefix),
                Some(Response::ResponseDeleteRange(range)) => range.strip_prefix(prefix),
                Some(Response::ResponseTxn(txn)) => txn.strip_prefix(prefix),
                None => {}
            }
        }
    }
}

impl StripPrefix for WatchResponse {
    fn strip_prefix(&mut self, prefix: &[u8]) {
        let events = self.events.iter_mut();
        let kvs = events.flat_map(|event| event.kv.iter_mut().chain(&mut event.prev_kv));
        kvs.for_each(|kv| kv.strip_prefix(prefix));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Compare, Delete, Get, IntoBytes, KeyRange, Put, Txn};

    fn placed(prefix: &str, range: KeyRange) -> (Bytes, Bytes) {
        let (mut key, mut end) = range.into_parts();
        add_to_range(prefix.as_bytes(), &mut key, &mut end).unwrap();
        (key, end)
    }

    fn pair(key: &[u8], end: &[u8]) -> (Bytes, Bytes) {
        (Bytes::copy_from_slice(key), Bytes::copy_from_slice(end))
    }

    #[test]
    fn ranges_stay_within_the_prefix() {
        for (range, expected) in [
            (KeyRange::key("a"), pair(b"p/a", b"")),
            (KeyRange::prefix("a"), pair(b"p/a", b"p/b")),
            (KeyRange::between("a", "c"), pair(b"p/a", b"p/c")),
            (KeyRange::from_key("a"), pair(b"p/a", b"p0")),
            (KeyRange::all(), pair(b"p/\0", b"p0")),
            // A prefix without an end of its own ends with the namespace.
            (KeyRange::prefix(b"\xff"), pair(b"p/\xff", b"p0")),
        ] {
            assert_eq!(placed("p/", range.clone()), expected, "{range:?}");
        }
        let everything = KeyRange::all().into_parts();
        assert_eq!(placed("", KeyRange::all()), everything);
    }

    #[test]
    fn the_prefix_itself_is_no_key_of_the_view() {
        for end in ["", "b", "\0"] {
            let mut end = end.into_bytes();
            let error = add_to_range(b"p/", &mut Bytes::new(), &mut end).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        }
    }

    #[test]
    fn every_part_of_a_transaction_is_given_the_prefix() {
        let nested = Txn::new()
            .when(Compare::missing("n"))
            .or_else(Delete::new(KeyRange::from_key("m")));
        let txn = Txn::new()
            .when(Compare::exists("c"))
            .and_then(Put::new("k", "v"))
            .and_then(Get::new(KeyRange::all()))
            .or_else(nested);
        let mut request = txn.request;
        let prefix = Prefix::new(Bytes::from_static(b"p/"));
        prefix.add_to(&mut request).unwrap();
        let text = format!("{request:?}");
        for key in [
            r#"b"p/c""#,
            r#"b"p/k""#,
            r#"b"p/\0""#,
            r#"b"p/n""#,
            r#"b"p/m""#,
            r#"b"p0""#,
        ] {
            assert!(text.contains(key), "{key} is not in {text}");
        }
        assert!(
            !text.contains(r#""c""#) && !text.contains(r#""m""#),
            "{text}"
        );
    }
}
