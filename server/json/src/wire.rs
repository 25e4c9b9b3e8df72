//! JSON to the encoding of a message, in one pass and without the message between them.
//!
//! Field names are the `.proto` file's or lowerCamelCase; unknown ones are skipped, and so are
//! unknown names of enumerations. `null` stands for an absent field. A field that is given twice,
//! and two of one `oneof`, are refused: which of them would count is not defined.

use std::fmt;

use prost::encoding::encode_varint;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Unexpected,
    Visitor,
};

use crate::{
    bytes,
    fault::Fault,
    number,
    schema::{Field, Kind, Message, MessageId, Schema, Shape},
};

/// Bytes of the length of a nested message. The length is known only after the message, so it gets
/// a place as wide as the greatest length needs, and is padded, which decoders accept.
const LENGTH_BYTES: usize = 5;

const VARINT: u32 = 0;
const DELIMITED: u32 = 2;

/// Appends the encoding of a message, given as one JSON object, to `out`.
///
/// # Errors
/// When the text is not JSON, or not of the message's form; the text names the field and the place.
/// `out` then has a part of the encoding.
pub fn to_wire(
    schema: &Schema,
    message: MessageId,
    json: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    let mut parser = serde_json::Deserializer::from_slice(json);
    let mut writer = Writer {
        schema,
        out,
        path: Vec::new(),
    };
    let message = schema.message(message);
    let seed = MessageSeed {
        writer: &mut writer,
        message,
    };
    let read = seed.deserialize(&mut parser).and_then(|()| parser.end());
    read.map_err(|error| {
        let cause = error.to_string();
        if writer.path.is_empty() {
            return Fault::Syntax(cause);
        }
        let field = writer.path.join(".");
        Fault::Field { field, cause }
    })
}

struct Writer<'a> {
    schema: &'a Schema,
    out: &'a mut Vec<u8>,
    /// The names that lead to the field that is being read. Stays where reading failed.
    path: Vec<&'a str>,
}

impl Writer<'_> {
    fn tag(&mut self, field: &Field, wire_type: u32) {
        encode_varint(u64::from(field.number << 3 | wire_type), self.out);
    }

    fn varint(&mut self, field: &Field, value: u64) {
        self.tag(field, VARINT);
        encode_varint(value, self.out);
    }

    fn delimited(&mut self, field: &Field, data: &[u8]) {
        self.tag(field, DELIMITED);
        encode_varint(data.len() as u64, self.out);
        self.out.extend_from_slice(data);
    }

    /// Leaves the place for the length of a nested message, and returns it.
    fn open(&mut self, field: &Field) -> usize {
        self.tag(field, DELIMITED);
        let place = self.out.len();
        self.out.resize(place + LENGTH_BYTES, 0);
        place
    }

    /// Fills in the length of a nested message that ends here.
    fn close(&mut self, place: usize) {
        let mut length = self.out.len() - place - LENGTH_BYTES;
        let places = &mut self.out[place..place + LENGTH_BYTES];
        for (index, byte) in places.iter_mut().enumerate() {
            let more = if index + 1 < LENGTH_BYTES { 0x80 } else { 0 };
            *byte = u8::try_from(length & 0x7f).unwrap_or(0) | more;
            length >>= 7;
        }
    }
}

/// Reads an object as a message.
struct MessageSeed<'w, 'a> {
    writer: &'w mut Writer<'a>,
    message: &'a Message,
}

impl<'de> DeserializeSeed<'de> for MessageSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for MessageSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut given = 0;
        while let Some(found) = map.next_key_seed(KeySeed(self.message))? {
            let Some(index) = found else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let field = &self.message.fields[index];
            self.writer.path.push(&field.name);
            let is_set = map.next_value_seed(ValueSeed {
                writer: self.writer,
                field,
                is_element: false,
            })?;
            if is_set {
                if given & field.rivals != 0 {
                    return Err(A::Error::custom("given twice, or beside its alternative"));
                }
                given |= 1 << index;
            }
            self.writer.path.pop();
        }
        Ok(())
    }
}

/// Reads a name as the index of a field; none for an unknown name.
struct KeySeed<'a>(&'a Message);

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.named(name))
    }
}

/// Reads the value of a field, or an element of it. Returns whether there is one.
struct ValueSeed<'w, 'a> {
    writer: &'w mut Writer<'a>,
    field: &'a Field,
    is_element: bool,
}

