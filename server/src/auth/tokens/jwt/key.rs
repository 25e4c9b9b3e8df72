//! The keys of JSON web tokens: read from files, checked against each other, used.
//!
//! RSA, Ed25519 and HMAC are `ring`'s, the curves of ECDSA those of RustCrypto: `ring` has no P-521
//! and does not read the key format that `openssl ecparam` writes.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use p256::pkcs8::{
    der::{self, AnyRef, Decode as _, Reader, SliceReader, asn1::UintRef},
    spki::SubjectPublicKeyInfoRef,
};
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{self, Ed25519KeyPair, KeyPair as _, RsaKeyPair, UnparsedPublicKey},
};
use thiserror::Error;

use super::{
    MintFault,
    pem::{self, Block},
};
use crate::config::{JwtMethod, JwtOptions};

/// Object identifiers of kinds of public keys.
const RSA: &str = "1.2.840.113549.1.1.1";
const ED25519: &str = "1.3.101.112";

/// Bytes of an RSA modulus that `ring` verifies with: 2048 to 8192 bits.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// Signed once with the private key and verified with the public one when both are given.
const PROBE: &[u8] = b"tenure key check";

/// Why the keys cannot be used. The node must not start.
#[derive(Debug, Error)]
pub enum JwtFault {
    /// A key file cannot be read.
    #[error(
        "auth: invalid auth options: --auth-token: cannot read the {option} {}: {cause}",
        .path.display()
    )]
    Unreadable {
        /// `pub-key` or `priv-key`.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        cause: io::Error,
    },
    /// A file holds no key for the method.
    #[error(
        "auth: invalid auth options: --auth-token: the {option} {} is not {expected} in PEM",
        .path.display()
    )]
    WrongKey {
        /// `pub-key` or `priv-key`.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// What the method needs.
        expected: &'static str,
    },
    /// An HMAC key is empty.
    #[error("auth: invalid auth options: --auth-token: the priv-key {} is empty", .0.display())]
    EmptyKey(PathBuf),
    /// The two keys are not of one pair.
    #[error("auth: invalid auth options: --auth-token: pub-key and priv-key are not of one pair")]
    KeysDiffer,
}

type Sign = Box<dyn Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync>;
type Verify = Box<dyn Fn(&[u8], &[u8]) -> bool + Send + Sync>;

/// The keys of one method.
pub(super) struct Keys {
    sign: Option<Sign>,
    verify: Verify,
}

/// A private key, and the public one that belongs to it.
struct Pair {
    sign: Sign,
    verify: Verify,
}

impl Keys {
    pub(super) fn open(options: &JwtOptions) -> Result<Self, JwtFault> {
        let method = options.method;
        let pair = match &options.private_key {
            Some(path) if method.is_symmetric() => Some(shared(method, path)?),
            Some(path) => {
                let block = read("priv-key", path)?;
                let wrong = || wrong("priv-key", path, method);
                Some(
                    block
                        .and_then(|block| private(method, &block))
                        .ok_or_else(wrong)?,
                )
            }
            None => None,
        };
        let public = match &options.public_key {
            // HMAC has no public key, and etcd does not look at one.
            Some(path) if !method.is_symmetric() => {
                let block = read("pub-key", path)?;
                let wrong = || wrong("pub-key", path, method);
                Some(
                    block
                        .and_then(|block| public(method, &block))
                        .ok_or_else(wrong)?,
                )
            }
            _ => None,
        };
        let keys = match (pair, public) {
            (Some(pair), public) => Self {
                sign: Some(pair.sign),
                verify: public.unwrap_or(pair.verify),
            },
            (None, Some(verify)) => Self { sign: None, verify },
            (None, None) => return Err(JwtFault::KeysDiffer),
        };
        keys.agree().then_some(keys).ok_or(JwtFault::KeysDiffer)
    }

