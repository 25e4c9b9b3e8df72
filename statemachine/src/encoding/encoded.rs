//! The encoding of commands and outcomes: the types that have one, and the macros that declare it.

use bytes::Bytes;

use super::{Decoder, Encoder, Malformed};

/// A type with an encoding. Invariant: `read` consumes exactly what `write` produced.
pub(crate) trait Encoded: Sized {
    fn write(&self, out: &mut Encoder);

    fn read(input: &mut Decoder<'_>) -> Result<Self, Malformed>;
}

/// Declares the encoding of a struct: its fields in this order.
macro_rules! record {
    ($type:ident { $($field:ident),+ $(,)? }) => {
        impl $crate::encoding::Encoded for $type {
            fn write(&self, out: &mut $crate::encoding::Encoder) {
                let Self { $($field),+ } = self;
                $(out.value($field);)+
            }

            fn read(
                input: &mut $crate::encoding::Decoder<'_>,
            ) -> Result<Self, $crate::encoding::Malformed> {
                Ok(Self { $($field: input.value()?),+ })
            }
        }
    };
}

/// Declares the encoding of an enum: the tag of the variant, then its fields in this order. The
/// expression after the variants is the error for another tag.
macro_rules! choice {
    ($type:ident { $($variants:tt)+ } $unknown:literal) => {
        $crate::encoding::choice! {
            $type { $($variants)+ } _ => $crate::encoding::Malformed::Form($unknown)
        }
    };
    ($type:ident {
        $($number:tt = $variant:ident
            $(($($item:ident),+))?
            $({ $($field:ident),+ $(,)? })?),+ $(,)?
    } $tag:pat_param => $unknown:expr) => {
        impl $crate::encoding::Encoded for $type {
            fn write(&self, out: &mut $crate::encoding::Encoder) {
                match self {
                    $(Self::$variant $(($($item),+))? $({ $($field),+ })? => {
                        out.byte($number);
                        $($(out.value($item);)+)?
                        $($(out.value($field);)+)?
                    })+
                }
            }

            fn read(
                input: &mut $crate::encoding::Decoder<'_>,
            ) -> Result<Self, $crate::encoding::Malformed> {
                Ok(match input.byte()? {
                    $($number => {
                        $($(let $item = input.value()?;)+)?
                        $($(let $field = input.value()?;)+)?
                        Self::$variant $(($($item),+))? $({ $($field),+ })?
                    })+
                    $tag => return Err($unknown),
                })
            }
        }
    };
}

/// Declares the encodings of a newtype: those of the number in it.
macro_rules! newtype {
    ($type:ident) => {
        impl $crate::encoding::Encoded for $type {
            fn write(&self, out: &mut $crate::encoding::Encoder) {
                out.value(&self.0);
            }

            fn read(
                input: &mut $crate::encoding::Decoder<'_>,
            ) -> Result<Self, $crate::encoding::Malformed> {
                input.value().map(Self)
            }
        }

        impl $crate::encoding::Fixed for $type {
            fn write(self, out: &mut $crate::encoding::Encoder) {
                out.fixed(self.0);
            }

            fn read(
                input: &mut $crate::encoding::Decoder<'_>,
            ) -> Result<Self, $crate::encoding::Malformed> {
                input.fixed().map(Self)
            }
        }
    };
}

pub(crate) use {choice, newtype, record};

/// An optional choice: the tag `none` stands for its absence.
pub(crate) mod or_none {
    use super::{Decoder, Encoded, Encoder, Malformed};

    pub(crate) fn write<T: Encoded>(out: &mut Encoder, none: u8, choice: Option<&T>) {
        match choice {
            None => out.byte(none),
            Some(choice) => choice.write(out),
        }
    }

    pub(crate) fn read<T: Encoded>(
        input: &mut Decoder<'_>,
        none: u8,
    ) -> Result<Option<T>, Malformed> {
        if input.is_next(none) {
            Ok(None)
        } else {
            T::read(input).map(Some)
        }
    }
}

impl Encoded for u64 {
    fn write(&self, out: &mut Encoder) {
        out.number(*self);
    }

    fn read(input: &mut Decoder<'_>) -> Result<Self, Malformed> {
        input.number()
    }
}

impl Encoded for u32 {
    fn write(&self, out: &mut Encoder) {
        out.number((*self).into());
    }

    fn read(input: &mut Decoder<'_>) -> Result<Self, Malformed> {
        input.small()
    }
}

impl Encoded for u16 {
    fn write(&self, out: &mut Encoder) {
        out.number((*self).into());
    }

    fn read(input: &mut Decoder<'_>) -> Result<Self, Malformed> {
        input.small()
    }
}

impl Encoded for i64 {
    fn write(&self, out: &mut Encoder) {
        out.signed(*self);
    }

    fn read(input: &mut Decoder<'_>) -> Result<Self, Malformed> {
        input.signed()
    }
}

impl Encoded for bool {
    fn write(&self, out: &mut Encoder) {
        out.byte(u8::from(*self));
    }

    fn read(input: &mut Decoder<'_>) -> Result<Self, Malformed> {
        match input.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::Form("neither yes nor no")),
        }
    }
}

impl Encoded for Bytes {
    fn write(&self, out: &mut Encoder) {
        out.bytes(self);
    }

    fn read(input: &mut Decoder<'_>) -> Result<Self, Malformed> {
        input.bytes()
    }
}

