//! Finds the objects in a body, which follow one another, as they arrive in pieces.
//!
//! Looks at brackets and quotes alone; whether an object is well-formed is for its reader to say.
//!
//! Invariant: no more than the largest message is held, and an object that is handed over is nested
//! no deeper than [`DEPTH_MAX`].

use crate::fault::Fault;

/// Most objects and arrays within each other. A transaction within another adds three, and fewer
/// than this many do not reach the bound of the JSON parser, which is 128, with its own text.
pub const DEPTH_MAX: usize = 120;

/// The objects of a body.
#[derive(Debug)]
pub struct Objects {
    bytes_max: usize,
    /// The object that is not complete.
    held: Vec<u8>,
    /// Brackets that are open.
    depth: usize,
    is_in_text: bool,
    is_escaped: bool,
}

impl Objects {
    /// The objects of a body, each of at most `bytes_max`.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            held: Vec::new(),
            depth: 0,
            is_in_text: false,
            is_escaped: false,
        }
    }

    /// Bytes held of an object that is not complete.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held.len()
    }

    /// Reads a piece up to the end of the first object. Returns how many bytes were read, and the
    /// object if it is complete.
    ///
    /// # Errors
    /// When something else than an object begins, or the object is too large or nested too deep.
    /// The rest of the body has no meaning then.
    pub fn take(&mut self, piece: &[u8]) -> Result<(usize, Option<Vec<u8>>), Fault> {
        let mut start = 0;
        for (at, &byte) in piece.iter().enumerate() {
            if self.is_in_text {
                self.read_text(byte);
                continue;
            }
            match byte {
                b'{' => self.open()?,
                b'[' if self.depth > 0 => self.open()?,
                b'"' if self.depth > 0 => self.is_in_text = true,
                b'}' | b']' if self.depth > 0 => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        self.hold(&piece[start..=at])?;
                        return Ok((at + 1, Some(std::mem::take(&mut self.held))));
                    }
                }
                b' ' | b'\t' | b'\r' | b'\n' if self.depth == 0 => start = at + 1,
                _ if self.depth == 0 => return Err(Fault::NotAnObject),
                _ => {}
            }
        }
        self.hold(&piece[start..])?;
        Ok((piece.len(), None))
    }

    /// Says that the body ends here.
    ///
    /// # Errors
    /// When an object is not complete.
    pub fn finish(&self) -> Result<(), Fault> {
        if self.depth > 0 {
            return Err(Fault::Unfinished);
        }
        Ok(())
    }

    fn read_text(&mut self, byte: u8) {
        match byte {
            _ if self.is_escaped => self.is_escaped = false,
            b'\\' => self.is_escaped = true,
            b'"' => self.is_in_text = false,
            _ => {}
        }
    }

    fn open(&mut self) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Fault::TooDeep(DEPTH_MAX));
        }
        Ok(())
    }

    fn hold(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        if bytes.len() > self.bytes_max - self.held.len() {
            return Err(Fault::TooLarge(self.bytes_max));
        }
        self.held.extend_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The objects of a body that arrives in pieces of this size.
    fn objects(body: &str, size: usize) -> Result<Vec<String>, Fault> {
        let mut objects = Objects::new(1000);
        let mut found = Vec::new();
        for mut piece in body.as_bytes().chunks(size) {
            while !piece.is_empty() {
                let (read, object) = objects.take(piece)?;
                piece = &piece[read..];
                found.extend(object.map(|it| String::from_utf8(it).expect("text")));
            }
        }
        objects.finish()?;
        Ok(found)
    }

    #[test]
    fn objects_are_found_wherever_the_body_is_cut() {
        let body = " {}\n{\"a\":\"}\\\"{\"}{\"b\":[{\"c\":\"\\\\\"},[]]}\r\n\t ";
        let expected = ["{}", "{\"a\":\"}\\\"{\"}", "{\"b\":[{\"c\":\"\\\\\"},[]]}"];
        for size in 1..=body.len() {
            assert_eq!(objects(body, size).expect("objects"), expected, "{size}");
        }
        assert_eq!(objects("", 1), Ok(vec![]));
    }

    #[test]
    fn what_is_not_an_object_is_refused() {
        for body in ["7", "[]", "null", "\"{}\"", "{},{}", "{}x", "}", "]"] {
            assert_eq!(objects(body, 3), Err(Fault::NotAnObject), "{body}");
        }
        for body in ["{", "{\"a\":\"}", "{\"a\":[}"] {
            assert_eq!(objects(body, 3), Err(Fault::Unfinished), "{body}");
        }
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let nested = |depth: usize| "{\"a\":[".repeat(depth / 2) + &"]}".repeat(depth / 2);
        assert!(objects(&nested(DEPTH_MAX), 7).is_ok());
        let deep = objects(&nested(DEPTH_MAX + 2), 7);
        assert_eq!(deep, Err(Fault::TooDeep(DEPTH_MAX)));
        let long = |length: usize| format!("{{\"a\":\"{}\"}}", "b".repeat(length - 8));
        assert!(objects(&long(1000), 900).is_ok());
        assert_eq!(objects(&long(1001), 900), Err(Fault::TooLarge(1000)));
        let spaces = " ".repeat(5000);
        assert!(objects(&spaces, 900).is_ok(), "nothing of it is held");
    }
}
