//! The encoding of a message to JSON, as the encoding arrives.
//!
//! What is held is the position in the message and a few bytes, whatever the size of the message.
//!
//! Invariant: the encoding is one that our own encoder made: the values of a field that is repeated
//! stand together, and a field that is not repeated stands once. Otherwise the text has a name
//! twice.

use prost::encoding::{DecodeContext, decode_key, string};
use thiserror::Error;

use crate::{
    bytes::Writer as Base64,
    schema::{Kind, MessageId, Schema, Shape},
    text,
};

/// Largest entry of a map, which is held whole. Both of its parts are bounded to less.
const ENTRY_BYTES_MAX: usize = 64 << 10;
/// Most bits of a variable-length number, of which each byte has seven.
const NUMBER_BITS: u32 = 64;

/// The bytes are not the encoding of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the encoding of a message is malformed")]
pub struct Malformed;

/// Renders one message.
#[derive(Debug)]
pub struct Renderer {
    /// The messages that are open, the innermost last.
    open: Vec<Level>,
    state: State,
    number: Varint,
}

/// A message that is open.
#[derive(Debug)]
struct Level {
    message: usize,
    /// Bytes of it that have not come, without those of a value that has begun.
    left: usize,
    has_fields: bool,
    /// The field whose list or map is open.
    list: Option<usize>,
}

/// The position in a message.
#[derive(Debug)]
enum State {
    /// At the tag of a field.
    Tag,
    /// In the value of a number field.
    Number(usize),
    /// In the length of a field.
    Length(usize),
    /// In the value of an unknown field.
    SkipNumber,
    /// In the length of an unknown field.
    SkipLength,
    /// In a value with a length, so many bytes before its end.
    Data(Data, usize),
}

#[derive(Debug)]
enum Data {
    Text,
    Bytes(Base64),
    /// An entry of a map, as far as it came.
    Entry(usize, Vec<u8>),
    /// The numbers of a list.
    Packed(usize),
    /// The value of an unknown field.
    Skip,
}

/// A variable-length number, as far as it came.
#[derive(Debug, Default)]
struct Varint {
    value: u64,
    bits: u32,
}

impl Varint {
    /// Reads a byte. Returns the number if it is complete.
    fn read(&mut self, byte: u8) -> Result<Option<u64>, Malformed> {
        if self.bits >= NUMBER_BITS {
            return Err(Malformed);
        }
        self.value |= u64::from(byte & 0x7f) << self.bits;
        self.bits += 7;
        let is_last = byte & 0x80 == 0;
        Ok(is_last.then(|| std::mem::take(self).value))
    }
}

impl Renderer {
    /// The renderer of a message whose encoding has so many bytes. Appends the beginning to `out`.
    #[must_use]
    pub fn new(message: MessageId, bytes: usize, out: &mut Vec<u8>) -> Self {
        out.push(b'{');
        Self {
            open: vec![Level::new(message.0, bytes)],
            state: State::Tag,
            number: Varint::default(),
        }
    }

