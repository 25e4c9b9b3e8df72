//! Conditions of a write, from metadata and from the options of tenure's own calls: guards, and an
//! id under which the write is executed once.
//!
//! Malformed conditions are refused: a write must not be executed without a guard that was not
//! understood. A call without conditions costs one look at each of its headers.

use std::{fmt, net::IpAddr};

use bytes::Bytes;
use prost::Message;
use rand::Rng;
use sha1::{Digest, Sha1};
use sha2::Sha256;
use tenure_proto::{
    limits::{GUARDS_MAX, IDEMPOTENCY_KEY_BYTES_MAX, NAME_BYTES_MAX},
    metadata::{
        GUARD_BYTES_METADATA, GUARD_TEXT_METADATA, IDEMPOTENCY_KEY_METADATA, OWN_METADATA_PREFIX,
        REQUEST_METADATA,
    },
    v1,
};
use tenure_statemachine::{
    Acquire, ClaimCommand, Command, Conditional, Guard, LeaseId, Owner, Register, RegistryCommand,
    RequestId, Revision,
};
use tonic::{
    Request,
    metadata::{KeyAndValueRef, MetadataMap},
};

use crate::{
    rpc::answer::{failure::Failure, refusal::quoted, status::Reason},
    transport::ConnectionInfo,
};

/// The conditions of a write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::rpc) struct Conditions {
    guards: Vec<Guard>,
    request: Option<RequestId>,
    /// Distinguishes clients, where their addresses are known.
    client: Option<u64>,
    /// Distinguishes users, while there are any.
    user: Option<Scope>,
}

/// What ids that are made for a user are made of: a hash that no other user can compute.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Scope([u8; 32]);

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scope(…)")
    }
}

impl Conditions {
    /// The conditions of a call and its client; clients at one address count as one.
    pub(in crate::rpc) fn of_call<T>(call: &Request<T>) -> Result<Self, Failure> {
        Ok(Self {
            client: address_of(call).map(client_at),
            ..Self::of(call.metadata())?
        })
    }

    /// The conditions in the metadata of a call.
    pub(in crate::rpc) fn of(metadata: &MetadataMap) -> Result<Self, Failure> {
        let mut conditions = Self::default();
        for pair in metadata.iter() {
            match pair {
                KeyAndValueRef::Ascii(key, value)
                    if key.as_str().starts_with(OWN_METADATA_PREFIX) =>
                {
                    conditions.take_text(key.as_str(), value.as_bytes())?;
                }
                KeyAndValueRef::Binary(key, value) if key == GUARD_BYTES_METADATA => {
                    let malformed = |what| Reason::GuardMalformed.with(what);
                    let bytes = value
                        .to_bytes()
                        .map_err(|_| malformed(format!("{GUARD_BYTES_METADATA} is not base64")))?;
                    let decoded = v1::Guard::decode(bytes).map_err(|_| {
                        malformed(format!("{GUARD_BYTES_METADATA} is not a tenure.v1.Guard"))
                    })?;
                    conditions.add_guard(guard(decoded)?)?;
                }
                KeyAndValueRef::Ascii(..) | KeyAndValueRef::Binary(..) => {}
            }
        }
        Ok(conditions)
    }

    /// These conditions and those of a request's options.
    pub(in crate::rpc) fn and(
        mut self,
        options: Option<v1::WriteOptions>,
    ) -> Result<Self, Failure> {
        let Some(options) = options else {
            return Ok(self);
        };
        for decoded in options.guards {
            self.add_guard(guard(decoded)?)?;
        }
        if let Some(request) = options.request {
            let (session, sequence) = (LeaseId(request.session), request.sequence);
            self.set_request(session_request(session, sequence, request.answered)?)?;
        }
        if !options.idempotency_key.is_empty() {
            self.set_request(idempotency_key(options.idempotency_key.as_bytes())?)?;
        }
        Ok(self)
    }

    /// Refuses conditions that a read cannot have. A request id is permitted: a read may be
    /// repeated without one.
    pub(in crate::rpc) fn refuse_on_read(&self) -> Result<(), Failure> {
        if self.guards.is_empty() {
            Ok(())
        } else {
            Err(Reason::GuardOnRead.into())
        }
    }

    /// Whether the state machine recognizes a repeat of the write and returns its remembered
    /// outcome.
    pub(in crate::rpc) const fn is_repeatable(&self) -> bool {
        self.request.is_some()
    }

