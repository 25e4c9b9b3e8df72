//! Conditions of a write: guards, which must hold for it to take effect, and an idempotency key, by
//! which the server recognizes a repeat.
//!
//! They travel as metadata, so that the calls of etcd's services can carry them too. Servers that
//! are not tenure ignore metadata they do not know, so a client checks that the server is tenure
//! before it sends any (see `run.rs`): a guard is enforced, or the write is not sent.

use std::fmt;

use bytes::Bytes;
use prost::Message;
use tenure_proto::{
    limits::IDEMPOTENCY_KEY_BYTES_MAX,
    metadata::{GUARD_BYTES_METADATA, IDEMPOTENCY_KEY_METADATA, REQUEST_METADATA},
    v1,
};
use tonic::metadata::{MetadataMap, MetadataValue};

use crate::{
    error::{Error, ErrorKind},
    id::{LeaseId, Token},
    range::IntoBytes,
};

/// A precondition of a write: `name`, a lock or an election, is held under `token`, or `name` is a
/// key whose create revision is `token`. Otherwise the server refuses the write.
///
/// ```no_run
/// # async fn example(client: tenure::Client) -> Result<(), tenure::Error> {
/// use tenure::{ErrorKind, Guard, Token};
///
/// let token = Token::new(17);
/// // For one write ...
/// let written = client.put("state/jobs/42", "done").guard("jobs/42", token).await;
/// if let Err(error) = written
///     && error.kind() == ErrorKind::StaleGuard
/// {
///     // Another client holds the lock, under `error.current_token()`.
/// }
/// // ... or for every write of a handle.
/// let holder = client.guarded([Guard::new("jobs/42", token)]);
/// holder.put("state/jobs/42", "done").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Guard {
    /// The lock, election or key.
    pub name: Bytes,
    /// The token under which it must be held, or with which the key must have been created.
    pub token: Token,
}

impl Guard {
    /// The guard that holds while `name` is held under `token`.
    pub fn new(name: impl IntoBytes, token: impl Into<Token>) -> Self {
        Self {
            name: name.into_bytes(),
            token: token.into(),
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Guard({:?} = {})", self.name, self.token)
    }
}

/// Request id: identifies one write of a session, see [`Session`](crate::Session).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestId {
    /// The lease of the session.
    pub(crate) session: LeaseId,
    /// Counts the writes of the session, from 1.
    pub(crate) sequence: u64,
    /// Watermark: writes up to this number are acknowledged and never sent again.
    pub(crate) answered: u64,
}

/// Guards and idempotency key of one write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Conditions {
    pub(crate) guards: Vec<Guard>,
    pub(crate) idempotency_key: Option<String>,
}

impl Conditions {
    pub(crate) fn is_empty(&self) -> bool {
        self.guards.is_empty() && self.idempotency_key.is_none()
    }

    /// Adds a guard; the same one twice is the same as once.
    pub(crate) fn add_guard(&mut self, guard: Guard) {
        if !self.guards.contains(&guard) {
            self.guards.push(guard);
        }
    }

    /// Checks that the conditions can be sent.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for an idempotency key that metadata cannot carry. Guards are
    /// validated by the server, whose error names the fault.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let Some(key) = &self.idempotency_key else {
            return Ok(());
        };
        let printable = key.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        // HTTP trims spaces at the ends of a header.
        if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX || !printable || trimmed(key) {
            let text = format!(
                "idempotency key {key:?} is not usable: expected 1 to {IDEMPOTENCY_KEY_BYTES_MAX} \
                 printable ASCII characters without blanks at the ends"
            );
            return Err(Error::local(ErrorKind::InvalidArgument, text));
        }
        Ok(())
    }

    /// Adds the conditions to the metadata of a request. Call [`check`](Self::check) before.
    pub(crate) fn attach(&self, metadata: &mut MetadataMap) {
        for guard in &self.guards {
            let message = v1::Guard {
                name: guard.name.clone(),
                token: guard.token.get(),
            };
            let value = MetadataValue::from_bytes(&message.encode_to_vec());
            metadata.append_bin(GUARD_BYTES_METADATA, value);
        }
        if let Some(key) = &self.idempotency_key {
            let value = MetadataValue::try_from(key.as_str());
            metadata.insert(
                IDEMPOTENCY_KEY_METADATA,
                value.expect("`check` admits no other keys"),
            );
        }
    }
}

