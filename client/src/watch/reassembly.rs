//! Joins the fragments of a large revision before it is delivered.
//!
//! The invariant: a revision is delivered whole or not at all; fragments of a broken stream are
//! dropped.

use prost::Message as _;
use tenure_proto::{etcdserverpb::WatchResponse, mvccpb::Event};

use crate::error::{Error, ErrorKind};

/// Limit on the buffered bytes of one revision: far above what one transaction can write under
/// default limits, below the memory of a usual process.
const PIECES_BYTES_MAX: usize = 1 << 30;

/// The fragments received so far.
#[derive(Debug, Default)]
pub(super) struct Reassembly {
    events: Vec<Event>,
    bytes: usize,
}

impl Reassembly {
    /// Adds a response, and returns the whole one once its last fragment has arrived.
    pub(super) fn push(
        &mut self,
        mut response: WatchResponse,
    ) -> Result<Option<WatchResponse>, Error> {
        if !response.fragment && self.events.is_empty() {
            return Ok(Some(response));
        }
        // A progress response may arrive between two fragments.
        if !response.fragment && response.events.is_empty() {
            return Ok(Some(response));
        }
        self.bytes += response
            .events
            .iter()
            .map(Event::encoded_len)
            .sum::<usize>();
        if self.bytes > PIECES_BYTES_MAX {
            let text = format!("one revision has more than {PIECES_BYTES_MAX} bytes of changes");
            return Err(Error::local(ErrorKind::Overloaded, text));
        }
        self.events.append(&mut response.events);
        if response.fragment {
            return Ok(None);
        }
        response.events = std::mem::take(&mut self.events);
        self.bytes = 0;
        Ok(Some(response))
    }

    /// Whether a revision is incomplete: progress reported by the server then covers fragments that
    /// were not delivered.
    pub(super) fn is_holding(&self) -> bool {
        !self.events.is_empty()
    }

    /// Drops the fragments of a broken stream; the next stream sends the revision again.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use tenure_proto::mvccpb::KeyValue;

    use super::*;

    fn piece(revisions: &[i64], fragment: bool) -> WatchResponse {
        let event = |&mod_revision: &i64| Event {
            kv: Some(KeyValue {
                mod_revision,
                ..KeyValue::default()
            }),
            ..Event::default()
        };
        let events = revisions.iter().map(event).collect();
        WatchResponse {
            events,
            fragment,
            ..WatchResponse::default()
        }
    }

    #[test]
    fn a_response_in_one_piece_passes() {
        let mut reassembly = Reassembly::default();
        let whole = reassembly.push(piece(&[3], false)).unwrap();
        assert_eq!(whole, Some(piece(&[3], false)));
    }

    #[test]
    fn pieces_come_out_together_and_in_order() {
        let mut reassembly = Reassembly::default();
        assert_eq!(reassembly.push(piece(&[3, 3], true)).unwrap(), None);
        assert_eq!(reassembly.push(piece(&[3], true)).unwrap(), None);
        let whole = reassembly.push(piece(&[4], false)).unwrap();
        assert_eq!(whole, Some(piece(&[3, 3, 3, 4], false)));
        let next = reassembly.push(piece(&[5], false)).unwrap();
        assert_eq!(
            next,
            Some(piece(&[5], false)),
            "nothing is left of the revision before"
        );
    }

    #[test]
    fn progress_between_two_pieces_does_not_end_them() {
        let mut reassembly = Reassembly::default();
        assert_eq!(reassembly.push(piece(&[3], true)).unwrap(), None);
        let progress = reassembly.push(piece(&[], false)).unwrap();
        assert_eq!(progress, Some(piece(&[], false)));
        let whole = reassembly.push(piece(&[3], false)).unwrap();
        assert_eq!(whole, Some(piece(&[3, 3], false)));
    }

    #[test]
    fn pieces_of_a_broken_stream_are_dropped() {
        let mut reassembly = Reassembly::default();
        assert_eq!(reassembly.push(piece(&[3], true)).unwrap(), None);
        reassembly.clear();
        let whole = reassembly.push(piece(&[3, 3], false)).unwrap();
        assert_eq!(whole, Some(piece(&[3, 3], false)));
    }
}
