//! Words and lines of claims and wills.

use tenure_statemachine::{
    Acquire, AcquireReply, ClaimCommand, ClaimState, Command, ForceRelease, Guard, HandOver,
    LeaseId, Mode, Proclaim, Queue, ReadError, Reader, Release, Reply, Revision, Signal, Transfer,
    Ttl, Wait, Will, WillSet, Withdraw,
};

use super::{
    lines::text,
    words::{self, Words, bytes, number, unsigned},
};

/// The command of a line, or `None` when its verb is not one.
pub(crate) fn command(verb: &str, words: &mut Words<'_>) -> Option<Command> {
    if verb == "will" {
        return Some(Command::WillSet(will(words)));
    }
    if verb == "acquire" {
        return Some(Command::Claim(ClaimCommand::Acquire(acquire(words))));
    }
    if !matches!(
        verb,
        "release" | "withdraw" | "transfer" | "handover" | "proclaim" | "force"
    ) {
        return None;
    }
    let name = bytes(words.next());
    let first = number(words.next());
    let token = Revision(first);
    Some(Command::Claim(match verb {
        "release" => ClaimCommand::Release(Release { name, token }),
        "withdraw" => ClaimCommand::Withdraw(Withdraw {
            name,
            lease: LeaseId(first),
            call: words.option().map_or(0, unsigned),
        }),
        "transfer" => ClaimCommand::Transfer(Transfer {
            name,
            token,
            to: LeaseId(number(words.next())),
            principal: words.option().unwrap_or_default().to_owned(),
        }),
        "handover" => ClaimCommand::HandOver(HandOver {
            name,
            token,
            to: LeaseId(number(words.next())),
        }),
        "proclaim" => ClaimCommand::Proclaim(Proclaim {
            name,
            token,
            value: bytes(words.next()),
        }),
        _ => ClaimCommand::ForceRelease(ForceRelease {
            name,
            token,
            why: words.option().unwrap_or_default().to_owned(),
        }),
    }))
}

/// `acquire a,b lease=1 shared within=500 delay=100 by=me value=v`
fn acquire(words: &mut Words<'_>) -> Acquire {
    let mut acquire = Acquire {
        names: words.next().split(',').map(bytes).collect(),
        ..Acquire::default()
    };
    while let Some(option) = words.option() {
        match option.split_once('=').unwrap_or((option, "")) {
            ("lease", id) => acquire.lease = LeaseId(number(id)),
            ("grant", ttl) => acquire.grant = Some(Ttl(unsigned(ttl))),
            ("shared", "") => acquire.mode = Mode::Shared,
            ("permits", permits) => {
                let (count, limit) = permits.split_once('/').expect("a count and a limit");
                acquire.mode = Mode::Permits {
                    count: count.parse().expect("a count"),
                    limit: limit.parse().expect("a limit"),
                };
            }
            ("never", "") => acquire.wait = Wait::Never,
            ("within", wait) => acquire.wait = Wait::Within(Ttl(unsigned(wait))),
            ("delay", delay) => acquire.lock_delay = Ttl(unsigned(delay)),
            ("by", principal) => acquire.principal = principal.to_owned(),
            ("value", value) => acquire.value = bytes(value),
            ("rejoin", "") => acquire.rejoin = true,
            ("call", call) => acquire.call = unsigned(call),
            _ => panic!("{option} is no option of an acquisition"),
        }
    }
    acquire
}

/// `will 1 lock=a guard=a:7 do then [ put k v ]`, or `will 1 none`
fn will(words: &mut Words<'_>) -> WillSet {
    let mut set = WillSet {
        lease: LeaseId(number(words.next())),
        lock: None,
        will: Some(Will::default()),
    };
    while let Some(option) = words.option() {
        match option.split_once('=').unwrap_or((option, "")) {
            ("lock", name) => set.lock = Some(bytes(name)),
            ("guard", guard) => {
                let (name, token) = guard.rsplit_once(':').expect("a name and its token");
                let guard = Guard {
                    name: bytes(name),
                    token: Revision(number(token)),
                };
                set.will.as_mut().expect("a will").guards.push(guard);
            }
            ("none", "") => {
                set.will = None;
                return set;
            }
            ("do", "") => break,
            _ => panic!("{option} is no option of a will"),
        }
    }
    set.will.as_mut().expect("a will").txn = words::txn(words);
    set
}

