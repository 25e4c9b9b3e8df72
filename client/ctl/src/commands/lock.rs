//! `lock`: acquires and holds a lock, lists and inspects locks, releases them by force.

use std::time::Duration;

use tenure::{ErrorKind, LockGuard, LockRequest, Token, wire::v1::Claim};
use tokio::time::{Instant, timeout};

use super::{
    Session,
    exec::{self, CommandExit, LockHandle},
    holding::{self, Interrupted},
    print_message,
    signals::Signals,
};
use crate::{
    args::{AcquireArgs, Guarded, Lock},
    failure::Failure,
    output::{Answer, Reply},
    tether,
};

/// Number of keys below the name of a lock that are checked for data.
const KEYS_LOOKED_AT: u32 = 16;
/// Timeout of that check, so that it does not delay the command.
const LOOK_MAX: Duration = Duration::from_secs(1);

pub(super) async fn run(session: &Session, command: Lock) -> Result<(), Failure> {
    let (client, output) = (&session.client, session.output);
    let answer = match command {
        Lock::Acquire(args) => return acquire(session, &args).await,
        Lock::List { prefix, limit } => {
            Answer::Locks(client.locks().list(prefix).limit(limit).await?.into_wire())
        }
        Lock::Inspect { name, limit } => {
            Answer::Queue(client.locks().inspect(name).limit(limit).await?.into_wire())
        }
        Lock::Release(Guarded { args, guards }) => {
            let client = guards.client(client);
            let mut release = client.locks().force_release(args.name, args.reason);
            if let Some(token) = args.token {
                release = release.token(Token::new(token));
            }
            let released = release.await;
            let released = released.map_err(|error| guards.explain(error))?;
            Answer::Released(released.into_wire())
        }
    };
    output.print(&Reply::Coordination(answer))
}

async fn acquire(session: &Session, args: &AcquireArgs) -> Result<(), Failure> {
    let grace = args.grace()?;
    let mut signals = Signals::take()?;
    // A session of its own, because closing it withdraws the claim in any state.
    let lifetime = session.client.sessions().open(args.ttl).await?;
    let taking = async {
        let look = timeout(LOOK_MAX, warn_of_data(session, args.name()));
        tokio::join!(take(session, args, &lifetime), look).0
    };
    let taken = signals.or_signal(taking).await;
    let guard = match taken {
        Ok(Ok(guard)) => guard,
        Ok(Err(failure)) => {
            holding::close(lifetime).await;
            return Err(failure);
        }
        Err(Interrupted) => {
            holding::close(lifetime).await;
            let text = format!("interrupted before {} was acquired", args.name());
            return Err(Failure::Command(anyhow::anyhow!(text)));
        }
    };
    let outcome = if args.exec.is_empty() {
        hold(session, args, &guard, &mut signals).await
    } else {
        execute(args, &guard, grace, &mut signals).await
    };
    match &outcome {
        Ok(()) | Err(Failure::Child(_)) => give_back(args.name(), guard, lifetime).await,
        // The lock is about to be lost, possibly because no server responds.
        Err(_) => {
            let left = guard.remaining();
            _ = timeout(left, give_back(args.name(), guard, lifetime)).await;
        }
    }
    outcome
}

/// Releases the lock, so that the next claim is granted without waiting for the lease to expire.
async fn give_back(name: &str, guard: LockGuard, lifetime: tenure::Session) {
    if !guard.is_held() {
        return;
    }
    let released = guard.release().await;
    // Before the message, because standard error may block.
    holding::close(lifetime).await;
    if let Err(error) = released {
        print_message(format_args!(
            "{name} was not released ({error}): it ends by itself"
        ));
    }
}

