//! Changes of users, roles and permissions: from requests to commands.

use std::net::IpAddr;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use tenure_proto::{
    authpb::{self, permission::Type},
    etcdserverpb::{self as wire, ResponseHeader},
};
use tenure_statemachine::{Access, AuthChange, KeyRange, Permission};
use tonic::Request;

use crate::{
    auth::{Entropy, Password, SystemEntropy, passwords::PasswordHash},
    rpc::{
        admission::audit::{Act, Origin},
        answer::{failure::Failure, status::Reason},
        services::Services,
    },
    transport::ConnectionInfo,
};

/// A request that is one change.
pub(super) trait Change: prost::Message + Sized + 'static {
    /// The name of the method in the audit log.
    const ACTION: &'static str;

    /// What it is about, for the audit log.
    fn about(&self) -> Vec<(&'static str, String)>;

    /// The command; `peer` is the client's address.
    async fn command(
        self,
        services: &Services,
        peer: Option<IpAddr>,
    ) -> Result<AuthChange, Failure>;

    /// Makes the change, and records it or that it was refused.
    async fn make(services: &Services, request: Request<Self>) -> Result<ResponseHeader, Failure> {
        let origin = Origin::of(request.extensions().get::<ConnectionInfo>());
        let log = &services.auth.audit;
        let act = Act::new(log, Self::ACTION, &origin, request.get_ref().about());
        let (call, conditions, request) = services.admit_write(request)?;
        let act = act.by(call.caller());
        let changed = async {
            conditions.refuse_on_read()?;
            // Only who may make the change costs the time to hash a password.
            services
                .permit(&call, vec![tenure_statemachine::Need::Admin])
                .await?;
            let change = request.command(services, origin.address()).await?;
            services.write(&call, conditions, 0, change).await
        };
        let changed = changed.await;
        act.end(&changed);
        let (revision, ()) = changed?;
        Ok(services.headers.at(revision))
    }
}

/// Declares a change that needs nothing but its request.
macro_rules! change {
    ($request:ident, $action:literal, [$($about:ident),*], $it:ident => $command:expr) => {
        impl Change for wire::$request {
            const ACTION: &'static str = $action;

            fn about(&self) -> Vec<(&'static str, String)> {
                vec![$((stringify!($about), self.$about.clone())),*]
            }

            async fn command(
                self,
                _services: &Services,
                _peer: Option<IpAddr>,
            ) -> Result<AuthChange, Failure> {
                let $it = self;
                Ok($command)
            }
        }
    };
}

change! { AuthEnableRequest, "Auth/AuthEnable", [], _it => AuthChange::Enable { secret: secret() } }
change! { AuthDisableRequest, "Auth/AuthDisable", [], _it => AuthChange::Disable }
change! { AuthUserDeleteRequest, "Auth/UserDelete", [name], it => AuthChange::UserDelete(it.name) }
change! {
    AuthUserGrantRoleRequest, "Auth/UserGrantRole", [user, role],
    it => AuthChange::UserGrantRole { user: it.user, role: it.role }
}
change! {
    AuthUserRevokeRoleRequest, "Auth/UserRevokeRole", [name, role],
    it => AuthChange::UserRevokeRole { user: it.name, role: it.role }
}
change! { AuthRoleAddRequest, "Auth/RoleAdd", [name], it => AuthChange::RoleAdd(it.name) }
change! { AuthRoleDeleteRequest, "Auth/RoleDelete", [role], it => AuthChange::RoleDelete(it.role) }

/// A new secret to sign tokens with.
pub(super) fn secret() -> Bytes {
    let mut secret = [0; AuthChange::SECRET_LEN];
    SystemEntropy.fill(&mut secret);
    Bytes::copy_from_slice(&secret)
}

impl Change for wire::AuthUserAddRequest {
    const ACTION: &'static str = "Auth/UserAdd";

    fn about(&self) -> Vec<(&'static str, String)> {
        vec![("name", self.name.clone())]
    }

