//! Setting, removing and listing of policies.

use crate::{
    command::{FenceCommand, FencePolicy},
    error::{Fault, ReadError, Refusal},
    feature::FeatureLevel,
    read::Reader,
    transition::{Policies, Transition},
};

/// Most policies. All are kept in memory and looked at by every write; guarded prefixes are parts
/// of applications, not objects.
pub const POLICIES_MAX: usize = 1000;

impl Transition<'_> {
    /// Sets or removes a policy.
    pub(crate) fn change_policies(&mut self, command: &FenceCommand) -> Result<(), ReadError> {
        let prefix = match command {
            FenceCommand::Set(policy) => &policy.prefix,
            FenceCommand::Remove(prefix) => prefix,
        };
        let place = self.policies.place(prefix);
        // Below this level, with the most policies, removing an absent one is refused as too many.
        let is_set = matches!(command, FenceCommand::Set(_));
        let may_add = self.meta.level < FeatureLevel::PRICED || is_set;
        if may_add && place.is_err() && self.policies.len() >= POLICIES_MAX {
            return Err(Refusal::TooManyPolicies.into());
        }
        match (command, place) {
            (FenceCommand::Set(policy), _) => {
                self.policies.set(self.overlay, policy);
                debug_assert!(self.policies.len() <= POLICIES_MAX, "policies are bounded");
            }
            (FenceCommand::Remove(_), Err(_)) => return Err(Refusal::PolicyNotFound.into()),
            (FenceCommand::Remove(_), Ok(at)) => self.policies.remove(self.overlay, at),
        }
        Ok(())
    }
}

impl Reader<'_> {
    /// Returns every fence policy, by prefix.
    ///
    /// # Errors
    /// When the engine cannot read.
    pub fn policies(&self) -> Result<Vec<FencePolicy>, Fault> {
        Ok(Policies::load(self.view)?.into_list())
    }
}
