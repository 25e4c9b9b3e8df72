//! Execution of commands: checks of alarms, guards and policies, then the family of the command.
//!
//! A family calls no family above it. Families that need each other are combined here: the end of a
//! lease (`lease_end.rs`), claims and wills (`reconcile.rs`), timers (`wake`). Invariant: a command
//! that is refused has changed nothing.

mod claim;
mod lease_end;
mod reconcile;

use crate::{
    command::{ClaimCommand, Command, DeleteRange, Guard, Put, RegistryCommand},
    error::{Fault, ReadError, Refusal},
    feature::FeatureLevel,
    fence::guard,
    history::{Compaction, note_compaction},
    kv, once,
    outcome::Reply,
    price::Budget,
    timers::{self, Timer},
    transition::Transition,
    value::Revision,
};

impl Transition<'_> {
    /// Checks and executes a command, without its conditions.
    ///
    /// # Errors
    /// Refused when the state forbids it.
    pub(crate) fn execute(
        &mut self,
        guards: &[Guard],
        command: &Command,
    ) -> Result<Reply, ReadError> {
        self.check_leases(command)?;
        if let Some(refusal) = self.barrier(command)? {
            return Err(refusal.into());
        }
        let reader = self.reader();
        guard::check(&reader, guards)?;
        self.policies.check(&reader, guards, command)?;
        let reply = self.dispatch(command)?;
        // Called here for every command, so that none can omit it.
        self.reconcile()?;
        Ok(reply)
    }

    /// Returns the refusal of a command that an active alarm forbids.
    fn barrier(&self, command: &Command) -> Result<Option<Refusal>, Fault> {
        let (serves_keys, needs_space) = match command {
            Command::Put(_)
            | Command::LeaseGrant(_)
            | Command::SessionOpen(_)
            | Command::WillSet(_)
            // Moving a claim rewrites its value, and those of all claims that wait behind it.
            | Command::Claim(
                ClaimCommand::Acquire(_)
                | ClaimCommand::Proclaim(_)
                | ClaimCommand::Transfer(_)
                | ClaimCommand::HandOver(_),
            )
            | Command::Registry(
                RegistryCommand::Register(_) | RegistryCommand::SetReadiness(_),
            ) => (true, true),
            Command::Txn(txn) => (true, txn.contains_put()),
            Command::DeleteRange(_)
            | Command::Compact(_)
            | Command::LeaseRevoke(_)
            | Command::LeaseExpire(_)
            | Command::Claim(
                ClaimCommand::Release(_)
                | ClaimCommand::Withdraw(_)
                | ClaimCommand::ForceRelease(_),
            )
            // A drain writes once, and then its instance is removed.
            | Command::Registry(
                RegistryCommand::Drain(_) | RegistryCommand::Deregister(_),
            )
            | Command::Fence(_)
            | Command::Wake => (true, false),
            // Conditions and principals were removed before this point.
            Command::LeaseRenew(_)
            | Command::Alarm(_)
            | Command::MemberPublish(_)
            | Command::RaiseLevel(_)
            | Command::Auth(_)
            | Command::Conditional(_)
            | Command::By(_) => (false, false),
        };
        if serves_keys && self.meta.corrupt && !self.goes_on_beside_corrupt(command)? {
            return Ok(Some(Refusal::Corrupt));
        }
        Ok((needs_space && self.meta.no_space).then_some(Refusal::NoSpace))
    }

    /// Whether a command is executed although a member's data is known to differ: the sound members
    /// go on to end leases and waits, because their holders may rely on it.
    fn goes_on_beside_corrupt(&self, command: &Command) -> Result<bool, Fault> {
        let falls_due = matches!(command, Command::LeaseExpire(_) | Command::Wake);
        let goes_on = falls_due && self.meta.level >= FeatureLevel::ALARMED;
        Ok(goes_on && self.names_corrupt_members()?)
    }

    fn dispatch(&mut self, command: &Command) -> Result<Reply, ReadError> {
        Ok(match command {
            Command::Put(put) => self.put(put)?,
            Command::DeleteRange(delete) => self.delete_range(delete)?,
            Command::Txn(txn) => Reply::Txn(self.execute_txn(txn)?),
            Command::Compact(revision) => self.compact(*revision)?,
            Command::LeaseGrant(grant) => {
                self.grant_lease(*grant, false)?;
                Reply::LeaseGrant(grant.id, grant.ttl)
            }
            Command::LeaseRevoke(id) => {
                self.revoke_lease(*id)?;
                Reply::LeaseRevoke
            }
            Command::LeaseRenew(ids) => {
                let renewed = self.renew_leases(ids)?;
                self.clear_suspects(ids)?;
                Reply::LeaseRenew(renewed)
            }
            Command::LeaseExpire(expiries) => Reply::LeaseExpire(self.expire_leases(expiries)?),
            Command::Alarm(change) => Reply::Alarm(self.change_alarm(*change)?),
            Command::MemberPublish(attributes) => {
                self.publish_member(attributes);
                Reply::MemberPublish
            }
            Command::Claim(command) => self.execute_claim(command)?,
            Command::Registry(command) => self.execute_registry(command)?,
            Command::SessionOpen(open) => self.open_session(*open)?,
            Command::Fence(command) => {
                self.change_policies(command)?;
                Reply::Done
            }
            Command::WillSet(command) => {
                self.set_will(command)?;
                Reply::Done
            }
            Command::Wake => self.wake()?,
            Command::RaiseLevel(level) => {
                self.meta.raise(*level)?;
                Reply::Done
            }
            Command::Auth(change) => {
                self.change_auth(change)?;
                Reply::Done
            }
            Command::Conditional(_) | Command::By(_) => {
                let what = "a condition or a principal within a condition";
                return Err(Fault::Command(what.to_owned()).into());
            }
        })
    }

    fn put(&mut self, put: &Put) -> Result<Reply, ReadError> {
        kv::check_put(&self.reader(), put)?;
        let previous = self.put_alone(put)?;
        Ok(Reply::Put(previous.filter(|_| put.want_previous)))
    }

    /// Counts before it deletes: undoing a large delete would take as much memory again.
    fn delete_range(&mut self, delete: &DeleteRange) -> Result<Reply, ReadError> {
        let mut budget = Budget::of_delete(self.meta);
        self.reader().price_delete(delete, &mut budget)?;
        let mut change = self.change();
        let reply = change.delete_range(delete, &mut Budget::unlimited())?;
        change.finish();
        Ok(Reply::DeleteRange(reply))
    }

    /// Moves the floor. The rows below it are deleted later, by the collector.
    fn compact(&mut self, revision: Revision) -> Result<Reply, ReadError> {
        let (latest, floor) = (self.meta.revision, self.meta.floor);
        if revision <= floor {
            return Err(Refusal::Compacted { floor }.into());
        }
        if revision > latest {
            return Err(Refusal::FutureRevision { latest }.into());
        }
        let noted = Compaction {
            revision,
            floor_before: floor,
        };
        note_compaction(self.overlay, noted)?;
        self.meta.floor = revision;
        Ok(Reply::Compact)
    }

    /// Runs the timers that are due.
    fn wake(&mut self) -> Result<Reply, ReadError> {
        let mut done = 0_u64;
        for timer in timers::take_due(self.overlay, self.meta.now)? {
            match &timer {
                Timer::WaitOver(token, key) => self.wait_over(*token, key)?,
                Timer::DelayOver(name) => self.delay_over(name)?,
                Timer::DrainOver(incarnation, key) => self.drain_over(*incarnation, key)?,
                Timer::ForgetKey(key) => once::forget_key(self.overlay, key, None)?,
                Timer::ForgetClientKey(client, key) => {
                    once::forget_key(self.overlay, key, Some(*client))?;
                }
                Timer::MassExpiryLook(service) => self.look_at_held(service)?,
            }
            self.reconcile()?;
            done = done.saturating_add(1);
        }
        Ok(Reply::Wake(done))
    }
}
