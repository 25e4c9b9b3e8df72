//! Tracks the partly received message of a gRPC stream.
//!
//! A message is one byte of flags, four bytes of length, then its payload; a body may be cut into
//! pieces anywhere.

/// Bytes of the head before each message.
const HEAD_BYTES: usize = 5;

/// Size from which a message is heavy. Not 64 KiB: messages of 60 KB of empty names, sent without
/// pause on 64 connections, left another client less than a twentieth of its puts, and moved
/// leadership. A compressed one is heavy at any size: a kilobyte may become a megabyte.
pub(super) const HEAVY_BYTES: usize = 16 << 10;

/// The position of a body within its messages.
#[derive(Debug, Default)]
pub(super) struct Partial {
    /// Bytes received of the message's head.
    head: usize,
    /// The length from the head, as far as it was received.
    length: u32,
    /// Bytes received of the message after its head.
    body: usize,
    /// Whether the payload is compressed, which the flags say.
    is_compressed: bool,
}

impl Partial {
    /// Bytes received of the unfinished message; zero between two messages.
    pub(super) const fn bytes(&self) -> usize {
        self.head + self.body
    }

    /// Advances the position by the next piece of the body, up to the end of the first heavy
    /// message. Returns how many bytes were taken, and whether a heavy message ends there.
    pub(super) fn take(&mut self, piece: &[u8]) -> (usize, bool) {
        let all = piece.len();
        let mut piece = piece;
        while let Some((&byte, rest)) = piece.split_first() {
            if self.head < HEAD_BYTES {
                // The first byte has the flags; the length is big-endian.
                if self.head == 0 {
                    self.is_compressed = byte != 0;
                } else {
                    self.length = self.length << 8 | u32::from(byte);
                }
                self.head += 1;
                piece = rest;
            } else {
                let taken = piece.len().min(self.length as usize - self.body);
                self.body += taken;
                piece = &piece[taken..];
            }
            if self.head == HEAD_BYTES && self.body == self.length as usize {
                let is_heavy = self.is_compressed || self.body >= HEAVY_BYTES;
                *self = Self::default();
                if is_heavy {
                    return (all - piece.len(), true);
                }
            }
        }
        (all, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: usize) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend(u32::try_from(length).unwrap().to_be_bytes());
        bytes.resize(HEAD_BYTES + length, 0xff);
        bytes
    }

    #[test]
    fn what_is_partly_there_is_known_wherever_the_body_is_cut() {
        let body = [message(300), message(0), message(7)].concat();
        let begins = [0, 305, 310];
        for cut in 0..body.len() {
            let mut partial = Partial::default();
            let (left, right) = body.split_at(cut);
            assert_eq!(partial.take(left), (cut, false));
            let begin = begins.into_iter().rfind(|begin| *begin <= cut);
            assert_eq!(partial.bytes(), cut - begin.unwrap(), "cut at {cut}");
            assert_eq!(partial.take(right), (body.len() - cut, false));
            assert_eq!(partial.bytes(), 0, "cut at {cut}");
        }
    }

    #[test]
    fn a_piece_is_taken_up_to_the_end_of_a_heavy_message() {
        let mut compressed = message(20);
        compressed[0] = 1;
        let body = [message(7), compressed, message(HEAVY_BYTES), message(7)].concat();
        let ends = [12 + 25, 25 + 12 + 5 + HEAVY_BYTES];
        for cut in 0..ends[0] {
            let mut partial = Partial::default();
            assert_eq!(partial.take(&body[..cut]), (cut, false));
            assert_eq!(partial.take(&body[cut..]), (ends[0] - cut, true));
            let rest = &body[ends[0]..];
            assert_eq!(partial.take(rest), (ends[1] - ends[0], true));
            assert_eq!(partial.take(&body[ends[1]..]), (12, false));
        }
    }
}