    /// A hash in the request is ignored, as in etcd.
    async fn command(
        self,
        services: &Services,
        peer: Option<IpAddr>,
    ) -> Result<AuthChange, Failure> {
        if self.name.is_empty() {
            return Err(Reason::UserEmpty.into());
        }
        let has_none = self.options.is_some_and(|options| options.no_password);
        let password = if has_none {
            None
        } else {
            Some(hashed(services, peer, self.password).await?)
        };
        Ok(AuthChange::UserAdd {
            user: self.name,
            password,
        })
    }
}

impl Change for wire::AuthUserChangePasswordRequest {
    const ACTION: &'static str = "Auth/UserChangePassword";

    fn about(&self) -> Vec<(&'static str, String)> {
        vec![("name", self.name.clone())]
    }

    /// A hash without a password is stored as it is, and neither of them locks the user out, as in
    /// etcd.
    async fn command(
        self,
        services: &Services,
        peer: Option<IpAddr>,
    ) -> Result<AuthChange, Failure> {
        let password = match (self.password.is_empty(), self.hashed_password.is_empty()) {
            (false, _) => hashed(services, peer, self.password).await?,
            (true, false) => given_hash(&self.hashed_password)?,
            (true, true) => Bytes::new(),
        };
        Ok(AuthChange::UserSetPassword {
            user: self.name,
            password,
        })
    }
}

async fn hashed(
    services: &Services,
    peer: Option<IpAddr>,
    password: String,
) -> Result<Bytes, Failure> {
    let password = Password::new(password).map_err(|_| Reason::PasswordTooLong)?;
    let hash = services.auth.passwords.hash(peer, password).await;
    Ok(hash.map_err(|_| Reason::TooManyRequests)?.into())
}

/// The hash of a password, as clients send it: the base64 of bcrypt's text.
fn given_hash(encoded: &str) -> Result<Bytes, Failure> {
    let malformed = |_| Reason::PasswordHashInvalid.with("it is not base64 of bcrypt's text");
    let text = STANDARD.decode(encoded).map_err(|_| malformed(()))?;
    let text = String::from_utf8(text).map_err(|_| malformed(()))?;
    let hash = PasswordHash::parse(&text);
    let hash = hash.map_err(|fault| Reason::PasswordHashInvalid.with(fault.to_string()))?;
    Ok(hash.into_text().into())
}

impl Change for wire::AuthRoleGrantPermissionRequest {
    const ACTION: &'static str = "Auth/RoleGrantPermission";

    fn about(&self) -> Vec<(&'static str, String)> {
        let mut about = vec![("role", self.name.clone())];
        if let Some(permission) = &self.perm {
            about.extend(range(&permission.key, &permission.range_end));
            about.push(("access", format!("{:?}", permission.perm_type())));
        }
        about
    }

    async fn command(
        self,
        _services: &Services,
        _peer: Option<IpAddr>,
    ) -> Result<AuthChange, Failure> {
        let authpb::Permission {
            perm_type,
            key,
            range_end,
        } = self.perm.ok_or(Reason::PermissionNotGiven)?;
        let access = match Type::try_from(perm_type) {
            Ok(Type::Read) => Access::Read,
            Ok(Type::Write) => Access::Write,
            Ok(Type::Readwrite) => Access::ReadWrite,
            Err(_) => return Err(Reason::InvalidAuthManagement.into()),
        };
        Ok(AuthChange::RoleGrantPermission {
            role: self.name,
            permission: Permission {
                access,
                range: KeyRange::from_wire(key, range_end),
            },
        })
    }
}

impl Change for wire::AuthRoleRevokePermissionRequest {
    const ACTION: &'static str = "Auth/RoleRevokePermission";

    fn about(&self) -> Vec<(&'static str, String)> {
        let mut about = vec![("role", self.role.clone())];
        about.extend(range(&self.key, &self.range_end));
        about
    }

    async fn command(
        self,
        _services: &Services,
        _peer: Option<IpAddr>,
    ) -> Result<AuthChange, Failure> {
        Ok(AuthChange::RoleRevokePermission {
            role: self.role,
            range: KeyRange::from_wire(self.key, self.range_end),
        })
    }
}

/// A range of keys, which may be any bytes, in a line.
fn range(key: &[u8], range_end: &[u8]) -> [(&'static str, String); 2] {
    [("key", key), ("range_end", range_end)]
        .map(|(name, bytes)| (name, bytes.escape_ascii().to_string()))
}
