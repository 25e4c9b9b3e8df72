//! Words and lines of guards, request ids, sessions and fence policies.

use tenure_statemachine::{
    Command, Conditional, FenceCommand, FencePolicy, Guard, LeaseId, ReadError, Reader, RequestId,
    Revision, SessionOpen, Ttl,
};

use super::words::{self, Words, bytes, number, unsigned};

/// The command of a line, or `None` when its verb is not one.
///
/// `with guard=NAME:TOKEN request=SESSION.SEQUENCE.ANSWERED key=KEY do COMMAND`, each part before
/// `do` optional.
pub(crate) fn command(verb: &str, words: &mut Words<'_>) -> Option<Command> {
    Some(match verb {
        "with" => Command::Conditional(Box::new(conditional(words))),
        "session" => Command::SessionOpen(SessionOpen {
            lease: LeaseId(number(words.next())),
            grant: words.option().map(|ttl| Ttl(unsigned(ttl))),
        }),
        "fence" => Command::Fence(FenceCommand::Set(FencePolicy {
            prefix: bytes(words.next()),
            lock: bytes(words.next()),
        })),
        "unfence" => Command::Fence(FenceCommand::Remove(bytes(words.next()))),
        _ => return None,
    })
}

fn conditional(words: &mut Words<'_>) -> Conditional {
    let (mut guards, mut request) = (Vec::new(), None);
    loop {
        match words.next().split_once('=') {
            None => break,
            Some(("guard", guard)) => {
                let (name, token) = guard.rsplit_once(':').expect("a name and its token");
                guards.push(Guard {
                    name: bytes(name),
                    token: Revision(number(token)),
                });
            }
            Some(("request", id)) => {
                let parts: Vec<&str> = id.split('.').collect();
                let [session, sequence, answered] = parts[..] else {
                    panic!("{id} is no id of a session's request")
                };
                request = Some(RequestId::Session {
                    session: LeaseId(number(session)),
                    sequence: unsigned(sequence),
                    answered: unsigned(answered),
                });
            }
            Some(("key", key)) => request = Some(RequestId::Key(bytes(key))),
            Some((name, _)) => panic!("{name} is no condition"),
        }
    }
    let verb = words.next();
    Conditional {
        guards,
        request,
        command: words::command(verb, words).expect("a command"),
    }
}

/// The answer to a question, or `None` when its verb is not one.
pub(crate) fn ask(
    verb: &str,
    words: &mut Words<'_>,
    reader: &Reader<'_>,
) -> Option<Result<Vec<String>, ReadError>> {
    let lines = match verb {
        "policies" => reader.policies().map(|policies| {
            let line = |policy: &FencePolicy| format!("{:?} {:?}", policy.prefix, policy.lock);
            policies.iter().map(line).collect()
        }),
        "remembered" => reader.session(LeaseId(number(words.next()))).map(|state| {
            vec![state.map_or_else(
                || "none".to_owned(),
                |state| format!("{} above {}", state.remembered, state.forgotten),
            )]
        }),
        _ => return None,
    };
    Some(lines.map_err(ReadError::from))
}
