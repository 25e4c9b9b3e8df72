//! What a certificate says about its owner, and the serial numbers in a revocation list.

use std::net::IpAddr;

use crate::der::{
    BOOLEAN, Elements, GENERALIZED_TIME, INTEGER, OBJECT, OCTETS, SEQUENCE, SET, UTC_TIME,
};

/// Tag of the version in a certificate.
const VERSION: u8 = 0xa0;
/// Tag of the extensions in a certificate.
const EXTENSIONS: u8 = 0xa3;
/// Tags of names of a host among its alternative names.
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;

/// Object ids 2.5.4.3, the common name, and 2.5.29.17, the alternative names of the subject.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];

/// What the certificate of the other end of a connection says about it. Exists only for
/// certificates whose chain was verified.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The common name of its subject; the last one of several, as in etcd.
    pub common_name: Option<String>,
    /// The DNS names that it is for.
    pub dns_names: Vec<String>,
    /// The IP addresses that it is for.
    pub addresses: Vec<IpAddr>,
    /// Its serial number, in hexadecimal.
    pub serial: String,
    /// When it expires, in seconds since 1970.
    pub expires: i64,
}

impl PeerIdentity {
    /// Reads a certificate; `None` when it is malformed, which no verified one is.
    pub(crate) fn of(der: &[u8]) -> Option<Self> {
        let mut certificate = Elements::of(Elements::of(der).expect(SEQUENCE)?);
        let mut signed = Elements::of(certificate.expect(SEQUENCE)?);
        signed.optional(VERSION);
        let serial = signed.expect(INTEGER)?;
        let _algorithm = signed.expect(SEQUENCE)?;
        let _issuer = signed.expect(SEQUENCE)?;
        let mut validity = Elements::of(signed.expect(SEQUENCE)?);
        let _begins = validity.next()?;
        let expires = validity.next()?.time()?;
        let subject = signed.expect(SEQUENCE)?;
        let _key = signed.expect(SEQUENCE)?;
        let mut identity = Self {
            common_name: common_name(subject),
            serial: hexadecimal(serial),
            expires,
            ..Self::default()
        };
        let extensions = signed.find(|element| element.tag == EXTENSIONS);
        if let Some(extensions) = extensions {
            let extensions = Elements::of(extensions.body).expect(SEQUENCE)?;
            identity.take_names(extensions)?;
        }
        Some(identity)
    }

    fn take_names(&mut self, extensions: &[u8]) -> Option<()> {
        for extension in Elements::of(extensions) {
            let mut extension = Elements::of(extension.body);
            if extension.expect(OBJECT)? != ALTERNATIVE_NAMES {
                continue;
            }
            extension.optional(BOOLEAN);
            let names = Elements::of(extension.expect(OCTETS)?).expect(SEQUENCE)?;
            for name in Elements::of(names) {
                match name.tag {
                    DNS_NAME => {
                        let text = str::from_utf8(name.body).ok()?;
                        self.dns_names.push(text.to_owned());
                    }
                    IP_ADDRESS => self.addresses.extend(address(name.body)),
                    _ => {}
                }
            }
        }
        Some(())
    }
}

/// Whether a certificate is of version 3 of X.509, the only one that rustls verifies.
pub(crate) fn is_version_3(der: &[u8]) -> bool {
    let version = || {
        let mut certificate = Elements::of(Elements::of(der).expect(SEQUENCE)?);
        let mut signed = Elements::of(certificate.expect(SEQUENCE)?);
        Elements::of(signed.optional(VERSION)?).expect(INTEGER)
    };
    // Versions are counted from zero, and the first is left out.
    version() == Some(&[2])
}

/// The significant bytes of the serial number of a certificate.
pub(crate) fn serial_of(der: &[u8]) -> Option<Vec<u8>> {
    let mut certificate = Elements::of(Elements::of(der).expect(SEQUENCE)?);
    let mut signed = Elements::of(certificate.expect(SEQUENCE)?);
    signed.optional(VERSION);
    Some(significant(signed.expect(INTEGER)?).to_vec())
}

