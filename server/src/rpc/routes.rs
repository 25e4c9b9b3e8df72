//! The services on the client port, and their message size limits.

use std::sync::Arc;

use tenure_proto::{
    PUBLIC_DESCRIPTOR_SET,
    etcdserverpb::{
        auth_server::AuthServer, cluster_server::ClusterServer, kv_server::KvServer,
        lease_server::LeaseServer, maintenance_server::MaintenanceServer,
        watch_server::WatchServer,
    },
    v1::{
        election_server::ElectionServer, fence_server::FenceServer, lock_server::LockServer,
        member_server::MemberServer, registry_server::RegistryServer,
        session_server::SessionServer,
    },
    v3electionpb::election_server::ElectionServer as EtcdElectionServer,
    v3lockpb::lock_server::LockServer as EtcdLockServer,
};
use tonic::{codec::CompressionEncoding, service::Routes};

use super::{
    answer::large::WithAnswers,
    border::nesting::Nesting,
    etcd::{
        auth::AuthService, cluster::ClusterService, election::EtcdElectionService, kv::KvService,
        lease::LeaseService, lock::EtcdLockService, maintenance::MaintenanceService,
        watch::WatchService,
    },
    health,
    services::Services,
    tenure::{
        election::ElectionService, fence::FenceService, lock::LockService, member::MemberService,
        registry::RegistryService, session::SessionService,
    },
};

/// Bytes that a message may have beyond the largest request, so that slightly larger requests are
/// refused with etcd's text and not by the transport.
pub(super) const DECODE_OVERHEAD_BYTES: usize = 512 * 1024;
/// Size limit of a message to the lease service, which holds a few numbers: its streams are many,
/// and each may hold one partial message.
const LEASE_MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Responses are as large as their requests ask for.
const ENCODE_BYTES_MAX: usize = i32::MAX as usize;

/// All routes of the client port. Must be called on a runtime.
#[must_use]
pub fn routes(services: Arc<Services>) -> Routes {
    let decode = services.limits.request_bytes_max + DECODE_OVERHEAD_BYTES;
    macro_rules! sized {
        ($server:ident, $service:ident) => {
            sized!($server, $service, decode)
        };
        ($server:ident, $service:ident, $decode:expr) => {
            $server::new($service(Arc::clone(&services)))
                .max_decoding_message_size($decode)
                // The limit applies to the decompressed message.
                .accept_compressed(CompressionEncoding::Gzip)
                .max_encoding_message_size(ENCODE_BYTES_MAX)
        };
    }
    let lease = sized!(LeaseServer, LeaseService, LEASE_MESSAGE_BYTES_MAX);
    let operations_max = services.limits.txn_operations_max;
    let kv = Nesting::new(sized!(KvServer, KvService), operations_max);
    let session = Nesting::new(sized!(SessionServer, SessionService), operations_max);
    let etcd_election = sized!(EtcdElectionServer, EtcdElectionService);
    // The `watch` module accounts for the memory of watch requests.
    let routes = Routes::new(WithAnswers(kv))
        .add_service(WithAnswers(sized!(LockServer, LockService)))
        .add_service(WithAnswers(sized!(ElectionServer, ElectionService)))
        .add_service(WithAnswers(session))
        .add_service(WithAnswers(sized!(RegistryServer, RegistryService)))
        .add_service(WithAnswers(sized!(FenceServer, FenceService)))
        .add_service(WithAnswers(sized!(EtcdLockServer, EtcdLockService)))
        .add_service(WithAnswers(etcd_election))
        .add_service(sized!(WatchServer, WatchService))
        .add_service(WithAnswers(lease))
        .add_service(sized!(ClusterServer, ClusterService))
        .add_service(sized!(MemberServer, MemberService))
        .add_service(sized!(MaintenanceServer, MaintenanceService))
        .add_service(sized!(AuthServer, AuthService))
        .add_service(health::service(services.stopping.clone()))
        .add_service(
            reflection()
                .build_v1()
                .expect("the descriptors are this build's own"),
        )
        .add_service(
            reflection()
                .build_v1alpha()
                .expect("the descriptors are this build's own"),
        )
        .prepare();
    // Around all services, so that no method is left out.
    let admitted = routes.into_axum_router().layer(services.admission_layer());
    Routes::from(admitted).prepare()
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(PUBLIC_DESCRIPTOR_SET)
}

#[cfg(test)]
mod tests;
