//! The state machine: every change of the state is made here.
//!
//! Invariant: a batch reaches the engine as one write, with the counters that describe it, or not
//! at all. The effect of a command depends only on the state, its context and the command.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    access::{AuthState, Caller, Gate, Owner, PermissionCache},
    codec::Group,
    command::{Command, Guard},
    engine::{Engine, Table},
    error::{Fault, ReadError, Refusal, damaged},
    meta::Meta,
    once::{self, Asked, Recalled},
    origin::{self, Admission},
    outcome::{Outcome, Reply},
    price::EntryAnswers,
    read::Reader,
    rows::{Overlay, Row, keys::MetaRow},
    transition::{Effects, Policies, Touched, Transition},
    value::Context,
    value::KeyValue,
};

/// The state machine over an [`Engine`].
#[derive(Debug)]
pub struct StateMachine {
    engine: Arc<dyn Engine>,
    meta: Meta,
    policies: Policies,
    auth: AuthState,
    /// Permissions at the auth revision of a batch; looked up again if the batch is not written.
    permissions: PermissionCache,
    answers: EntryAnswers,
}

impl StateMachine {
    /// Opens the machine whose state `engine` holds; creates an empty one if there is none.
    ///
    /// # Errors
    /// When the engine cannot read or holds counters that do not decode, or that contradict the
    /// state of authentication.
    pub fn open(engine: Arc<dyn Engine>) -> Result<Self, Fault> {
        let meta = Meta::load(engine.as_ref())?;
        let policies = Policies::load(engine.as_ref())?;
        let auth = AuthState::load(engine.as_ref())?;
        // Reads go by the counters: a state of which they say less than the rows is not served.
        if meta.authenticates != auth.enabled {
            return Err(damaged("counters contradict the state of authentication"));
        }
        Ok(Self {
            engine,
            meta,
            policies,
            auth,
            permissions: PermissionCache::default(),
            answers: EntryAnswers::default(),
        })
    }

    /// Starts a batch. Several commands become one write; later commands read the writes of earlier
    /// ones.
    pub fn begin(&mut self) -> ApplyBatch<'_> {
        self.permissions.return_to(self.auth.revision);
        ApplyBatch {
            overlay: Overlay::new(Arc::clone(&self.engine)),
            meta: self.meta,
            policies: self.policies.clone(),
            auth: self.auth,
            answers: self.answers,
            event_bytes: 0,
            held: 0,
            machine: self,
        }
    }

    /// Returns the counters after the last committed batch.
    #[must_use]
    pub const fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Returns the state of authentication after the last committed batch.
    #[must_use]
    pub const fn auth(&self) -> &AuthState {
        &self.auth
    }

    /// Returns the engine that holds the state.
    #[must_use]
    pub const fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }
}

/// Commands applied but not yet written. Dropping it without [`ApplyBatch::commit`] discards them.
#[derive(Debug)]
pub struct ApplyBatch<'a> {
    machine: &'a mut StateMachine,
    overlay: Overlay,
    meta: Meta,
    policies: Policies,
    auth: AuthState,
    answers: EntryAnswers,
    /// Bytes of the events of the current entry.
    event_bytes: usize,
    /// Bytes of the events and replies of the entries before the current one.
    held: usize,
}

