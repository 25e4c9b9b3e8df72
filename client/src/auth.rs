//! The authentication token of a client: given by the user, or fetched with a name and password and
//! fetched again once the server rejects it.
//!
//! Does not manage users and roles.

use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use tenure_proto::etcdserverpb::{AuthenticateRequest, auth_client::AuthClient};

use crate::{
    channel::{Lane, Pool},
    config::{Config, Credentials},
    error::{Error, ErrorKind, Operation},
};

/// etcd's error text when authentication is disabled.
const AUTH_DISABLED: &str = "authentication is not enabled";

/// The current token, and the credentials to fetch another.
#[derive(Debug)]
pub(crate) struct TokenCell {
    credentials: Option<Credentials>,
    token: Mutex<Option<String>>,
}

impl TokenCell {
    pub(crate) fn new(config: &Config) -> Self {
        // A token given by the user cannot be renewed: there are no credentials.
        let credentials = config
            .credentials
            .clone()
            .filter(|_| config.token.is_none());
        Self {
            credentials,
            token: Mutex::new(config.token.clone()),
        }
    }

    /// Whether another token can be fetched.
    pub(crate) fn renewable(&self) -> bool {
        self.credentials.is_some()
    }

    /// Drops the token; the next call fetches another.
    pub(crate) fn forget(&self) {
        *self.token.lock() = None;
    }

    /// The token to send, if any. Two calls that start together may both fetch one, which is
    /// harmless.
    pub(crate) async fn get(
        &self,
        pool: &Pool,
        deadline: Instant,
    ) -> Result<Option<String>, Error> {
        let held = self.token.lock().clone();
        let Some(credentials) = self.credentials.as_ref().filter(|_| held.is_none()) else {
            return Ok(held.filter(|token| !token.is_empty()));
        };
        let pick = pool
            .pick(Lane::Calls)
            .map_err(|_| Error::unreachable(pool.names()))?;
        let request = AuthenticateRequest {
            name: credentials.user.clone(),
            password: credentials.password.clone(),
        };
        let mut auth = AuthClient::new(pick.channel);
        let answer = timeout_at(deadline, auth.authenticate(request)).await;
        pick.permit.observe(&answer);
        let token = match answer {
            Ok(Ok(answer)) => answer.into_inner().token,
            // Cached as an empty token, so that not every call asks the server again.
            Ok(Err(status)) if status.message().contains(AUTH_DISABLED) => String::new(),
            Ok(Err(status)) => {
                let error = Error::from_status(status, Operation::Read, pick.name);
                if matches!(error.kind(), ErrorKind::Connect | ErrorKind::Unavailable) {
                    pool.avoid(pick.index);
                }
                return Err(error);
            }
            Err(_) => return Err(Error::deadline(Operation::Read)),
        };
        *self.token.lock() = Some(token.clone());
        Ok(Some(token).filter(|token| !token.is_empty()))
    }
}
