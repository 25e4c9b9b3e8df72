//! A state machine over an engine of a test's choice, which is given entries.

use std::sync::Arc;

use tenure_statemachine::{
    ClusterTime, Command, Context, Engine, FeatureLevel, Outcome, Refusal, Reply, StateMachine,
};

pub(crate) struct Node<E> {
    pub(crate) engine: Arc<E>,
    pub(crate) machine: StateMachine,
    /// The cluster time of entries; a second passes with each when there is none.
    pub(crate) now: Option<u64>,
}

impl<E: Engine + Default + 'static> Node<E> {
    /// A machine at a feature level.
    pub(crate) fn at(level: FeatureLevel) -> Self {
        let engine = Arc::new(E::default());
        let machine = StateMachine::open(engine.clone()).unwrap();
        let mut node = Self {
            engine,
            machine,
            now: None,
        };
        node.apply(&[Command::RaiseLevel(level)]);
        node
    }

    /// Applies commands as one entry.
    pub(crate) fn apply(&mut self, commands: &[Command]) -> Vec<Outcome> {
        let index = self.machine.meta().applied_index + 1;
        let context = Context {
            index,
            term: 1,
            now: ClusterTime(self.now.unwrap_or(1000 * index)),
        };
        let mut batch = self.machine.begin();
        let outcomes = commands
            .iter()
            .map(|command| batch.apply(&context, command).unwrap())
            .collect();
        batch.commit().unwrap();
        outcomes
    }

    pub(crate) fn one(&mut self, command: Command) -> Result<Reply, Refusal> {
        self.apply(&[command]).remove(0).reply
    }
}
