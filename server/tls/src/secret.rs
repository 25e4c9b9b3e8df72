//! The secret that the members of a cluster share, and the exchange by which two of them prove to
//! each other that they know it.
//!
//! The exchange opens a connection. Each side sends a random number and proves with an HMAC over
//! both numbers that it knows the secret, in words of its own role. The secret is never sent, and
//! neither a recorded exchange nor one's own words sent back prove anything. It keeps strangers
//! out; those who can change what members send to each other are kept out by TLS.
//!
//! ```text
//! dials     magic (8)  number (32)
//! answers   1          number (32)        or 0 when it has no secret
//! dials     proof (32)
//! answers   1          proof (32)         or 0 when it knows no such secret
//! ```
//!
//! Invariant: the side that has a secret sends nothing else before the other proved that it knows
//! it, unless the secret is optional.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use ring::{
    hmac,
    rand::{SecureRandom as _, SystemRandom},
};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::{
    file::{self, FileError},
    parts::{Change, Part, Source},
};

/// The bytes of a secret at least: shorter ones can be found from a recorded exchange by trying.
pub const SECRET_LENGTH_MIN: usize = 32;
/// Secrets in a file at most: one that is used, one before and one after it, and some to spare.
const SECRETS_MAX: usize = 8;

/// The byte that begins the exchange, with which neither TLS nor HTTP begins.
pub(crate) const FIRST_BYTE: u8 = 0;
/// The opening of the exchange; the last byte is its version.
const MAGIC: [u8; 8] = *b"\0tenure\x01";
const NUMBER_BYTES: usize = 32;
const PROOF_BYTES: usize = 32;

/// Distinguish the proofs of the two roles, so that neither can be sent back as the other.
const DIALS: &[u8] = b"tenure: the member that dials\0";
const ANSWERS: &[u8] = b"tenure: the member that answers\0";

const YES: u8 = 1;
const NO: u8 = 0;

/// Why an exchange failed.
#[derive(Debug, Error)]
pub enum SecretError {
    /// The caller did not begin the exchange.
    #[error("the caller does not prove that it knows the cluster secret")]
    Missing,
    /// The caller speaks another version of it.
    #[error("the caller begins an unknown exchange")]
    Version,
    /// The caller knows another secret.
    #[error("the caller knows another cluster secret")]
    Wrong,
    /// The member that was called has no secret.
    #[error("the member has no cluster secret; give all members the same --cluster-secret-file")]
    NotConfigured,
    /// The member that was called knows another secret.
    #[error("the member knows another cluster secret")]
    Refused,
    /// What was called does not know the secret, though it says so.
    #[error("the other end pretends to know the cluster secret")]
    Impostor,
    /// The connection broke.
    #[error("the connection broke while the cluster secret was proved")]
    Io(#[from] io::Error),
}

/// The secrets that are in force.
pub(crate) struct Secrets {
    /// The first one is used when dialling; each of them is accepted.
    keys: Vec<hmac::Key>,
}

impl Secrets {
    /// Parses the content of a file: one secret on each line. Empty lines and those that begin
    /// with `#` are left out.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|_| "it is not text".to_owned())?;
        let lines = text.lines().map(str::trim);
        let lines: Vec<_> = lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .collect();
        if lines.is_empty() {
            return Err("it holds no secret; write one, as from `openssl rand -hex 32`".to_owned());
        }
        if lines.len() > SECRETS_MAX {
            return Err(format!(
                "it holds more than {SECRETS_MAX} secrets, one a line"
            ));
        }
        if let Some(short) = lines.iter().position(|line| line.len() < SECRET_LENGTH_MIN) {
            return Err(format!(
                "secret {} is shorter than {SECRET_LENGTH_MIN} characters; `openssl rand -hex 32` \
                 makes one",
                short + 1
            ));
        }
        let key = |line: &str| hmac::Key::new(hmac::HMAC_SHA256, line.as_bytes());
        Ok(Self {
            keys: lines.into_iter().map(key).collect(),
        })
    }

