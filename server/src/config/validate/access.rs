//! Rules for tokens, passwords and the audit log.

use std::time::Duration;

use super::Check;
use crate::config::{audit, audit::AuditTarget, flags, token, token::TokenProvider};

/// The costs that bcrypt has.
const COSTS: std::ops::RangeInclusive<u64> = 4..=31;

/// Longest life of an unused token, ten years: a longer one is a mistake.
const TOKEN_SECONDS_MAX: u64 = 10 * 365 * 24 * 60 * 60;

impl Check<'_> {
    pub(super) fn tokens(&mut self) -> TokenProvider {
        let ttl = self.token_ttl();
        let text = self.sources.text(flags::AUTH_TOKEN);
        match token::parse(&text, ttl) {
            Ok(provider) => provider,
            Err(remedy) => {
                self.bad(flags::AUTH_TOKEN.name, remedy);
                TokenProvider::Off
            }
        }
    }

    fn token_ttl(&mut self) -> Duration {
        let name = flags::AUTH_TOKEN_TTL.name;
        let seconds = match self.sources.uint(flags::AUTH_TOKEN_TTL) {
            // As etcd.
            0 => {
                self.warn(name, "0 means the default, 300 seconds");
                flags::AUTH_TOKEN_TTL.default
            }
            seconds if seconds > TOKEN_SECONDS_MAX => {
                let remedy = format!("expected at most {TOKEN_SECONDS_MAX} seconds");
                self.bad(name, remedy);
                flags::AUTH_TOKEN_TTL.default
            }
            seconds => seconds,
        };
        Duration::from_secs(seconds)
    }

    /// A cost outside of bcrypt's is replaced by the default, as with etcd.
    pub(super) fn bcrypt_cost(&mut self) -> u32 {
        let setting = flags::BCRYPT_COST;
        let given = self.sources.uint(setting);
        let used = if COSTS.contains(&given) {
            given
        } else {
            self.warn(setting.name, "expected from 4 to 31; 10 is used");
            setting.default
        };
        u32::try_from(used).expect("invariant: costs are small numbers")
    }

    pub(super) fn audit_log(&mut self) -> AuditTarget {
        let bytes_max = self.sources.uint(flags::AUDIT_LOG_MAX_BYTES);
        audit::parse(&self.sources.text(flags::AUDIT_LOG), bytes_max)
    }
}
