//! etcd and tenure side by side: whatever one is asked the other is asked too, and their answers
//! are the same or the test ends, with the way that led there.

use std::collections::VecDeque;

use tenure_statemachine::FeatureLevel;
use tenure_testkit::{Cluster, Etcd};
use tonic::Code;

use super::{
    ask::{Ask, Question, Reply},
    known,
    watching::WatchPair,
    wire::Wire,
};

/// Questions that are shown when an answer differs.
const TRAIL_MAX: usize = 40;

/// One node of each.
#[derive(Debug)]
pub(crate) struct Pair {
    cluster: Cluster,
    _etcd: Etcd,
    tenure: Wire,
    etcd: Wire,
    trail: VecDeque<String>,
}

impl Pair {
    /// Starts both; `None` when there is no etcd.
    pub(crate) async fn start() -> Option<Self> {
        let etcd = Etcd::start().await?;
        let tenure = Cluster::start(1).await;
        Some(Self {
            tenure: Wire::to(tenure.node(0).address()),
            etcd: Wire::to(etcd.address()),
            cluster: tenure,
            _etcd: etcd,
            trail: VecDeque::new(),
        })
    }

    /// The feature level in force in tenure, and the newest.
    pub(crate) async fn levels(&self) -> (f64, f64) {
        let page = self.cluster.node(0).page("/metrics").await;
        let level = page.metric("tenure_feature_level").unwrap_or_default();
        (level, f64::from(FeatureLevel::NEWEST.0))
    }

    pub(crate) const fn tenure(&self) -> &Wire {
        &self.tenure
    }

    pub(crate) const fn etcd(&self) -> &Wire {
        &self.etcd
    }

    /// Asks both, and returns what both answered.
    pub(crate) async fn same<A: Ask>(&mut self, request: A) -> Reply {
        self.same_question(&Question::of(&request)).await
    }

    /// Asks both something that succeeds.
    pub(crate) async fn ok<A: Ask>(&mut self, request: A) -> Reply {
        let reply = self.same(request).await;
        assert_eq!(reply.code, Code::Ok, "{reply:?} to {}", self.told());
        reply
    }

    /// Asks both something that is refused, with this text.
    pub(crate) async fn refused<A: Ask>(&mut self, request: A, text: &str) {
        let reply = self.same(request).await;
        assert_ne!(reply.code, Code::Ok, "not refused: {}", self.told());
        assert_eq!(reply.text, text, "{}", self.told());
    }

    pub(crate) async fn same_question(&mut self, question: &Question) -> Reply {
        let [tenure, etcd] = self.both(question).await;
        if tenure != etcd && !known::accepts(question, &tenure, &etcd) {
            panic!(
                "tenure answered\n{tenure:?}\nand etcd\n{etcd:?}\nto the last of\n{}",
                self.told()
            );
        }
        etcd
    }

    /// Asks both, and returns what each answered: tenure first.
    pub(crate) async fn both(&mut self, question: &Question) -> [Reply; 2] {
        if self.trail.len() == TRAIL_MAX {
            self.trail.pop_front();
        }
        self.trail.push_back(format!("{question:?}"));
        let (tenure, etcd) = tokio::join!(
            self.tenure.call(&question.call),
            self.etcd.call(&question.call)
        );
        [question.read(&tenure), question.read(&etcd)]
    }

    /// Opens a watch stream at both.
    pub(crate) fn watch(&self) -> WatchPair {
        WatchPair::open(&self.tenure, &self.etcd)
    }

    /// The questions that led here.
    pub(crate) fn told(&self) -> String {
        let trail: Vec<_> = self.trail.iter().map(String::as_str).collect();
        trail.join("\n")
    }
}