    /// These conditions of a user; `secret` is that of the cluster. Once the secret is another, a
    /// repeat makes another id of a lease, and gets the lease of the first only where that is in
    /// the reply.
    pub(in crate::rpc) fn of_user(self, user: &Owner, secret: &[u8]) -> Self {
        let hash = Sha256::new()
            .chain_update((secret.len() as u64).to_be_bytes())
            .chain_update(secret)
            .chain_update(user.added.0.to_be_bytes())
            .chain_update(&user.name);
        let scope: [u8; 32] = hash.finalize().into();
        // Each user at an address has a share of the keys, which no other can use up.
        let client = self.client.map(|client| {
            let hash = Sha256::new().chain_update(scope);
            let digest = hash.chain_update(client.to_be_bytes()).finalize();
            u64::from_be_bytes(digest.first_chunk().copied().unwrap_or_default())
        });
        Self {
            user: Some(Scope(scope)),
            client,
            ..self
        }
    }

    /// The id of a lease that the write grants without naming it. It is derived from the request
    /// id, so that a repeat is the same request; and from the user, so that no other user can grant
    /// it first.
    pub(in crate::rpc) fn new_lease(&self) -> LeaseId {
        let mut hash = Sha1::new();
        if let Some(Scope(scope)) = &self.user {
            hash.update(scope);
        }
        match &self.request {
            None => return LeaseId(rand::rng().random_range(1..=i64::MAX)),
            Some(RequestId::Key(key) | RequestId::ClientKey { key, .. }) => {
                hash.update(b"key");
                hash.update(key);
            }
            Some(RequestId::Session {
                session,
                sequence,
                answered: _,
            }) => {
                hash.update(b"session");
                hash.update(session.0.to_be_bytes());
                hash.update(sequence.to_be_bytes());
            }
        }
        let digest = hash.finalize();
        let first = digest.first_chunk().copied().unwrap_or_default();
        LeaseId((i64::from_be_bytes(first) & i64::MAX).max(1))
    }

    /// The command under these conditions; unchanged when there are none. A lease that it grants
    /// gets the id of [`Conditions::new_lease`].
    pub(in crate::rpc) fn on(self, mut command: Command) -> Command {
        if self.is_repeatable()
            && let Some(lease) = made_lease(&mut command)
        {
            *lease = self.new_lease();
        }
        let Self {
            guards,
            request,
            client,
            user: _,
        } = self;
        let request = match (request, client) {
            (Some(RequestId::Key(key)), Some(client)) => Some(RequestId::ClientKey { client, key }),
            (request, _) => request,
        };
        if guards.is_empty() && request.is_none() {
            return command;
        }
        Command::Conditional(Box::new(Conditional {
            guards,
            request,
            command,
        }))
    }

    fn take_text(&mut self, key: &str, value: &[u8]) -> Result<(), Failure> {
        match key {
            GUARD_TEXT_METADATA => self.add_guard(guard_from_text(value)?),
            REQUEST_METADATA => self.set_request(request_from_text(value)?),
            IDEMPOTENCY_KEY_METADATA => self.set_request(idempotency_key(value)?),
            _ => Ok(()),
        }
    }

    fn add_guard(&mut self, guard: Guard) -> Result<(), Failure> {
        if self.guards.contains(&guard) {
            return Ok(());
        }
        if self.guards.len() == GUARDS_MAX {
            return Err(Reason::TooManyGuards.with(format!("at most {GUARDS_MAX}")));
        }
        self.guards.push(guard);
        Ok(())
    }

    /// The same id may be given in metadata and in the options.
    fn set_request(&mut self, request: RequestId) -> Result<(), Failure> {
        match &self.request {
            Some(before) if *before != request => Err(Reason::RequestNamedTwice.into()),
            Some(_) | None => {
                self.request = Some(request);
                Ok(())
            }
        }
    }
}

/// The client's address. The library knows only the connections of its own listeners.
fn address_of<T>(call: &Request<T>) -> Option<IpAddr> {
    let connection = call.extensions().get::<ConnectionInfo>()?;
    connection.peer.map(|address| address.ip())
}

/// A client's number: its address, or the network half of an IPv6 address, because the client
/// chooses the other half.
fn client_at(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
    }
}

