//! Random sequences: whatever state the two get into together, they answer alike in it.
//!
//! `DIFFERENTIAL_SEED` repeats a run, `DIFFERENTIAL_STEPS` makes it longer.

use std::{env, mem};

use tenure_proto::etcdserverpb::WatchCreateRequest;
use tonic::Code;

use super::{
    generator::{Generator, Step},
    pair::Pair,
    requests::{everything, hash},
    watching::Watched,
};

/// Steps of a run unless more are asked for: what fits into some twenty seconds.
const STEPS: u64 = 5000;
/// Watchers at a time.
const WATCHERS_MAX: usize = 8;

#[tokio::test]
async fn random_requests_are_answered_as_by_etcd() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let seed = from_environment("DIFFERENTIAL_SEED").unwrap_or_else(rand::random);
    let steps = from_environment("DIFFERENTIAL_STEPS").unwrap_or(STEPS);
    // Shown when the test fails.
    println!("to repeat: DIFFERENTIAL_SEED={seed} DIFFERENTIAL_STEPS={steps}");
    let mut run = Run {
        pair,
        generator: Generator::new(seed),
        watchers: Vec::new(),
    };
    for _ in 0..steps {
        run.step().await;
    }
    run.finish().await;
}

fn from_environment(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")),
    )
}

struct Run {
    pair: Pair,
    generator: Generator,
    watchers: Vec<Watched>,
}

impl Run {
    async fn step(&mut self) {
        match self.generator.step() {
            Step::Ask(question) => {
                let reply = self.pair.same_question(&question).await;
                self.learn(reply.revision);
            }
            Step::Compact(request) => {
                self.settle_watchers().await;
                let reply = self.pair.same(request).await;
                if reply.code == Code::Ok {
                    self.generator.floor = request.revision;
                }
            }
            Step::Watch(request) => self.watch(request).await,
            Step::EndWatch(number) => {
                if !self.watchers.is_empty() {
                    let number = number % self.watchers.len();
                    self.watchers.swap_remove(number).end().await;
                }
            }
        }
    }

    /// Brings all watchers to where compaction makes no difference to them: those that began in
    /// the past are ended, because nobody can see whether etcd has brought them to the present.
    async fn settle_watchers(&mut self) {
        for watched in mem::take(&mut self.watchers) {
            if watched.began_in_past() {
                watched.end().await;
            } else {
                watched.settle().await;
                self.watchers.push(watched);
            }
        }
    }

    fn learn(&mut self, revision: Option<i64>) {
        let known = &mut self.generator.revision;
        *known = revision.unwrap_or(0).max(*known);
    }

    async fn watch(&mut self, request: WatchCreateRequest) {
        if self.watchers.len() < WATCHERS_MAX {
            let watched = self.pair.watch().gather(request).await;
            self.watchers.push(watched);
        }
    }

    async fn finish(mut self) {
        for watched in self.watchers.drain(..) {
            watched.end().await;
        }
        self.pair.ok(everything()).await;
        self.pair.same(hash(0)).await;
    }
}
