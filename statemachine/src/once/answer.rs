//! The stored form of a request: a fingerprint of the request, and its outcome.

use std::borrow::Cow;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::kind;
use crate::{
    access::Owner,
    command::{
        Acquire, ClaimCommand, Command, Guard, Register, RegistryCommand, RequestId, SessionOpen,
        encode_request,
    },
    encoding::Encoder,
    error::{Fault, ReadError, Refusal, damaged},
    outcome::{self, Facts, Outcome},
    value::LeaseId,
};

/// Longest outcome that is remembered, in bytes. Most take less than a hundred; a transaction that
/// reads more than this can be read again.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// An outcome of at most this many bytes is always remembered completely. The short form of any
/// outcome is no longer: tags, a revision and a few numbers.
const SHORT_BYTES_MAX: usize = 64;

/// Bytes of a fingerprint: half of a SHA-256 hash. Finding two requests with equal fingerprints
/// takes about 2^64 attempts.
const FINGERPRINT_LEN: usize = 16;

/// Distinguishes requests with the same id. Clients choose the contents of requests, so the hash
/// must be one for which they cannot find collisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fingerprint([u8; FINGERPRINT_LEN]);

/// A request with an id.
#[derive(Clone, Debug)]
pub(crate) struct Asked<'a> {
    id: &'a RequestId,
    command: &'a Command,
    user: Option<&'a Owner>,
    fingerprint: Fingerprint,
}

impl<'a> Asked<'a> {
    /// `user` is the one that makes the request, if it is bound by permissions: a repeat of another
    /// user is another request.
    pub(crate) fn new(
        id: &'a RequestId,
        guards: &[Guard],
        command: &'a Command,
        user: Option<&'a Owner>,
    ) -> Self {
        let encoded = encode_request(guards, &without_made_lease(command));
        let mut hash = Sha256::new().chain_update(&encoded);
        if let Some(user) = user {
            hash.update(&user.name);
        }
        let hash: [u8; 32] = hash.finalize().into();
        let half = hash.first_chunk().copied().unwrap_or_default();
        Self {
            id,
            command,
            user,
            fingerprint: Fingerprint(half),
        }
    }

    pub(super) const fn id(&self) -> &RequestId {
        self.id
    }

    pub(super) const fn user(&self) -> Option<&Owner> {
        self.user
    }
}

/// Returns the command without the id of the lease that it grants. A node picks one for a request
/// that names none; the reply contains it. `LeaseGrant` keeps the id: clients may choose it there,
/// and the id that a node picks for a request with an id is derived from that id.
fn without_made_lease(command: &Command) -> Cow<'_, Command> {
    let lease = LeaseId::NONE;
    if let Command::SessionOpen(open @ SessionOpen { grant: Some(_), .. }) = command {
        return Cow::Owned(Command::SessionOpen(SessionOpen { lease, ..*open }));
    }
    if let Command::Claim(ClaimCommand::Acquire(acquire @ Acquire { grant: Some(_), .. })) = command
    {
        let acquire = acquire.clone();
        let acquire = ClaimCommand::Acquire(Acquire { lease, ..acquire });
        return Cow::Owned(Command::Claim(acquire));
    }
    if let Command::Registry(RegistryCommand::Register(
        register @ Register { grant: Some(_), .. },
    )) = command
    {
        let register = register.clone();
        let register = RegistryCommand::Register(Register { lease, ..register });
        return Cow::Owned(Command::Registry(register));
    }
    Cow::Borrowed(command)
}

/// Encodes the row that remembers `outcome`, within `room` bytes: completely, or in a short form
/// that always fits. `None` if it is not remembered, because nothing was executed and a repeat may
/// be.
pub(super) fn encode(asked: &Asked<'_>, outcome: &Outcome, room: u64) -> Option<Bytes> {
    let passing = matches!(
        outcome.reply,
        Err(Refusal::NoSpace | Refusal::Corrupt | Refusal::EntryFull | Refusal::PermissionDenied)
    );
    if passing {
        return None;
    }
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    let room = room.saturating_sub(FINGERPRINT_LEN);
    let bytes_max = room.clamp(SHORT_BYTES_MAX, ANSWER_BYTES_MAX);
    let answer = outcome::encode_outcome(outcome, bytes_max)
        .or_else(|| outcome::encode_outcome(&short(outcome), usize::MAX))?;
    let mut row = Encoder::with_capacity(answer.len().saturating_add(FINGERPRINT_LEN));
    row.raw(&asked.fingerprint.0);
    row.raw(&answer);
    Some(row.finish())
}

