//! The `Auth` service of a node without users: reports that authentication is disabled, and refuses
//! the other calls.

use std::sync::Arc;

use tenure_proto::etcdserverpb::{self as wire, auth_server::Auth};
use tonic::{Request, Response, Status};

use crate::rpc::{answer::status::Reason, services::Services};

#[derive(Debug)]
pub(in crate::rpc) struct AuthService(pub(in crate::rpc) Arc<Services>);

/// Implements the service: all calls in the list are refused. A macro, because the trait requires
/// one declaration per call and these differ in their types only.
macro_rules! refusing {
    ($($method:ident($request:ident) -> $response:ident),+ $(,)?) => {
        #[tonic::async_trait]
        impl Auth for AuthService {
            async fn auth_status(
                &self,
                request: Request<wire::AuthStatusRequest>,
            ) -> Result<Response<wire::AuthStatusResponse>, Status> {
                self.0.admit(request.metadata())?;
                let revision = self.0.revision()?;
                Ok(Response::new(wire::AuthStatusResponse {
                    header: Some(self.0.headers.at(revision)),
                    enabled: false,
                    auth_revision: FIRST_AUTH_REVISION,
                }))
            }

            async fn authenticate(
                &self,
                _request: Request<wire::AuthenticateRequest>,
            ) -> Result<Response<wire::AuthenticateResponse>, Status> {
                Err(Reason::AuthNotEnabled.into())
            }

            $(
                async fn $method(
                    &self,
                    _request: Request<wire::$request>,
                ) -> Result<Response<wire::$response>, Status> {
                    Err(Reason::AuthUnsupported.into())
                }
            )+
        }
    };
}

refusing! {
    auth_enable(AuthEnableRequest) -> AuthEnableResponse,
    auth_disable(AuthDisableRequest) -> AuthDisableResponse,
    user_add(AuthUserAddRequest) -> AuthUserAddResponse,
    user_get(AuthUserGetRequest) -> AuthUserGetResponse,
    user_list(AuthUserListRequest) -> AuthUserListResponse,
    user_delete(AuthUserDeleteRequest) -> AuthUserDeleteResponse,
    user_change_password(AuthUserChangePasswordRequest) -> AuthUserChangePasswordResponse,
    user_grant_role(AuthUserGrantRoleRequest) -> AuthUserGrantRoleResponse,
    user_revoke_role(AuthUserRevokeRoleRequest) -> AuthUserRevokeRoleResponse,
    role_add(AuthRoleAddRequest) -> AuthRoleAddResponse,
    role_get(AuthRoleGetRequest) -> AuthRoleGetResponse,
    role_list(AuthRoleListRequest) -> AuthRoleListResponse,
    role_delete(AuthRoleDeleteRequest) -> AuthRoleDeleteResponse,
    role_grant_permission(AuthRoleGrantPermissionRequest) -> AuthRoleGrantPermissionResponse,
    role_revoke_permission(AuthRoleRevokePermissionRequest) -> AuthRoleRevokePermissionResponse,
}

/// The revision of users and roles that never changed, as etcd counts it.
const FIRST_AUTH_REVISION: u64 = 1;
