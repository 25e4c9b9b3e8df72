//! What is stored of a request: a fingerprint of what was asked, and what it came to.

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    codec,
    command::{
        Acquire, ClaimCommand, Command, Guard, LeaseGrant, Register, RegistryCommand, SessionOpen,
    },
    digest::{FNV_OFFSET, fnv1a},
    error::{Fault, ReadError, Refusal},
    keys::{damaged, split_u64},
    outcome::Outcome,
    types::LeaseId,
};

/// Longest outcome that is remembered, in bytes. Most take less than a hundred; what reads more
/// than this within a transaction can read it again.
pub(super) const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Tells requests apart that were given the same id. Not against an adversary: whoever forges an
/// id may as well forge the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint(u64);

/// The fingerprint of a command and its guards: FNV-1a over their encoding.
pub(crate) fn fingerprint(guards: &[Guard], command: &Command) -> Fingerprint {
    let encoded = codec::encode_request(guards, &without_made_lease(command));
    Fingerprint(fnv1a(FNV_OFFSET, &encoded))
}

/// The command without the id of the lease that it makes. A node picks one for whoever asks for
/// none, another one each time; which it was is in the answer.
fn without_made_lease(command: &Command) -> Cow<'_, Command> {
    let lease = LeaseId::NONE;
    if let Command::LeaseGrant(grant) = command {
        return Cow::Owned(Command::LeaseGrant(LeaseGrant {
            id: lease,
            ..*grant
        }));
    }
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

/// The row that remembers `outcome`; `None` when it is not to be remembered, because nothing was
/// executed and may be on another try.
pub(super) fn encode(asked: Fingerprint, outcome: &Outcome) -> Option<Bytes> {
    let passing = matches!(outcome.reply, Err(Refusal::NoSpace | Refusal::Corrupt));
    if passing {
        return None;
    }
    let answer = codec::encode_outcome(outcome, ANSWER_BYTES_MAX).or_else(|| {
        // A refusal changed nothing. One this long is found anew rather than told as a success.
        outcome.reply.as_ref().ok()?;
        let short = Outcome {
            reply: Err(Refusal::AnswerTooLarge {
                revision: outcome.revision,
            }),
            revision: outcome.revision,
            events: Vec::new(),
            signals: Vec::new(),
        };
        codec::encode_outcome(&short, ANSWER_BYTES_MAX)
    })?;
    let mut row = BytesMut::with_capacity(answer.len().saturating_add(8));
    row.put_u64(asked.0);
    row.put_slice(&answer);
    Some(row.freeze())
}

/// The outcome that a row remembers, if it is of what is asked now.
pub(super) fn decode(row: Bytes, asked: Fingerprint) -> Result<Outcome, ReadError> {
    let (first, outcome) = read(row)?;
    if first == asked {
        Ok(outcome)
    } else {
        Err(Refusal::RequestDiffers.into())
    }
}

pub(super) fn read(row: Bytes) -> Result<(Fingerprint, Outcome), Fault> {
    let (first, answer) = split_u64(&row).ok_or_else(|| damaged("outcome is cut short"))?;
    let outcome = codec::decode_outcome(row.slice_ref(answer))
        .map_err(|fault| Fault::Damaged(format!("remembered outcome: {fault}")))?;
    Ok((Fingerprint(first), outcome))
}