    /// Reads the next piece, of which all belongs to the message, and appends its text to `out`.
    /// Returns whether the message is complete. A message without bytes is complete after an empty
    /// piece.
    ///
    /// # Errors
    /// When the bytes are not the encoding of the message.
    pub fn render(
        &mut self,
        schema: &Schema,
        mut piece: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<bool, Malformed> {
        loop {
            self.close_ended(schema, out)?;
            let Some(level) = self.open.last_mut() else {
                return if piece.is_empty() {
                    Ok(true)
                } else {
                    Err(Malformed)
                };
            };
            let Some(&byte) = piece.first() else {
                return Ok(false);
            };
            if let State::Data(data, left) = &mut self.state {
                let (own, rest) = piece.split_at(piece.len().min(*left));
                *left -= own.len();
                piece = rest;
                match data {
                    Data::Text => text::append(own, out),
                    Data::Bytes(base64) => base64.write(own, out),
                    Data::Entry(_, held) => held.extend_from_slice(own),
                    Data::Skip => {}
                    Data::Packed(index) => {
                        let index = *index;
                        self.render_packed(schema, index, own, out)?;
                    }
                }
                continue;
            }
            level.take(1)?;
            piece = &piece[1..];
            if let Some(number) = self.number.read(byte)? {
                self.render_number(schema, number, out)?;
            }
        }
    }

    /// Closes the values and messages of which no byte is left.
    fn close_ended(&mut self, schema: &Schema, out: &mut Vec<u8>) -> Result<(), Malformed> {
        if let State::Data(_, 0) = self.state {
            match std::mem::replace(&mut self.state, State::Tag) {
                State::Data(Data::Text, _) => out.push(b'"'),
                State::Data(Data::Bytes(base64), _) => {
                    base64.finish(out);
                    out.push(b'"');
                }
                State::Data(Data::Entry(index, entry), _) => {
                    self.begin_value(schema, index, out)?;
                    render_entry(&entry, out)?;
                }
                _ => {}
            }
        }
        let is_between = matches!(self.state, State::Tag) && self.number.bits == 0;
        while is_between && let Some(mut level) = self.open.pop_if(|level| level.left == 0) {
            level.end_list(schema, out);
            out.push(b'}');
        }
        Ok(())
    }

    /// Goes on after a number: a tag, a value, or a length.
    fn render_number(
        &mut self,
        schema: &Schema,
        number: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        match std::mem::replace(&mut self.state, State::Tag) {
            State::Tag => self.state = self.after_tag(schema, number)?,
            State::SkipNumber => {}
            State::SkipLength => {
                let length = usize::try_from(number).map_err(|_| Malformed)?;
                self.state = self.data(Data::Skip, length)?;
            }
            State::Number(index) => self.render_value(schema, index, number, out)?,
            State::Length(index) => {
                let length = usize::try_from(number).map_err(|_| Malformed)?;
                self.begin_data(schema, index, length, out)?;
            }
            State::Data(..) => return Err(Malformed),
        }
        Ok(())
    }

    /// What comes after a tag.
    fn after_tag(&mut self, schema: &Schema, tag: u64) -> Result<State, Malformed> {
        let message = &schema.messages[self.level()?.message];
        let number = u32::try_from(tag >> 3).map_err(|_| Malformed)?;
        let Some(index) = message.numbered(number) else {
            return Ok(match tag & 7 {
                0 => State::SkipNumber,
                1 => self.data(Data::Skip, 8)?,
                2 => State::SkipLength,
                5 => self.data(Data::Skip, 4)?,
                _ => return Err(Malformed),
            });
        };
        let field = &message.fields[index];
        match (tag & 7, field.kind) {
            (0, Kind::Text | Kind::Bytes | Kind::Message(_)) => Err(Malformed),
            (0, _) => Ok(State::Number(index)),
            (2, Kind::Text | Kind::Bytes | Kind::Message(_)) => Ok(State::Length(index)),
            (2, _) if field.shape == Shape::List => Ok(State::Length(index)),
            _ => Err(Malformed),
        }
    }

    /// Begins a value with a length.
    fn begin_data(
        &mut self,
        schema: &Schema,
        index: usize,
        length: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        let field = &schema.messages[self.level()?.message].fields[index];
        self.state = match field.kind {
            Kind::Message(_) if field.shape == Shape::Map => {
                if length > ENTRY_BYTES_MAX {
                    return Err(Malformed);
                }
                self.data(Data::Entry(index, Vec::with_capacity(length)), length)?
            }
            Kind::Message(message) => {
                self.begin_value(schema, index, out)?;
                self.level()?.take(length)?;
                out.push(b'{');
                self.open.push(Level::new(message, length));
                State::Tag
            }
            Kind::Text => {
                self.begin_value(schema, index, out)?;
                out.push(b'"');
                self.data(Data::Text, length)?
            }
            Kind::Bytes => {
                self.begin_value(schema, index, out)?;
                out.push(b'"');
                self.data(Data::Bytes(Base64::default()), length)?
            }
            _ => self.data(Data::Packed(index), length)?,
        };
        Ok(())
    }

    fn render_packed(
        &mut self,
        schema: &Schema,
        index: usize,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        for byte in bytes {
            if let Some(number) = self.number.read(*byte)? {
                self.render_value(schema, index, number, out)?;
            }
        }
        Ok(())
    }

    /// Renders the value of a number field.
    fn render_value(
        &mut self,
        schema: &Schema,
        index: usize,
        number: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        self.begin_value(schema, index, out)?;
        let kind = schema.messages[self.level()?.message].fields[index].kind;
        // A number of 32 bits is sent as one of 64; the decoder takes the lower half.
        let low = u32::try_from(number & u64::from(u32::MAX)).unwrap_or(0);
        let rendered = match kind {
            Kind::Int64 => format!("\"{}\"", number.cast_signed()),
            Kind::Uint64 => format!("\"{number}\""),
            Kind::Int32 => low.cast_signed().to_string(),
            Kind::Uint32 => low.to_string(),
            Kind::Bool => (number != 0).to_string(),
            Kind::Enum(index) => match schema.enums[index].name(low.cast_signed()) {
                Some(name) => format!("\"{name}\""),
                None => low.cast_signed().to_string(),
            },
            Kind::Text | Kind::Bytes | Kind::Message(_) => return Err(Malformed),
        };
        out.extend_from_slice(rendered.as_bytes());
        Ok(())
    }

    /// Appends all that stands before a value: its name, or what separates it from the last.
    fn begin_value(
        &mut self,
        schema: &Schema,
        index: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        let level = self.level()?;
        if level.list == Some(index) {
            out.push(b',');
            return Ok(());
        }
        level.end_list(schema, out);
        if level.has_fields {
            out.push(b',');
        }
        level.has_fields = true;
        let field = &schema.messages[level.message].fields[index];
        out.push(b'"');
        out.extend_from_slice(field.name.as_bytes());
        out.extend_from_slice(b"\":");
        level.list = match field.shape {
            Shape::One => None,
            Shape::List => {
                out.push(b'[');
                Some(index)
            }
            Shape::Map => {
                out.push(b'{');
                Some(index)
            }
        };
        Ok(())
    }

    /// The state within a value of this length, which the message that is open must have left.
    fn data(&mut self, data: Data, length: usize) -> Result<State, Malformed> {
        self.level()?.take(length)?;
        Ok(State::Data(data, length))
    }

    fn level(&mut self) -> Result<&mut Level, Malformed> {
        self.open.last_mut().ok_or(Malformed)
    }
}

impl Level {
    const fn new(message: usize, bytes: usize) -> Self {
        Self {
            message,
            left: bytes,
            has_fields: false,
            list: None,
        }
    }

    fn take(&mut self, bytes: usize) -> Result<(), Malformed> {
        self.left = self.left.checked_sub(bytes).ok_or(Malformed)?;
        Ok(())
    }

    /// Closes the list or map that is open.
    fn end_list(&mut self, schema: &Schema, out: &mut Vec<u8>) {
        let Some(index) = self.list.take() else {
            return;
        };
        out.push(match schema.messages[self.message].fields[index].shape {
            Shape::Map => b'}',
            Shape::One | Shape::List => b']',
        });
    }
}

/// Renders an entry of a map from text to text.
fn render_entry(mut entry: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut parts = [String::new(), String::new()];
    while !entry.is_empty() {
        let (number, wire_type) = decode_key(&mut entry).map_err(|_| Malformed)?;
        let part = match number {
            1 => &mut parts[0],
            2 => &mut parts[1],
            _ => return Err(Malformed),
        };
        string::merge(wire_type, part, &mut entry, DecodeContext::default())
            .map_err(|_| Malformed)?;
    }
    for (part, end) in parts.iter().zip(["\":", "\""]) {
        out.push(b'"');
        text::append(part.as_bytes(), out);
        out.extend_from_slice(end.as_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
