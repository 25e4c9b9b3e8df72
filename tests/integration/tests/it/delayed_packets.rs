//! Linearizable reads while packets between the nodes are late, and nothing else is wrong.
//!
//! Late answers to the appends of a leader that was deposed must not pass for a confirmation that
//! it still leads. The packets are held in proxies; no clock is touched and nobody is stopped.
//!
//! An answer to an append names a place in the log, so it fits every append that ends there: also
//! the update of the commit index that follows, whose own answer never came. A leader that dates
//! the answer by the youngest append that it fits takes what it heard long ago for news.
//!
//! The leader to be deposed has a longer election timeout than the others, so it still counts
//! itself as the leader when they have elected another. Such flags are allowed, and make what
//! follows independent of how fast the machine is.

use std::{
    env,
    fmt::{self, Display},
    future::Future,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use tenure_proto::{etcdserverpb::MoveLeaderRequest, mvccpb::KeyValue};
use tenure_testkit::{Cluster, Connection, STATE_MAX, wait_until};
use tokio::time::timeout;
use tonic::Status;

/// Reads to be made, unless the environment asks for another number.
const READS: usize = 3;
/// The variable that does.
const READS_VARIABLE: &str = "DELAYED_PACKETS_READS";
/// Attempts for each read: on a busy machine a step may come too late for the next.
const ATTEMPTS_MAX: usize = 4;
/// The key that is written and read.
const KEY: &str = "delayed";

/// A value that makes the message that carries it a large one.
const VALUE_BYTES: usize = 8 << 10;
/// How long a step may take. With answers held for longer, the stream that waits for them ends.
const STEP_MAX: Duration = Duration::from_secs(1);
/// The node that is deposed.
const OLD: usize = 0;
/// Its election timeout, and that of the others, in milliseconds.
const PATIENT: &str = "5000";
const IMPATIENT: &str = "500";
/// Calls whose answers show that a read that was asked before them has begun: the first may
/// overtake it inside the node.
const CALLS_AFTER_READ: usize = 3;
/// How long a read may take that is confirmed by answers which are there.
const ANSWER_MAX: Duration = Duration::from_millis(300);

/// What became of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    /// It was answered from before a write that was acknowledged when it began.
    Stale,
    Fresh,
    Refused,
}

impl Came {
    fn of(read: Result<Option<KeyValue>, Status>, truth: &str) -> Self {
        match read {
            Ok(Some(found)) if found.value == truth.as_bytes() => Self::Fresh,
            Ok(_) => Self::Stale,
            Err(_) => Self::Refused,
        }
    }
}

/// A step that came too late, so that the attempt shows nothing.
#[derive(Clone, Copy, Debug)]
struct Missed(&'static str);

impl Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_answers_to_a_deposed_leader_do_not_confirm_its_reads() {
    let reads = env::var(READS_VARIABLE).map_or(READS, |reads| reads.parse().unwrap());
    let cluster = Cluster::builder(3)
        .flag("--election-timeout", IMPATIENT)
        .node_flag(OLD, "--election-timeout", PATIENT)
        .delayed()
        .start()
        .await;
    let (mut came, mut missed) = (Vec::new(), 0);
    while came.len() < reads {
        assert!(
            missed < reads * ATTEMPTS_MAX,
            "the test does not bite: the packets were in place only {} times",
            came.len()
        );
        let number = came.len() + missed;
        match Attempt::new(&cluster, number).await.run().await {
            Ok(read) => {
                println!("attempt {number}: {read:?}");
                came.push(read);
            }
            Err(why) => {
                println!("attempt {number} is void: {why}");
                missed += 1;
            }
        }
    }
    let count = |what| came.iter().filter(|read| **read == what).count();
    let stale = count(Came::Stale);
    println!(
        "{reads} reads, {missed} void attempts beside them: {stale} stale, {} fresh, {} refused",
        count(Came::Fresh),
        count(Came::Refused)
    );
    assert_eq!(stale, 0, "reads from before an acknowledged write");
}

/// One read of a leader that was deposed and does not know it.
struct Attempt<'c> {
    cluster: &'c Cluster,
    number: usize,
    first: Follower,
    second: Follower,
}

/// A follower of the old leader.
struct Follower {
    node: usize,
    /// The connection by which the old leader sends it entries.
    entries: Arc<Connection>,
}

impl<'c> Attempt<'c> {
    async fn new(cluster: &'c Cluster, number: usize) -> Self {
        lead(cluster).await;
        let value = "w".repeat(VALUE_BYTES);
        cluster.node(OLD).calls().put(KEY, &value).await.unwrap();
        let others = cluster.others(OLD);
        Self {
            cluster,
            number,
            first: Follower::of(cluster, others[0]).await,
            second: Follower::of(cluster, others[1]).await,
        }
    }

