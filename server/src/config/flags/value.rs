//! Default values of settings: typed for readers, and as text for documents.

use std::{fmt, time::Duration};

use crate::config::{duration, url::Url};

/// A setting by name, with the type of its value.
#[derive(Debug, Clone, Copy)]
pub(in crate::config) struct Setting<T> {
    /// The name in the table of settings.
    pub(in crate::config) name: &'static str,
    /// The value when none is given.
    pub(in crate::config) default: T,
}

/// A default value of any kind.
#[derive(Debug, Clone, Copy)]
pub enum Value {
    /// Text, words or a choice.
    Text(&'static str),
    /// A boolean.
    Bool(bool),
    /// A whole number from 0, or milliseconds.
    Uint(u64),
    /// A whole number from 0 to 2^32 - 1.
    Uint32(u32),
    /// A whole number, which may be negative.
    Int(i64),
    /// A duration, written with its unit.
    Duration(Duration),
    /// Addresses.
    Urls(&'static [Url]),
}

macro_rules! values {
    ($($type:ty => $variant:ident;)*) => {
        $(impl Setting<$type> {
            /// The default, as an untyped [`Value`] for the table.
            pub(super) const fn value(self) -> Value {
                Value::$variant(self.default)
            }
        })*
    };
}

values! {
    &'static str => Text;
    bool => Bool;
    u64 => Uint;
    u32 => Uint32;
    i64 => Int;
    Duration => Duration;
    &'static [Url] => Urls;
}

impl fmt::Display for Value {
    /// Formats the value in the syntax of the command line.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => formatter.write_str(text),
            Self::Bool(truth) => write!(formatter, "{truth}"),
            Self::Uint(number) => write!(formatter, "{number}"),
            Self::Uint32(number) => write!(formatter, "{number}"),
            Self::Int(number) => write!(formatter, "{number}"),
            Self::Duration(time) => formatter.write_str(&duration::written(*time)),
            Self::Urls(urls) => {
                for (position, url) in urls.iter().enumerate() {
                    let comma = if position == 0 { "" } else { "," };
                    write!(formatter, "{comma}{url}")?;
                }
                Ok(())
            }
        }
    }
}
