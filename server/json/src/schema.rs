//! Descriptors in the form that the mapping reads: messages by index, fields by name and number.
//!
//! Invariant: every index in a schema is an index of the same schema, and every field has a kind
//! that the mapping supports. A descriptor with another kind is refused when the schema is made.

use std::collections::{BTreeMap, HashMap};

use prost::Message as _;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};
use thiserror::Error;

/// Fields that a message may have: each is a bit of the set of those that were given.
const FIELDS_MAX: usize = 64;

/// Why descriptors cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SchemaError {
    /// The bytes are not a descriptor set.
    #[error("the descriptors are malformed")]
    Malformed,
    /// A field has a type that the mapping does not support.
    #[error("field {0} has a type that is not supported")]
    Unsupported(String),
    /// A name leads to nothing.
    #[error("{0} is not defined")]
    Undefined(String),
    /// A message has too many fields.
    #[error("message {0} has more than {FIELDS_MAX} fields")]
    TooManyFields(String),
}

/// A message of a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageId(pub(crate) usize);

/// A method of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Method {
    /// Name of the service, with its package.
    pub service: String,
    /// Name of the method.
    pub name: String,
    /// The message of its requests.
    pub input: MessageId,
    /// The message of its responses.
    pub output: MessageId,
    /// Whether a call may have any number of requests, instead of one.
    pub client_streaming: bool,
    /// Whether a call may have any number of responses, instead of one.
    pub server_streaming: bool,
}

/// The messages, enumerations and methods of a descriptor set.
#[derive(Debug)]
pub struct Schema {
    pub(crate) messages: Vec<Message>,
    pub(crate) enums: Vec<Enum>,
    methods: Vec<Method>,
}

/// A message.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) fields: Vec<Field>,
    /// Fields by their names in the `.proto` file and in lowerCamelCase.
    by_name: HashMap<String, usize>,
    by_number: BTreeMap<u32, usize>,
}

/// A field.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) number: u32,
    pub(crate) kind: Kind,
    pub(crate) shape: Shape,
    /// The fields that may not be given together with this one, as a set of indices: itself, and
    /// the others of its `oneof`.
    pub(crate) rivals: u64,
}

/// How many values a field has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    One,
    List,
    /// From text to text.
    Map,
}

/// The type of a field's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Int32,
    Int64,
    Uint32,
    Uint64,
    Bool,
    Text,
    Bytes,
    Enum(usize),
    Message(usize),
}

/// An enumeration.
#[derive(Debug, Default)]
pub(crate) struct Enum {
    by_name: HashMap<String, i32>,
    by_number: BTreeMap<i32, String>,
}

impl Schema {
    /// The schema of an encoded descriptor set, which must hold everything that it refers to.
    ///
    /// # Errors
    /// When the set is malformed, is not complete, or has a type that the mapping does not support.
    pub fn new(descriptors: &[u8]) -> Result<Self, SchemaError> {
        let set = FileDescriptorSet::decode(descriptors).map_err(|_| SchemaError::Malformed)?;
        let mut names = Names::default();
        for file in &set.file {
            let scope = format!(".{}", file.package());
            file.enum_type
                .iter()
                .for_each(|it| names.add_enum(&scope, it));
            file.message_type
                .iter()
                .for_each(|it| names.add(&scope, it));
        }
        let messages = names.messages.iter();
        let messages = messages.map(|(name, message)| names.message(name, message));
        let mut schema = Self {
            messages: messages.collect::<Result<_, _>>()?,
            enums: names.enums.iter().map(|it| Enum::new(it)).collect(),
            methods: Vec::new(),
        };
        for file in &set.file {
            for service in &file.service {
                let service_name = match file.package() {
                    "" => service.name().to_owned(),
                    package => format!("{package}.{}", service.name()),
                };
                for method in &service.method {
                    schema.methods.push(Method {
                        service: service_name.clone(),
                        name: method.name().to_owned(),
                        input: MessageId(names.message_at(method.input_type())?),
                        output: MessageId(names.message_at(method.output_type())?),
                        client_streaming: method.client_streaming(),
                        server_streaming: method.server_streaming(),
                    });
                }
            }
        }
        Ok(schema)
    }

    /// Every method of every service.
    #[must_use]
    pub fn methods(&self) -> &[Method] {
        &self.methods
    }

    pub(crate) fn message(&self, id: MessageId) -> &Message {
        &self.messages[id.0]
    }
}

impl Message {
    pub(crate) fn named(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn numbered(&self, number: u32) -> Option<usize> {
        self.by_number.get(&number).copied()
    }
}

impl Enum {
    fn new(descriptor: &EnumDescriptorProto) -> Self {
        let mut made = Self::default();
        for value in &descriptor.value {
            made.by_name.insert(value.name().to_owned(), value.number());
            let known = made.by_number.entry(value.number());
            known.or_insert_with(|| value.name().to_owned());
        }
        made
    }

