//! The message of a stream of which a part has come.
//!
//! A message is one byte of flags, four bytes of length, then so many bytes; the pieces of a body
//! are cut anywhere.

/// Bytes before each message.
const HEAD_BYTES: usize = 5;

/// Where in its messages a body stands.
#[derive(Debug, Default)]
pub(super) struct Partial {
    /// Bytes of the message's head that have come.
    head: usize,
    /// What the head says, as far as it has come.
    length: u32,
    /// Bytes of the message that have come after its head.
    body: usize,
}

impl Partial {
    /// Bytes of the message that has begun and has not ended.
    pub(super) const fn bytes(&self) -> usize {
        self.head + self.body
    }

    /// Takes the next piece.
    pub(super) fn take(&mut self, mut piece: &[u8]) {
        while let Some((&byte, rest)) = piece.split_first() {
            if self.head < HEAD_BYTES {
                // The first byte is the flags; of the length the highest comes first.
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
