//! Calls for operators that the client crate has no methods for: draining somebody else's instance,
//! fence policies, the sessions of others, handing over an election.
//!
//! They go to the first endpoint that can be reached and are sent once. All of them may be repeated
//! without harm, so nothing is lost by leaving that to the user.

use std::{future::Future, time::Duration};

use tenure::{
    ErrorKind, Token,
    wire::{
        etcdserverpb::{AuthenticateRequest, auth_client::AuthClient},
        v1::{Guard, WriteOptions},
    },
};
use tokio::time::timeout;
use tonic::{
    Code, Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

use super::Session;
use crate::{
    args::{GuardArg, Guards},
    failure::{Failure, advice},
};

/// Metadata that carries the token of whoever calls, as etcd names it.
const TOKEN_KEY: &str = "token";

/// Metadata that names tenure's own reasons.
const REASON_KEY: &str = "tenure-reason";
/// Metadata that names the token which holds in place of the one that was shown.
const CURRENT_TOKEN_KEY: &str = "tenure-current-token";

/// A connection to one server.
#[derive(Debug)]
pub(super) struct Direct {
    channel: Channel,
    token: Option<MetadataValue<Ascii>>,
    timeout: Duration,
}

impl Direct {
    /// Connects to the first endpoint that answers, and authenticates if that was asked for.
    pub(super) async fn open(session: &Session) -> Result<Self, Failure> {
        let global = &session.global;
        let mut direct = Self {
            channel: connect(session).await?,
            token: None,
            timeout: global.command_timeout,
        };
        let token = if let Some(token) = &global.auth_jwt_token {
            token.clone()
        } else if let Some((name, password)) = super::credentials(global)? {
            let request = AuthenticateRequest {
                name: name.to_owned(),
                password: password.to_owned(),
            };
            let send =
                async |channel, request| AuthClient::new(channel).authenticate(request).await;
            direct.send(request, &[], send).await?.token
        } else {
            return Ok(direct);
        };
        let token = MetadataValue::try_from(token);
        direct.token = Some(token.map_err(|_| Failure::usage("the token is not ASCII text"))?);
        Ok(direct)
    }

    /// Makes one call; `guards` are those it carries.
    pub(super) async fn send<M, A>(
        &self,
        message: M,
        guards: &[GuardArg],
        call: impl AsyncFnOnce(Channel, Request<M>) -> Result<Response<A>, Status>,
    ) -> Result<A, Failure> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        if let Some(token) = &self.token {
            request.metadata_mut().insert(TOKEN_KEY, token.clone());
        }
        let answer = within(self.timeout, call(self.channel.clone(), request)).await;
        let answer = answer.map_err(|status| refused(&status, guards))?;
        Ok(answer.into_inner())
    }
}

async fn within<A>(
    limit: Duration,
    call: impl Future<Output = Result<A, Status>>,
) -> Result<A, Status> {
    let late = |_| Status::deadline_exceeded("the deadline of the call passed");
    timeout(limit, call).await.map_err(late)?
}

async fn connect(session: &Session) -> Result<Channel, Failure> {
    let mut text = "no endpoint is given".to_owned();
    for name in session.client.endpoints() {
        let address = name.strip_prefix("http://").unwrap_or(name);
        let endpoint = Endpoint::from_shared(format!("http://{address}"));
        let endpoint = endpoint.map_err(anyhow::Error::from)?;
        let endpoint = endpoint.connect_timeout(session.global.dial_timeout);
        match endpoint.connect().await {
            Ok(channel) => return Ok(channel),
            Err(error) => {
                let error = anyhow::Error::from(error);
                text = format!("cannot connect to {name}: {error:#}");
            }
        }
    }
    let hint = advice(ErrorKind::Connect, None, &[]);
    Err(Failure::Refused { text, hint })
}

/// The failure of a call that carried `guards`.
fn refused(status: &Status, guards: &[GuardArg]) -> Failure {
    let metadata = |key| status.metadata().get(key)?.to_str().ok();
    // Zero, which is no token, says that nobody holds.
    let current = metadata(CURRENT_TOKEN_KEY).and_then(|token: &str| token.parse::<Token>().ok());
    let kind = match (metadata(REASON_KEY), status.code()) {
        (Some("GuardStale"), _) => ErrorKind::StaleGuard,
        (Some("GuardMissing"), _) => ErrorKind::GuardMissing,
        (Some("NotHolder"), _) => ErrorKind::NotHolder,
        (_, Code::Unauthenticated) => ErrorKind::Unauthenticated,
        (_, Code::PermissionDenied) => ErrorKind::PermissionDenied,
        (_, Code::DeadlineExceeded) => ErrorKind::DeadlineExceeded,
        (_, Code::Unimplemented) => ErrorKind::Unimplemented,
        _ => ErrorKind::Unknown,
    };
    Failure::Refused {
        text: status.message().to_owned(),
        hint: advice(kind, current, guards),
    }
}

impl Guards {
    /// The guards as a field of a request.
    pub(super) fn options(&self) -> Option<WriteOptions> {
        let guard = |guard: &GuardArg| Guard {
            name: guard.name.clone().into(),
            token: guard.token,
        };
        Some(WriteOptions {
            guards: self.guards.iter().map(guard).collect(),
            ..WriteOptions::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_guard_names_the_flag_and_the_token_that_holds() {
        let guards = [GuardArg {
            name: "jobs/7".to_owned(),
            token: 5,
        }];
        let mut status = Status::failed_precondition("guard is stale");
        let mut said = |key: &'static str, value: &'static str| {
            status
                .metadata_mut()
                .insert(key, MetadataValue::from_static(value));
            let failure = refused(&status, &guards);
            (
                failure.exit_code(),
                failure.hint().unwrap_or_default().into_owned(),
            )
        };
        assert_eq!(said(CURRENT_TOKEN_KEY, "9"), (1, String::new()));
        let (_, hint) = said(REASON_KEY, "GuardStale");
        assert!(
            hint.contains("--guard jobs/7=5") && hint.contains("token 9"),
            "{hint}"
        );
        let (_, hint) = said(CURRENT_TOKEN_KEY, "0");
        assert!(hint.contains("nobody holds"), "{hint}");
    }
}