    /// Whether what the private key signs is good by the public one.
    fn agree(&self) -> bool {
        let Some(sign) = &self.sign else {
            return true;
        };
        sign(PROBE).is_some_and(|signature| self.verify(PROBE, &signature))
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, MintFault> {
        let sign = self.sign.as_ref().ok_or(MintFault::VerifyOnly)?;
        sign(message).ok_or(MintFault::Unsigned)
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        (self.verify)(message, signature)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Keys")
            .field("signs", &self.sign.is_some())
            .finish_non_exhaustive()
    }
}

fn read(option: &'static str, path: &Path) -> Result<Option<Block>, JwtFault> {
    let bytes = pem::read(path).map_err(|cause| JwtFault::Unreadable {
        option,
        path: path.to_owned(),
        cause,
    })?;
    Ok(pem::block(&bytes))
}

fn wrong(option: &'static str, path: &Path, method: JwtMethod) -> JwtFault {
    use JwtMethod::*;
    let expected = match method {
        Hs256 | Hs384 | Hs512 => "a shared key",
        Rs256 | Rs384 | Rs512 | Ps256 | Ps384 | Ps512 => "an RSA key of 2048 bits or more",
        Es256 => "a key on the curve P-256",
        Es384 => "a key on the curve P-384",
        Es512 => "a key on the curve P-521",
        EdDsa => "an Ed25519 key",
    };
    JwtFault::WrongKey {
        option,
        path: path.to_owned(),
        expected,
    }
}

/// The key that both sides of HMAC share: the bytes of the file as they are.
fn shared(method: JwtMethod, path: &Path) -> Result<Pair, JwtFault> {
    let bytes = pem::read(path).map_err(|cause| JwtFault::Unreadable {
        option: "priv-key",
        path: path.to_owned(),
        cause,
    })?;
    if bytes.is_empty() {
        return Err(JwtFault::EmptyKey(path.to_owned()));
    }
    let algorithm = match method {
        JwtMethod::Hs384 => hmac::HMAC_SHA384,
        JwtMethod::Hs512 => hmac::HMAC_SHA512,
        _ => hmac::HMAC_SHA256,
    };
    let key = hmac::Key::new(algorithm, &bytes);
    let verifier = key.clone();
    Ok(Pair {
        sign: Box::new(move |message| Some(hmac::sign(&key, message).as_ref().to_vec())),
        verify: Box::new(move |message, seal| hmac::verify(&verifier, message, seal).is_ok()),
    })
}

fn private(method: JwtMethod, block: &Block) -> Option<Pair> {
    use JwtMethod::*;
    match method {
        Es256 => ecdsa_p256::private(block),
        Es384 => ecdsa_p384::private(block),
        Es512 => ecdsa_p521::private(block),
        EdDsa => ed25519(block),
        _ => rsa(method, block),
    }
}

fn public(method: JwtMethod, block: &Block) -> Option<Verify> {
    use JwtMethod::*;
    match method {
        Es256 => ecdsa_p256::public(block),
        Es384 => ecdsa_p384::public(block),
        Es512 => ecdsa_p521::public(block),
        EdDsa => Some(by_ring(&signature::ED25519, subject_key(block, ED25519)?)),
        _ => {
            let key = match block.label.as_str() {
                "RSA PUBLIC KEY" => block.der.to_vec(),
                _ => subject_key(block, RSA)?,
            };
            // `ring` parses a public key only when it verifies, and then says no to everything.
            let bytes = modulus_bytes(&key)?;
            let usable = RSA_BYTES.contains(&bytes);
            usable.then(|| by_ring(rsa_verification(method), key))
        }
    }
}

fn by_ring(algorithm: &'static dyn signature::VerificationAlgorithm, key: Vec<u8>) -> Verify {
    let key = UnparsedPublicKey::new(algorithm, key);
    Box::new(move |message, signature| key.verify(message, signature).is_ok())
}

fn ed25519(block: &Block) -> Option<Pair> {
    if block.label != "PRIVATE KEY" {
        return None;
    }
    let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&block.der).ok()?;
    let verify = by_ring(&signature::ED25519, pair.public_key().as_ref().to_vec());
    Some(Pair {
        sign: Box::new(move |message| Some(pair.sign(message).as_ref().to_vec())),
        verify,
    })
}

fn rsa(method: JwtMethod, block: &Block) -> Option<Pair> {
    let pair = match block.label.as_str() {
        "RSA PRIVATE KEY" => RsaKeyPair::from_der(&block.der),
        "PRIVATE KEY" => RsaKeyPair::from_pkcs8(&block.der),
        _ => return None,
    };
    let pair = pair.ok()?;
    let verify = by_ring(rsa_verification(method), pair.public().as_ref().to_vec());
    let padding: &'static dyn signature::RsaEncoding = match method {
        JwtMethod::Rs384 => &signature::RSA_PKCS1_SHA384,
        JwtMethod::Rs512 => &signature::RSA_PKCS1_SHA512,
        JwtMethod::Ps256 => &signature::RSA_PSS_SHA256,
        JwtMethod::Ps384 => &signature::RSA_PSS_SHA384,
        JwtMethod::Ps512 => &signature::RSA_PSS_SHA512,
        _ => &signature::RSA_PKCS1_SHA256,
    };
    let random = SystemRandom::new();
    Some(Pair {
        sign: Box::new(move |message| {
            let mut signature = vec![0; pair.public().modulus_len()];
            let signed = pair.sign(padding, &random, message, &mut signature);
            signed.is_ok().then_some(signature)
        }),
        verify,
    })
}

