//! What a write may carry beside itself, from metadata and from the options of tenure's own calls:
//! guards, and an id under which it is executed once.
//!
//! Whatever cannot be understood is refused: a write whose guard was not understood must not be
//! executed without it. A call without any of this pays for one look at each of its headers.

use std::net::IpAddr;

use bytes::Bytes;
use prost::Message;
use rand::Rng;
use sha1::{Digest, Sha1};
use tenure_proto::{
    limits::{GUARDS_MAX, IDEMPOTENCY_KEY_BYTES_MAX, NAME_BYTES_MAX},
    metadata::{
        GUARD_BYTES_METADATA, GUARD_TEXT_METADATA, IDEMPOTENCY_KEY_METADATA, OWN_METADATA_PREFIX,
        REQUEST_METADATA,
    },
    v1,
};
use tenure_statemachine::{
    Acquire, ClaimCommand, Command, Conditional, Guard, LeaseId, Register, RegistryCommand,
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

/// What a write carries beside itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::rpc) struct Conditions {
    guards: Vec<Guard>,
    request: Option<RequestId>,
    /// Tells whoever calls from others, where that is known.
    client: Option<u64>,
}

impl Conditions {
    /// The conditions of a call, and who calls: clients at one address count as one.
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

    /// These conditions and those of a call's options.
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

    /// Refuses conditions that a read cannot have. The id of a request is not one: a read may be
    /// repeated anyhow.
    pub(in crate::rpc) fn refuse_on_read(&self) -> Result<(), Failure> {
        if self.guards.is_empty() {
            Ok(())
        } else {
            Err(Reason::GuardOnRead.into())
        }
    }

    /// Whether a repeat of the write is known, so that its outcome can be asked for again.
    pub(in crate::rpc) const fn is_repeatable(&self) -> bool {
        self.request.is_some()
    }

    /// The id of a lease that the write makes without being told which. Whoever repeats a request
    /// must find that it is the same request, so it follows from the id of that.
    pub(in crate::rpc) fn new_lease(&self) -> LeaseId {
        let mut hash = Sha1::new();
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

    /// The command under these conditions; itself when there are none. A lease that it makes gets
    /// the id that [`Conditions::new_lease`] says.
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

    /// The same id may come both ways.
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

/// Where a call comes from. The library knows only the connections of its own listeners.
fn address_of<T>(call: &Request<T>) -> Option<IpAddr> {
    let connection = call.extensions().get::<ConnectionInfo>()?;
    connection.peer.map(|address| address.ip())
}

/// The number of a client: its address, of an IPv6 address the half that names its network, because
/// the other half is the client's to choose.
fn client_at(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
    }
}

/// Where a command names the lease that it makes, when this node chose the name. A session keeps
/// the one it was given by chance: opened twice under one request's id, with an end in between, it
/// would meet the requests of the first time again.
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

/// A guard as it comes on the wire.
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

/// The guards of a list, none twice.
pub(in crate::rpc) fn guards(list: Vec<v1::Guard>) -> Result<Vec<Guard>, Failure> {
    let mut conditions = Conditions::default();
    for decoded in list {
        conditions.add_guard(guard(decoded)?)?;
    }
    Ok(conditions.guards)
}

fn guard_from_text(text: &[u8]) -> Result<Guard, Failure> {
    let malformed = || Reason::GuardMalformed.with(format!("{} is not NAME=TOKEN", quoted(text)));
    // The name may hold the sign too.
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

/// A decimal number without sign or blanks.
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
