//! The `Auth` service: log-ins, and the administration of users, roles and permissions.
//!
//! Who may call what is in `admission/`. Passwords are hashed here, before a command exists.
//! Invariant: no password is in a command, an error, a log or a metric.

mod changes;
mod login;
mod reads;

use std::sync::Arc;

use tenure_proto::etcdserverpb::{self as wire, auth_server::Auth};
use tonic::{Request, Response, Status};

use self::changes::Change;
use crate::rpc::services::Services;

#[derive(Debug)]
pub(in crate::rpc) struct AuthService(pub(in crate::rpc) Arc<Services>);

/// Implements the service: each change is one command, and is answered with a header. A macro,
/// because the trait requires one declaration per call and these differ in their types only.
macro_rules! changing {
    ($($method:ident($request:ident) -> $response:ident),+ $(,)?) => {
        #[tonic::async_trait]
        impl Auth for AuthService {
            async fn auth_status(
                &self,
                request: Request<wire::AuthStatusRequest>,
            ) -> Result<Response<wire::AuthStatusResponse>, Status> {
                Ok(reads::status(&self.0, request).await?)
            }

            async fn authenticate(
                &self,
                request: Request<wire::AuthenticateRequest>,
            ) -> Result<Response<wire::AuthenticateResponse>, Status> {
                Ok(login::authenticate(&self.0, request).await?)
            }

            async fn user_get(
                &self,
                request: Request<wire::AuthUserGetRequest>,
            ) -> Result<Response<wire::AuthUserGetResponse>, Status> {
                Ok(reads::user(&self.0, request).await?)
            }

            async fn user_list(
                &self,
                request: Request<wire::AuthUserListRequest>,
            ) -> Result<Response<wire::AuthUserListResponse>, Status> {
                Ok(reads::users(&self.0, request).await?)
            }

            async fn role_get(
                &self,
                request: Request<wire::AuthRoleGetRequest>,
            ) -> Result<Response<wire::AuthRoleGetResponse>, Status> {
                Ok(reads::role(&self.0, request).await?)
            }

            async fn role_list(
                &self,
                request: Request<wire::AuthRoleListRequest>,
            ) -> Result<Response<wire::AuthRoleListResponse>, Status> {
                Ok(reads::roles(&self.0, request).await?)
            }

            $(
                async fn $method(
                    &self,
                    request: Request<wire::$request>,
                ) -> Result<Response<wire::$response>, Status> {
                    let header = wire::$request::make(&self.0, request).await?;
                    Ok(Response::new(wire::$response {
                        header: Some(header),
                    }))
                }
            )+
        }
    };
}

changing! {
    auth_enable(AuthEnableRequest) -> AuthEnableResponse,
    auth_disable(AuthDisableRequest) -> AuthDisableResponse,
    user_add(AuthUserAddRequest) -> AuthUserAddResponse,
    user_delete(AuthUserDeleteRequest) -> AuthUserDeleteResponse,
    user_change_password(AuthUserChangePasswordRequest) -> AuthUserChangePasswordResponse,
    user_grant_role(AuthUserGrantRoleRequest) -> AuthUserGrantRoleResponse,
    user_revoke_role(AuthUserRevokeRoleRequest) -> AuthUserRevokeRoleResponse,
    role_add(AuthRoleAddRequest) -> AuthRoleAddResponse,
    role_delete(AuthRoleDeleteRequest) -> AuthRoleDeleteResponse,
    role_grant_permission(AuthRoleGrantPermissionRequest) -> AuthRoleGrantPermissionResponse,
    role_revoke_permission(AuthRoleRevokePermissionRequest) -> AuthRoleRevokePermissionResponse,
}

#[cfg(test)]
mod tests;
