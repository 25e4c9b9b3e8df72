//! Decompresses bodies as they arrive.
//!
//! Invariant: no more than the bound is decompressed, whatever a few bytes of input would become.

use std::io::{self, Write};

use flate2::write::GzDecoder;
use http::{HeaderMap, header::CONTENT_ENCODING};

use crate::rpc::answer::{failure::Failure, status::Reason};

/// Decompresses one body.
pub(super) struct Inflate(GzDecoder<Bounded>);

/// What is decompressed and was not yet taken.
struct Bounded {
    ready: Vec<u8>,
    /// Bytes that may follow.
    left: usize,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(left) = self.left.checked_sub(bytes.len()) else {
            return Err(io::ErrorKind::FileTooLarge.into());
        };
        self.left = left;
        self.ready.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Inflate {
    /// The decompression that the headers of a request ask for, if any; of at most `bytes_max` in
    /// all.
    ///
    /// # Errors
    /// When the encoding is not supported.
    pub(super) fn of(headers: &HeaderMap, bytes_max: usize) -> Result<Option<Self>, Failure> {
        let Some(encoding) = headers.get(CONTENT_ENCODING) else {
            return Ok(None);
        };
        let encoding = encoding.to_str().unwrap_or_default();
        match encoding.to_ascii_lowercase().as_str() {
            "identity" | "" => Ok(None),
            "gzip" | "x-gzip" => Ok(Some(Self(GzDecoder::new(Bounded {
                ready: Vec::new(),
                left: bytes_max,
            })))),
            _ => Err(Reason::EncodingUnsupported.with("send gzip, or none")),
        }
    }

    /// Decompresses a piece.
    ///
    /// # Errors
    /// When it is malformed, or too large.
    pub(super) fn take(&mut self, piece: &[u8]) -> Result<Vec<u8>, Failure> {
        self.0.write_all(piece).map_err(|it| failure(&it))?;
        Ok(std::mem::take(&mut self.0.get_mut().ready))
    }

    /// Decompresses what is left at the end of the body.
    ///
    /// # Errors
    /// When the body is incomplete.
    pub(super) fn finish(&mut self) -> Result<Vec<u8>, Failure> {
        self.0.try_finish().map_err(|it| failure(&it))?;
        Ok(std::mem::take(&mut self.0.get_mut().ready))
    }
}

impl std::fmt::Debug for Inflate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inflate").finish_non_exhaustive()
    }
}

fn failure(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::FileTooLarge => Reason::RequestTooLarge.into(),
        _ => Reason::JsonInvalid.with(format!("the gzip encoding is malformed: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compression, write::GzEncoder};
    use http::HeaderValue;

    use super::*;

    const BYTES_MAX: usize = 100_000;

    fn compressed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).expect("a vector takes everything");
        encoder.finish().expect("a vector takes everything")
    }

    fn inflate(encoding: &'static str) -> Result<Option<Inflate>, Failure> {
        let encoding = HeaderValue::from_static(encoding);
        let headers = HeaderMap::from_iter([(CONTENT_ENCODING, encoding)]);
        Inflate::of(&headers, BYTES_MAX)
    }

    fn inflated(bytes: &[u8], size: usize) -> Result<Vec<u8>, Failure> {
        let mut inflate = inflate("gzip")?.expect("gzip");
        let mut found = Vec::new();
        for piece in bytes.chunks(size) {
            found.extend(inflate.take(piece)?);
        }
        found.extend(inflate.finish()?);
        Ok(found)
    }

    #[test]
    fn a_body_is_decompressed_wherever_it_is_cut() {
        let body: Vec<u8> = (0..50_000_u32)
            .flat_map(u32::to_le_bytes)
            .take(BYTES_MAX)
            .collect();
        let sent = compressed(&body);
        for size in [1, 7, 1000, sent.len()] {
            assert_eq!(inflated(&sent, size).as_ref(), Ok(&body));
        }
    }

    #[test]
    fn a_body_that_becomes_too_large_is_refused_before_it_does() {
        let bomb = compressed(&vec![0; 100 << 20]);
        let refused = inflated(&bomb, bomb.len()).expect_err("a bomb");
        assert_eq!(refused.reason(), Reason::RequestTooLarge);
        let mut inflate = inflate("gzip").expect("supported").expect("gzip");
        inflate.take(&bomb).expect_err("a bomb");
        assert!(inflate.0.get_ref().ready.len() <= BYTES_MAX);
    }

    #[test]
    fn what_is_malformed_truncated_or_of_another_encoding_is_refused() {
        let sent = compressed(b"{}");
        for bad in [&b"{}"[..], &sent[..sent.len() - 1], &sent[..5]] {
            let refused = inflated(bad, 3).expect_err("malformed");
            assert_eq!(refused.reason(), Reason::JsonInvalid);
        }
        for other in ["br", "deflate", "gzip, gzip"] {
            let refused = inflate(other).expect_err(other);
            assert_eq!(refused.reason(), Reason::EncodingUnsupported);
        }
        assert!(inflate("identity").expect("supported").is_none());
    }
}
