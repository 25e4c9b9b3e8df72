//! Bytes as base64: written in the standard alphabet, read in either, with padding or without.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};

/// Lenient as Go's decoder, which etcd's gateway uses.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const READ_STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const READ_URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Bytes that are encoded together.
const GROUP: usize = 3;

/// The bytes that a text stands for.
pub(crate) fn read(text: &str) -> Option<Vec<u8>> {
    let unwrapped;
    let text = if text.contains(['\r', '\n']) {
        // Encoders for mail break their lines.
        unwrapped = text.replace(['\r', '\n'], "");
        &unwrapped
    } else {
        text
    };
    let engine = if text.contains(['-', '_']) {
        &READ_URL
    } else {
        &READ_STANDARD
    };
    engine.decode(text).ok()
}

/// Writes bytes that arrive in pieces.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    /// Bytes of a group that is not complete.
    rest: Vec<u8>,
}

impl Writer {
    /// Appends the text of a piece.
    pub(crate) fn write(&mut self, mut piece: &[u8], out: &mut Vec<u8>) {
        if !self.rest.is_empty() {
            let missing = (GROUP - self.rest.len()).min(piece.len());
            let (own, others) = piece.split_at(missing);
            self.rest.extend_from_slice(own);
            piece = others;
            if self.rest.len() < GROUP {
                return;
            }
            append(&self.rest, out);
            self.rest.clear();
        }
        let (groups, rest) = piece.split_at(piece.len() / GROUP * GROUP);
        append(groups, out);
        self.rest.extend_from_slice(rest);
    }

    /// Appends the end of the text.
    pub(crate) fn finish(self, out: &mut Vec<u8>) {
        append(&self.rest, out);
    }
}

fn append(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(GROUP) * 4, 0);
    // The place is as long as the text.
    _ = STANDARD.encode_slice(bytes, &mut out[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_alphabets_are_read_with_padding_and_without() {
        for text in ["+/8=", "+/8", "-_8=", "-_8", "+/\r\n8=\n"] {
            assert_eq!(read(text), Some(vec![0xfb, 0xff]), "{text}");
        }
        assert_eq!(read(""), Some(vec![]));
        for text in ["a", "!", "a b=", "=", "YQ=a", "+_8=", "ключ"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn pieces_of_any_size_make_the_same_text() {
        let bytes: Vec<u8> = (0..=40).collect();
        for length in 0..bytes.len() {
            let whole = STANDARD.encode(&bytes[..length]);
            for size in 1..8 {
                let (mut writer, mut text) = (Writer::default(), Vec::new());
                bytes[..length]
                    .chunks(size)
                    .for_each(|piece| writer.write(piece, &mut text));
                writer.finish(&mut text);
                assert_eq!(text, whole.as_bytes());
            }
        }
    }
}
