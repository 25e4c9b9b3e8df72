//! Users, roles and permissions, and whether they are enforced.
//!
//! The credentials of the client itself are those of [`ClientBuilder::credentials`].
//!
//! [`ClientBuilder::credentials`]: crate::ClientBuilder::credentials

use tenure_proto::{
    authpb::UserAddOptions,
    etcdserverpb::{
        AuthDisableRequest, AuthEnableRequest, AuthRoleAddRequest, AuthRoleDeleteRequest,
        AuthRoleGetRequest, AuthRoleGrantPermissionRequest, AuthRoleListRequest,
        AuthRoleRevokePermissionRequest, AuthStatusRequest, AuthUserAddRequest,
        AuthUserChangePasswordRequest, AuthUserDeleteRequest, AuthUserGetRequest,
        AuthUserGrantRoleRequest, AuthUserListRequest, AuthUserRevokeRoleRequest,
        auth_client::AuthClient,
    },
};

use crate::{
    call::{Call, rpc},
    client::Client,
    error::Error,
    range::KeyRange,
    response::{AccessStatus, Header, List, Permission, Role, User},
};

/// Users, roles and permissions. Made by [`Client::access`].
///
/// ```no_run
/// # async fn example(client: tenure::Client) -> Result<(), tenure::Error> {
/// use tenure::{KeyRange, Permission, PermissionKind};
///
/// let access = client.access();
/// access.add_role("config-reader").await?;
/// let read = Permission::new(PermissionKind::Read, KeyRange::prefix("config/"));
/// access.grant_permission("config-reader", read).await?;
/// access.add_user("alice", "correct horse battery staple").await?;
/// access.grant_role("alice", "config-reader").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Access<'a> {
    client: &'a Client,
}

impl Client {
    /// Users, roles and permissions.
    #[must_use]
    pub fn access(&self) -> Access<'_> {
        Access { client: self }
    }
}

/// Sends a request that changes something, and returns the header of the response.
macro_rules! change {
    ($access:expr, $method:ident, $request:expr) => {{
        let call = Call::write(None);
        let changed = rpc!($access.client, call, AuthClient.$method($request)).await?;
        Ok(Header::of(changed.header).unwrap_or_default())
    }};
}

/// Whether access is controlled.
impl Access<'_> {
    /// Enforces permissions from now on. The user `root` must exist and hold the role `root`.
    ///
    /// # Errors
    /// [`FailedPrecondition`](crate::ErrorKind::FailedPrecondition) without such a user.
    ///
    /// # Cancel safety
    /// Dropped, it may or may not have taken effect.
    pub async fn enable(self) -> Result<Header, Error> {
        change!(self, auth_enable, AuthEnableRequest {})
    }

    /// Lets every client read and write everything from now on. Users and roles are kept.
    ///
    /// # Errors
    /// The errors common to all calls.
    ///
    /// # Cancel safety
    /// Dropped, it may or may not have taken effect.
    pub async fn disable(self) -> Result<Header, Error> {
        change!(self, auth_disable, AuthDisableRequest {})
    }

    /// Whether permissions are enforced, and the revision of users and roles. Servers before etcd
    /// 3.5 do not know the call.
    ///
    /// # Errors
    /// The errors common to all calls.
    ///
    /// # Cancel safety
    /// Cancel safe: the call only reads.
    pub async fn status(self) -> Result<AccessStatus, Error> {
        let (call, request) = (Call::read(None), AuthStatusRequest {});
        let status = rpc!(self.client, call, AuthClient.auth_status(request)).await?;
        Ok(AccessStatus::of(status))
    }
}