    async fn run(&self) -> Result<Came, Missed> {
        let calls = self.cluster.node(OLD).calls();
        for follower in [&self.first, &self.second] {
            follower.entries.replies.hold();
        }
        let large = [&self.first, &self.second].map(|it| it.entries.requests.seen().large);
        let value = "x".repeat(VALUE_BYTES);
        let unanswered = tokio::spawn(async move { calls.put(KEY, &value).await });
        let read = self.steps(large).await;
        self.cluster.delays().release_all();
        drop(unanswered.await.unwrap());
        read
    }

    async fn steps(&self, large: [u64; 2]) -> Result<Came, Missed> {
        // Both append the entry, and the old leader hears nothing of that.
        for (follower, large) in [&self.first, &self.second].into_iter().zip(large) {
            follower.answers_entry_after(large).await?;
        }
        self.hold_all();
        // Another is elected, and acknowledges a write.
        let others = [self.first.node, self.second.node];
        let new = self.cluster.leader_among(&others).await;
        let after = format!("{} after", self.number);
        let calls = self.cluster.node(new).calls();
        calls.put(KEY, &after).await.unwrap();
        self.read(&after).await
    }

    /// Holds everything between the old leader and the others, so that it hears of nobody else.
    /// What they answer to what they got before still comes, but for the answers to the entry.
    fn hold_all(&self) {
        let delays = self.cluster.delays();
        for other in [self.first.node, self.second.node] {
            delays.all(other, OLD).hold();
            delays.all(OLD, other).requests.hold();
        }
    }

    /// Asks the old leader, which then gets the answers to what it sent long before.
    async fn read(&self, after: &str) -> Result<Came, Missed> {
        let calls = self.cluster.node(OLD).calls();
        let mut read = pin!(calls.get(KEY));
        // Nothing shows outside that a read has begun. What was asked after it on its connection
        // is answered, though, so it has arrived.
        for _ in 0..CALLS_AFTER_READ {
            let status = tokio::select! {
                // The read goes first.
                biased;
                early = &mut read => return Ok(Came::of(early, after)),
                status = calls.status() => status.unwrap(),
            };
            if status.leader != status.header.unwrap().member_id {
                return Err(Missed("the old leader does not lead any more"));
            }
        }

        // The first answer commits the entry. The second comes when the second follower has been
        // sent the new commit index, and has not answered that.
        let sent = self.second.entries.requests.seen().messages;
        self.first.entries.replies.release();
        let follows = &self.second.entries.requests;
        let follows = follows.until(STEP_MAX, |it| it.messages > sent);
        step("the old leader does not commit", follows).await?;
        self.second.entries.replies.release();

        // A confirmation by what is past shows at once; otherwise the truth answers the read.
        let early = timeout(ANSWER_MAX, &mut read).await;
        self.cluster.delays().release_all();
        let read = match early {
            Ok(read) => read,
            Err(_) => read.await,
        };
        Ok(Came::of(read, after))
    }
}

impl Follower {
    /// After the old leader has sent it a large message.
    async fn of(cluster: &Cluster, node: usize) -> Self {
        let entries = wait_until("a follower gets an entry", STATE_MAX, async || {
            let mut open = cluster.delays().connections(OLD, node).into_iter().rev();
            let carries = open.find(|it| it.requests.seen().large > 0);
            carries.ok_or("no connection carried any")
        })
        .await;
        Self { node, entries }
    }

    /// Waits until it has answered an entry that is sent after so many.
    async fn answers_entry_after(&self, large: u64) -> Result<(), Missed> {
        let (requests, replies) = (&self.entries.requests, &self.entries.replies);
        let sent = requests.until(STEP_MAX, |it| it.large > large);
        step("the entry is not sent", sent).await?;
        // Each message of the stream has one answer.
        let sent = requests.seen();
        let answered = replies.until(STEP_MAX, |it| {
            it.stream == sent.stream && it.in_stream >= sent.in_stream
        });
        step("the entry is not answered", answered).await
    }
}

/// Hands the lead to the node that is to lose it.
async fn lead(cluster: &Cluster) {
    let target_id = cluster.node(OLD).member_id().await;
    wait_until("the patient node leads", STATE_MAX, async || {
        let leader = cluster.leader().await;
        if leader == OLD {
            return Ok(());
        }
        // It is refused while the node lags behind. Whether it came to something shows next time.
        let request = MoveLeaderRequest { target_id };
        let mut leader = cluster.node(leader).calls().maintenance();
        Err(match leader.move_leader(request).await {
            Ok(_) => "it was handed the lead".to_owned(),
            Err(status) => status.to_string(),
        })
    })
    .await;
}

async fn step(otherwise: &'static str, done: impl Future<Output = bool>) -> Result<(), Missed> {
    done.await.then_some(()).ok_or(Missed(otherwise))
}
