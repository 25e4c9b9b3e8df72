//! Authentication of one node: one password for all users, a token of its own for each log-in; no
//! other calls.

use tenure_proto::etcdserverpb::{self as etcd, auth_server::Auth};
use tonic::{Request, Status};

use super::{
    node::{Answer, Service},
    store::Store,
};

/// Implements the service with the given calls; the other named calls are unimplemented.
macro_rules! auth {
    ($($absent:ident($asked:ident) -> $answer:ident,)+ { $($served:item)+ }) => {
        #[tonic::async_trait]
        impl Auth for Service {
            $($served)+
            $(async fn $absent(&self, _: Request<etcd::$asked>) -> Answer<etcd::$answer> {
                Err(Status::unimplemented(""))
            })+
        }
    };
}

auth! {
    auth_enable(AuthEnableRequest) -> AuthEnableResponse,
    auth_disable(AuthDisableRequest) -> AuthDisableResponse,
    auth_status(AuthStatusRequest) -> AuthStatusResponse,
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
    {
        async fn authenticate(
            &self,
            request: Request<etcd::AuthenticateRequest>,
        ) -> Answer<etcd::AuthenticateResponse> {
            self.take("authenticate", request, |store, _, request| {
                log_in(store, &request.password)
            })
            .await
        }
    }
}

fn log_in(store: &Store, password: &str) -> Result<etcd::AuthenticateResponse, Status> {
    if store.open {
        let text = "etcdserver: authentication is not enabled";
        return Err(Status::failed_precondition(text));
    }
    if password != store.password {
        let text = "etcdserver: authentication failed, invalid user ID or password";
        return Err(Status::invalid_argument(text));
    }
    Ok(etcd::AuthenticateResponse {
        token: format!("token-{}", store.calls("authenticate")),
        ..etcd::AuthenticateResponse::default()
    })
}