impl<'a> ValueSeed<'_, 'a> {
    fn is_single(&self) -> bool {
        self.is_element || self.field.shape == Shape::One
    }

    fn message(&self) -> Option<&'a Message> {
        match self.field.kind {
            Kind::Message(index) => Some(&self.writer.schema.messages[index]),
            _ => None,
        }
    }

    /// Writes a number. None if it is not of the field's kind.
    fn write_number(&mut self, value: i128) -> Option<()> {
        if !self.is_single() {
            return None;
        }
        let value = match self.field.kind {
            Kind::Int64 => i64::try_from(value).ok()?.cast_unsigned(),
            // Negative ones take ten bytes, as 64-bit ones do.
            Kind::Int32 | Kind::Enum(_) => i64::from(i32::try_from(value).ok()?).cast_unsigned(),
            Kind::Uint64 => u64::try_from(value).ok()?,
            Kind::Uint32 => u32::try_from(value).ok()?.into(),
            Kind::Bool | Kind::Text | Kind::Bytes | Kind::Message(_) => return None,
        };
        self.writer.varint(self.field, value);
        Some(())
    }

    /// Writes the entries of a map from text to text.
    fn write_entries<'de, A: MapAccess<'de>>(
        self,
        mut map: A,
        entry: &Message,
    ) -> Result<bool, A::Error> {
        let mut is_set = false;
        while let Some(key) = map.next_key::<String>()? {
            let value: String = map.next_value()?;
            let place = self.writer.open(self.field);
            for (number, text) in [(1, key), (2, value)] {
                if let Some(index) = entry.numbered(number) {
                    self.writer.delimited(&entry.fields[index], text.as_bytes());
                }
            }
            self.writer.close(place);
            is_set = true;
        }
        Ok(is_set)
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_, '_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_, '_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.is_single(), self.field.kind) {
            (false, _) if self.field.shape == Shape::Map => "an object of texts",
            (false, _) => "an array",
            (true, Kind::Int32 | Kind::Int64) => "a whole number that fits",
            (true, Kind::Uint32 | Kind::Uint64) => "a whole number from 0 that fits",
            (true, Kind::Bool) => "true or false",
            (true, Kind::Text) => "text",
            (true, Kind::Bytes) => "base64",
            (true, Kind::Enum(_)) => "a name or a number of the enumeration",
            (true, Kind::Message(_)) => "an object",
        })
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<bool, E> {
        if self.is_element {
            return Err(E::invalid_type(Unexpected::Unit, &self));
        }
        Ok(false)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<bool, E> {
        if !self.is_single() || self.field.kind != Kind::Bool {
            return Err(E::invalid_type(Unexpected::Bool(value), &self));
        }
        self.writer.varint(self.field, value.into());
        Ok(true)
    }

    fn visit_u64<E: serde::de::Error>(mut self, value: u64) -> Result<bool, E> {
        match self.write_number(value.into()) {
            Some(()) => Ok(true),
            None => Err(E::invalid_type(Unexpected::Unsigned(value), &self)),
        }
    }

    fn visit_i64<E: serde::de::Error>(mut self, value: i64) -> Result<bool, E> {
        match self.write_number(value.into()) {
            Some(()) => Ok(true),
            None => Err(E::invalid_type(Unexpected::Signed(value), &self)),
        }
    }

    fn visit_f64<E: serde::de::Error>(mut self, value: f64) -> Result<bool, E> {
        match number::of_float(value).and_then(|whole| self.write_number(whole)) {
            Some(()) => Ok(true),
            None => Err(E::invalid_type(Unexpected::Float(value), &self)),
        }
    }

    fn visit_str<E: serde::de::Error>(mut self, text: &str) -> Result<bool, E> {
        // Without the text, which may be a value of many megabytes, or secret.
        let refused = |seed: &Self| E::invalid_type(Unexpected::Other("this text"), seed);
        if !self.is_single() {
            return Err(refused(&self));
        }
        match self.field.kind {
            Kind::Text => self.writer.delimited(self.field, text.as_bytes()),
            Kind::Bytes => match bytes::read(text) {
                Some(data) => self.writer.delimited(self.field, &data),
                None => return Err(refused(&self)),
            },
            Kind::Enum(index) => match self.writer.schema.enums[index].number(text) {
                Some(number) => return self.visit_i64(number.into()),
                None => return Ok(false),
            },
            Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64 => {
                let written = number::of_text(text).and_then(|value| self.write_number(value));
                if written.is_none() {
                    return Err(refused(&self));
                }
            }
            Kind::Bool | Kind::Message(_) => return Err(refused(&self)),
        }
        Ok(true)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<bool, A::Error> {
        if self.is_element || self.field.shape != Shape::List {
            return Err(A::Error::invalid_type(Unexpected::Seq, &self));
        }
        let mut is_set = false;
        while let Some(is_written) = seq.next_element_seed(ValueSeed {
            writer: self.writer,
            field: self.field,
            is_element: true,
        })? {
            is_set |= is_written;
        }
        Ok(is_set)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<bool, A::Error> {
        let Some(message) = self.message() else {
            return Err(A::Error::invalid_type(Unexpected::Map, &self));
        };
        if self.field.shape == Shape::Map {
            return self.write_entries(map, message);
        }
        if !self.is_single() {
            return Err(A::Error::invalid_type(Unexpected::Map, &self));
        }
        let place = self.writer.open(self.field);
        let writer = &mut *self.writer;
        MessageSeed { writer, message }.visit_map(map)?;
        self.writer.close(place);
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
