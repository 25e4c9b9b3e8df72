//! Key files: one PEM block, or the bytes themselves for a shared key.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use p256::pkcs8::der::pem;
use zeroize::Zeroizing;

/// Largest key file; a private key of RSA with 8192 bits takes 7 KiB.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// A block of a PEM file that is not a key: `openssl` writes the name of the curve before it.
const PARAMETERS: &str = "EC PARAMETERS";

/// What a PEM block holds.
pub(super) struct Block {
    /// Such as `PRIVATE KEY`.
    pub(super) label: String,
    /// The DER inside.
    pub(super) der: Zeroizing<Vec<u8>>,
}

/// The bytes of a key file.
pub(super) fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    let file = File::open(path)?;
    let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if read as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!(
            "longer than {FILE_BYTES_MAX} bytes"
        )));
    }
    Ok(bytes)
}

/// The first block that is a key.
pub(super) fn block(bytes: &[u8]) -> Option<Block> {
    let text = str::from_utf8(bytes).ok()?;
    let mut rest = text;
    loop {
        rest = &rest[rest.find("-----BEGIN ")?..];
        let end = rest.find("-----END ")?;
        let line = rest[end..].find('\n').unwrap_or(rest.len() - end);
        let (one, after) = rest.split_at(end + line);
        let (label, der) = pem::decode_vec(one.trim_end().as_bytes()).ok()?;
        if label != PARAMETERS {
            return Some(Block {
                label: label.to_owned(),
                der: Zeroizing::new(der),
            });
        }
        rest = after;
    }
}