/// The answer to a question, or `None` when its verb is not one.
pub(crate) fn ask(
    verb: &str,
    words: &mut Words<'_>,
    reader: &Reader<'_>,
) -> Option<Result<Vec<String>, ReadError>> {
    let one = |claim: Option<ClaimState>| {
        claim.map_or(vec!["none".to_owned()], |one| vec![claim_line(&one)])
    };
    let many = |claims: Vec<ClaimState>| claims.iter().map(claim_line).collect();
    let answer = match verb {
        "claim" => {
            let name = bytes(words.next());
            reader.claim(&name, Revision(number(words.next()))).map(one)
        }
        "claim_of" => {
            let name = bytes(words.next());
            reader
                .claim_of(&name, LeaseId(number(words.next())))
                .map(one)
        }
        "holder" => reader.holder(&bytes(words.next())).map(one),
        "queue" => {
            let name = bytes(words.next());
            let max = words.option().map_or(u64::MAX, unsigned);
            let max = usize::try_from(max).expect("a number of claims");
            reader.queue(&name, max).map(|queue| queue_lines(&queue))
        }
        "names" => {
            let prefix = bytes(words.next());
            let max = words.option().map_or(u64::MAX, unsigned);
            let max = usize::try_from(max).expect("a number of names");
            reader.claimed_names(&prefix, max).map(|(claims, more)| {
                let mut lines: Vec<String> = many(claims);
                lines.extend(more.then(|| "and more".to_owned()));
                lines
            })
        }
        "claims_of" => reader
            .claims_of_lease(LeaseId(number(words.next())))
            .map(many),
        "timer" => reader
            .next_timer()
            .map(|at| vec![at.map_or("none".to_owned(), |at| at.0.to_string())]),
        _ => return None,
    };
    Some(answer.map_err(ReadError::from))
}

fn queue_lines(queue: &Queue) -> Vec<String> {
    let mut lines: Vec<String> = queue.holders.iter().map(claim_line).collect();
    lines.extend(queue.waiters.iter().map(claim_line));
    let delay = queue
        .delay_until
        .map(|until| format!(", delay until {}", until.0));
    lines.push(format!(
        "{} wait{}",
        queue.waiting,
        delay.unwrap_or_default()
    ));
    lines
}

/// The lines of a reply to a command on claims.
pub(crate) fn reply(reply: &Reply) -> Vec<String> {
    match reply {
        Reply::Acquire(AcquireReply {
            lease,
            ttl,
            claims,
            blocker,
        }) => {
            let mut lines = vec![format!("lease {} ttl={}", lease.0, ttl.0)];
            lines.extend(claims.iter().map(claim_line));
            lines.extend(
                blocker
                    .iter()
                    .map(|claim| format!("behind {}", claim_line(claim))),
            );
            lines
        }
        Reply::Claim(claim) => vec![claim_line(claim)],
        Reply::ForceRelease(claims) => claims.iter().map(claim_line).collect(),
        Reply::Withdraw(found) => vec![if *found { "withdrawn" } else { "no claim" }.to_owned()],
        other => panic!("{other:?} is no reply about claims"),
    }
}

pub(crate) fn signal(signal: &Signal) -> String {
    match signal {
        Signal::Granted(claim) => format!("granted {}", claim_line(claim)),
        Signal::Ended(claim, cause) => format!("ended {cause:?} {}", claim_line(claim)),
        Signal::Forced(why) => format!("forced {why:?}"),
        Signal::Requeued(claim, before) => format!("requeued {} was {before}", claim_line(claim)),
    }
}

fn claim_line(claim: &ClaimState) -> String {
    let mut line = format!("{} token={}", text(&claim.key), claim.token);
    match claim.mode {
        Mode::Exclusive => {}
        Mode::Shared => line.push_str(" shared"),
        Mode::Permits { count, limit } => line.push_str(&format!(" permits={count}/{limit}")),
    }
    if claim.held {
        line.push_str(&format!(" holds since={}", claim.since.0));
    } else {
        let (position, since) = (claim.position, claim.since.0);
        line.push_str(&format!(" waits position={position} since={since}"));
    }
    if !claim.principal.is_empty() {
        line.push_str(&format!(" by={}", claim.principal));
    }
    if !claim.value.is_empty() {
        line.push_str(&format!(" value={}", text(&claim.value)));
    }
    line
}
