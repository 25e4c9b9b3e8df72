//! Counts the operations of an encoded transaction without decoding it.
//!
//! An operation takes as few as two bytes, and some hundred once decoded: a transaction of the
//! largest size may become a hundred megabytes, and occupy a thread until other clients' calls time
//! out. Counting takes one pass and no memory.

use prost::{
    DecodeError,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};

/// The kind of a message that may contain operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `etcdserverpb.TxnRequest`
    Txn,
    /// `etcdserverpb.RequestOp`
    Operation,
    /// `tenure.v1.SetWillRequest`
    Will,
}

/// Most nested messages. The decoder itself refuses more than a hundred.
const DEPTH_MAX: usize = 128;

/// The kind of a field of a message.
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

/// Whether a message has more operations and comparisons than `max`, including those of nested
/// transactions. Stops where the message is malformed or too deep, which the decoder refuses.
///
/// Uses the decoder's own functions to read fields, so that both agree on what is a field and what
/// is the contents of a group.
pub(crate) fn exceed(message: &[u8], kind: Kind, max: usize) -> bool {
    let mut count = 0;
    // The rest of each open message, the innermost last.
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

/// Returns the number of the next field, and its data if it has a length.
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

    /// A group of an unknown field, whose contents look like a truncated operation, and one within
    /// it.
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
