//! The authentication token of a client: given by the user, or fetched with a name and password and
//! fetched again once the server rejects it.
//!
//! Does not manage users and roles. Invariant: of the calls that need a token at the same time, one
//! logs in; a rejected token is dropped once, however many calls it was rejected for.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use tenure_proto::etcdserverpb::{AuthenticateRequest, auth_client::AuthClient};

use crate::{
    channel::{Lane, Pool},
    config::{Config, Credentials, Secret},
    error::{Error, ErrorKind, Operation},
};

/// etcd's error text when authentication is disabled.
const AUTH_DISABLED: &str = "authentication is not enabled";

/// The current token, and the credentials to fetch another.
#[derive(Debug)]
pub(crate) struct TokenCell {
    credentials: Option<Credentials>,
    token: Mutex<Option<Held>>,
    /// Held during a log-in.
    login: tokio::sync::Mutex<()>,
}

/// What the client knows about its token.
#[derive(Debug, Clone)]
enum Held {
    Token(Arc<Secret>),
    /// The server does not ask for one. Remembered, so that not every call asks it again.
    Unneeded,
}

/// The token of one attempt, by which it is dropped when it is rejected.
#[derive(Debug, Clone)]
pub(crate) struct UsedToken(Held);

impl UsedToken {
    /// The text to send, if any.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.0 {
            Held::Token(token) => Some(token.reveal()),
            Held::Unneeded => None,
        }
    }
}

impl TokenCell {
    pub(crate) fn new(config: &Config) -> Self {
        // A token given by the user cannot be renewed: there are no credentials.
        let credentials = config
            .credentials
            .clone()
            .filter(|_| config.token.is_none());
        let given = config.token.clone();
        let given = given.filter(|token| !token.reveal().is_empty());
        Self {
            credentials,
            token: Mutex::new(given.map(|token| Held::Token(Arc::new(token)))),
            login: tokio::sync::Mutex::default(),
        }
    }

    /// Whether another token can be fetched.
    pub(crate) fn renewable(&self) -> bool {
        self.credentials.is_some()
    }

    /// Drops the token that a server rejected, unless another has been fetched since; the next call
    /// logs in.
    pub(crate) fn reject(&self, used: &UsedToken) {
        let mut token = self.token.lock();
        let same = match (&used.0, &*token) {
            (Held::Token(used), Some(Held::Token(current))) => Arc::ptr_eq(used, current),
            (Held::Unneeded, Some(Held::Unneeded)) => true,
            _ => false,
        };
        if same {
            *token = None;
        }
    }

    /// The current token, without fetching one.
    pub(crate) fn current(&self) -> UsedToken {
        UsedToken(self.token.lock().clone().unwrap_or(Held::Unneeded))
    }

    /// The token to send. Logs in when there is none, or waits for a log-in under way.
    pub(crate) async fn get(&self, pool: &Pool, deadline: Instant) -> Result<UsedToken, Error> {
        let Some(credentials) = &self.credentials else {
            return Ok(self.current());
        };
        if let Some(held) = self.token.lock().clone() {
            return Ok(UsedToken(held));
        }
        // Cancel safe: a caller that gives up leaves the log-in to the next.
        let turn = timeout_at(deadline, self.login.lock()).await;
        let _turn = turn.map_err(|_| Error::deadline(Operation::Read))?;
        if let Some(held) = self.token.lock().clone() {
            return Ok(UsedToken(held));
        }
        let held = log_in(credentials, pool, deadline).await?;
        *self.token.lock() = Some(held.clone());
        Ok(UsedToken(held))
    }
}

async fn log_in(credentials: &Credentials, pool: &Pool, deadline: Instant) -> Result<Held, Error> {
    let pick = pool
        .pick(Lane::Calls)
        .map_err(|_| Error::unreachable(pool.names()))?;
    let request = AuthenticateRequest {
        name: credentials.user.clone(),
        password: credentials.password.reveal().to_owned(),
    };
    let mut auth = AuthClient::new(pick.channel);
    let answer = timeout_at(deadline, auth.authenticate(request)).await;
    pick.permit.observe(&answer);
    match answer {
        Ok(Ok(answer)) => {
            let token = Secret::from(answer.into_inner().token);
            Ok(Held::Token(Arc::new(token)))
        }
        Ok(Err(status)) if status.message().contains(AUTH_DISABLED) => Ok(Held::Unneeded),
        Ok(Err(status)) => {
            let error = Error::from_status(status, Operation::Read, pick.name);
            if matches!(error.kind(), ErrorKind::Connect | ErrorKind::Unavailable) {
                pool.avoid(pick.index);
            }
            Err(error)
        }
        Err(_) => Err(Error::deadline(Operation::Read)),
    }
}
