//! A program that holds a lock again and again, and writes what the lock protects.
//!
//! It does what every such program does: looks whether it holds, works a little, writes. Started
//! by the fencing tests, which stop it between the two. What it saw and when goes to its journal,
//! one line each, by a clock that all processes of a machine share.

#![expect(
    clippy::print_stderr,
    reason = "a test's helper says on stderr why it cannot go on"
)]

use std::{
    env,
    fs::{File, OpenOptions},
    io::Write,
    process::ExitCode,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tenure::{Client, ErrorKind, LockGuard};
use tokio::time::{Instant, sleep};

/// How long the holder works between looking whether it holds and writing.
const WORK: Duration = Duration::from_millis(4);
/// Writes of one turn.
const WRITES: u32 = 4;
/// How often the deadline is looked at: well below the time between two renewals.
const DEADLINE_EVERY: Duration = Duration::from_millis(10);
/// Rest after the cluster could not be asked.
const REST: Duration = Duration::from_millis(20);

/// What keeps a late write out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Nothing but the holder's own look.
    Off,
    /// Every write carries the token.
    Guards,
    /// A fence policy demands the token; every second write leaves it out, to be refused.
    Policy,
}

struct Holder {
    client: Client,
    name: String,
    key: String,
    ttl: Duration,
    mode: Mode,
    journal: Journal,
}

#[derive(Clone)]
struct Journal(Arc<Mutex<File>>);

impl Journal {
    fn note(&self, line: &str) {
        let now = micros(SystemTime::now());
        let mut file = self.0.lock().expect("nobody panics while writing a line");
        // One write: a line is there whole or not at all.
        let written = file.write_all(format!("{now} {line}\n").as_bytes());
        written.expect("the journal can be written");
    }
}

fn micros(time: SystemTime) -> u128 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_micros())
}

/// A moment of this process's clock on the clock that all processes share.
fn shared(moment: Instant) -> u128 {
    let (here, there) = (Instant::now(), SystemTime::now());
    if moment >= here {
        micros(there + (moment - here))
    } else {
        micros(there - (here - moment))
    }
}

impl Holder {
    /// One turn: acquire, write, release.
    async fn turn(&self, number: u64) {
        let guard = match self.client.locks().acquire(&*self.name).ttl(self.ttl).await {
            Ok(guard) => Arc::new(guard),
            Err(error) => {
                self.journal.note(&format!("failed {error}"));
                // A pause before the next attempt.
                return sleep(REST).await;
            }
        };
        let token = guard.token();
        self.journal.note(&format!("granted {token}"));
        let watched = tokio::spawn(watch(Arc::clone(&guard), self.journal.clone()));
        for write in 0..WRITES {
            if !guard.is_held() {
                break;
            }
            // The work, which takes time: pauses are to fall into it.
            sleep(WORK).await;
            self.write(&guard, number * u64::from(WRITES) + u64::from(write))
                .await;
        }
        watched.abort();
        // Waits until the task has let go of the guard.
        drop(watched.await);
        let deadline = shared(guard.deadline());
        let held = guard.is_held();
        self.journal.note(&format!("deadline {token} {deadline}"));
        self.journal.note(&format!("leaving {token} {held}"));
        let guard = Arc::into_inner(guard).expect("the task that shared it has ended");
        match guard.release().await {
            Ok(()) => self.journal.note(&format!("released {token}")),
            Err(error) => self.journal.note(&format!("unreleased {token} {error}")),
        }
    }

    async fn write(&self, guard: &LockGuard, count: u64) {
        let token = guard.token();
        let value = format!("{token}:{count}");
        let bare = self.mode == Mode::Off || (self.mode == Mode::Policy && count % 2 == 1);
        let store = if bare {
            self.client.clone()
        } else {
            guard.guarded()
        };
        match store.put(&*self.key, value).await {
            Ok(_) => self.journal.note(&format!("wrote {token}")),
            Err(error) => {
                let refused = matches!(
                    error.kind(),
                    ErrorKind::StaleGuard | ErrorKind::GuardMissing
                );
                let word = if refused { "refused" } else { "unsure" };
                self.journal.note(&format!("{word} {token} {error}"));
            }
        }
    }
}

/// Notes every renewal, and the loss of the lock when it comes.
async fn watch(guard: Arc<LockGuard>, journal: Journal) {
    let token = guard.token();
    let mut last = None;
    loop {
        let deadline = guard.deadline();
        if last != Some(deadline) {
            last = Some(deadline);
            journal.note(&format!("deadline {token} {}", shared(deadline)));
        }
        tokio::select! {
            // Cancel-safe: a loss is final.
            loss = guard.lost() => {
                journal.note(&format!("deadline {token} {}", shared(guard.deadline())));
                return journal.note(&format!("lost {token} {loss}"));
            }
            // Cancel-safe: begins anew.
            () = sleep(DEADLINE_EVERY) => {}
        }
    }
}

async fn run() -> Result<(), String> {
    let argument = |name: &str| env::var(name).map_err(|_| format!("{name} is not set"));
    let endpoints = argument("HOLDER_ENDPOINTS")?;
    let client = Client::builder()
        .endpoints(Vec::from_iter(endpoints.split(',')))
        .timeout(Duration::from_secs(20))
        .connect()
        .await
        .map_err(|error| error.to_string())?;
    let journal = OpenOptions::new()
        .append(true)
        .create(true)
        .open(argument("HOLDER_JOURNAL")?)
        .map_err(|error| error.to_string())?;
    let ttl = argument("HOLDER_TTL_MS")?
        .parse()
        .map_err(|_| "HOLDER_TTL_MS is not a number".to_owned())?;
    let holder = Holder {
        client,
        name: argument("HOLDER_LOCK")?,
        key: argument("HOLDER_KEY")?,
        ttl: Duration::from_millis(ttl),
        mode: match argument("HOLDER_MODE")?.as_str() {
            "guards" => Mode::Guards,
            "policy" => Mode::Policy,
            _ => Mode::Off,
        },
        journal: Journal(Arc::new(Mutex::new(journal))),
    };
    // Until the test ends the process.
    for number in 0.. {
        holder.turn(number).await;
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