    /// Proves that this member knows the secret, and that the one it called does. Returns whether
    /// it did: a member without a secret is accepted if the secret `is_optional`.
    ///
    /// # Errors
    /// See [`SecretError`]; the connection must be closed.
    pub(crate) async fn dial<S>(
        &self,
        stream: &mut S,
        is_optional: bool,
    ) -> Result<bool, SecretError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let own = number()?;
        let mut opening = MAGIC.to_vec();
        opening.extend(own);
        stream.write_all(&opening).await?;
        stream.flush().await?;
        if stream.read_u8().await? != YES {
            return if is_optional {
                Ok(false)
            } else {
                Err(SecretError::NotConfigured)
            };
        }
        let mut other = [0; NUMBER_BYTES];
        stream.read_exact(&mut other).await?;
        let key = self.keys.first().ok_or(SecretError::NotConfigured)?;
        stream
            .write_all(proof(key, DIALS, &own, &other).as_ref())
            .await?;
        stream.flush().await?;
        if stream.read_u8().await? != YES {
            return Err(SecretError::Refused);
        }
        let mut proved = [0; PROOF_BYTES];
        stream.read_exact(&mut proved).await?;
        if is_proof(key, ANSWERS, &own, &other, &proved) {
            Ok(true)
        } else {
            Err(SecretError::Impostor)
        }
    }

    /// Answers a caller that begins the exchange.
    ///
    /// # Errors
    /// See [`SecretError`]; the connection must be closed.
    pub(crate) async fn answer<S>(&self, stream: &mut S) -> Result<(), SecretError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let other = opening(stream).await?;
        let own = number()?;
        let mut challenge = vec![YES];
        challenge.extend(own);
        stream.write_all(&challenge).await?;
        stream.flush().await?;
        let mut proved = [0; PROOF_BYTES];
        stream.read_exact(&mut proved).await?;
        let mut keys = self.keys.iter();
        let Some(key) = keys.find(|key| is_proof(key, DIALS, &other, &own, &proved)) else {
            stream.write_all(&[NO]).await?;
            stream.flush().await?;
            return Err(SecretError::Wrong);
        };
        let mut verdict = vec![YES];
        verdict.extend(proof(key, ANSWERS, &other, &own).as_ref());
        stream.write_all(&verdict).await?;
        stream.flush().await?;
        Ok(())
    }
}

/// Answers a caller that begins the exchange, on a member without a secret.
pub(crate) async fn decline<S>(stream: &mut S) -> Result<(), SecretError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    opening(stream).await?;
    stream.write_all(&[NO]).await?;
    stream.flush().await?;
    Ok(())
}

/// Reads the opening of a caller; its number.
async fn opening<S: AsyncRead + Unpin>(stream: &mut S) -> Result<[u8; NUMBER_BYTES], SecretError> {
    let mut magic = [0; MAGIC.len()];
    stream.read_exact(&mut magic).await?;
    if magic != MAGIC {
        return Err(SecretError::Version);
    }
    let mut number = [0; NUMBER_BYTES];
    stream.read_exact(&mut number).await?;
    Ok(number)
}

fn number() -> Result<[u8; NUMBER_BYTES], SecretError> {
    let mut number = [0; NUMBER_BYTES];
    let filled = SystemRandom::new().fill(&mut number);
    filled.map_err(|_| io::Error::other("the system gives no random numbers"))?;
    Ok(number)
}

/// The words that a role proves its knowledge over: `dialled` is the number of the caller.
fn words(role: &[u8], dialled: &[u8; NUMBER_BYTES], answered: &[u8; NUMBER_BYTES]) -> Vec<u8> {
    [role, dialled, answered].concat()
}

fn proof(
    key: &hmac::Key,
    role: &[u8],
    dialled: &[u8; NUMBER_BYTES],
    answered: &[u8; NUMBER_BYTES],
) -> hmac::Tag {
    hmac::sign(key, &words(role, dialled, answered))
}

/// Compares in constant time.
fn is_proof(
    key: &hmac::Key,
    role: &[u8],
    dialled: &[u8; NUMBER_BYTES],
    answered: &[u8; NUMBER_BYTES],
    proved: &[u8; PROOF_BYTES],
) -> bool {
    hmac::verify(key, &words(role, dialled, answered), proved).is_ok()
}

/// Secrets that are read from a file, and again when it changes.
pub struct SharedSecrets {
    is_optional: bool,
    source: Mutex<Source<Arc<Secrets>>>,
    current: ArcSwap<Secrets>,
}

impl std::fmt::Debug for SharedSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Nothing of the secret.
        f.debug_struct("SharedSecrets")
            .field("is_optional", &self.is_optional)
            .finish_non_exhaustive()
    }
}

