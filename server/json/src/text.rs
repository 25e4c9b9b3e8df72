//! Text between the quotes of JSON.

/// Appends a piece of UTF-8 text, which may end within a character, in its escaped form.
pub(crate) fn append(piece: &[u8], out: &mut Vec<u8>) {
    for &byte in piece {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => {
                out.extend_from_slice(b"\\u00");
                out.extend([byte >> 4, byte & 0xf].map(|it| b"0123456789abcdef"[usize::from(it)]));
            }
            _ => out.push(byte),
        }
    }
}
