//! Encoding of log entries on disk; specified in docs/storage-format.md.

use std::io;

use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use tenure_proto::peer;

use super::log_disk::{ENTRY_HEAD, LogRecord};
use crate::consensus::{Batch, Entry, LogId, Payload, Vote, convert};

/// First byte of every record; any other value is an unknown format.
const FORMAT: u8 = 1;
/// Format, kind, term, node.
const HEADER_LEN: usize = ENTRY_HEAD;

const KIND_BLANK: u8 = 0;
const KIND_BATCH: u8 = 1;
const KIND_MEMBERSHIP: u8 = 2;

/// Encodes an entry. The payload of a batch is kept as the proposer encoded it.
pub(super) fn encode(entry: &Entry) -> LogRecord {
    let leader = &entry.log_id.leader_id;
    let mut head = [0; HEADER_LEN];
    let mut out = &mut head[..];
    out.put_u8(FORMAT);
    out.put_u8(kind(&entry.payload));
    out.put_u64(leader.term);
    out.put_u64(leader.node_id);
    debug_assert!(out.is_empty(), "the head of an entry is filled");
    LogRecord {
        index: entry.log_id.index,
        term: leader.term,
        head,
        payload: match &entry.payload {
            Payload::Blank => Bytes::new(),
            Payload::Normal(batch) => batch.0.clone(),
            Payload::Membership(membership) => {
                convert::membership_to(membership).encode_to_vec().into()
            }
        },
    }
}

/// Decodes the entry at `index`.
///
/// # Errors
/// When the bytes are not an output of [`encode`]: the log is damaged.
pub(super) fn decode(index: u64, mut bytes: Bytes) -> io::Result<Entry> {
    let damaged = |what: &str| {
        let message = format!("log entry {index} is damaged: {what}");
        io::Error::new(io::ErrorKind::InvalidData, message)
    };
    if bytes.len() < HEADER_LEN || bytes.get_u8() != FORMAT {
        return Err(damaged("unknown format"));
    }
    let kind = bytes.get_u8();
    let id = peer::LogId {
        term: bytes.get_u64(),
        node_id: bytes.get_u64(),
        index,
    };
    let payload = match kind {
        KIND_BLANK => Payload::Blank,
        KIND_BATCH => Payload::Normal(Batch(bytes)),
        KIND_MEMBERSHIP => {
            let wire = peer::Membership::decode(bytes).map_err(|e| damaged(&e.to_string()))?;
            let membership = convert::membership_from(wire).map_err(|e| damaged(&e.to_string()))?;
            Payload::Membership(membership)
        }
        _ => return Err(damaged("unknown kind")),
    };
    Ok(Entry {
        log_id: convert::log_id_from(&id),
        payload,
    })
}

/// Encodes a log id: term, node, index.
pub(super) fn encode_log_id(id: &LogId) -> Vec<u8> {
    convert::log_id_to(id).encode_to_vec()
}

/// Decodes the output of [`encode_log_id`].
pub(super) fn decode_log_id(bytes: &[u8]) -> io::Result<LogId> {
    peer::LogId::decode(bytes)
        .map(|id| convert::log_id_from(&id))
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

/// Encodes a vote.
pub(super) fn encode_vote(vote: &Vote) -> Vec<u8> {
    convert::vote_to(vote).encode_to_vec()
}

/// Decodes the output of [`encode_vote`].
pub(super) fn decode_vote(bytes: &[u8]) -> io::Result<Vote> {
    peer::Vote::decode(bytes)
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
        .and_then(|vote| {
            convert::vote_from(Some(vote))
                .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
        })
}

/// Approximate size of an entry in memory, in bytes.
pub(super) fn size(entry: &Entry) -> usize {
    match &entry.payload {
        Payload::Normal(batch) => HEADER_LEN + batch.0.len(),
        Payload::Blank | Payload::Membership(_) => HEADER_LEN,
    }
}

const fn kind(payload: &Payload) -> u8 {
    match payload {
        Payload::Blank => KIND_BLANK,
        Payload::Normal(_) => KIND_BATCH,
        Payload::Membership(_) => KIND_MEMBERSHIP,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::consensus::{LeaderId, Membership, PeerNode};

    fn entry(payload: Payload) -> Entry {
        Entry {
            log_id: LogId::new(
                LeaderId {
                    term: 3,
                    node_id: 0xAB,
                },
                7,
            ),
            payload,
        }
    }

    fn membership() -> Payload {
        let node = PeerNode {
            name: "n".to_owned(),
            peer_urls: vec!["http://h:1".to_owned()],
            ..PeerNode::default()
        };
        let nodes = BTreeMap::from([(1, node.clone()), (2, node)]);
        Payload::Membership(Membership::new(vec![BTreeSet::from([1])], nodes).unwrap())
    }

    #[test]
    fn entries_come_back_as_they_were() {
        let batch = Payload::Normal(Batch(Bytes::from_static(b"commands")));
        for payload in [Payload::Blank, batch, membership()] {
            let entry = entry(payload);
            assert_eq!(decode(7, encode(&entry).to_bytes()).unwrap(), entry);
        }
    }

    /// The bytes in docs/storage-format.md. A released format never changes.
    #[test]
    fn the_bytes_of_a_record_are_the_documented_ones() {
        let batch = entry(Payload::Normal(Batch(Bytes::from_static(b"xyz"))));
        let header = [1, 1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0xAB];
        assert_eq!(
            encode(&batch).to_bytes()[..],
            [&header[..], b"xyz"].concat()
        );
        assert_eq!(encode(&entry(Payload::Blank)).to_bytes()[..2], [1, 0]);
        assert_eq!(encode(&entry(membership())).to_bytes()[..2], [1, 2]);
    }

    #[test]
    fn damaged_records_are_refused() {
        let good = encode(&entry(membership())).to_bytes();
        let mut other_format = good.to_vec();
        other_format[0] = 9;
        let mut other_kind = good.to_vec();
        other_kind[1] = 9;
        for bad in [
            Vec::new(),
            good[..10].to_vec(),
            other_format,
            other_kind,
            good[..25].to_vec(),
        ] {
            let error = decode(7, bad.into()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }
}
