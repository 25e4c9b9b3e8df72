//! Counts the messages in a gRPC body without copying it.
//!
//! A message is one byte of flags, four bytes of length, then that many bytes of payload; bodies
//! arrive in pieces with arbitrary boundaries.

/// Bytes before each message.
const HEADER_LEN: u8 = 5;

/// Counts of one piece of a body.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted {
    /// Messages that began in it.
    pub(super) messages: u64,
    /// Bytes of messages, without their headers.
    pub(super) bytes: u64,
}

/// Parser state between two pieces of a body.
#[derive(Debug, Default)]
pub(super) struct FrameCounter {
    header_read: u8,
    length: u32,
    payload_left: u32,
}

impl FrameCounter {
    /// Counts the messages and bytes of one piece.
    pub(super) fn feed(&mut self, mut piece: &[u8]) -> Counted {
        let mut counted = Counted::default();
        while let Some((&byte, rest)) = piece.split_first() {
            if self.payload_left > 0 {
                let taken = piece.len().min(self.payload_left as usize);
                self.payload_left -= u32::try_from(taken).unwrap_or(self.payload_left);
                counted.bytes += taken as u64;
                piece = &piece[taken..];
                continue;
            }
            // The first byte is the flags; the other four are the length, big-endian.
            if self.header_read > 0 {
                self.length = (self.length << 8) | u32::from(byte);
            }
            self.header_read += 1;
            piece = rest;
            if self.header_read == HEADER_LEN {
                counted.messages += 1;
                self.payload_left = self.length;
                self.header_read = 0;
                self.length = 0;
            }
        }
        counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: usize) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
        bytes.resize(5 + length, 0xff);
        bytes
    }

    #[test]
    fn messages_are_counted_wherever_the_body_is_cut() {
        let body = [message(300), message(0), message(7)].concat();
        for cut in 0..=body.len() {
            let mut counter = FrameCounter::default();
            let (left, right) = body.split_at(cut);
            let (left, right) = (counter.feed(left), counter.feed(right));
            assert_eq!(left.messages + right.messages, 3, "cut at {cut}");
            assert_eq!(left.bytes + right.bytes, 307, "cut at {cut}");
        }
    }

    #[test]
    fn a_body_that_arrives_byte_by_byte_is_counted_alike() {
        let body = [message(2), message(1)].concat();
        let mut counter = FrameCounter::default();
        let counted: Vec<Counted> = body.iter().map(|byte| counter.feed(&[*byte])).collect();
        assert_eq!(counted.iter().map(|it| it.messages).sum::<u64>(), 2);
        assert_eq!(counted.iter().map(|it| it.bytes).sum::<u64>(), 3);
    }
}