/// Warns of data below the name of the lock. Best effort: does nothing if the read fails.
async fn warn_of_data(session: &Session, name: &str) {
    let below = format!("{name}/");
    let range = tenure::KeyRange::prefix(&below);
    let looked = session.client.get(range).keys_only().limit(KEYS_LOOKED_AT);
    let Ok(found) = looked.await else { return };
    let keys = found.iter().map(|kv| String::from_utf8_lossy(kv.key()));
    let is_claim = |key: &str| {
        let lease = key.strip_prefix(&below).unwrap_or_default();
        let digits = lease.strip_prefix('-').unwrap_or(lease);
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    if let Some(key) = keys.into_iter().find(|key| !is_claim(key)) {
        print_message(format_args!(
            "warning: {key} is below the name of the lock: etcd's clients take it for a claim on \
             {name} and wait for it without end; keep data outside {below}"
        ));
    }
}

/// Waits for the lock.
async fn take(
    session: &Session,
    args: &AcquireArgs,
    lifetime: &tenure::Session,
) -> Result<LockGuard, Failure> {
    let client = &session.client;
    let name = args.name();
    let mut request: LockRequest = match args.permits {
        Some(permits) => client
            .locks()
            .semaphore(name, permits.limit)
            .acquire(permits.count),
        None if args.shared => client.locks().rw_lock(name).read(),
        None => client.locks().acquire(name),
    };
    request = request
        .session(lifetime)
        .lock_delay(args.lock_delay.unwrap_or_default())
        .principal(args.principal.clone().unwrap_or_default());
    if args.wait == Some(Duration::ZERO) {
        let taken = request.try_now().await?;
        return match taken {
            Some(guard) => Ok(guard),
            None => Err(not_free(session, name, Duration::ZERO).await),
        };
    }
    if let Some(wait) = args.wait {
        request = request.wait(wait);
    }
    match request.await {
        Err(error) if error.kind() == ErrorKind::WaitOver => {
            Err(not_free(session, name, args.wait.unwrap_or_default()).await)
        }
        taken => Ok(taken?),
    }
}

/// The failure for a lock that is not free, with its holder if that is known.
async fn not_free(session: &Session, name: &str, waited: Duration) -> Failure {
    let holder = session.client.locks().inspect(name).limit(1).await;
    let holder = holder
        .ok()
        .and_then(|queue| queue.into_holders().into_iter().next());
    let who = match holder {
        Some(holder) if holder.principal().is_empty() => format!("token {}", holder.token()),
        Some(holder) => format!("token {} by {:?}", holder.token(), holder.principal()),
        None => "a holder that has released it since".to_owned(),
    };
    let text = if waited.is_zero() {
        format!("{name} is not free: held under {who}")
    } else {
        let waited = humantime::format_duration(waited);
        format!("{name} was not free within {waited}: held under {who}")
    };
    Failure::Command(anyhow::anyhow!(text))
}

/// The claim as its holder knows it.
fn claim(name: &str, guard: &LockGuard) -> Claim {
    holding::claim(name, b"", guard.lease(), guard.token())
}

/// Prints the key and holds the lock until a signal.
async fn hold(
    session: &Session,
    args: &AcquireArgs,
    guard: &LockGuard,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let taken = Answer::Taken(claim(args.name(), guard));
    session.output.print(&Reply::Coordination(taken))?;
    match signals.or_signal(guard.lost()).await {
        Err(Interrupted) => Ok(()),
        Ok(loss) => Err(lost(args.name(), &loss)),
    }
}

/// Runs the command while the lock is held.
async fn execute(
    args: &AcquireArgs,
    guard: &LockGuard,
    grace: Duration,
    signals: &mut Signals,
) -> Result<(), Failure> {
    signals.take_suspend()?;
    let [program, arguments @ ..] = args.exec.as_slice() else {
        return Ok(());
    };
    let claim = claim(args.name(), guard);
    let key = String::from_utf8_lossy(&claim.key).into_owned();
    let token = guard.token().to_string();
    let mut command = tether::command(program, arguments);
    command.envs([
        ("TENURE_LOCK_NAME", args.name().to_owned()),
        ("TENURE_LOCK_KEY", key.clone()),
        ("TENURE_LOCK_TOKEN", token.clone()),
        ("ETCD_LOCK_KEY", key),
        ("ETCD_LOCK_REV", token),
    ]);
    match exec::run(command, guard, grace, signals).await? {
        CommandExit::Exited(0) => Ok(()),
        CommandExit::Exited(code) => Err(Failure::Child(code)),
        CommandExit::Lost => {
            let text = "the command was ended because the lock was lost, or could not be kept";
            Err(lost(args.name(), &text))
        }
    }
}

fn lost(name: &str, loss: &dyn std::fmt::Display) -> Failure {
    Failure::Command(anyhow::anyhow!("{name} is lost: {loss}"))
}

impl LockHandle for LockGuard {
    fn deadline(&self) -> Instant {
        self.deadline()
    }

    fn is_lost(&self) -> bool {
        !self.is_held()
    }

    async fn lost(&self) {
        self.lost().await;
    }
}