impl SharedSecrets {
    /// Reads the file. With `is_optional`, members without a secret are accepted, too: while the
    /// members of a running cluster are given one. Blocks.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn open(path: PathBuf, is_optional: bool) -> Result<Self, FileError> {
        let read_from = path.clone();
        let source = Source::open(vec![path], move || {
            let text = file::read(&read_from)?;
            let secrets = Secrets::parse(&text).map_err(|cause| FileError::Malformed {
                path: read_from.clone(),
                cause,
            })?;
            Ok(Arc::new(secrets))
        })?;
        let current = ArcSwap::new(Arc::clone(source.value()));
        Ok(Self {
            is_optional,
            source: Mutex::new(source),
            current,
        })
    }

    /// Reads the file again if it changed. Blocks.
    pub fn refresh(&self) -> Option<Change> {
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        let part = Part::Secret;
        match source.refresh()? {
            Ok(()) => {
                self.current.store(Arc::clone(source.value()));
                Some(Change::Loaded {
                    part,
                    files: source.files().to_vec(),
                    serial: None,
                    expires: None,
                })
            }
            Err(error) => Some(Change::Failed { part, error }),
        }
    }

    /// Whether members without a secret are accepted.
    #[must_use]
    pub const fn is_optional(&self) -> bool {
        self.is_optional
    }

    pub(crate) fn current(&self) -> Arc<Secrets> {
        self.current.load_full()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    const ONE: &str = "0123456789abcdef0123456789abcdef";
    const TWO: &str = "fedcba9876543210fedcba9876543210";

    fn secrets(lines: &[&str]) -> Secrets {
        Secrets::parse(lines.join("\n").as_bytes()).expect("long enough")
    }

    async fn meet(
        dials: &[&str],
        answers: &[&str],
    ) -> (Result<bool, SecretError>, Result<(), SecretError>) {
        let (mut near, mut far) = duplex(256);
        let (dials, answers) = (secrets(dials), secrets(answers));
        let answering = async {
            let answered = answers.answer(&mut far).await;
            drop(far);
            answered
        };
        tokio::join!(dials.dial(&mut near, false), answering)
    }

    #[tokio::test]
    async fn members_that_know_the_same_secret_meet() {
        let (dialled, answered) = meet(&[ONE], &[ONE]).await;
        assert!(dialled.unwrap());
        answered.unwrap();
    }

    #[tokio::test]
    async fn a_member_with_another_secret_is_refused_on_both_sides() {
        let (dialled, answered) = meet(&[ONE], &[TWO]).await;
        assert!(matches!(dialled, Err(SecretError::Refused)), "{dialled:?}");
        assert!(matches!(answered, Err(SecretError::Wrong)), "{answered:?}");
    }

    #[tokio::test]
    async fn a_secret_is_replaced_in_three_steps_without_a_break() {
        for (dials, answers) in [
            (&[ONE][..], &[ONE, TWO][..]),
            (&[ONE, TWO], &[TWO, ONE]),
            (&[TWO, ONE], &[ONE, TWO]),
            (&[TWO, ONE], &[TWO]),
        ] {
            let (dialled, answered) = meet(dials, answers).await;
            assert!(dialled.unwrap());
            answered.unwrap();
        }
    }

    #[tokio::test]
    async fn a_recorded_exchange_proves_nothing() {
        // A stranger records what a member sends to another, and sends it again.
        let (mut near, mut far) = duplex(256);
        let known = secrets(&[ONE]);
        let recording = async {
            let mut sent = vec![0; MAGIC.len() + NUMBER_BYTES];
            far.read_exact(&mut sent).await.unwrap();
            far.write_all(&[&[YES][..], &[7; NUMBER_BYTES]].concat())
                .await
                .unwrap();
            let mut proved = vec![0; PROOF_BYTES];
            far.read_exact(&mut proved).await.unwrap();
            drop(far);
            (sent, proved)
        };
        let (dialled, (sent, proved)) = tokio::join!(known.dial(&mut near, false), recording);
        assert!(dialled.is_err());
        let (mut near, mut far) = duplex(256);
        let replaying = async {
            near.write_all(&sent).await.unwrap();
            let mut challenge = [0; 1 + NUMBER_BYTES];
            near.read_exact(&mut challenge).await.unwrap();
            near.write_all(&proved).await.unwrap();
            near.read_u8().await.unwrap()
        };
        let (answered, verdict) = tokio::join!(known.answer(&mut far), replaying);
        assert!(matches!(answered, Err(SecretError::Wrong)), "{answered:?}");
        assert_eq!(verdict, NO);
    }

    #[tokio::test]
    async fn an_answer_of_ones_own_words_proves_nothing() {
        // The other end sends back the caller's number and proof.
        let (mut near, mut far) = duplex(256);
        let reflecting = async {
            let mut opening = vec![0; MAGIC.len() + NUMBER_BYTES];
            far.read_exact(&mut opening).await.unwrap();
            let number = &opening[MAGIC.len()..];
            far.write_all(&[&[YES][..], number].concat()).await.unwrap();
            let mut proved = vec![0; PROOF_BYTES];
            far.read_exact(&mut proved).await.unwrap();
            far.write_all(&[&[YES][..], &proved].concat())
                .await
                .unwrap();
        };
        let known = secrets(&[ONE]);
        let (dialled, ()) = tokio::join!(known.dial(&mut near, false), reflecting);
        assert!(matches!(dialled, Err(SecretError::Impostor)), "{dialled:?}");
    }

    #[tokio::test]
    async fn a_member_without_a_secret_is_accepted_only_while_it_is_optional() {
        for is_optional in [true, false] {
            let (mut near, mut far) = duplex(256);
            let known = secrets(&[ONE]);
            let (dialled, declined) =
                tokio::join!(known.dial(&mut near, is_optional), decline(&mut far));
            declined.unwrap();
            match dialled {
                Ok(proved) => assert!(is_optional && !proved),
                Err(error) => assert!(matches!(error, SecretError::NotConfigured)),
            }
        }
    }

    #[test]
    fn what_is_no_secret_is_refused_with_the_reason() {
        for (text, reason) in [
            (&b"\n# nothing\n"[..], "no secret"),
            (b"short", "shorter than 32"),
            (b"\xff", "not text"),
        ] {
            let error = Secrets::parse(text).err().expect("refused");
            assert!(error.contains(reason), "{error}");
        }
        let many = [ONE; SECRETS_MAX + 1].join("\n");
        assert!(Secrets::parse(many.as_bytes()).is_err());
    }
}
