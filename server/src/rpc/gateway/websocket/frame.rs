//! Frames of WebSockets (RFC 6455), as a server reads and writes them.
//!
//! The payload of a frame is handed on as it arrives, so that nothing of a message is held here:
//! what holds it is charged for it.
//!
//! Invariant: whatever bytes arrive, no more than a control frame is held, and a message ends or is
//! refused within its bound.

use bytes::{Buf as _, Bytes, BytesMut};

/// Longest payload of a control frame.
const CONTROL_BYTES_MAX: usize = 125;
/// Marks of lengths that follow in two and in eight bytes.
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;
/// Bits of the first byte.
const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
/// The bit of the second byte that says that the payload is masked, as those of clients must be.
const MASKED: u8 = 0x80;
const MASK_BYTES: usize = 4;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// Why a WebSocket is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Close {
    /// The call has ended.
    Normal,
    /// The client closed without a code.
    Unsaid,
    /// The client closed with this one.
    Client(u16),
    /// The frames are none.
    Protocol,
    /// A message did not arrive in time.
    Policy,
    /// A message is too large.
    TooLarge,
    /// The server failed.
    Internal,
}

impl Close {
    const fn code(self) -> Option<u16> {
        match self {
            Self::Normal => Some(1000),
            Self::Unsaid => None,
            Self::Client(code) => Some(code),
            Self::Protocol => Some(1002),
            Self::Policy => Some(1008),
            Self::TooLarge => Some(1009),
            Self::Internal => Some(1011),
        }
    }
}

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Data of a message, of text or not.
    Data(Bytes),
    /// A message is complete.
    End,
    Ping(Bytes),
    Pong,
    Close(Close),
}

/// Reads the frames of a client.
#[derive(Debug)]
pub(super) struct Decoder {
    message_bytes_max: u64,
    /// The data frame whose payload is not complete.
    frame: Option<Frame>,
    /// Bytes of the message that is not complete.
    message: Option<u64>,
}

#[derive(Debug)]
struct Frame {
    left: u64,
    mask: [u8; MASK_BYTES],
    is_final: bool,
}

/// The beginning of a frame.
struct Head {
    is_final: bool,
    opcode: u8,
    payload: u64,
    mask: [u8; MASK_BYTES],
    /// Its own length.
    bytes: usize,
}

impl Decoder {
    /// For messages of at most so many bytes.
    pub(super) fn new(message_bytes_max: usize) -> Self {
        Self {
            message_bytes_max: message_bytes_max as u64,
            frame: None,
            message: None,
        }
    }

    /// Whether no message has begun that is not complete.
    pub(super) const fn is_between(&self) -> bool {
        self.frame.is_none() && self.message.is_none()
    }

    /// Takes what comes next from `buffer`; `None` when more has to arrive first.
    ///
    /// # Errors
    /// Why the WebSocket must be closed.
    pub(super) fn take(&mut self, buffer: &mut BytesMut) -> Result<Option<Event>, Close> {
        loop {
            if let Some(frame) = &mut self.frame {
                if frame.left > 0 {
                    return Ok(frame.payload(buffer).map(Event::Data));
                }
                let is_final = frame.is_final;
                self.frame = None;
                if is_final {
                    self.message = None;
                    return Ok(Some(Event::End));
                }
            }
            let Some(head) = Head::read(buffer)? else {
                return Ok(None);
            };
            if head.opcode & CLOSE != 0 {
                return control(&head, buffer);
            }
            self.begin(&head)?;
            buffer.advance(head.bytes);
        }
    }

    /// Begins a data frame.
    fn begin(&mut self, head: &Head) -> Result<(), Close> {
        let before = match (head.opcode, self.message) {
            (CONTINUATION, Some(before)) => before,
            (TEXT | BINARY, None) => 0,
            _ => return Err(Close::Protocol),
        };
        let bytes = before.saturating_add(head.payload);
        if bytes > self.message_bytes_max {
            return Err(Close::TooLarge);
        }
        self.message = Some(bytes);
        self.frame = Some(Frame {
            left: head.payload,
            mask: head.mask,
            is_final: head.is_final,
        });
        Ok(())
    }
}

impl Frame {
    /// The part of the payload that has arrived.
    fn payload(&mut self, buffer: &mut BytesMut) -> Option<Bytes> {
        if buffer.is_empty() {
            return None;
        }
        let here = usize::try_from(self.left).unwrap_or(usize::MAX);
        let mut part = buffer.split_to(here.min(buffer.len()));
        unmask(&mut part, self.mask);
        self.left -= part.len() as u64;
        self.mask.rotate_left(part.len() % MASK_BYTES);
        Some(part.freeze())
    }
}

