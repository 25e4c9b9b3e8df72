//! Starts what proves and records identities, as the settings say.

use std::{io, sync::Arc};

use thiserror::Error;

use super::{
    SystemEntropy,
    audit::AuditLog,
    passwords::Passwords,
    tokens::{JwtFault, Tokens},
};
use crate::{
    clock::{Clock, SystemWallClock, WallClock},
    config::Config,
    metrics::AuthMetrics,
};

/// What proves and records identities on this member.
#[derive(Debug)]
pub struct Auth {
    /// Issues and verifies tokens.
    pub tokens: Tokens,
    /// Hashes and verifies passwords.
    pub passwords: Passwords,
    /// Records administrative acts.
    pub audit: AuditLog,
    /// Whether a client without a token is the user that its certificate names.
    pub certificates_name_users: bool,
}

/// Why it does not start. Neither does the node: it would serve without what was asked for.
#[derive(Debug, Error)]
pub enum AuthError {
    /// The keys of tokens cannot be used.
    #[error(transparent)]
    Tokens(#[from] JwtFault),
    /// There are no threads to hash passwords.
    #[error("there are no threads to hash passwords")]
    Passwords(#[source] io::Error),
    /// The audit log cannot be opened.
    #[error("--audit-log: the audit log cannot be opened")]
    Audit(#[source] io::Error),
}

impl Auth {
    /// Starts it.
    ///
    /// # Errors
    /// See [`AuthError`].
    pub fn start(
        config: &Config,
        clock: Arc<dyn Clock>,
        metrics: &AuthMetrics,
    ) -> Result<Arc<Self>, AuthError> {
        let entropy = Arc::new(SystemEntropy);
        let wall_clock: Arc<dyn WallClock> = Arc::new(SystemWallClock);
        let tokens = Tokens::open(
            &config.tokens,
            Arc::clone(&clock),
            Arc::clone(&wall_clock),
            Arc::clone(&entropy) as _,
        )?;
        let passwords = Passwords::start(config.bcrypt_cost, clock, entropy, metrics.clone())
            .map_err(AuthError::Passwords)?;
        let audit = AuditLog::open(&config.audit_log, wall_clock, metrics.clone())
            .map_err(AuthError::Audit)?;
        Ok(Arc::new(Self {
            tokens,
            passwords,
            audit,
            certificates_name_users: config.client_cert_auth,
        }))
    }
}