impl Encoded for String {
    fn write(&self, out: &mut Encoder) {
        out.bytes(self.as_bytes());
    }

    fn read(input: &mut Decoder<'_>) -> Result<Self, Malformed> {
        text(input.slice()?)
    }
}

pub(crate) fn text(bytes: &[u8]) -> Result<String, Malformed> {
    match str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(Malformed::Form("text is not UTF-8")),
    }
}

impl<T: Encoded> Encoded for Option<T> {
    fn write(&self, out: &mut Encoder) {
        out.byte(u8::from(self.is_some()));
        if let Some(value) = self {
            value.write(out);
        }
    }

    fn read(input: &mut Decoder<'_>) -> Result<Self, Malformed> {
        match input.byte()? {
            0 => Ok(None),
            1 => T::read(input).map(Some),
            _ => Err(Malformed::Form("neither there nor left out")),
        }
    }
}

impl<T: Encoded> Encoded for Vec<T> {
    fn write(&self, out: &mut Encoder) {
        out.list(self);
    }

    fn read(input: &mut Decoder<'_>) -> Result<Self, Malformed> {
        input.list(T::read)
    }
}

impl<T: Encoded> Encoded for Box<T> {
    fn write(&self, out: &mut Encoder) {
        T::write(self, out);
    }

    fn read(input: &mut Decoder<'_>) -> Result<Self, Malformed> {
        T::read(input).map(Self::new)
    }
}

impl<A: Encoded, B: Encoded> Encoded for (A, B) {
    fn write(&self, out: &mut Encoder) {
        self.0.write(out);
        self.1.write(out);
    }

    fn read(input: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok((A::read(input)?, B::read(input)?))
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::encoding::length_of_number;

    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Pair {
        name: Bytes,
        count: u32,
    }

    record! { Pair { name, count } }

    #[derive(Clone, Debug, PartialEq, Eq)]
    enum Sample {
        Nothing,
        One(Pair),
        Two(bool, i64),
        Fields {
            text: String,
            list: Vec<Option<u64>>,
        },
    }

    choice! {
        Sample { 1 = Nothing, 2 = One(pair), 3 = Two(yes, number), 9 = Fields { text, list } }
        "unknown sample"
    }

    fn sample() -> impl Strategy<Value = Sample> {
        let pair = (vec(any::<u8>(), 0..200), any::<u32>());
        let pair = pair.prop_map(|(name, count)| Pair {
            name: name.into(),
            count,
        });
        let fields = (any::<String>(), vec(any::<Option<u64>>(), 0..5));
        prop_oneof![
            Just(Sample::Nothing),
            pair.prop_map(Sample::One),
            any::<(bool, i64)>().prop_map(|(yes, number)| Sample::Two(yes, number)),
            fields.prop_map(|(text, list)| Sample::Fields { text, list }),
        ]
    }

    fn encode(value: &impl Encoded) -> Bytes {
        let mut out = Encoder::new();
        out.value(value);
        out.finish()
    }

    fn decode<T: Encoded>(bytes: &Bytes) -> Result<T, Malformed> {
        Decoder::read_all(bytes, T::read)
    }

    proptest! {
        #[test]
        fn what_is_declared_is_read_as_it_was_written(sample in sample(), byte in any::<u8>()) {
            let bytes = encode(&sample);
            prop_assert_eq!(decode(&bytes), Ok(sample));
            for cut in 0..bytes.len() {
                prop_assert!(decode::<Sample>(&bytes.slice(..cut)).is_err());
            }
            let longer: Bytes = bytes.iter().copied().chain([byte]).collect();
            prop_assert!(decode::<Sample>(&longer).is_err());
        }

        #[test]
        fn numbers_are_read_as_they_were_written(number in any::<u64>(), shift in 0..64_u32) {
            let (number, signed) = (number >> shift, number.cast_signed() >> shift);
            let bytes = encode(&number);
            prop_assert_eq!(bytes.len(), length_of_number(number));
            prop_assert_eq!(decode(&bytes), Ok(number));
            prop_assert_eq!(decode(&encode(&signed)), Ok(signed));
            prop_assert_eq!(decode::<u32>(&bytes).ok(), u32::try_from(number).ok());
        }
    }

    #[test]
    fn tags_fields_and_lengths_follow_each_other() {
        let list = vec![None, Some(300)];
        let text = "hi".to_owned();
        let bytes: &[u8] = &[9, 2, b'h', b'i', 2, 0, 1, 0xac, 2];
        assert_eq!(encode(&Sample::Fields { text, list }), bytes);
        assert_eq!(encode(&Sample::Two(true, -2)), [3, 1, 3].as_slice());
    }

    #[test]
    fn what_was_never_written_is_refused() {
        fn refused<T: Encoded + Debug + PartialEq>(bytes: &'static [u8], why: &'static str) {
            let read = decode::<T>(&Bytes::from_static(bytes));
            assert_eq!(read, Err(Malformed::Form(why)));
        }
        refused::<Sample>(&[4], "unknown sample");
        refused::<bool>(&[2], "neither yes nor no");
        refused::<Option<bool>>(&[2, 0], "neither there nor left out");
        refused::<String>(&[1, 0xff], "text is not UTF-8");
        refused::<Bytes>(&[3, 1, 2], "cut short");
        refused::<u64>(&[0x80, 0], "number is too long");
        refused::<u16>(&[0x80, 0x80, 4], "number is too large");
    }
}