impl RequestId {
    /// Adds the id to the metadata of a request.
    pub(crate) fn attach(self, metadata: &mut MetadataMap) {
        let Self {
            session,
            sequence,
            answered,
        } = self;
        let text = format!("{:x}.{sequence}.{answered}", session.get());
        let value = MetadataValue::try_from(text).expect("digits and dots are ASCII");
        metadata.insert(REQUEST_METADATA, value);
    }
}

fn trimmed(key: &str) -> bool {
    key.trim().len() != key.len()
}

/// Implements the methods that set the conditions of a write request.
macro_rules! impl_conditions {
    ($request:ty) => {
        impl $request {
            /// Refuses the write unless `name`, a lock or an election, is held under `token`, or is
            /// a key whose create revision is `token`. May be repeated; every guard must hold.
            pub fn guard(
                mut self,
                name: impl $crate::IntoBytes,
                token: impl Into<$crate::Token>,
            ) -> Self {
                self.conditions.add_guard($crate::Guard::new(name, token));
                self
            }

            /// Sets an idempotency key of 1 to 256 printable ASCII characters. A write with the
            /// same key within ten minutes, also from another process, is not executed again and
            /// returns the first answer. The client itself repeats the write when its answer is
            /// lost, for five minutes at most.
            pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
                self.conditions.idempotency_key = Some(key.into());
                self
            }
        }
    };
}
pub(crate) use impl_conditions;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_guard_and_the_key_are_in_the_metadata() {
        let mut conditions = Conditions {
            idempotency_key: Some("order 17".to_owned()),
            ..Conditions::default()
        };
        let names: [&[u8]; 2] = [b"jobs/42", b"any\0byte=\xff"];
        for (name, token) in names.into_iter().zip([7, 9].map(Token::new)) {
            conditions.add_guard(Guard::new(name, token));
            conditions.add_guard(Guard::new(name, token));
        }
        conditions.check().unwrap();
        let mut metadata = MetadataMap::new();
        conditions.attach(&mut metadata);
        let sent: Vec<_> = metadata
            .get_all_bin(GUARD_BYTES_METADATA)
            .iter()
            .map(|value| v1::Guard::decode(value.to_bytes().unwrap()).unwrap())
            .map(|guard| Guard::new(guard.name, Token::new(guard.token)))
            .collect();
        assert_eq!(sent, conditions.guards);
        assert_eq!(sent.len(), 2, "a guard is sent once");
        assert_eq!(metadata.get(IDEMPOTENCY_KEY_METADATA).unwrap(), "order 17");
    }

    #[test]
    fn a_request_id_is_session_sequence_and_watermark() {
        let mut metadata = MetadataMap::new();
        RequestId {
            session: LeaseId::new(0x1f),
            sequence: 12,
            answered: 9,
        }
        .attach(&mut metadata);
        assert_eq!(metadata.get(REQUEST_METADATA).unwrap(), "1f.12.9");
    }

    #[test]
    fn keys_that_metadata_cannot_carry_are_refused_by_name() {
        let long = "k".repeat(IDEMPOTENCY_KEY_BYTES_MAX + 1);
        for bad in ["", " a", "a ", "ä", "a\nb", &long] {
            let conditions = Conditions {
                idempotency_key: Some(bad.to_owned()),
                ..Conditions::default()
            };
            let error = conditions.check().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{bad:?}");
            assert!(error.message().contains(&format!("{bad:?}")), "{error}");
        }
    }
}