/// The lease id of a command that grants a lease, where this node chose the id. A session keeps its
/// random id: if it were opened again under one request id, after it had ended, it would find the
/// remembered requests of the first session.
fn made_lease(command: &mut Command) -> Option<&mut LeaseId> {
    match command {
        Command::Claim(ClaimCommand::Acquire(Acquire {
            lease,
            grant: Some(_),
            ..
        }))
        | Command::Registry(RegistryCommand::Register(Register {
            lease,
            grant: Some(_),
            ..
        })) => Some(lease),
        _ => None,
    }
}

/// A guard from its message.
pub(in crate::rpc) fn guard(guard: v1::Guard) -> Result<Guard, Failure> {
    let malformed = |what: String| Reason::GuardMalformed.with(what);
    let v1::Guard { name, token } = guard;
    if name.is_empty() {
        return Err(malformed("name is not provided".to_owned()));
    }
    if name.len() > NAME_BYTES_MAX {
        let (bytes, max) = (name.len(), NAME_BYTES_MAX);
        return Err(malformed(format!(
            "name is too long: {bytes} bytes, at most {max}"
        )));
    }
    if token <= 0 {
        let name = quoted(&name);
        return Err(malformed(format!(
            "token of {name} is {token}, tokens are positive"
        )));
    }
    Ok(Guard {
        name,
        token: Revision(token),
    })
}

/// The guards of a list, without duplicates.
pub(in crate::rpc) fn guards(list: Vec<v1::Guard>) -> Result<Vec<Guard>, Failure> {
    let mut conditions = Conditions::default();
    for decoded in list {
        conditions.add_guard(guard(decoded)?)?;
    }
    Ok(conditions.guards)
}

fn guard_from_text(text: &[u8]) -> Result<Guard, Failure> {
    let malformed = || Reason::GuardMalformed.with(format!("{} is not NAME=TOKEN", quoted(text)));
    // The name may contain the sign too.
    let at = text.iter().rposition(|byte| *byte == b'=');
    let (name, token) = at
        .and_then(|at| text.split_at_checked(at))
        .ok_or_else(malformed)?;
    let token = token.strip_prefix(b"=").and_then(number);
    let token = token
        .and_then(|token| i64::try_from(token).ok())
        .ok_or_else(malformed)?;
    let name = Bytes::copy_from_slice(name);
    guard(v1::Guard { name, token })
}

fn request_from_text(text: &[u8]) -> Result<RequestId, Failure> {
    let malformed = || {
        let detail = format!("{} is not SESSION.SEQUENCE.ANSWERED", quoted(text));
        Reason::RequestMalformed.with(detail)
    };
    let mut parts = text.split(|byte| *byte == b'.');
    let mut next = || parts.next().ok_or_else(malformed);
    let session = hexadecimal(next()?).ok_or_else(malformed)?;
    let sequence = number(next()?).ok_or_else(malformed)?;
    let answered = number(next()?).ok_or_else(malformed)?;
    if next().is_ok() {
        return Err(malformed());
    }
    session_request(LeaseId(session.cast_signed()), sequence, answered)
}

fn session_request(session: LeaseId, sequence: u64, answered: u64) -> Result<RequestId, Failure> {
    let malformed = |what: String| Err(Reason::RequestMalformed.with(what));
    if !session.is_some() {
        return malformed("session is not provided".to_owned());
    }
    if sequence == 0 {
        return malformed("sequence is 0, the first is 1".to_owned());
    }
    if answered >= sequence {
        return malformed(format!(
            "{answered} is said to be answered, before request {sequence} is"
        ));
    }
    Ok(RequestId::Session {
        session,
        sequence,
        answered,
    })
}

fn idempotency_key(key: &[u8]) -> Result<RequestId, Failure> {
    let malformed = |what: String| Err(Reason::RequestMalformed.with(what));
    if key.is_empty() {
        return malformed("idempotency key is empty".to_owned());
    }
    if key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
        let (bytes, max) = (key.len(), IDEMPOTENCY_KEY_BYTES_MAX);
        return malformed(format!(
            "idempotency key is too long: {bytes} bytes, at most {max}"
        ));
    }
    Ok(RequestId::Key(Bytes::copy_from_slice(key)))
}

/// A decimal number without sign or whitespace.
pub(in crate::rpc) fn number(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text)
        .ok()
        .filter(|_| digits)?
        .parse()
        .ok()
}

fn hexadecimal(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(text).ok().filter(|_| digits)?;
    u64::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests;