    pub(crate) fn number(&self, name: &str) -> Option<i32> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn name(&self, number: i32) -> Option<&str> {
        self.by_number.get(&number).map(String::as_str)
    }
}

/// The descriptors by their full names.
#[derive(Default)]
struct Names<'a> {
    indices: HashMap<String, usize>,
    messages: Vec<(String, &'a DescriptorProto)>,
    enum_indices: HashMap<String, usize>,
    enums: Vec<&'a EnumDescriptorProto>,
}

impl<'a> Names<'a> {
    fn add(&mut self, scope: &str, message: &'a DescriptorProto) {
        let name = format!("{scope}.{}", message.name());
        message
            .enum_type
            .iter()
            .for_each(|it| self.add_enum(&name, it));
        message
            .nested_type
            .iter()
            .for_each(|it| self.add(&name, it));
        self.indices.insert(name.clone(), self.messages.len());
        self.messages.push((name, message));
    }

    fn add_enum(&mut self, scope: &str, descriptor: &'a EnumDescriptorProto) {
        let name = format!("{scope}.{}", descriptor.name());
        self.enum_indices.insert(name, self.enums.len());
        self.enums.push(descriptor);
    }

    fn message_at(&self, name: &str) -> Result<usize, SchemaError> {
        let found = self.indices.get(name).copied();
        found.ok_or_else(|| SchemaError::Undefined(name.to_owned()))
    }

    fn message(&self, name: &str, descriptor: &DescriptorProto) -> Result<Message, SchemaError> {
        if descriptor.field.len() > FIELDS_MAX {
            return Err(SchemaError::TooManyFields(name.to_owned()));
        }
        let mut made = Message {
            fields: Vec::new(),
            by_name: HashMap::new(),
            by_number: BTreeMap::new(),
        };
        for (index, field) in descriptor.field.iter().enumerate() {
            let described = self.field(name, descriptor, index, field)?;
            made.by_number.insert(described.number, index);
            made.by_name.insert(described.name.clone(), index);
            made.by_name.insert(field.json_name().to_owned(), index);
            made.fields.push(described);
        }
        Ok(made)
    }

    fn field(
        &self,
        message: &str,
        of: &DescriptorProto,
        index: usize,
        field: &FieldDescriptorProto,
    ) -> Result<Field, SchemaError> {
        let unsupported = || SchemaError::Unsupported(format!("{message}.{}", field.name()));
        let kind = match field.r#type() {
            Type::Int32 => Kind::Int32,
            Type::Int64 => Kind::Int64,
            Type::Uint32 => Kind::Uint32,
            Type::Uint64 => Kind::Uint64,
            Type::Bool => Kind::Bool,
            Type::String => Kind::Text,
            Type::Bytes => Kind::Bytes,
            Type::Enum => {
                let found = self.enum_indices.get(field.type_name()).copied();
                Kind::Enum(
                    found.ok_or_else(|| SchemaError::Undefined(field.type_name().to_owned()))?,
                )
            }
            Type::Message => Kind::Message(self.message_at(field.type_name())?),
            _ => return Err(unsupported()),
        };
        let mut shape = match field.label() {
            Label::Repeated => Shape::List,
            Label::Optional | Label::Required => Shape::One,
        };
        if let Kind::Message(entry) = kind
            && self.messages[entry]
                .1
                .options
                .as_ref()
                .is_some_and(|it| it.map_entry())
        {
            let of_text = |field: &FieldDescriptorProto| field.r#type() == Type::String;
            if !self.messages[entry].1.field.iter().all(of_text) {
                return Err(unsupported());
            }
            shape = Shape::Map;
        }
        let rivals = of.field.iter().enumerate().filter(|(other, rival)| {
            *other == index || field.oneof_index.is_some() && rival.oneof_index == field.oneof_index
        });
        Ok(Field {
            name: field.name().to_owned(),
            number: u32::try_from(field.number()).map_err(|_| unsupported())?,
            kind,
            shape,
            rivals: rivals.fold(0, |set, (other, _)| set | 1 << other),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_of_the_client_port_is_supported() {
        let schema = Schema::new(tenure_proto::PUBLIC_DESCRIPTOR_SET).expect("supported");
        let streams = |name: &str| {
            let method = schema.methods().iter().find(|it| it.name == name);
            method.map(|it| (it.client_streaming, it.server_streaming))
        };
        assert_eq!(streams("Put"), Some((false, false)));
        assert_eq!(streams("LeaseKeepAlive"), Some((true, true)));
        assert_eq!(streams("Snapshot"), Some((false, true)));
    }

    #[test]
    fn what_is_not_a_descriptor_set_is_refused() {
        assert_eq!(Schema::new(&[0xff]).err(), Some(SchemaError::Malformed));
    }
}
