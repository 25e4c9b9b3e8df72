//! Log-ins: a password for a token.
//!
//! Nothing is replicated: the token is sealed with a secret that every member has. Invariant: the
//! token names the generation of the password that was verified.

use bytes::Bytes;
use tenure_proto::etcdserverpb as wire;
use tenure_statemachine::{AuthChange, AuthState, Reader, User};
use tonic::{Request, Response};

use super::changes::secret;
use crate::{
    auth::{
        Password,
        passwords::{Login, LoginFault},
        tokens::{AuthRevision, MintFault, PasswordGeneration, Subject, TokenSecret},
    },
    rpc::{
        admission::Allowed,
        answer::{failure::Failure, status::Reason},
        services::{RECHECKS_MAX, Services},
    },
    share,
    transport::ConnectionInfo,
};

/// What a log-in reads of the state.
struct Known {
    state: AuthState,
    secret: Option<Bytes>,
    user: Option<User>,
    revision: tenure_statemachine::Revision,
}

/// Verifies the password, and issues a token. Repeats itself when the password changed meanwhile.
pub(super) async fn authenticate(
    services: &Services,
    request: Request<wire::AuthenticateRequest>,
) -> Result<Response<wire::AuthenticateResponse>, Failure> {
    let call = services.admit(&request)?;
    let connection = request.extensions().get::<ConnectionInfo>();
    let peer = connection.and_then(|connection| connection.peer);
    let wire::AuthenticateRequest { name, password } = request.into_inner();
    // Taken over at once, so that its bytes are wiped when the call ends.
    let password = Password::new(password);
    call.read(services.replica.read_barrier()).await?;
    for _ in 0..=RECHECKS_MAX {
        let known = known(services, &name)?;
        if !known.state.enabled {
            return Err(Reason::AuthNotEnabled.into());
        }
        let Some(secret_bytes) = &known.secret else {
            renew_secret(services).await?;
            continue;
        };
        // No password that long was ever set.
        let password = password.as_ref().map_err(|_| Reason::AuthFailed)?;
        let hash = known.user.as_ref().and_then(|user| user.password.as_ref());
        let hash = hash.and_then(|hash| str::from_utf8(hash).ok());
        let login = Login {
            user: &name,
            peer: peer.map(|peer| share::network(peer.ip())),
            hash,
            password: password.clone(),
        };
        let verified =
            call.read(async { Ok::<_, Failure>(services.auth.passwords.verify(login).await) });
        verified.await?.map_err(reason)?;
        let generation = |known: &Known| known.user.as_ref().map(|user| user.password_generation);
        let now = self::known(services, &name)?;
        if generation(&now) != generation(&known) || now.secret != known.secret {
            continue;
        }
        let Some(secret) = TokenSecret::from_slice(secret_bytes) else {
            return Err(Reason::InvalidAuthToken.into());
        };
        let subject = Subject {
            user: &name,
            generation: PasswordGeneration(generation(&now).unwrap_or_default()),
            revision: AuthRevision(now.state.revision.0),
        };
        let tokens = &services.auth.tokens;
        let token = tokens.mint(&subject, &secret, services.replica.cluster_time());
        let token = token.map_err(of_mint)?;
        return Ok(Response::new(wire::AuthenticateResponse {
            header: Some(services.headers.at(now.revision)),
            token: token.reveal().to_owned(),
        }));
    }
    Err(Reason::AuthOldRevision.into())
}

fn known(services: &Services, name: &str) -> Result<Known, Failure> {
    services.latest(|reader: &Reader<'_>| {
        Ok(Known {
            state: reader.auth()?,
            secret: reader.token_secret()?,
            user: reader.user(name)?,
            revision: reader.meta().revision,
        })
    })
}

/// Stores a secret where a restore has left none.
async fn renew_secret(services: &Services) -> Result<(), Failure> {
    let enable = AuthChange::Enable { secret: secret() };
    let allowed = Allowed::of_system(enable.into());
    services.propose::<AuthChange>(allowed).await.map(drop)
}

fn reason(fault: LoginFault) -> Failure {
    match fault {
        LoginFault::Wrong => Reason::AuthFailed.into(),
        LoginFault::Busy { .. }
        | LoginFault::TooManyWrong { .. }
        | LoginFault::TooManyWrongThere { .. } => Reason::TooManyRequests.with(fault.to_string()),
    }
}

fn of_mint(fault: MintFault) -> Failure {
    match fault {
        MintFault::VerifyOnly => Reason::TokensVerifiedOnly.into(),
        MintFault::Off => Reason::TokensOff.into(),
        MintFault::Unsigned | MintFault::NameTooLong => Reason::TokensOff.with(fault.to_string()),
    }
}
