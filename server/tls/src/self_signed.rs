//! Certificates that a node makes for itself, as etcd's `--auto-tls` does.
//!
//! They encrypt and prove nothing: nobody can verify who made them.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SerialNumber,
};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use thiserror::Error;

use crate::identity::PeerIdentity;

/// Names of the files.
const CERTIFICATE: &str = "cert.pem";
const KEY: &str = "key.pem";
/// The organisation on the certificates; etcd's.
const ORGANIZATION: &str = "etcd";
/// Bytes of a serial number, of which the first bit is zero.
const SERIAL_BYTES: usize = 16;
/// The length of a year of a certificate; etcd's.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// How long before its making a certificate is valid: for others whose clocks are behind.
const BACKDATED: Duration = Duration::from_secs(60 * 60);

/// Why no certificate was made.
#[derive(Debug, Error)]
pub enum SelfSignedError {
    /// A file cannot be written.
    #[error("{} cannot be written", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// The library refuses it, such as for a host that is no name.
    #[error("no certificate can be made")]
    Certificate(#[from] rcgen::Error),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

/// Returns a certificate and its key in `directory`, valid for `hosts`. Makes them for so many
/// `years` if there are none, or if the certificate has expired at `now`. Blocks.
///
/// # Errors
/// See [`SelfSignedError`].
pub fn ensure(
    directory: &Path,
    hosts: &[String],
    years: u32,
    now: SystemTime,
) -> Result<(PathBuf, PathBuf), SelfSignedError> {
    let (certificate, key) = (directory.join(CERTIFICATE), directory.join(KEY));
    if key.exists() && is_valid(&certificate, now) {
        return Ok((certificate, key));
    }
    let mut folder = fs::DirBuilder::new();
    let created = folder.recursive(true).mode(0o700).create(directory);
    created.map_err(|source| SelfSignedError::Io {
        path: directory.to_owned(),
        source,
    })?;
    let pair = KeyPair::generate()?;
    let made = parameters(hosts, years, now)?.self_signed(&pair)?;
    // The certificate comes last: a pair that was written halfway is made anew.
    _ = fs::remove_file(&certificate);
    write(&key, &pair.serialize_pem())?;
    write(&certificate, &made.pem())?;
    Ok((certificate, key))
}

fn parameters(
    hosts: &[String],
    years: u32,
    now: SystemTime,
) -> Result<CertificateParams, SelfSignedError> {
    let mut parameters = CertificateParams::new(hosts.to_vec())?;
    let name = &mut parameters.distinguished_name;
    name.remove(DnType::CommonName);
    name.push(DnType::OrganizationName, ORGANIZATION);
    parameters.not_before = (now - BACKDATED).into();
    parameters.not_after = (now + YEAR * years).into();
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let mut serial = [0; SERIAL_BYTES];
    let filled = SystemRandom::new().fill(&mut serial);
    filled.map_err(|_| SelfSignedError::Random)?;
    serial[0] &= 0x7f;
    parameters.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(parameters)
}

fn is_valid(certificate: &Path, now: SystemTime) -> bool {
    let Ok(der) = CertificateDer::from_pem_file(certificate) else {
        return false;
    };
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    PeerIdentity::of(&der).is_some_and(|identity| identity.expires > now)
}

fn write(path: &Path, text: &str) -> Result<(), SelfSignedError> {
    let written = || -> io::Result<()> {
        let mut options = fs::OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    written().map_err(|source| SelfSignedError::Io {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn a_certificate_is_kept_while_it_is_valid_and_replaced_when_it_expired() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().join("fixtures/client");
        let hosts = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let now = SystemTime::now();
        let (certificate, key) = ensure(&directory, &hosts, 1, now).unwrap();
        let first = fs::read(&certificate).unwrap();
        let der = CertificateDer::from_pem_file(&certificate).unwrap();
        let identity = PeerIdentity::of(&der).unwrap();
        assert_eq!(identity.addresses, [std::net::IpAddr::from([127, 0, 0, 1])]);
        assert_eq!(identity.dns_names, ["localhost"]);
        assert_eq!(fs::metadata(&key).unwrap().mode() & 0o777, 0o600);
        ensure(&directory, &hosts, 1, now).unwrap();
        assert_eq!(fs::read(&certificate).unwrap(), first, "it is kept");
        ensure(&directory, &hosts, 1, now + 2 * YEAR).unwrap();
        assert_ne!(fs::read(&certificate).unwrap(), first, "it had expired");
    }
}