impl Head {
    /// The head of the frame at the beginning of `buffer`, if it is complete.
    fn read(buffer: &[u8]) -> Result<Option<Self>, Close> {
        let &[first, second, ref rest @ ..] = buffer else {
            return Ok(None);
        };
        let (is_final, opcode) = (first & FINAL != 0, first & OPCODE);
        let length = second & !MASKED;
        let is_known = matches!(opcode, CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG);
        if first & RESERVED != 0 || second & MASKED == 0 || !is_known {
            return Err(Close::Protocol);
        }
        let is_control = opcode & CLOSE != 0;
        if is_control && (!is_final || usize::from(length) > CONTROL_BYTES_MAX) {
            return Err(Close::Protocol);
        }
        let extended = match length {
            LENGTH_16 => 2,
            LENGTH_64 => 8,
            _ => 0,
        };
        let Some((number, rest)) = rest.split_at_checked(extended) else {
            return Ok(None);
        };
        let Some(mask) = rest.first_chunk::<MASK_BYTES>() else {
            return Ok(None);
        };
        let fold = |number: &[u8]| {
            number
                .iter()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
        };
        let payload = if extended == 0 {
            u64::from(length)
        } else {
            fold(number)
        };
        Ok(Some(Self {
            is_final,
            opcode,
            payload,
            mask: *mask,
            bytes: 2 + extended + MASK_BYTES,
        }))
    }
}

/// Takes a control frame, if it is complete.
fn control(head: &Head, buffer: &mut BytesMut) -> Result<Option<Event>, Close> {
    // A control frame has at most 125 bytes.
    let length = usize::try_from(head.payload).map_err(|_| Close::Protocol)?;
    if buffer.len() < head.bytes + length {
        return Ok(None);
    }
    buffer.advance(head.bytes);
    let mut payload = buffer.split_to(length);
    unmask(&mut payload, head.mask);
    Ok(Some(match head.opcode {
        PING => Event::Ping(payload.freeze()),
        PONG => Event::Pong,
        _ => Event::Close(match *payload {
            [] => Close::Unsaid,
            [high, low, ..] => match u16::from_be_bytes([high, low]) {
                code @ (1000..=1003 | 1007..=1011 | 3000..=4999) => Close::Client(code),
                _ => Close::Protocol,
            },
            _ => Close::Protocol,
        }),
    }))
}

fn unmask(payload: &mut [u8], mask: [u8; MASK_BYTES]) {
    let masks = mask.iter().cycle();
    payload
        .iter_mut()
        .zip(masks)
        .for_each(|(byte, mask)| *byte ^= mask);
}

/// The kind of a frame of a server.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// The first frame of a message.
    Text,
    /// Another one.
    Continuation,
    Ping,
    Pong,
}

/// The head of a frame with so many bytes.
pub(super) fn head(kind: Kind, is_final: bool, length: usize) -> Vec<u8> {
    let opcode = match kind {
        Kind::Text => TEXT,
        Kind::Continuation => CONTINUATION,
        Kind::Ping => PING,
        Kind::Pong => PONG,
    };
    let mut head = vec![if is_final { FINAL | opcode } else { opcode }];
    match u8::try_from(length) {
        Ok(short) if short < LENGTH_16 => head.push(short),
        _ => match u16::try_from(length) {
            Ok(middle) => {
                head.push(LENGTH_16);
                head.extend(middle.to_be_bytes());
            }
            Err(_) => {
                head.push(LENGTH_64);
                head.extend((length as u64).to_be_bytes());
            }
        },
    }
    head
}