impl ApplyBatch<'_> {
    /// Applies one command. If the state forbids it, the outcome is a refusal.
    ///
    /// # Errors
    /// When the engine cannot read, when its data is inconsistent, or when the entry of the command
    /// is before one already applied. The batch must then be dropped and the node stopped.
    pub fn apply(&mut self, context: &Context, command: &Command) -> Result<Outcome, Fault> {
        if context.index < self.meta.applied_index {
            let (index, applied) = (context.index, self.meta.applied_index);
            return Err(Fault::Command(format!(
                "entry {index} after entry {applied}"
            )));
        }
        self.enter(context);
        let outcome = match self.answers.admit(&self.meta, command) {
            Ok(()) => self.apply_admitted(command)?,
            Err(refusal) => self.outcome(Err(refusal), Effects::default()),
        };
        if let Ok(reply) = &outcome.reply {
            self.answers.add(&self.meta, reply);
        }
        Ok(outcome)
    }

    /// Enters the entry of `context`, which contains the next command.
    fn enter(&mut self, context: &Context) {
        if self.meta.applied_index != context.index {
            // The outcomes of the previous batch are no longer in memory.
            if self.meta.applied_index != self.machine.meta.applied_index {
                self.held = self.bytes_held();
            }
            self.event_bytes = 0;
        }
        self.meta.advance(context);
        debug_assert_eq!(
            self.meta.applied_index, context.index,
            "entries come in order"
        );
        debug_assert!(self.meta.now >= context.now, "time never goes back");
        self.answers.enter(context.index);
    }

    fn bytes_held(&self) -> usize {
        let answers = usize::try_from(self.answers.bytes()).unwrap_or(usize::MAX);
        self.held
            .saturating_add(self.event_bytes)
            .saturating_add(answers)
    }

    fn apply_admitted(&mut self, command: &Command) -> Result<Outcome, Fault> {
        let (caller, command) = match self.auth.admit(&self.meta, command) {
            Ok(admitted) => admitted,
            Err(refusal) => return Ok(self.outcome(Err(refusal), Effects::default())),
        };
        let Command::Conditional(conditional) = command else {
            return self.run(caller, &[], command);
        };
        let (guards, command) = (&conditional.guards, &conditional.command);
        let Some(request) = &conditional.request else {
            return self.run(caller, guards, command);
        };
        let user = match self.owner(caller) {
            Ok(user) => user,
            Err(ReadError::Refused(refusal)) => {
                return Ok(self.outcome(Err(refusal), Effects::default()));
            }
            Err(ReadError::Fault(fault)) => return Err(fault),
        };
        let asked = Asked::new(request, guards, command, user.as_ref());
        match once::recall(&mut self.overlay, &self.meta, &asked) {
            Ok(Recalled::Known(outcome)) => Ok(*outcome),
            Ok(Recalled::New) => {
                let outcome = self.run(caller, guards, command)?;
                once::remember(&mut self.overlay, &self.meta, &asked, &outcome)?;
                Ok(outcome)
            }
            Err(ReadError::Refused(refusal)) => Ok(self.outcome(Err(refusal), Effects::default())),
            Err(ReadError::Fault(fault)) => Err(fault),
        }
    }

    /// Returns the user that makes a command, if permissions bind it.
    fn owner(&mut self, caller: Caller<'_>) -> Result<Option<Owner>, ReadError> {
        let name = match caller {
            Caller::User(name) if self.auth.enabled => name,
            Caller::User(_) | Caller::System | Caller::Unnamed => return Ok(None),
        };
        let cache = &mut self.machine.permissions;
        let found = cache.find(&self.overlay, &self.auth, name)?;
        let found = found.ok_or(Refusal::UserNotFound)?;
        Ok(Some(found.owner()))
    }

    /// Decides whether to apply the commands of `group`, and records the group as applied if so.
    ///
    /// # Errors
    /// When the engine cannot read, or its data is inconsistent.
    pub fn admit(&mut self, context: &Context, group: &Group) -> Result<Admission, Fault> {
        origin::admit(&mut self.overlay, context.index, group)
    }

    /// Applies an entry without commands: its index, term and time.
    pub fn advance(&mut self, context: &Context) {
        self.meta.advance(context);
    }

    /// Makes claims of keys that were restored without, in this order.
    pub(crate) fn adopt(&mut self, keys: Vec<KeyValue>) -> Result<(), Fault> {
        let gate = Gate {
            state: &mut self.auth,
            cache: &mut self.machine.permissions,
            caller: Caller::System,
        };
        let mut transition = Transition::new(
            &mut self.overlay,
            &mut self.meta,
            &mut self.policies,
            gate,
            &mut self.event_bytes,
        );
        transition.unreconciled.touched = keys.into_iter().map(Touched::Put).collect();
        transition.reconcile()
    }

    /// Stores an opaque record of the log's adapter in the same write as the data.
    pub fn put_adapter_record(&mut self, record: Bytes) {
        let key = Bytes::from_static(MetaRow::Adapter.key());
        self.overlay.put(Table::Meta, key, record);
    }

    /// Returns the counters with this batch applied.
    #[must_use]
    pub const fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Returns about how many bytes the batch takes: pending writes, events and replies. Bounds how
    /// many entries are applied as one batch.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.overlay.bytes().saturating_add(self.bytes_held())
    }

    /// Returns a reader of the state with this batch applied.
    #[must_use]
    pub fn reader(&self) -> Reader<'_> {
        Reader::over(&self.overlay, self.meta)
    }

    /// Writes the batch.
    ///
    /// # Errors
    /// When the engine cannot write. Whether the write took effect is unknown; the node must stop.
    pub fn commit(mut self) -> Result<(), Fault> {
        let before = &self.machine.meta;
        debug_assert!(
            self.meta.floor <= self.meta.revision,
            "the floor can be read"
        );
        debug_assert!(
            self.meta.revision >= before.revision,
            "revisions never go back"
        );
        debug_assert!(self.meta.floor >= before.floor, "and the floor does not");
        debug_assert!(
            self.meta.level >= before.level,
            "nor does the feature level"
        );
        let key = Bytes::from_static(MetaRow::Counters.key());
        self.overlay.put(Table::Meta, key, self.meta.encode());
        self.machine.engine.write(self.overlay.into_batch())?;
        self.machine.meta = self.meta;
        self.machine.policies = self.policies;
        self.machine.auth = self.auth;
        self.machine.answers = self.answers;
        Ok(())
    }

    fn outcome(&self, reply: Result<Reply, Refusal>, effects: Effects) -> Outcome {
        Outcome {
            reply,
            revision: self.meta.revision,
            events: effects.events,
            signals: effects.signals,
            facts: effects.facts,
        }
    }

    /// Checks and executes a command, without its conditions.
    fn run(
        &mut self,
        caller: Caller<'_>,
        guards: &[Guard],
        command: &Command,
    ) -> Result<Outcome, Fault> {
        let before = (self.meta, self.auth);
        let gate = Gate {
            state: &mut self.auth,
            cache: &mut self.machine.permissions,
            caller,
        };
        let mut transition = Transition::new(
            &mut self.overlay,
            &mut self.meta,
            &mut self.policies,
            gate,
            &mut self.event_bytes,
        );
        let done = transition.execute(guards, command);
        let effects = transition.into_effects();
        match done {
            Ok(reply) => Ok(self.outcome(Ok(reply), effects)),
            Err(ReadError::Refused(refusal)) => {
                let after = (self.meta, self.auth);
                debug_assert_eq!(after, before, "what is refused changes nothing");
                Ok(self.outcome(Err(refusal), Effects::default()))
            }
            Err(ReadError::Fault(fault)) => Err(fault),
        }
    }
}
