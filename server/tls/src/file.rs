//! Files with certificates, keys, authorities and revocations, read and checked.
//!
//! Every error names the file, so that an operator knows which one to replace.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use thiserror::Error;

use crate::identity::{PeerIdentity, is_version_3, revoked_serials};

/// Longest file that is read, in bytes: a revocation list of a hundred thousand certificates takes
/// some four megabytes, everything else less.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Permission bit of files that every user of the machine may read.
const READABLE_BY_ALL: u32 = 0o004;

/// What is wrong with a certificate that TLS here cannot show.
const NOT_VERSION_3: &str = "its certificate is not of version 3 of X.509; openssl makes one of \
                             version 3 when it is given extensions, such as subjectAltName";

/// Why a file cannot be used.
#[derive(Debug, Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("{} cannot be read: {cause}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        cause: io::Error,
    },
    /// It is too long.
    #[error("{} is longer than {FILE_BYTES_MAX} bytes", .path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// It does not hold what it should.
    #[error("{} holds no {what} in PEM form", .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// The key is encrypted.
    #[error("the key in {} is encrypted; store it without a passphrase", .path.display())]
    Encrypted {
        /// The file.
        path: PathBuf,
    },
    /// Its content is damaged or of an unknown kind.
    #[error("{} cannot be used: {cause}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The key does not belong to the certificate.
    #[error(
        "the key in {} does not belong to the certificate in {}",
        .key.display(), .certificate.display()
    )]
    Mismatch {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
}

/// A certificate with its chain and key.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) certified: Arc<CertifiedKey>,
    /// When the certificate expires, in seconds since 1970.
    pub(crate) expires: i64,
    /// The serial number in hexadecimal.
    pub(crate) serial: String,
    /// Whether every user of the machine may read the key.
    pub(crate) is_public: bool,
}

/// Reads a certificate, its chain, and its key.
pub(crate) fn pair(
    certificate: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<Pair, FileError> {
    let chain = certificates(certificate)?;
    let (expires, serial) = validity(certificate, &chain[0])?;
    if !is_version_3(&chain[0]) {
        return Err(malformed(certificate, NOT_VERSION_3));
    }
    let bytes = read(key)?;
    let Ok(private) = PrivateKeyDer::from_pem_slice(&bytes) else {
        let path = key.to_owned();
        let is_encrypted = bytes
            .windows(b"ENCRYPTED".len())
            .any(|word| word == b"ENCRYPTED");
        return Err(if is_encrypted {
            FileError::Encrypted { path }
        } else {
            let what = "private key";
            FileError::Missing { path, what }
        });
    };
    let signing = provider.key_provider.load_private_key(private);
    let signing = signing.map_err(|error| FileError::Malformed {
        path: key.to_owned(),
        cause: format!(
            "{error}; supported are ECDSA on P-256 and P-384, Ed25519, and RSA from 2048 bits on"
        ),
    })?;
    let certified = CertifiedKey::new(chain, signing);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
        Err(rustls::Error::InconsistentKeys(_)) => {
            return Err(FileError::Mismatch {
                certificate: certificate.to_owned(),
                key: key.to_owned(),
            });
        }
        Err(error) => return Err(malformed(certificate, error)),
    }
    let mode = fs::metadata(key).map_or(0, |metadata| metadata.mode());
    Ok(Pair {
        certified: Arc::new(certified),
        expires,
        serial,
        is_public: mode & READABLE_BY_ALL != 0,
    })
}

/// Certificate authorities, and when the first of them expires.
#[derive(Debug, Clone)]
pub(crate) struct Authorities {
    pub(crate) roots: Arc<RootCertStore>,
    /// The certificates themselves; none of the system's.
    pub(crate) certificates: Arc<[CertificateDer<'static>]>,
    /// In seconds since 1970; `None` for those of the system.
    pub(crate) expires: Option<i64>,
}

/// Reads the authorities in a file, or those of the system.
pub(crate) fn authorities(path: Option<&Path>) -> Result<Authorities, FileError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = path else {
        // The system's bundle may hold certificates that are of no use here.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(Authorities {
            roots: Arc::new(roots),
            certificates: Arc::default(),
            expires: None,
        });
    };
    let mut expires = i64::MAX;
    let certificates = certificates(path)?;
    for authority in &certificates {
        expires = expires.min(validity(path, authority)?.0);
        let added = roots.add(authority.clone());
        added.map_err(|error| malformed(path, error))?;
    }
    Ok(Authorities {
        roots: Arc::new(roots),
        certificates: certificates.into(),
        expires: Some(expires),
    })
}

/// Reads the serial numbers in a revocation list, in DER or PEM form.
///
/// Issuer, signature and dates are not checked, as in etcd: a list that cannot be verified refuses
/// too many certificates, and never too few.
pub(crate) fn revocations(path: &Path) -> Result<BTreeSet<Vec<u8>>, FileError> {
    let bytes = read(path)?;
    let mut lists: Vec<Vec<u8>> = CertificateRevocationListDer::pem_slice_iter(&bytes)
        .filter_map(Result::ok)
        .map(|list| list.as_ref().to_vec())
        .collect();
    if lists.is_empty() {
        lists.push(bytes);
    }
    let mut serials = BTreeSet::new();
    for list in &lists {
        let revoked = revoked_serials(list);
        serials.extend(revoked.ok_or_else(|| malformed(path, "it is no revocation list"))?);
    }
    Ok(serials)
}

/// Reads a whole file within the bound.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let unreadable = |cause| FileError::Unreadable {
        path: path.to_owned(),
        cause,
    };
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    let mut bounded = file.take(FILE_BYTES_MAX + 1);
    let length = bounded.read_to_end(&mut bytes).map_err(unreadable)?;
    if length as u64 > FILE_BYTES_MAX {
        let path = path.to_owned();
        return Err(FileError::TooLong { path });
    }
    Ok(bytes)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let bytes = read(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let chain = chain.map_err(|error| malformed(path, error))?;
    if chain.is_empty() {
        return Err(FileError::Missing {
            path: path.to_owned(),
            what: "certificate",
        });
    }
    Ok(chain)
}

/// When a certificate expires, and its serial number.
fn validity(path: &Path, der: &CertificateDer<'_>) -> Result<(i64, String), FileError> {
    let identity = PeerIdentity::of(der);
    let identity = identity.ok_or_else(|| malformed(path, "it holds what is no certificate"))?;
    Ok((identity.expires, identity.serial))
}

fn malformed(path: &Path, cause: impl std::fmt::Display) -> FileError {
    FileError::Malformed {
        path: path.to_owned(),
        cause: cause.to_string(),
    }
}
