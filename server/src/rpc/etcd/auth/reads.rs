//! Reads of users, roles and the state of authentication, as of everything acknowledged before.

use tenure_proto::{
    authpb::{self, permission::Type},
    etcdserverpb as wire,
};
use tenure_statemachine::{Access, Need, Permission, Reader, Refusal, User};
use tonic::{Request, Response};

use crate::rpc::{answer::failure::Failure, services::Services};

/// Needs nobody, so that a client can find out whether it has to log in.
pub(super) async fn status(
    services: &Services,
    request: Request<wire::AuthStatusRequest>,
) -> Result<Response<wire::AuthStatusResponse>, Failure> {
    let call = services.admit(&request)?;
    call.read(services.replica.read_barrier()).await?;
    let (revision, state) =
        services.latest(|reader| Ok((reader.meta().revision, reader.auth()?)))?;
    Ok(Response::new(wire::AuthStatusResponse {
        header: Some(services.headers.at(revision)),
        enabled: state.enabled,
        auth_revision: state.revision.0,
    }))
}

/// The roles of a user, for itself and for root.
pub(super) async fn user(
    services: &Services,
    request: Request<wire::AuthUserGetRequest>,
) -> Result<Response<wire::AuthUserGetResponse>, Failure> {
    let call = services.admit(&request)?;
    let name = request.into_inner().name;
    let need = if call.caller().name() == Some(&name) {
        Need::User
    } else {
        Need::Admin
    };
    let permit = services.permit(&call, vec![need]).await?;
    call.read(services.replica.read_barrier()).await?;
    let (revision, user) = services.latest(|reader| {
        permit.check(reader)?;
        let user = reader.user(&name)?.ok_or(Refusal::UserNotFound)?;
        Ok((reader.meta().revision, user))
    })?;
    Ok(Response::new(wire::AuthUserGetResponse {
        header: Some(services.headers.at(revision)),
        roles: user.roles,
    }))
}

pub(super) async fn users(
    services: &Services,
    request: Request<wire::AuthUserListRequest>,
) -> Result<Response<wire::AuthUserListResponse>, Failure> {
    let call = services.admit(&request)?;
    let permit = services.permit(&call, vec![Need::Admin]).await?;
    call.read(services.replica.read_barrier()).await?;
    let headers = services.headers.clone();
    let read = move |reader: &Reader<'_>| {
        permit.check(reader)?;
        let users = reader.users()?.into_iter();
        Ok(wire::AuthUserListResponse {
            header: Some(headers.at(reader.meta().revision)),
            users: users.map(|(name, _)| name).collect(),
        })
    };
    services.answer(&call, read).await
}

/// The permissions of a role, for those who have it and for root.
pub(super) async fn role(
    services: &Services,
    request: Request<wire::AuthRoleGetRequest>,
) -> Result<Response<wire::AuthRoleGetResponse>, Failure> {
    let call = services.admit(&request)?;
    let name = request.into_inner().role;
    let has_role = |reader: &Reader<'_>| {
        let caller = call.caller().name();
        let user = caller.map(|caller| reader.user(caller)).transpose()?;
        Ok(user.flatten().is_some_and(|user| user.has_role(&name)))
    };
    let need = if services.latest(has_role)? {
        Need::User
    } else {
        Need::Admin
    };
    let permit = services.permit(&call, vec![need]).await?;
    call.read(services.replica.read_barrier()).await?;
    let (revision, role) = services.latest(|reader| {
        permit.check(reader)?;
        let role = reader.role(&name)?.ok_or(Refusal::RoleNotFound)?;
        Ok((reader.meta().revision, role))
    })?;
    let perm = if name == User::ROOT {
        vec![everything()]
    } else {
        role.permissions.into_iter().map(permission).collect()
    };
    services.found(wire::AuthRoleGetResponse {
        header: Some(services.headers.at(revision)),
        perm,
    })
}

pub(super) async fn roles(
    services: &Services,
    request: Request<wire::AuthRoleListRequest>,
) -> Result<Response<wire::AuthRoleListResponse>, Failure> {
    let call = services.admit(&request)?;
    let permit = services.permit(&call, vec![Need::Admin]).await?;
    call.read(services.replica.read_barrier()).await?;
    let headers = services.headers.clone();
    let read = move |reader: &Reader<'_>| {
        permit.check(reader)?;
        let roles = reader.roles()?.into_iter();
        Ok(wire::AuthRoleListResponse {
            header: Some(headers.at(reader.meta().revision)),
            roles: roles.map(|(name, _)| name).collect(),
        })
    };
    services.answer(&call, read).await
}

fn permission(permission: Permission) -> authpb::Permission {
    let kind = match permission.access {
        Access::Read => Type::Read,
        Access::Write => Type::Write,
        Access::ReadWrite => Type::Readwrite,
    };
    authpb::Permission {
        perm_type: kind.into(),
        range_end: permission.range.wire_end(),
        key: permission.range.start,
    }
}

/// The permission of the role `root`, as etcd shows it.
fn everything() -> authpb::Permission {
    authpb::Permission {
        perm_type: Type::Readwrite.into(),
        key: bytes::Bytes::new(),
        range_end: bytes::Bytes::from_static(b"\0"),
    }
}