/// The short form: of a success, that it was one; of a refusal, all but the names.
fn short(outcome: &Outcome) -> Outcome {
    let revision = outcome.revision;
    Outcome {
        reply: Err(match &outcome.reply {
            Ok(_) => Refusal::AnswerTooLarge { revision },
            Err(refusal) => refusal.without_names(),
        }),
        revision,
        events: Vec::new(),
        signals: Vec::new(),
        facts: Facts::default(),
    }
}

/// Decodes the outcome in a row, if the row belongs to the same request.
pub(super) fn decode(row: Bytes, asked: &Asked<'_>) -> Result<Outcome, ReadError> {
    let (first, outcome) = read(row)?;
    let answers = match &outcome.reply {
        Ok(reply) => kind::answers(reply, asked.command),
        Err(_) => true,
    };
    if first == asked.fingerprint && answers {
        Ok(outcome)
    } else {
        Err(Refusal::RequestDiffers.into())
    }
}

/// Checks that a row decodes.
pub(super) fn check(row: Bytes) -> Result<(), Fault> {
    read(row).map(drop)
}

fn read(row: Bytes) -> Result<(Fingerprint, Outcome), Fault> {
    let (first, answer) = row
        .split_first_chunk()
        .ok_or_else(|| damaged("outcome is cut short"))?;
    let outcome = outcome::decode_outcome(row.slice_ref(answer))
        .map_err(|fault| Fault::Damaged(format!("remembered outcome: {fault}")))?;
    Ok((Fingerprint(*first), outcome))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        command::{LeaseGrant, Put},
        digest::{FNV_OFFSET, fnv1a},
        value::Ttl,
    };

    fn fingerprint(command: &Command) -> Fingerprint {
        let id = RequestId::Key(Bytes::new());
        Asked::new(&id, &[], command, None).fingerprint
    }

    /// Two values for one key were found within minutes whose requests collide under a 64-bit hash
    /// that is not made against an adversary.
    #[test]
    fn requests_that_a_weak_hash_takes_for_one_are_told_apart() {
        let put = |value: [u8; 8]| {
            Command::Put(Put {
                key: Bytes::from_static(b"a"),
                value: Bytes::copy_from_slice(&value),
                ..Put::default()
            })
        };
        let one = put([0x2e, 0x45, 0x02, 0xc8, 0x6a, 0x85, 0xbf, 0x94]);
        let two = put([0x30, 0xcc, 0x67, 0x24, 0x41, 0xad, 0xf9, 0xe3]);
        let weak = |command: &Command| fnv1a(FNV_OFFSET, &encode_request(&[], command));
        assert_eq!(weak(&one), weak(&two));
        assert_ne!(fingerprint(&one), fingerprint(&two));
        assert_eq!(fingerprint(&one), fingerprint(&one.clone()));
    }

    #[test]
    fn the_id_of_a_lease_counts_where_a_client_may_have_chosen_it() {
        let grant = |id, ttl| {
            let (id, ttl) = (LeaseId(id), Ttl(ttl));
            fingerprint(&Command::LeaseGrant(LeaseGrant { id, ttl }))
        };
        assert_eq!(grant(5, 1000), grant(5, 1000));
        assert_ne!(grant(5, 1000), grant(7, 1000));
        let open = |lease, grant| {
            let lease = LeaseId(lease);
            fingerprint(&Command::SessionOpen(SessionOpen { lease, grant }))
        };
        assert_eq!(open(5, Some(Ttl(1000))), open(7, Some(Ttl(1000))));
        assert_ne!(open(5, None), open(7, None));
    }
}
