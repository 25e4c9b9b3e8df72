//! Certificates for tests: an authority, and certificates with or without faults.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber,
};
use tempfile::TempDir;

/// A day.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// An authority with its files in a directory of its own, which goes with it.
#[derive(Debug)]
pub struct Pki {
    directory: TempDir,
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// The files of a certificate.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate, with its chain, in PEM form.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// What a certificate is to say. Begins as one that is good for a node on loopback.
#[derive(Clone, Debug)]
pub struct Leaf {
    common_name: Option<String>,
    names: Vec<String>,
    usages: Vec<ExtendedKeyUsagePurpose>,
    valid: (i64, i64),
    serial: u64,
    is_authority: bool,
}

impl Leaf {
    /// A certificate for a node on loopback, good for both directions.
    #[must_use]
    pub fn node() -> Self {
        Self {
            common_name: Some("node".to_owned()),
            names: vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
            usages: vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ],
            valid: (-1, 30),
            serial: 1,
            is_authority: false,
        }
    }

    /// A certificate for a client.
    #[must_use]
    pub fn client(common_name: &str) -> Self {
        Self {
            names: Vec::new(),
            usages: vec![ExtendedKeyUsagePurpose::ClientAuth],
            serial: 2,
            ..Self::node().common_name(common_name)
        }
    }

    /// With this common name.
    #[must_use]
    pub fn common_name(mut self, name: &str) -> Self {
        self.common_name = Some(name.to_owned());
        self
    }

    /// Without a common name.
    #[must_use]
    pub fn without_common_name(mut self) -> Self {
        self.common_name = None;
        self
    }

    /// For these host names and addresses only.
    #[must_use]
    pub fn names(mut self, names: &[&str]) -> Self {
        self.names = names.iter().map(ToString::to_string).collect();
        self
    }

    /// For servers only.
    #[must_use]
    pub fn for_servers(mut self) -> Self {
        self.usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self
    }

    /// Valid from and until so many days from now.
    #[must_use]
    pub const fn valid(mut self, from: i64, until: i64) -> Self {
        self.valid = (from, until);
        self
    }

    /// With this serial number.
    #[must_use]
    pub const fn serial(mut self, serial: u64) -> Self {
        self.serial = serial;
        self
    }

    /// As an authority's.
    #[must_use]
    pub const fn authority(mut self) -> Self {
        self.is_authority = true;
        self
    }

    fn parameters(&self) -> CertificateParams {
        let mut parameters = CertificateParams::new(self.names.clone()).expect("names of hosts");
        let name = &mut parameters.distinguished_name;
        name.remove(DnType::CommonName);
        name.push(DnType::OrganizationName, "tests");
        if let Some(common_name) = &self.common_name {
            name.push(DnType::CommonName, common_name);
        }
        parameters.not_before = days_from_now(self.valid.0).into();
        parameters.not_after = days_from_now(self.valid.1).into();
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages.clone_from(&self.usages);
        parameters.serial_number = Some(SerialNumber::from_slice(&self.serial.to_be_bytes()));
        if self.is_authority {
            parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        parameters
    }
}

impl Default for Pki {
    fn default() -> Self {
        Self::new()
    }
}

impl Pki {
    /// Makes an authority.
    ///
    /// # Panics
    /// When its files cannot be written.
    #[must_use]
    pub fn new() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("tenure-pki-")
            .tempdir()
            .expect("the temporary directory can be written to");
        let key = KeyPair::generate().expect("a key");
        let own = directory.path().file_name().unwrap_or_default();
        let parameters = authority(&format!("authority {}", own.to_string_lossy()));
        let certificate = parameters.self_signed(&key).expect("signed").pem();
        let pki = Self {
            issuer: Issuer::new(parameters, key),
            certificate,
            directory,
        };
        pki.write("ca.pem", &pki.certificate);
        pki
    }

    /// The certificate of the authority.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// A file in the directory of the authority.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file there, and returns its path.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("the directory can be written to");
        path
    }

    /// Issues a certificate in files with this name, which are replaced if they exist.
    ///
    /// # Panics
    /// When they cannot be written.
    pub fn issue(&self, name: &str, leaf: &Leaf) -> Issued {
        let key = KeyPair::generate().expect("a key");
        let signed = leaf.parameters().signed_by(&key, &self.issuer);
        self.keep(name, &signed.expect("signed").pem(), &key)
    }

    /// Issues a certificate by an authority in between, whose own certificate follows in the chain
    /// if `has_chain`.
    ///
    /// # Panics
    /// When the files cannot be written.
    pub fn issue_below(&self, name: &str, leaf: &Leaf, has_chain: bool) -> Issued {
        let between_key = KeyPair::generate().expect("a key");
        let between = authority("authority in between");
        let certificate = between
            .signed_by(&between_key, &self.issuer)
            .expect("signed");
        let issuer = Issuer::new(between, between_key);
        let key = KeyPair::generate().expect("a key");
        let mut chain = leaf
            .parameters()
            .signed_by(&key, &issuer)
            .expect("signed")
            .pem();
        if has_chain {
            chain.push_str(&certificate.pem());
        }
        self.keep(name, &chain, &key)
    }

    /// Makes a certificate that its own key signed.
    ///
    /// # Panics
    /// When the files cannot be written.
    pub fn self_signed(&self, name: &str, leaf: &Leaf) -> Issued {
        let key = KeyPair::generate().expect("a key");
        let signed = leaf.parameters().self_signed(&key).expect("signed").pem();
        self.keep(name, &signed, &key)
    }

    /// Writes a list in DER form in which these serial numbers are revoked; it is valid until so
    /// many days from now.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn revoke(&self, name: &str, serials: &[u64], until: i64) -> PathBuf {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&serial.to_be_bytes()),
            revocation_time: days_from_now(-1).into(),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: days_from_now(until - 10).into(),
            next_update: days_from_now(until).into(),
            crl_number: SerialNumber::from_slice(&[1]),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let signed = list.signed_by(&self.issuer).expect("signed");
        let path = self.path(name);
        fs::write(&path, signed.der()).expect("the directory can be written to");
        path
    }

    fn keep(&self, name: &str, certificate: &str, key: &KeyPair) -> Issued {
        let issued = Issued {
            certificate: self.write(&format!("{name}.pem"), certificate),
            key: self.write(&format!("{name}-key.pem"), &key.serialize_pem()),
        };
        private(&issued.key);
        issued
    }
}

impl Issued {
    /// The paths, as words of a command line.
    #[must_use]
    pub fn words(&self) -> [String; 2] {
        [&self.certificate, &self.key].map(|path| path.display().to_string())
    }
}

fn authority(common_name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    let name = &mut parameters.distinguished_name;
    name.remove(DnType::CommonName);
    name.push(DnType::CommonName, common_name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    parameters
}

fn days_from_now(days: i64) -> SystemTime {
    let length = DAY * u32::try_from(days.unsigned_abs()).unwrap_or(u32::MAX);
    let now = SystemTime::now();
    if days < 0 { now - length } else { now + length }
}

fn private(path: &Path) {
    let permissions = fs::Permissions::from_mode(0o600);
    fs::set_permissions(path, permissions).expect("an own file");
}