/// Users.
impl Access<'_> {
    /// Adds a user with a password.
    ///
    /// # Errors
    /// [`FailedPrecondition`](crate::ErrorKind::FailedPrecondition) when the user exists.
    ///
    /// # Cancel safety
    /// Dropped, it may or may not have taken effect.
    pub async fn add_user(
        self,
        name: impl Into<String>,
        password: impl Into<String>,
    ) -> Result<Header, Error> {
        let request = AuthUserAddRequest {
            name: name.into(),
            password: password.into(),
            options: Some(UserAddOptions { no_password: false }),
            ..AuthUserAddRequest::default()
        };
        change!(self, user_add, request)
    }

    /// Adds a user without a password, who can only be identified by the common name of a client
    /// certificate.
    ///
    /// # Errors
    /// [`FailedPrecondition`](crate::ErrorKind::FailedPrecondition) when the user exists.
    ///
    /// # Cancel safety
    /// Dropped, it may or may not have taken effect.
    pub async fn add_user_without_password(self, name: impl Into<String>) -> Result<Header, Error> {
        let request = AuthUserAddRequest {
            name: name.into(),
            options: Some(UserAddOptions { no_password: true }),
            ..AuthUserAddRequest::default()
        };
        change!(self, user_add, request)
    }

    /// The roles of a user. Users may ask about themselves.
    ///
    /// # Errors
    /// [`FailedPrecondition`](crate::ErrorKind::FailedPrecondition) when there is no such user.
    ///
    /// # Cancel safety
    /// Cancel safe: the call only reads.
    pub async fn user(self, name: impl Into<String>) -> Result<User, Error> {
        let name = name.into();
        let (call, request) = (Call::read(None), AuthUserGetRequest { name: name.clone() });
        let user = rpc!(self.client, call, AuthClient.user_get(request)).await?;
        Ok(User::of(name, user))
    }

    /// The names of all users, sorted.
    ///
    /// # Errors
    /// The errors common to all calls.
    ///
    /// # Cancel safety
    /// Cancel safe: the call only reads.
    pub async fn users(self) -> Result<List<String>, Error> {
        let (call, request) = (Call::read(None), AuthUserListRequest {});
        let list = rpc!(self.client, call, AuthClient.user_list(request)).await?;
        Ok(List::of(Header::of(list.header), list.users))
    }

    /// Deletes a user, whose tokens are refused from now on.
    ///
    /// # Errors
    /// [`FailedPrecondition`](crate::ErrorKind::FailedPrecondition) when there is no such user.
    ///
    /// # Cancel safety
    /// Dropped, it may or may not have taken effect.
    pub async fn delete_user(self, name: impl Into<String>) -> Result<Header, Error> {
        let name = name.into();
        change!(self, user_delete, AuthUserDeleteRequest { name })
    }

    /// Changes the password of a user, whose tokens are refused from now on.
    ///
    /// # Errors
    /// [`FailedPrecondition`](crate::ErrorKind::FailedPrecondition) when there is no such user.
    ///
    /// # Cancel safety
    /// Dropped, it may or may not have taken effect.
    pub async fn change_password(
        self,
        name: impl Into<String>,
        password: impl Into<String>,
    ) -> Result<Header, Error> {
        let request = AuthUserChangePasswordRequest {
            name: name.into(),
            password: password.into(),
            ..AuthUserChangePasswordRequest::default()
        };
        change!(self, user_change_password, request)
    }

    /// Gives a user the permissions of a role. The role `root` includes everything and need not
    /// exist.
    ///
    /// # Errors
    /// [`FailedPrecondition`](crate::ErrorKind::FailedPrecondition) when there is no such user or
    /// role.
    ///
    /// # Cancel safety
    /// Dropped, it may or may not have taken effect.
    pub async fn grant_role(
        self,
        user: impl Into<String>,
        role: impl Into<String>,
    ) -> Result<Header, Error> {
        let (user, role) = (user.into(), role.into());
        change!(
            self,
            user_grant_role,
            AuthUserGrantRoleRequest { user, role }
        )
    }

    /// Takes a role from a user.
    ///
    /// # Errors
    /// [`FailedPrecondition`](crate::ErrorKind::FailedPrecondition) when the user does not hold it.
    ///
    /// # Cancel safety
    /// Dropped, it may or may not have taken effect.
    pub async fn revoke_role(
        self,
        user: impl Into<String>,
        role: impl Into<String>,
    ) -> Result<Header, Error> {
        let (name, role) = (user.into(), role.into());
        change!(
            self,
            user_revoke_role,
            AuthUserRevokeRoleRequest { name, role }
        )
    }
}

/// Roles and their permissions.
impl Access<'_> {
    /// Adds a role without permissions.
    ///
    /// # Errors
    /// [`FailedPrecondition`](crate::ErrorKind::FailedPrecondition) when it exists.
    ///
    /// # Cancel safety
    /// Dropped, it may or may not have taken effect.
    pub async fn add_role(self, name: impl Into<String>) -> Result<Header, Error> {
        let name = name.into();
        change!(self, role_add, AuthRoleAddRequest { name })
    }

    /// The permissions of a role. Users may ask about their own roles.
    ///
    /// # Errors
    /// [`FailedPrecondition`](crate::ErrorKind::FailedPrecondition) when there is no such role.
    ///
    /// # Cancel safety
    /// Cancel safe: the call only reads.
    pub async fn role(self, name: impl Into<String>) -> Result<Role, Error> {
        let name = name.into();
        let request = AuthRoleGetRequest { role: name.clone() };
        let role = rpc!(self.client, Call::read(None), AuthClient.role_get(request)).await?;
        Ok(Role::of(name, role))
    }

    /// The names of all roles, sorted.
    ///
    /// # Errors
    /// The errors common to all calls.
    ///
    /// # Cancel safety
    /// Cancel safe: the call only reads.
    pub async fn roles(self) -> Result<List<String>, Error> {
        let (call, request) = (Call::read(None), AuthRoleListRequest {});
        let list = rpc!(self.client, call, AuthClient.role_list(request)).await?;
        Ok(List::of(Header::of(list.header), list.roles))
    }

    /// Deletes a role, and takes it from all users.
    ///
    /// # Errors
    /// [`FailedPrecondition`](crate::ErrorKind::FailedPrecondition) when there is no such role.
    ///
    /// # Cancel safety
    /// Dropped, it may or may not have taken effect.
    pub async fn delete_role(self, name: impl Into<String>) -> Result<Header, Error> {
        let role = name.into();
        change!(self, role_delete, AuthRoleDeleteRequest { role })
    }

    /// Adds a permission to a role. It replaces another one on the same range.
    ///
    /// # Errors
    /// [`FailedPrecondition`](crate::ErrorKind::FailedPrecondition) when there is no such role.
    ///
    /// # Cancel safety
    /// Dropped, it may or may not have taken effect.
    pub async fn grant_permission(
        self,
        role: impl Into<String>,
        permission: Permission,
    ) -> Result<Header, Error> {
        let request = AuthRoleGrantPermissionRequest {
            name: role.into(),
            perm: Some(permission.into_message()),
        };
        change!(self, role_grant_permission, request)
    }

    /// Takes the permission on exactly this range from a role, of whatever kind it is.
    ///
    /// # Errors
    /// [`FailedPrecondition`](crate::ErrorKind::FailedPrecondition) when the role has no permission
    /// on that range.
    ///
    /// # Cancel safety
    /// Dropped, it may or may not have taken effect.
    pub async fn revoke_permission(
        self,
        role: impl Into<String>,
        range: impl Into<KeyRange>,
    ) -> Result<Header, Error> {
        let (key, range_end) = range.into().into_parts();
        let request = AuthRoleRevokePermissionRequest {
            role: role.into(),
            key,
            range_end,
        };
        change!(self, role_revoke_permission, request)
    }
}
