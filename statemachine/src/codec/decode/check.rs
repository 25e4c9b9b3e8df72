//! Whether bytes are an entry or a group, without making the commands.
//!
//! For whoever passes the bytes on. Invariant: it accepts exactly what decoding accepts.

use bytes::{Buf, Bytes};

use super::{Decoder, ENTRY_VERSION, tag};
use crate::error::Fault;

/// Checks that a log entry carries what [`super::decode_entry`] reads.
///
/// # Errors
/// Those of [`super::decode_entry`].
pub fn check_entry(bytes: &Bytes) -> Result<(), Fault> {
    let mut input = Decoder::new(bytes.clone())?;
    input.version(ENTRY_VERSION)?;
    input.number()?;
    for _ in 0..input.length()? {
        check_group(&input.bytes()?)?;
    }
    input.end()
}

/// Checks that bytes are the commands that one node took, as [`super::decode_group`] reads them.
///
/// # Errors
/// Those of [`super::decode_group`].
pub fn check_group(bytes: &Bytes) -> Result<(), Fault> {
    let mut input = Decoder::new(bytes.clone())?;
    input.group_head()?;
    for _ in 0..input.length()? {
        input.check_command()?;
    }
    input.end()
}

impl Decoder {
    /// Checks a command. Most are puts: their parts are counted and not taken out, which costs a
    /// reference each.
    fn check_command(&mut self) -> Result<(), Fault> {
        if self.0.first() == Some(&tag::PUT) {
            self.byte()?;
            return self.check_put();
        }
        self.command().map(drop)
    }

    fn check_put(&mut self) -> Result<(), Fault> {
        self.put_flags()?;
        self.skip_bytes()?;
        self.skip_bytes()?;
        self.lease().map(drop)
    }

    fn skip_bytes(&mut self) -> Result<(), Fault> {
        let length = self.length()?;
        self.0.advance(length);
        Ok(())
    }
}
