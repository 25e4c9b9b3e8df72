//! Tracks the partly received message of a gRPC stream.
//!
//! A message is one byte of flags, four bytes of length, then its payload; a body may be cut into
//! pieces anywhere.

/// Bytes of the head before each message.
const HEAD_BYTES: usize = 5;

/// The position of a body within its messages.
#[derive(Debug, Default)]
pub(super) struct Partial {
    /// Bytes received of the message's head.
    head: usize,
    /// The length from the head, as far as it was received.
    length: u32,
    /// Bytes received of the message after its head.
    body: usize,
}

impl Partial {
    /// Bytes received of the unfinished message; zero between two messages.
    pub(super) const fn bytes(&self) -> usize {
        self.head + self.body
    }

    /// Advances the position by the next piece of the body.
    pub(super) fn take(&mut self, mut piece: &[u8]) {
        while let Some((&byte, rest)) = piece.split_first() {
            if self.head < HEAD_BYTES {
                // The first byte has the flags; the length is big-endian.
                if self.head > 0 {
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
                *self = Self::default();
            }
        }
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
            partial.take(left);
            let begin = begins.into_iter().rfind(|begin| *begin <= cut);
            assert_eq!(partial.bytes(), cut - begin.unwrap(), "cut at {cut}");
            partial.take(right);
            assert_eq!(partial.bytes(), 0, "cut at {cut}");
        }
    }
}