fn rsa_verification(method: JwtMethod) -> &'static dyn signature::VerificationAlgorithm {
    match method {
        JwtMethod::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        JwtMethod::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        JwtMethod::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
        JwtMethod::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
        JwtMethod::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
        _ => &signature::RSA_PKCS1_2048_8192_SHA256,
    }
}

/// The public key of a block with its kind: the block is a `PUBLIC KEY`, or a certificate for one.
fn public_key_info(block: &Block) -> Option<SubjectPublicKeyInfoRef<'_>> {
    let info = match block.label.as_str() {
        "PUBLIC KEY" => SubjectPublicKeyInfoRef::from_der(&block.der),
        "CERTIFICATE" => certified(&block.der),
        _ => return None,
    };
    info.ok()
}

/// The public key of a certificate. Nothing else of the certificate is looked at: as in etcd, it is
/// a file of a key, and whoever may write it decides which tokens are good.
fn certified(der: &[u8]) -> der::Result<SubjectPublicKeyInfoRef<'_>> {
    /// What is before the key, after a version: serial number, algorithm, issuer, validity and
    /// subject.
    const BEFORE: usize = 5;
    SliceReader::new(der)?.sequence(|certificate| {
        let info = certificate.sequence(|signed| {
            if signed.peek_tag()?.is_context_specific() {
                AnyRef::decode(signed)?;
            }
            for _ in 0..BEFORE {
                AnyRef::decode(signed)?;
            }
            let info = SubjectPublicKeyInfoRef::decode(signed)?;
            skip(signed)?;
            Ok(info)
        })?;
        skip(certificate)?;
        Ok(info)
    })
}

/// Reads to the end.
fn skip<'r>(reader: &mut impl Reader<'r>) -> der::Result<()> {
    while !reader.is_finished() {
        AnyRef::decode(reader)?;
    }
    Ok(())
}

/// The key in a block, if it is of the kind with this object identifier.
fn subject_key(block: &Block, kind: &str) -> Option<Vec<u8>> {
    let info = public_key_info(block)?;
    let right = info.algorithm.oid.to_string() == kind;
    let key = info.subject_public_key.as_bytes()?;
    right.then(|| key.to_vec())
}

/// The bytes of the modulus of an RSA public key in PKCS #1.
fn modulus_bytes(key: &[u8]) -> Option<usize> {
    let mut reader = SliceReader::new(key).ok()?;
    let read = reader.sequence(|reader| {
        let modulus = UintRef::decode(reader)?;
        let _exponent = UintRef::decode(reader)?;
        Ok(modulus.as_bytes().len())
    });
    read.ok()
}

/// The keys of ECDSA on one curve.
macro_rules! ecdsa {
    ($module:ident, $library:ident) => {
        mod $module {
            use zeroize::Zeroize as _;
            use $library::{
                PublicKey, SecretKey,
                ecdsa::{
                    Signature, SigningKey, VerifyingKey,
                    signature::{Signer as _, Verifier as _},
                },
                pkcs8::DecodePrivateKey as _,
            };

            use super::{Block, Pair, Verify};

            pub(super) fn private(block: &Block) -> Option<Pair> {
                let key = match block.label.as_str() {
                    "EC PRIVATE KEY" => SecretKey::from_sec1_der(&block.der).ok()?,
                    "PRIVATE KEY" => SecretKey::from_pkcs8_der(&block.der).ok()?,
                    _ => return None,
                };
                let verify = verifier(&key.public_key())?;
                let mut bytes = key.to_bytes();
                let key = SigningKey::from_slice(&bytes);
                bytes.as_mut_slice().zeroize();
                let key = key.ok()?;
                Some(Pair {
                    sign: Box::new(move |message| {
                        let signature: Signature = key.try_sign(message).ok()?;
                        Some(signature.to_bytes().to_vec())
                    }),
                    verify,
                })
            }

            pub(super) fn public(block: &Block) -> Option<Verify> {
                verifier(&PublicKey::try_from(super::public_key_info(block)?).ok()?)
            }

            fn verifier(key: &PublicKey) -> Option<Verify> {
                let key = VerifyingKey::from_sec1_bytes(&key.to_sec1_bytes()).ok()?;
                Some(Box::new(move |message, signature| {
                    let signature = Signature::from_slice(signature);
                    signature.is_ok_and(|signature| key.verify(message, &signature).is_ok())
                }))
            }
        }
    };
}

ecdsa!(ecdsa_p256, p256);
ecdsa!(ecdsa_p384, p384);
ecdsa!(ecdsa_p521, p521);