/// The significant bytes of the serial numbers in a revocation list; `None` when it is none.
pub(crate) fn revoked_serials(der: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut outer = Elements::of(der);
    let mut list = Elements::of(outer.expect(SEQUENCE)?);
    let mut signed = Elements::of(list.expect(SEQUENCE)?);
    list.expect(SEQUENCE)?;
    if !outer.is_empty() {
        return None;
    }
    signed.optional(INTEGER);
    let _algorithm = signed.expect(SEQUENCE)?;
    let _issuer = signed.expect(SEQUENCE)?;
    signed.next()?.time()?;
    // The time of the next list may be left out, and so may the revoked certificates.
    _ = signed
        .optional(UTC_TIME)
        .or_else(|| signed.optional(GENERALIZED_TIME));
    let mut revoked = Elements::of(signed.optional(SEQUENCE).unwrap_or_default());
    let mut serials = Vec::new();
    while !revoked.is_empty() {
        let mut entry = Elements::of(revoked.expect(SEQUENCE)?);
        serials.push(significant(entry.expect(INTEGER)?).to_vec());
    }
    Some(serials)
}

/// A serial number in hexadecimal.
fn hexadecimal(serial: &[u8]) -> String {
    let serial = significant(serial).iter();
    serial.map(|byte| format!("{byte:02x}")).collect()
}

/// A serial number without the zeros that encodings may put before it.
fn significant(serial: &[u8]) -> &[u8] {
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    &serial[zeros..]
}

fn common_name(subject: &[u8]) -> Option<String> {
    let mut found = None;
    for set in Elements::of(subject).filter(|element| element.tag == SET) {
        for attribute in Elements::of(set.body) {
            let mut attribute = Elements::of(attribute.body);
            if attribute.expect(OBJECT) == Some(COMMON_NAME) {
                found = attribute.next().and_then(|name| name.text()).or(found);
            }
        }
    }
    found.map(str::to_owned)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(four));
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

#[cfg(test)]
mod tests {
    use rcgen::{
        CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod,
        KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
    };

    use super::*;

    fn certificate() -> Vec<u8> {
        let names = [
            "a.example".to_owned(),
            "10.0.0.1".to_owned(),
            "::1".to_owned(),
        ];
        let mut parameters = CertificateParams::new(names).unwrap();
        parameters
            .distinguished_name
            .push(DnType::OrganizationName, "system:masters");
        parameters
            .distinguished_name
            .push(DnType::CommonName, "Ada");
        parameters.serial_number = Some(SerialNumber::from_slice(&[0x92, 1, 2]));
        parameters.not_after = date_time_ymd(2031, 2, 3);
        let key = KeyPair::generate().unwrap();
        parameters.self_signed(&key).unwrap().der().to_vec()
    }

    fn revocations() -> Vec<u8> {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::CrlSign];
        let issuer = Issuer::new(authority, KeyPair::generate().unwrap());
        let revoked = [&[0x92, 1, 2][..], &[7]];
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(2027, 1, 1),
            crl_number: SerialNumber::from_slice(&[1]),
            issuing_distribution_point: None,
            revoked_certs: revoked
                .iter()
                .map(|serial| RevokedCertParams {
                    serial_number: SerialNumber::from_slice(serial),
                    revocation_time: date_time_ymd(2026, 1, 1),
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&issuer).unwrap().der().to_vec()
    }

    #[test]
    fn a_certificate_says_who_it_is_for() {
        let der = certificate();
        let identity = PeerIdentity::of(&der).expect("well-formed");
        assert_eq!(identity.common_name.as_deref(), Some("Ada"));
        assert_eq!(identity.dns_names, ["a.example"]);
        let addresses: [IpAddr; 2] = ["10.0.0.1", "::1"].map(|address| address.parse().unwrap());
        assert_eq!(identity.addresses, addresses);
        assert_eq!(identity.serial, "920102");
        assert_eq!(identity.expires, 1_927_843_200);
        assert_eq!(serial_of(&der), Some(vec![0x92, 1, 2]));
    }

    #[test]
    fn a_revocation_list_names_serial_numbers() {
        let serials = revoked_serials(&revocations()).expect("well-formed");
        assert_eq!(serials, [vec![0x92, 1, 2], vec![7]]);
        assert_eq!(revoked_serials(&certificate()), None, "it is no list");
        assert_eq!(revoked_serials(b""), None);
    }

    #[test]
    fn no_bytes_break_the_reader() {
        for whole in [certificate(), revocations()] {
            for at in 0..whole.len() {
                for changed in [0, 0x7f, 0x80, 0x84, 0xff, whole[at] ^ 1] {
                    let mut bytes = whole.clone();
                    bytes[at] = changed;
                    _ = PeerIdentity::of(&bytes);
                    _ = revoked_serials(&bytes);
                }
                _ = PeerIdentity::of(&whole[..at]);
                assert_eq!(revoked_serials(&whole[..at]), None, "cut at {at}");
            }
        }
    }
}