/// The frame that closes a WebSocket.
pub(super) fn closing(close: Close) -> Vec<u8> {
    let code = close.code().map(u16::to_be_bytes);
    let payload = code.as_ref().map_or(&[][..], |code| &code[..]);
    let mut frame = vec![FINAL | CLOSE, u8::from(code.is_some()) * 2];
    frame.extend(payload);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: [u8; 4] = [1, 2, 3, 250];

    /// A frame as a client sends it.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let length = match payload.len() {
            short @ 0..=125 => vec![u8::try_from(short).unwrap()],
            middle @ 126..=0xffff => {
                let middle = u16::try_from(middle).unwrap();
                [&[LENGTH_16][..], &middle.to_be_bytes()].concat()
            }
            long => [&[LENGTH_64][..], &(long as u64).to_be_bytes()].concat(),
        };
        let mut frame = vec![first];
        frame.extend(length);
        frame[1] |= MASKED;
        frame.extend(MASK);
        let masks = MASK.iter().cycle();
        frame.extend(payload.iter().zip(masks).map(|(byte, mask)| byte ^ mask));
        frame
    }

    /// What is read of bytes that arrive in pieces of this size, data joined.
    fn read(bytes: &[u8], size: usize, max: usize) -> Result<Vec<Event>, Close> {
        let (mut decoder, mut buffer) = (Decoder::new(max), BytesMut::new());
        let mut events = Vec::new();
        for piece in bytes.chunks(size) {
            buffer.extend_from_slice(piece);
            while let Some(event) = decoder.take(&mut buffer)? {
                match (events.last_mut(), event) {
                    (Some(Event::Data(before)), Event::Data(more)) => {
                        *before = [&before[..], &more].concat().into();
                    }
                    (_, event) => events.push(event),
                }
            }
        }
        Ok(events)
    }

    #[test]
    fn messages_are_read_however_they_are_cut_into_frames_and_frames_into_pieces() {
        let long = vec![b'x'; 70_000];
        let middle = vec![b'y'; 300];
        let bytes = [
            frame(FINAL | TEXT, b"whole"),
            frame(TEXT, b"in "),
            frame(FINAL | PING, b"between"),
            frame(CONTINUATION, b""),
            frame(FINAL | CONTINUATION, b"parts"),
            frame(FINAL | BINARY, &middle),
            frame(FINAL | PONG, b""),
            frame(FINAL | TEXT, &long),
            frame(FINAL | CLOSE, &[0x03, 0xe9, b'b', b'y', b'e']),
        ]
        .concat();
        for size in [1, 2, 3, 5, 7, 4096, bytes.len()] {
            let events = read(&bytes, size, 80_000).unwrap();
            let expected = [
                Event::Data(Bytes::from_static(b"whole")),
                Event::End,
                Event::Data(Bytes::from_static(b"in ")),
                Event::Ping(Bytes::from_static(b"between")),
                Event::Data(Bytes::from_static(b"parts")),
                Event::End,
                Event::Data(middle.clone().into()),
                Event::End,
                Event::Pong,
                Event::Data(long.clone().into()),
                Event::End,
                Event::Close(Close::Client(1001)),
            ];
            assert!(events == expected, "in pieces of {size}");
        }
    }

    #[test]
    fn what_is_no_frame_of_a_client_is_refused() {
        let unmasked = vec![FINAL | TEXT, 1, b'x'];
        let long_control = frame(FINAL | PING, &[0; 126]);
        for (what, bytes) in [
            ("not masked", unmasked),
            ("reserved bits", frame(FINAL | 0x40 | TEXT, b"x")),
            ("an unknown kind", frame(FINAL | 0x3, b"x")),
            ("an unknown control", frame(FINAL | 0xb, b"x")),
            ("a control in parts", frame(PING, b"x")),
            ("a long control", long_control),
            (
                "a continuation of nothing",
                frame(FINAL | CONTINUATION, b"x"),
            ),
            (
                "a message in a message",
                [frame(TEXT, b"x"), frame(FINAL | TEXT, b"y")].concat(),
            ),
        ] {
            assert_eq!(read(&bytes, 1, 100), Err(Close::Protocol), "{what}");
        }
        for payload in [&[0x03][..], &[0x03, 0xed], &[0xff, 0xff]] {
            let events = read(&frame(FINAL | CLOSE, payload), 1, 100).unwrap();
            assert_eq!(events, [Event::Close(Close::Protocol)], "{payload:?}");
        }
    }

    #[test]
    fn a_message_above_its_bound_is_refused_by_its_length_before_it_arrives() {
        let mut huge = vec![FINAL | TEXT, MASKED | LENGTH_64];
        huge.extend([0xff; 8]);
        huge.extend(MASK);
        assert_eq!(read(&huge, 1, 100), Err(Close::TooLarge));
        let parts = [frame(TEXT, &[b'x'; 60]), frame(CONTINUATION, &[b'x'; 41])].concat();
        assert_eq!(read(&parts, 1, 100), Err(Close::TooLarge));
        assert!(read(&parts, 1, 101).is_ok());
    }

    #[test]
    fn no_bytes_make_the_decoder_hold_more_than_a_control_frame() {
        let good = [frame(TEXT, b"abc"), frame(FINAL | PING, &[7; 125])].concat();
        for at in 0..good.len() {
            for value in 0..=u8::MAX {
                let mut changed = good.clone();
                changed[at] = value;
                let (mut decoder, mut buffer) = (Decoder::new(1000), BytesMut::new());
                buffer.extend_from_slice(&changed);
                while let Ok(Some(_)) = decoder.take(&mut buffer) {}
                assert!(buffer.len() <= changed.len());
            }
        }
    }

    #[test]
    fn frames_of_the_server_have_the_shortest_lengths() {
        assert_eq!(head(Kind::Text, true, 125), [0x81, 125]);
        assert_eq!(head(Kind::Text, false, 126), [0x01, 126, 0, 126]);
        assert_eq!(head(Kind::Continuation, true, 256), [0x80, 126, 1, 0]);
        assert_eq!(head(Kind::Pong, true, 0), [0x8a, 0]);
        assert_eq!(
            head(Kind::Ping, true, 0x1_0000),
            [0x89, 127, 0, 0, 0, 0, 0, 1, 0, 0]
        );
        assert_eq!(closing(Close::Normal), [0x88, 2, 0x03, 0xe8]);
        assert_eq!(closing(Close::Unsaid), [0x88, 0]);
    }
}
