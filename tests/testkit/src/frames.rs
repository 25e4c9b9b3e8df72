//! The messages of gRPC calls, counted in the bytes of one way of an HTTP/2 connection.
//!
//! Reads the heads of frames and of messages and decodes no headers: a call is known by its stream,
//! a message by its size and its place in the stream.

use std::collections::BTreeMap;

/// What a client sends before its first frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a frame's head: length (3), type, flags, stream (4).
const FRAME_HEAD_BYTES: usize = 9;
/// Bytes of a message's head: whether it is compressed, length (4).
const MESSAGE_HEAD_BYTES: usize = 5;
/// Frame types.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
/// Flags of frames.
const END_STREAM: u8 = 1;
const PADDED: u8 = 8;

/// A message of this length or more is large. No heartbeat, vote or confirmation is.
const LARGE_BYTES: usize = 4 << 10;

/// What has gone one way of a connection, counted in whole messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Messages of all streams.
    pub messages: u64,
    /// Large messages of all streams.
    pub large: u64,
    /// The newest stream.
    pub stream: u32,
    /// Messages of the newest stream.
    pub in_stream: u64,
}

/// Takes the bytes of one way as they come.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    seen: Seen,
    begun: bool,
    /// Bytes that do not make a whole frame yet.
    rest: Vec<u8>,
    streams: BTreeMap<u32, Message>,
}

/// The message of a stream of which a part has come.
#[derive(Debug, Default)]
struct Message {
    head: Vec<u8>,
    bytes: usize,
}

impl Frames {
    /// What has gone by in all, these bytes included.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Seen {
        self.rest.extend_from_slice(bytes);
        if !self.begun {
            if self.rest.len() < PREFACE.len() && PREFACE.starts_with(&self.rest) {
                return self.seen;
            }
            self.begun = true;
            if self.rest.starts_with(PREFACE) {
                self.rest.drain(..PREFACE.len());
            }
        }
        while let Some(frame) = self.next_frame() {
            self.count(&frame);
        }
        self.seen
    }

    fn next_frame(&mut self) -> Option<Vec<u8>> {
        let length = self.rest.get(..3)?;
        let length = length.iter().fold(0, |all, &b| all << 8 | usize::from(b));
        let whole = FRAME_HEAD_BYTES + length;
        (self.rest.len() >= whole).then(|| self.rest.drain(..whole).collect())
    }

    fn count(&mut self, frame: &[u8]) {
        let (kind, flags) = (frame[3], frame[4]);
        let stream = big_endian(&frame[5..FRAME_HEAD_BYTES]) & 0x7fff_ffff;
        let body = &frame[FRAME_HEAD_BYTES..];
        if kind == HEADERS && stream > self.seen.stream {
            self.seen.stream = stream;
            self.seen.in_stream = 0;
        }
        if kind == DATA {
            let padding = match body.first() {
                Some(&padding) if flags & PADDED != 0 => usize::from(padding),
                _ => 0,
            };
            let from = usize::from(flags & PADDED != 0).min(body.len());
            let to = body.len().saturating_sub(padding).max(from);
            self.count_messages(stream, &body[from..to]);
        }
        let ended = matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0;
        if ended || kind == RST_STREAM {
            self.streams.remove(&stream);
        }
    }

    fn count_messages(&mut self, stream: u32, mut bytes: &[u8]) {
        let message = self.streams.entry(stream).or_default();
        while !bytes.is_empty() {
            let head = MESSAGE_HEAD_BYTES - message.head.len();
            let (head, rest) = bytes.split_at(head.min(bytes.len()));
            message.head.extend_from_slice(head);
            if message.head.len() < MESSAGE_HEAD_BYTES {
                return;
            }
            let length = big_endian(&message.head[1..]) as usize;
            let (body, rest) = rest.split_at((length - message.bytes).min(rest.len()));
            message.bytes += body.len();
            bytes = rest;
            if message.bytes == length {
                *message = Message::default();
                self.seen.messages += 1;
                self.seen.large += u64::from(length >= LARGE_BYTES);
                self.seen.in_stream += u64::from(stream == self.seen.stream);
            }
        }
    }
}

fn big_endian(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(0, |all, &byte| all << 8 | u32::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags, 0, 0, 0, stream]);
        frame.extend(body);
        frame
    }

    fn message(bytes: usize) -> Vec<u8> {
        let mut message = vec![0];
        message.extend(u32::try_from(bytes).unwrap().to_be_bytes());
        message.extend(vec![7; bytes]);
        message
    }

    /// Two streams whose messages share frames, are cut by them, are empty and are padded.
    fn conversation() -> Vec<u8> {
        let both = [message(3), message(0), message(LARGE_BYTES)].concat();
        let (begin, end) = both.split_at(16);
        let padded = [&[2][..], &message(1), &[0, 0]].concat();
        [
            PREFACE.to_vec(),
            frame(4, 0, 0, &[0; 6]),
            frame(HEADERS, 4, 1, b"one"),
            frame(DATA, 0, 1, begin),
            frame(HEADERS, 4, 3, b"three"),
            frame(DATA, PADDED, 3, &padded),
            frame(DATA, 0, 1, end),
            frame(DATA, END_STREAM, 3, &message(9)),
        ]
        .concat()
    }

    #[test]
    fn messages_are_counted_however_the_bytes_are_cut() {
        let all = conversation();
        let seen = Seen {
            messages: 5,
            large: 1,
            stream: 3,
            in_stream: 2,
        };
        for length in 1..=all.len() {
            let mut frames = Frames::default();
            let last = all.chunks(length).map(|chunk| frames.take(chunk)).last();
            assert_eq!(last, Some(seen), "in pieces of {length}");
            assert!(frames.rest.is_empty());
        }
    }

    #[test]
    fn a_message_counts_when_its_last_byte_has_come() {
        let mut frames = Frames::default();
        frames.take(&frame(HEADERS, 4, 1, b"one"));
        let message = message(8);
        let (begin, end) = message.split_at(12);
        assert_eq!(frames.take(&frame(DATA, 0, 1, begin)).in_stream, 0);
        assert_eq!(frames.take(&frame(DATA, 0, 1, end)).in_stream, 1);
    }
}
