//! A quorum with users, and calls as one of them.

use tenure_proto::{
    authpb::{Permission, permission::Type},
    etcdserverpb::{
        AuthEnableRequest, AuthRoleAddRequest, AuthRoleGrantPermissionRequest, AuthUserAddRequest,
        AuthUserChangePasswordRequest, AuthUserGrantRoleRequest, AuthenticateRequest,
        StatusRequest, StatusResponse, auth_client::AuthClient, kv_client::KvClient,
        lease_client::LeaseClient, maintenance_client::MaintenanceClient,
    },
};
use tenure_testkit::{Cluster, STATE_MAX, wait_until};
use tonic::codegen::Bytes;
use tonic::{
    Request, Status,
    metadata::AsciiMetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

/// The password of every user.
pub(super) const PASSWORD: &str = "correct horse";

/// Sends the token of a user with every call.
#[derive(Clone, Debug)]
pub(super) struct As(Option<AsciiMetadataValue>);

impl Interceptor for As {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("token", token.clone());
        }
        Ok(request)
    }
}

/// A caller on one node.
#[derive(Clone, Debug)]
pub(super) struct User {
    channel: Channel,
    who: As,
}

type Called = InterceptedService<Channel, As>;

impl User {
    /// With a token; without one for nobody.
    pub(super) fn on(address: &str, token: Option<&str>) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let token = token.map(|token| token.parse().unwrap());
        Self {
            channel: endpoint.connect_lazy(),
            who: As(token),
        }
    }

    pub(super) fn kv(&self) -> KvClient<Called> {
        KvClient::with_interceptor(self.channel.clone(), self.who.clone())
    }

    pub(super) fn auth(&self) -> AuthClient<Called> {
        AuthClient::with_interceptor(self.channel.clone(), self.who.clone())
    }

    pub(super) fn lease(&self) -> LeaseClient<Called> {
        LeaseClient::with_interceptor(self.channel.clone(), self.who.clone())
    }

    pub(super) fn called(&self) -> Called {
        InterceptedService::new(self.channel.clone(), self.who.clone())
    }

    pub(super) async fn add_user(&self, name: &str) {
        let request = AuthUserAddRequest {
            name: name.to_owned(),
            password: PASSWORD.to_owned(),
            ..AuthUserAddRequest::default()
        };
        self.auth().user_add(request).await.unwrap();
    }

    pub(super) async fn add_role(&self, name: &str) {
        let name = name.to_owned();
        let request = AuthRoleAddRequest { name };
        self.auth().role_add(request).await.unwrap();
    }

    pub(super) async fn grant_role(&self, user: &str, role: &str) {
        let request = AuthUserGrantRoleRequest {
            user: user.to_owned(),
            role: role.to_owned(),
        };
        self.auth().user_grant_role(request).await.unwrap();
    }

    pub(super) async fn permit(&self, role: &str, kind: Type, (key, end): (&str, &str)) {
        let permission = Permission {
            perm_type: kind.into(),
            key: Bytes::copy_from_slice(key.as_bytes()),
            range_end: Bytes::copy_from_slice(end.as_bytes()),
        };
        let request = AuthRoleGrantPermissionRequest {
            name: role.to_owned(),
            perm: Some(permission),
        };
        self.auth().role_grant_permission(request).await.unwrap();
    }

    pub(super) async fn set_password(&self, name: &str, password: &str) {
        let request = AuthUserChangePasswordRequest {
            name: name.to_owned(),
            password: password.to_owned(),
            hashed_password: String::new(),
        };
        self.auth().user_change_password(request).await.unwrap();
    }

    pub(super) async fn try_log_in(&self, name: &str, password: &str) -> Result<String, Status> {
        let request = AuthenticateRequest {
            name: name.to_owned(),
            password: password.to_owned(),
        };
        let answer = self.auth().authenticate(request).await?;
        Ok(answer.into_inner().token)
    }
}

/// A quorum on which authentication is enabled.
#[derive(Debug)]
pub(super) struct Users {
    pub(super) cluster: Cluster,
}

/// What the users but root may do: `guest` nothing; the others read, write or both below `a/`, and
/// of the service `web`.
const ROLES: [(&str, Type); 3] = [
    ("reader", Type::Read),
    ("writer", Type::Write),
    ("both", Type::Readwrite),
];

/// The ranges of their permissions.
const RANGES: [(&str, &str); 2] = [
    ("a/", "a0"),
    ("tenure.services/web/", "tenure.services/web0"),
];

impl Users {
    pub(super) async fn start(nodes: usize) -> Self {
        Self::enable(Cluster::start(nodes).await).await
    }

    /// Adds the users, and enables authentication.
    pub(super) async fn enable(cluster: Cluster) -> Self {
        let users = Self { cluster };
        let nobody = users.nobody();
        // Only once every member knows the level.
        wait_for_level(&nobody).await;
        nobody.grant_role("root", "root").await;
        nobody.add_user("guest").await;
        for (name, kind) in ROLES {
            nobody.add_role(name).await;
            for range in RANGES {
                nobody.permit(name, kind, range).await;
            }
            nobody.add_user(name).await;
            nobody.grant_role(name, name).await;
        }
        nobody
            .auth()
            .auth_enable(AuthEnableRequest {})
            .await
            .unwrap();
        users
    }

    /// Nobody, on the first node.
    pub(super) fn nobody(&self) -> User {
        User::on(self.cluster.node(0).address(), None)
    }

    /// A user with a fresh token, on the first node.
    pub(super) async fn user(&self, name: &str) -> User {
        let token = self.token(name).await;
        User::on(self.cluster.node(0).address(), Some(&token))
    }

    /// The status of the first node.
    pub(super) async fn user_status(&self) -> StatusResponse {
        let guest = self.user("guest").await;
        let mut maintenance = MaintenanceClient::new(guest.called());
        let status = maintenance.status(StatusRequest {}).await;
        status.unwrap().into_inner()
    }

    pub(super) async fn token(&self, name: &str) -> String {
        self.nobody().try_log_in(name, PASSWORD).await.unwrap()
    }
}

/// Adds the user `root` as soon as the members have agreed on the feature level.
async fn wait_for_level(nobody: &User) {
    wait_until("users can be added", STATE_MAX, async || {
        let request = AuthUserAddRequest {
            name: "root".to_owned(),
            password: PASSWORD.to_owned(),
            ..AuthUserAddRequest::default()
        };
        match nobody.auth().user_add(request).await {
            Err(status) if !status.message().contains("already exists") => Err(status),
            _ => Ok(()),
        }
    })
    .await;
}
