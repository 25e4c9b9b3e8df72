//! Counts the operations of an encoded transaction without decoding it.
//!
//! Two bytes can be an operation, and a decoded one is some hundred: a transaction of the largest
//! size may become a hundred megabytes, and take a thread for as long as everybody else's calls may
//! last. Counting takes one pass and no memory.

use prost::{
    DecodeError,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};

/// What a message is, as far as operations may lie in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `etcdserverpb.TxnRequest`
    Txn,
    /// `etcdserverpb.RequestOp`
    Operation,
    /// `tenure.v1.SetWillRequest`
    Will,
}

/// Messages within messages. The decoder permits a hundred, and refuses more itself.
const DEPTH_MAX: usize = 128;

/// What a field of a message is.
enum Field {
    Compare,
    Message(Kind),
    Other,
}

impl Kind {
    const fn field(self, number: u32) -> Field {
        match (self, number) {
            (Self::Txn, 1) => Field::Compare,
            (Self::Txn, 2 | 3) => Field::Message(Self::Operation),
            (Self::Operation | Self::Will, 4) => Field::Message(Self::Txn),
            _ => Field::Other,
        }
    }
}

/// Whether a message has more operations and comparisons than `max`, those of transactions within
/// included. Stops where the message is malformed or too deep, which the decoder refuses.
///
/// Reads fields by the decoder's own functions: what one of the two takes for a field the other
/// does not take for the contents of a group.
pub(crate) fn exceed(message: &[u8], kind: Kind, max: usize) -> bool {
    let mut count = 0;
    // The rest of each message that is open, the innermost last.
    let mut open = vec![(message, kind)];
    while let Some((rest, kind)) = open.last_mut() {
        if rest.is_empty() {
            open.pop();
            continue;
        }
        let Ok((number, data)) = next(rest) else {
            return false;
        };
        match kind.field(number) {
            Field::Compare => count += 1,
            Field::Message(within) => {
                count += usize::from(within == Kind::Operation);
                if open.len() == DEPTH_MAX {
                    return false;
                }
                open.push((data, within));
            }
            Field::Other => {}
        }
        if count > max {
            return true;
        }
    }
    false
}

/// The number of the next field, and its data when it has a length.
fn next<'a>(rest: &mut &'a [u8]) -> Result<(u32, &'a [u8]), DecodeError> {
    let (number, wire_type) = decode_key(rest)?;
    let before = *rest;
    skip_field(wire_type, number, rest, DecodeContext::default())?;
    let data = match wire_type {
        WireType::LengthDelimited => {
            let mut field = &before[..before.len() - rest.len()];
            decode_varint(&mut field)?;
            field
        }
        _ => &[],
    };
    Ok((number, data))
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::{
        etcdserverpb::{Compare, PutRequest, RequestOp, TxnRequest, request_op::Request},
        v1::SetWillRequest,
    };

    fn within(txn: TxnRequest) -> RequestOp {
        RequestOp {
            request: Some(Request::RequestTxn(txn)),
        }
    }

    /// Two comparisons and three operations.
    fn flat() -> TxnRequest {
        let put = || RequestOp {
            request: Some(Request::RequestPut(PutRequest {
                key: "k".into(),
                // As a transaction it would have operations.
                value: vec![0x12, 0, 0x12, 0, 0x12, 0].into(),
                lease: -1,
                ..PutRequest::default()
            })),
        };
        TxnRequest {
            compare: vec![Compare::default(); 2],
            success: vec![put()],
            failure: vec![put(), RequestOp::default()],
        }
    }

    fn counted(message: &[u8], kind: Kind) -> usize {
        (0..)
            .find(|max| !exceed(message, kind, *max))
            .expect("some")
    }

    #[test]
    fn operations_and_comparisons_are_counted_in_all_levels() {
        assert_eq!(counted(&[], Kind::Txn), 0);
        assert_eq!(counted(&flat().encode_to_vec(), Kind::Txn), 5);
        let nested = TxnRequest {
            success: vec![within(flat()), within(flat())],
            failure: vec![within(TxnRequest {
                failure: vec![within(flat())],
                ..TxnRequest::default()
            })],
            ..TxnRequest::default()
        };
        assert_eq!(counted(&nested.encode_to_vec(), Kind::Txn), 4 + 3 * 5);
        let will = SetWillRequest {
            lease: 7,
            lock: "l".into(),
            transaction: Some(nested),
            ..SetWillRequest::default()
        };
        assert_eq!(counted(&will.encode_to_vec(), Kind::Will), 4 + 3 * 5);
    }

    /// A group of a field that nobody knows, whose contents look like an operation that is cut off,
    /// and one within it.
    const GROUPS: [&[u8]; 2] = [
        &[0x7b, 0x12, 0x01, 0xff, 0x7c],
        &[
            0x7b, 0x7b, 0x12, 0x01, 0xff, 0x7c, 0x22, 0x02, 0xff, 0xff, 0x7c,
        ],
    ];

    #[test]
    fn operations_behind_a_group_are_counted_as_they_are_decoded() {
        for group in GROUPS {
            let hidden = [group, &flat().encode_to_vec()].concat();
            let decoded = TxnRequest::decode(hidden.as_slice()).expect("the decoder skips groups");
            assert_eq!(decoded.failure.len(), 2);
            assert_eq!(counted(&hidden, Kind::Txn), 5);
        }
    }

    #[test]
    fn what_is_malformed_or_too_deep_is_left_to_the_decoder() {
        let mut deep = TxnRequest::default();
        for _ in 0..1000 {
            deep = TxnRequest {
                success: vec![within(deep)],
                ..TxnRequest::default()
            };
        }
        let deep = deep.encode_to_vec();
        assert!(!exceed(&deep, Kind::Txn, 500));
        assert!(exceed(&deep, Kind::Txn, 10));
        for malformed in [
            &[0x12][..],
            &[0x12, 5, 0],
            &[0x12, 0xff],
            &[0xff; 20],
            &[0x17],
        ] {
            assert!(!exceed(malformed, Kind::Txn, 0), "{malformed:?}");
        }
    }
}
